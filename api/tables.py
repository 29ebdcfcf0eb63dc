"""Text for terminals and HTML for notebooks from the same rows."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass, field

from onnxla.ir.names import plain


@dataclass(frozen=True)
class Table:
    """A titled table of texts; the header may be empty.

    Texts may come from a file: each is shown as one short line that can be printed.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]

    def __str__(self) -> str:
        lines = [self.header, *self.rows] if self.header else list(self.rows)
        lines = [list(map(plain, line)) for line in lines]
        widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
        body = [
            "  " + "  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip()
            for line in lines
        ]
        return "\n".join([self.title, *body])

    def html(self) -> str:
        """The table as HTML."""

        def row(cells: Sequence[str], tag: str) -> str:
            opening = f"<{tag} style='text-align:left'>"
            return "".join(f"{opening}{html.escape(plain(cell))}</{tag}>" for cell in cells)

        lines = [row(self.header, "th")] if self.header else []
        lines += [row(cells, "td") for cells in self.rows]
        body = "".join(f"<tr>{line}</tr>" for line in lines)
        return f"<h4>{html.escape(self.title)}</h4><table>{body}</table>"


@dataclass(frozen=True)
class Report:
    """Lines and tables, as text in a terminal and as HTML in a notebook."""

    parts: Sequence[str | Table] = field(default_factory=tuple)

    def __str__(self) -> str:
        return "\n".join(map(str, self.parts))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return "".join(
            part.html() if isinstance(part, Table) else f"<p>{html.escape(part)}</p>"
            for part in self.parts
        )
