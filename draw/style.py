"""The colours of drawings, light and dark, and the style sheet that uses them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.resources import files

LIGHT = {
    "back": "#fbfbfc",
    "box": "#ffffff",
    "rim": "#c9d0db",
    "text": "#1b2130",
    "small": "#566073",
    "wire": "#9aa4b4",
    "strong": "#2f6fde",
    "inside": "#f3f5f8",
    "within": "#eaeef3",
    "heat": "#f06a35",
    "trains": "#2f6fde",
    "trains-fill": "#eef4ff",
    "adapter": "#c2570c",
    "adapter-fill": "#fff3e8",
    "quantized": "#0c8573",
    "quantized-fill": "#e9f7f4",
    "frozen": "#75829a",
    "frozen-fill": "#f4f6f9",
    "steps": "#a87400",
    "steps-fill": "#fdf6e2",
    "data": "#c22b48",
    "data-fill": "#fdeef1",
    "missing": "#c22b48",
    "missing-fill": "#fdeef1",
    "known": "#b3bbc8",
    "known-fill": "#fbfbfc",
    "plain": "#c9d0db",
    "plain-fill": "#ffffff",
    "added": "#1a8a4a",
    "added-fill": "#e8f7ee",
    "changed": "#a87400",
    "changed-fill": "#fdf6e2",
    "gone": "#c22b48",
    "gone-fill": "#fdeef1",
    "same": "#c9d0db",
    "same-fill": "#fbfbfc",
}
DARK = {
    "back": "#14171d",
    "box": "#1f252e",
    "rim": "#3d4656",
    "text": "#e9edf4",
    "small": "#a6b0c1",
    "wire": "#6d788b",
    "strong": "#7aa7ff",
    "inside": "#191d25",
    "within": "#1e232c",
    "heat": "#cc5526",
    "trains": "#6ea0ff",
    "trains-fill": "#1c2a44",
    "adapter": "#f0975a",
    "adapter-fill": "#392717",
    "quantized": "#45c7b2",
    "quantized-fill": "#15322e",
    "frozen": "#8f9bb0",
    "frozen-fill": "#252b35",
    "steps": "#dcae45",
    "steps-fill": "#342c15",
    "data": "#f2748c",
    "data-fill": "#3b1d25",
    "missing": "#f2748c",
    "missing-fill": "#3b1d25",
    "known": "#5a6577",
    "known-fill": "#14171d",
    "plain": "#4a5465",
    "plain-fill": "#1f252e",
    "added": "#52c888",
    "added-fill": "#163124",
    "changed": "#dcae45",
    "changed-fill": "#342c15",
    "gone": "#f2748c",
    "gone-fill": "#3b1d25",
    "same": "#4a5465",
    "same-fill": "#191d25",
}
COLOURED = [name.removesuffix("-fill") for name in LIGHT if name.endswith("-fill")]
FONT = "Inter,'Helvetica Neue',Helvetica,Arial,'Liberation Sans','DejaVu Sans',sans-serif"


def asset(name: str) -> str:
    """The text of a file beside this one."""
    return (files("onnxla.draw") / name).read_text("utf-8")


def drawing_css() -> str:
    """The rules for what is drawn, with the colours as variables."""
    rules = [
        f".{name}>.rim{{stroke:var(--{name});fill:var(--{name}-fill)}}.bar.{name}{{fill:var(--{name})}}"
        for name in COLOURED
    ]
    return asset("drawing.css") + "\n".join(rules)


def variables(colours: Mapping[str, str]) -> str:
    """Colours as variables of CSS."""
    return "".join(f"--{name}:{colour};" for name, colour in colours.items())


def page_css() -> str:
    """The style sheet of a page: dark where the reader's is, or where somebody says so."""
    own = asset("page.css")
    return (
        f":root{{color-scheme:light dark;{variables(LIGHT)}}}"
        f"@media (prefers-color-scheme:dark){{:root:not([data-theme=light]){{{variables(DARK)}}}}}"
        f":root[data-theme=light]{{color-scheme:light}}"
        f":root[data-theme=dark]{{color-scheme:dark;{variables(DARK)}}}"
        f"{own}{drawing_css()}"
    )


def picture_css() -> str:
    """The style sheet of an SVG file, in which colours are written out."""

    def coloured(colours: Mapping[str, str]) -> str:
        return re.sub(r"var\(--([a-z-]+)\)", lambda match: colours[match[1]], drawing_css())

    return f"{coloured(LIGHT)}@media (prefers-color-scheme:dark){{{coloured(DARK)}}}"
