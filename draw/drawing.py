"""`module.draw()`: a model's graph as a page, SVG or PNG."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from onnxla.arguments import NOTHING, PATH, POSITIVE, check_arguments, of_type
from onnxla.arguments import whole as at_least
from onnxla.draw.changes import compared
from onnxla.draw.compose import Shown, shown
from onnxla.draw.content import Content
from onnxla.draw.figures import figures, products
from onnxla.draw.grouping import grouped, opened, read
from onnxla.draw.members import Cluster
from onnxla.draw.page import in_notebook, page
from onnxla.draw.png import png
from onnxla.draw.roles import Roles
from onnxla.draw.scene import Inside, Port, plans
from onnxla.draw.svg import svg
from onnxla.draw.types import trace
from onnxla.ir.names import number_of, plain
from onnxla.module import Module, require_module

BOXES = 52  # that are shown at first
DRAW = {
    "height": at_least(200),
    "depth": at_least(0) | NOTHING,
    "beside": of_type("another Module", Module) | NOTHING,
}
SAVE = {"path": PATH, "scale": POSITIVE}
FORMS = (".html", ".svg", ".png")


class Drawing:
    """A model's graph drawn, which a notebook shows.

    Attributes:
        height: Height in a notebook, in pixels.
    """

    def __init__(self, content: Content, depth: int | None, height: int) -> None:
        self.content, self.height = content, height
        self.plans: Mapping[Cluster, Inside] = plans(content.root, content.labels.__getitem__)
        self.opened = opened(content.root, BOXES, depth)

    @cached_property
    def shown(self) -> Shown:
        """Where all is that is shown at first."""
        return shown(self.content.root, self.plans, self.opened)

    @cached_property
    def html(self) -> str:
        """The page: one file, without network or server."""
        return page(self.content, self.plans, self.opened)

    @cached_property
    def svg(self) -> str:
        """The picture of what is open at first."""
        return svg(self.content, self.shown)

    def save(self, path: str | os.PathLike[str], *, scale: float = 2.0) -> None:
        """Writes the drawing in the form that the ending of `path` says: .html, .svg or .png.

        Args:
            path: The file to write or replace. A page opens and folds; the others show what is open
                at first.
            scale: Pixels of a PNG for each of the drawing's, fewer if it is very large.

        Raises:
            ValueError: Another ending, or no such scale.
            ImportError: A PNG needs the extra `draw`.
        """
        check_arguments(locals(), SAVE)
        form = form_of(path)
        if form == ".png":
            Path(path).write_bytes(png(self.svg, scale))
        else:
            Path(path).write_text(self.html if form == ".html" else self.svg, "utf-8")

    def _repr_html_(self) -> str:
        return in_notebook(self.html, self.svg, self.height)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {
            "text/html": self._repr_html_(),
            "image/svg+xml": self.svg,
            "text/plain": repr(self),
        }

    def __repr__(self) -> str:
        count = len(self.content.root.leaves)
        boxes = sum(not isinstance(place.item, Port) for place in self.shown.places)
        return (
            f"Drawing of {plain(self.content.title)}: {number_of(count, 'node')}, {boxes:,}"
            ' boxes at first; save("graph.html") writes it'
        )


def form_of(path: str | os.PathLike[str]) -> str:
    """The form of a drawing that the ending of its path says. Raises: ValueError."""
    form = Path(path).suffix.lower()
    if form not in FORMS:
        raise ValueError(f"path ends with .html, .svg or .png, got {plain(Path(path).name)!r}")
    return form


def draw(
    module: Module,
    *,
    depth: int | None = None,
    overlay: Any = None,
    beside: Module | None = None,
    height: int = 640,
) -> Drawing:
    """A module's graph drawn; for arguments see `Module.draw`."""
    require_module(module)
    check_arguments(locals(), DRAW)
    counts = products if overlay == "flops" else None
    traced = trace(module.program, counts, always=overlay in ("flops", "bytes"))
    roles = Roles(module.program, traced)
    root, names = read(module.program.model)
    changes = None
    if beside is not None:
        other, _ = read(beside.program.model)
        changes = compared(root, other, roles, module.params, beside.params)
    numbers = None
    if overlay is not None:
        numbers = figures(overlay, root.leaves, roles, module.params)
    return Drawing(Content(grouped(root), names, roles, numbers, changes), depth, height)
