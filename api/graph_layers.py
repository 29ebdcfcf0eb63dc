"""What `module.layers` is: nodes in order, as a table with scopes and repeated blocks folded."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any

from onnxla.arguments import SEVERAL
from onnxla.ir.names import no_such, plain
from onnxla.tables import Table, page, remark

TEXT = 80, 20  # the first and last of many lines in a text
PAGE = 400, 200  # and in a page, in which most of them are folded
HINT = "layers('*part*') has those of a name, operator, value or parameter"
HEADER = ("layer", "operator", "output", "parameters", "products")


@dataclass(frozen=True)
class GraphLayer:
    """A node of the graph.

    Attributes:
        name: The node's name, or that of the first value that it makes.
        operator: Its operator, with the domain if that is not ONNX's own.
        value: The name of the first value that it makes, for `apply(outputs=)`, `cut` and the like.
        inputs: The names of the values that it reads, constants excepted.
        output: Dtype and shape of that value, as far as they are known.
        parameters: The names of its parameters.
        elements: How many numbers these have.
        share: Its share of the model's operations in products, from 0 to 1.
    """

    name: str
    operator: str
    value: str
    inputs: tuple[str, ...]
    output: str
    parameters: tuple[str, ...]
    elements: int
    share: float

    def matches(self, pattern: str) -> bool:
        """Whether a pattern is that of its name, its operator, its value or a parameter."""
        names = (self.name, self.operator, self.value, *self.parameters)
        return any(name == pattern or fnmatchcase(name, pattern) for name in names)


@dataclass(frozen=True)
class LayerLine:
    """A line of the table: a node, or others that are folded in one line.

    Attributes:
        title: What the line is called.
        kind: The operator, or how much is folded.
        output: Dtype and shape of what comes out, if it is one value.
        elements: How many numbers the parameters have.
        share: The share of operations in products.
        layer: The node, if it is one.
        rows: What is folded.
        open: Whether a text shows these.
    """

    title: str
    kind: str
    output: str
    elements: int
    share: float
    layer: GraphLayer | None = None
    rows: tuple[LayerLine, ...] = ()
    open: bool = False

    @property
    def cells(self) -> tuple[str, ...]:
        """The texts of the line."""
        elements = f"{self.elements:,}" if self.elements else ""
        share = f"{self.share:.1%}" if self.share else ""
        return plain(self.title), plain(self.kind), self.output, elements, share

    def layers(self) -> Iterator[GraphLayer]:
        """The nodes in it."""
        if self.layer is not None:
            yield self.layer
        for row in self.rows:
            yield from row.layers()

    def lines(self, depth: int = 0) -> Iterator[tuple[str, ...]]:
        """The lines of a text."""
        title, *others = self.cells
        yield ("  " * depth + title, *others)
        if self.open:
            for row in self.rows:
                yield from row.lines(depth + 1)

    @cached_property
    def size(self) -> int:
        """How many lines there are, with those that are folded in it."""
        return 1 + sum(row.size for row in self.rows)

    def html(self, left_out: range, at: int, depth: int) -> str:
        """The line as HTML; what is folded opens at a click.

        Args:
            left_out: The numbers of lines that are left out.
            at: The number of this one.
            depth: How many lines it is folded in.
        """
        cells = "".join(f"<span>{html.escape(cell)}</span>" for cell in self.cells)
        if not self.rows:
            return f'<div class="row" style="--depth:{depth}">{cells}</div>'
        inside = html_of(self.rows, left_out, at + 1, depth + 1)
        shown = " open" * self.open
        head = f'<summary class="row" style="--depth:{depth}">{cells}</summary>'
        return f"<details{shown}>{head}{inside}</details>"


def html_of(rows: Sequence[LayerLine], left_out: range, at: int, depth: int) -> str:
    """Lines as HTML, of which those that are left out, with all in them, are one."""
    found, left = [], 0
    for row in rows:
        if at in left_out and at + row.size - 1 in left_out:
            left += row.size
        else:
            found.append(more(left, depth) + row.html(left_out, at, depth))
            left = 0
        at += row.size
    return "".join([*found, more(left, depth)])


def more(left: int, depth: int) -> str:
    """The line in place of some that are left out; nothing for none."""
    words = f"<span>{html.escape(remark(left, HINT))}</span>"
    return f'<div class="row" style="--depth:{depth}">{words}</div>' if left else ""


class GraphLayers(Sequence[GraphLayer]):
    """The nodes of a model, in order. A terminal and a notebook show them as a table.

        module.layers                    # all of them, with scopes folded
        module.layers("*attention*")     # by name, operator, value or parameter
        module.layers["/conv1/Conv"]     # one, by its name

    Args:
        title: What is above the table.
        rows: The lines.
    """

    def __init__(self, title: str, rows: Sequence[LayerLine]) -> None:
        self.title, self.rows = title, tuple(rows)
        self.all = tuple(layer for row in self.rows for layer in row.layers())

    def __call__(self, *patterns: str) -> GraphLayers:
        """Those that one of some shell-style patterns matches, one after the other; else all.

        Raises:
            TypeError: A pattern is no text.
            ValueError: A pattern matches none.
        """
        SEVERAL.check("patterns", patterns)
        if not patterns:
            return self
        for pattern in patterns:
            if not any(layer.matches(pattern) for layer in self.all):
                raise ValueError(no_such("layer", pattern, [layer.name for layer in self.all]))
        return self.only([each for each in self.all if any(map(each.matches, patterns))])

    def only(self, found: Sequence[GraphLayer]) -> GraphLayers:
        """Some of them, one after the other."""
        return GraphLayers(f"{len(found):,} of {self.title}", [row_of(layer) for layer in found])

    def __getitem__(self, key: int | slice | str) -> GraphLayer | GraphLayers:  # type: ignore[override]
        """A layer by its place or its name, or some. Raises: KeyError of a name that none has."""
        if isinstance(key, slice):
            return self.only(self.all[key])
        if not isinstance(key, str):
            return self.all[key]
        if (found := next((each for each in self.all if each.name == key), None)) is None:
            raise KeyError(no_such("layer", key, [each.name for each in self.all]))
        return found

    def __len__(self) -> int:
        return len(self.all)

    def _ipython_key_completions_(self) -> list[str]:
        return [layer.name for layer in self.all]

    @property
    def table(self) -> Table:
        """The lines that are not folded."""
        return Table(self.title, HEADER, [line for row in self.rows for line in row.lines()])

    def __str__(self) -> str:
        return str(self.table.shortened(*TEXT, HINT))

    __repr__ = __str__

    def __rich__(self) -> Any:
        return self.table.shortened(*TEXT, HINT).__rich__()

    def _repr_html_(self) -> str:
        return page(self.html())

    def html(self) -> str:
        """The table as HTML, in which scopes open at a click; of many lines the first and last."""
        head = "".join(f"<span>{text}</span>" for text in HEADER)
        first, last = PAGE
        left_out = range(first, sum(row.size for row in self.rows) - last)
        rows = html_of(self.rows, left_out, 0, 0)
        title = html.escape(self.title)
        return f'<h4>{title}</h4><div class="layers"><div class="row head">{head}</div>{rows}</div>'


def row_of(layer: GraphLayer) -> LayerLine:
    """A layer that stands for itself."""
    return LayerLine(
        layer.name, layer.operator, layer.output, layer.elements, layer.share, layer=layer
    )
