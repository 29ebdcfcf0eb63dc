"""What `module.values` is: the values of a graph by name, as a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from onnxla.arguments import SEVERAL
from onnxla.ir.names import no_such
from onnxla.tables import PAGE, Table

HEADER = ("value", "type", "made by", "read by")
TEXT = 30, 10  # the first and last of many lines in a text
HINT = "values('*part*') has those of a name, or of a node that makes them"


@dataclass(frozen=True)
class GraphValue:
    """A value of the main graph, constants excepted.

    Attributes:
        name: Its name, for `apply(outputs=)`, `cut`, `replace_head` and the like.
        type: Dtype and shape, as far as they are known, such as `float32 N×64`.
        made_by: The node that makes it: operator and name; or `input`.
        readers: The nodes that read it, likewise; `output` where it is one.
    """

    name: str
    type: str
    made_by: str
    readers: tuple[str, ...]

    @property
    def cells(self) -> tuple[str, ...]:
        """The texts of a line."""
        return self.name, self.type, self.made_by, ", ".join(self.readers)


class GraphValues(Mapping[str, GraphValue]):
    """The values of a graph by name, in order. A terminal and a notebook show them as a table.

        module.values                # all of them
        module.values("*Relu*")      # by the name, or the node that makes it
        module.values["logits"]      # one; a notebook completes the name

    Args:
        title: What is above the table.
        found: The values.
    """

    def __init__(self, title: str, found: Mapping[str, GraphValue]) -> None:
        self.title, self.found = title, found

    def __call__(self, *patterns: str) -> GraphValues:
        """Those whose names, makers or makers' operators one of some shell-style patterns matches.

        Without a pattern it is all of them.

        Raises:
            TypeError: A pattern is no text.
            ValueError: A pattern matches none.
        """
        SEVERAL.check("patterns", patterns)
        if not patterns:
            return self
        kept: dict[str, GraphValue] = {}
        for pattern in patterns:
            these = {
                name: value
                for name, value in self.found.items()
                if any(
                    each == pattern or fnmatchcase(each, pattern)
                    for each in (name, value.made_by, value.made_by.partition(" ")[0])
                )
            }
            if not these:
                raise ValueError(no_such("value", pattern, self.found))
            kept |= these
        order = {name: value for name, value in self.found.items() if name in kept}
        return GraphValues(f"{len(kept):,} of {self.title}", order)

    def __getitem__(self, name: str) -> GraphValue:
        """A value. Raises: KeyError if there is none of the name."""
        if name not in self.found:
            raise KeyError(no_such("value", name, self.found))
        return self.found[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.found)

    def __len__(self) -> int:
        return len(self.found)

    def __contains__(self, name: object) -> bool:
        return name in self.found

    def _ipython_key_completions_(self) -> list[str]:
        return list(self.found)

    @property
    def table(self) -> Table:
        """All of them."""
        return Table(self.title, HEADER, [value.cells for value in self.found.values()])

    def __str__(self) -> str:
        return str(self.table.shortened(*TEXT, HINT))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self.table.shortened(*PAGE, HINT)._repr_html_()

    def __rich__(self) -> Any:
        return self.table.shortened(*TEXT, HINT).__rich__()
