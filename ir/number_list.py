"""Long lists of numbers: a forest of trees is a node whose attributes are lists of millions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

LONG = 4096  # numbers from which a list is worth an array


class NumberList(Sequence[Any]):
    """A list of Python's numbers as an array: compares, hashes and prints as the tuple of them.

    Args:
        array: [n] int64 or float64, which nobody changes from now on.
    """

    def __init__(self, array: np.ndarray) -> None:
        self.array = array
        array.setflags(write=False)

    @property
    def kind(self) -> type:
        """What its entries are: int or float."""
        return float if self.array.dtype.kind == "f" else int

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, index: Any) -> Any:
        found = self.array[index].tolist()
        return tuple(found) if isinstance(index, slice) else found

    def __iter__(self) -> Iterator[Any]:
        return iter(self.array.tolist())

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.array, dtype, copy=copy)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, NumberList | tuple) and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return repr(tuple(self))


def as_list(values: Sequence[Any], dtype: type) -> tuple[Any, ...] | NumberList:
    """Numbers as a tuple, or as an array of a dtype where they are many."""
    if len(values) < LONG:
        return tuple(values)
    return NumberList(np.fromiter(values, dtype, len(values)))
