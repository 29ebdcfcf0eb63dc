"""Text for terminals and HTML for notebooks from the same rows."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from onnxla.ir.names import plain

PAGE = 200, 100  # the first and last lines of many that a notebook shows
# Within what a notebook says of colours, so that it fits a light and a dark one.
STYLE = """<style>
.onnxla{font:13px/1.5 system-ui,sans-serif;max-width:100%;overflow-x:auto}
.onnxla h4{margin:1em 0 .3em;font-size:13px;line-height:1.3}
.onnxla p{margin:.3em 0}
.onnxla ul{margin:.3em 0;padding-left:1.4em;max-width:60em}
.onnxla>details{margin:.8em 0}
.onnxla>details>summary{cursor:pointer;font-weight:600}
.onnxla table{border-collapse:collapse;margin:0;font-size:13px}
.onnxla th,.onnxla td{text-align:left;padding:2px 18px 2px 0;border:0;white-space:nowrap}
.onnxla th,.onnxla .head{font-weight:600;opacity:.7}
.onnxla td[colspan]{white-space:normal}
.onnxla tr,.onnxla tr:nth-child(even){background:none}
.onnxla tr+tr td,.onnxla .row{border-top:1px solid color-mix(in srgb,currentColor 12%,transparent)}
.onnxla .layers{min-width:46em}
.onnxla .row{display:grid;grid-template-columns:2.4fr 1.4fr 2fr 1fr .8fr;gap:0 14px;padding:2px 0}
.onnxla .row span{overflow-wrap:anywhere}
.onnxla .row span:nth-child(n+4){text-align:right;font-variant-numeric:tabular-nums}
.onnxla .row span:only-child{grid-column:1/-1}
.onnxla .row span:first-child{padding-left:calc(var(--depth,0)*1.3em + 1em);text-indent:-1em}
.onnxla summary.row{cursor:pointer;list-style:none}
.onnxla summary.row::-webkit-details-marker{display:none}
.onnxla summary.row span:first-child::before{content:"\\25B8\\00A0"}
.onnxla details[open]>summary.row span:first-child::before{content:"\\25BE\\00A0"}
.onnxla summary.row:hover{background:color-mix(in srgb,currentColor 6%,transparent)}
</style>"""


class ReportPart(Protocol):
    """What a report has beside lines: a text, and HTML."""

    def html(self) -> str:
        """It as HTML."""
        ...


def page(inside: str) -> str:
    """HTML of a notebook's output."""
    return f'{STYLE}<div class="onnxla">{inside}</div>'


def remark(left: int, hint: str) -> str:
    """What stands in the place of lines that are left out: how many, and how to see them."""
    return f"... {left:,} more: {hint}"


@dataclass(frozen=True)
class Table:
    """A titled table of texts; the header may be empty.

    Texts may come from a file: each is shown as one short line that can be printed. A row of one
    text goes across all columns. A notebook shows the rows of a `folded` one at a click.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    folded: bool = False

    def shortened(self, first: int, last: int, hint: str) -> Table:
        """The first and last rows of many, and between them a line on the others."""
        left = len(self.rows) - first - last
        if left < 1:
            return self
        between = [remark(left, hint)]
        return replace(self, rows=[*self.rows[:first], between, *self.rows[-last:]])

    def __str__(self) -> str:
        lines = [self.header, *self.rows] if self.header else list(self.rows)
        lines = [list(map(plain, line)) for line in lines]
        columns = max(map(len, lines), default=0)
        whole = [line for line in lines if len(line) == columns]
        widths = [max(len(cell) for cell in column) for column in zip(*whole, strict=True)]
        body = [
            "  " + "  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=False)).rstrip()
            for line in lines
        ]
        return "\n".join([self.title, *body])

    def html(self) -> str:
        """The table as HTML."""
        columns = max(map(len, [self.header, *self.rows]))

        def row(cells: Sequence[str], tag: str) -> str:
            across = f" colspan={columns}" * (len(cells) == 1 < columns)
            opening = f"<{tag}{across} style='text-align:left'>"
            return "".join(f"{opening}{html.escape(plain(cell))}</{tag}>" for cell in cells)

        lines = [row(self.header, "th")] if self.header else []
        lines += [row(cells, "td") for cells in self.rows]
        body = "".join(f"<tr>{line}</tr>" for line in lines)
        title = html.escape(self.title)
        if self.folded:
            return f"<details><summary>{title}</summary><table>{body}</table></details>"
        return f"<h4>{title}</h4><table>{body}</table>"

    def _repr_html_(self) -> str:
        return page(self.html())

    def __rich__(self) -> Any:
        """The table as rich prints it, whose columns fit the terminal."""
        from rich.table import Table as RichTable
        from rich.text import Text

        title = Text(plain(self.title), "bold")
        table = RichTable(title=title, title_justify="left", box=None, pad_edge=False)
        table.show_header = bool(self.header)
        for column in range(max(map(len, [self.header, *self.rows]))):
            table.add_column(*self.header[column : column + 1], overflow="fold", style="")
        for row in self.rows:
            table.add_row(*(Text(plain(cell)) for cell in row))
        return table


@dataclass(frozen=True)
class Notes:
    """Titled sentences, which a notebook breaks into lines."""

    title: str
    lines: Sequence[str]

    def __str__(self) -> str:
        return "\n".join([self.title, *(f"  {line}" for line in self.lines)])

    def html(self) -> str:
        """The sentences as HTML."""
        items = "".join(f"<li>{html.escape(line)}</li>" for line in self.lines)
        return f"<h4>{html.escape(self.title)}</h4><ul>{items}</ul>"


@dataclass(frozen=True)
class Report:
    """Lines and tables, as text in a terminal and as HTML in a notebook."""

    parts: Sequence[str | ReportPart] = field(default_factory=tuple)

    def __str__(self) -> str:
        return "\n".join(map(str, self.parts))

    __repr__ = __str__

    def __rich__(self) -> Any:
        """All parts as rich prints them."""
        from rich.console import Group
        from rich.text import Text

        return Group(*(p if isinstance(p, Table) else Text(str(p)) for p in self.parts))

    def _repr_html_(self) -> str:
        return page(
            "".join(
                f"<p>{html.escape(part)}</p>" if isinstance(part, str) else part.html()
                for part in self.parts
            )
        )
