"""What the site is made of besides `docs/`; MkDocs calls these functions while it builds.

The reference is read from the rooms, linked together as the package that they are. Two files of the
root are pages, too.
"""

from __future__ import annotations

import re
import tempfile
import textwrap
import tomllib
from pathlib import Path
from typing import Any

import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
PAGES = {"CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}
EXAMPLE = re.compile(r"For example:\n\n((?: {4}.*\n|\n)+)")
PACKAGE = tempfile.TemporaryDirectory(prefix="onnxla-site-")  # until the process ends


def link_package(folder: Path) -> None:
    """Makes a folder `onnxla` of links, in which the rooms lie as they are imported."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    rooms = project["tool"]["setuptools"]["package-dir"]
    package = folder / "onnxla"
    package.mkdir()
    for path in (ROOT / rooms.pop("onnxla")).iterdir():
        (package / path.name).symlink_to(path)
    for name, room in rooms.items():
        (package / name.removeprefix("onnxla.")).symlink_to(ROOT / room)


class Examples(griffe.Extension):
    """Examples in docstrings as blocks of Python, which are coloured as such."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Fences the indented block after `For example:`."""
        if obj.docstring is not None:
            obj.docstring.value = EXAMPLE.sub(fenced, obj.docstring.value + "\n").rstrip()


def fenced(found: re.Match[str]) -> str:
    """The block of an example with fences in place of its indentation."""
    return f"For example:\n\n```python\n{textwrap.dedent(found[1]).strip()}\n```\n\n"


@event_priority(100)  # before mkdocstrings reads where the package is
def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Says to mkdocstrings where the package is."""
    link_package(Path(PACKAGE.name))
    python = config.plugins["mkdocstrings"].config["handlers"]["python"]
    python["paths"] = [PACKAGE.name]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages that lie in the root; their links to `docs/` are links beside them here."""
    for source, page in PAGES.items():
        text = re.sub(r"\]\(docs/", "](", (ROOT / source).read_text())
        for other, there in PAGES.items():
            text = text.replace(f"]({other}", f"]({there}")
        files.append(File.generated(config, page, content=text))
    return files
