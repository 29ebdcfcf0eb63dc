"""Compiled programs that are kept, up to a number."""

from __future__ import annotations

import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class Kept(Generic[T]):
    """Values by key, of which those that were used last are kept.

    Args:
        size: How many are kept.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.lost = 0
        self._values: OrderedDict[Hashable, T] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, key: Hashable) -> T | None:
        """The value under a key, if it is there."""
        with self._lock:
            value = self._values.get(key)
            if value is not None:
                self._values.move_to_end(key)
            return value

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """The value under a key, made if it is not there (any more)."""
        if (found := self.find(key)) is not None:
            return found
        value = make()
        with self._lock:
            self._values[key] = value
            if len(self._values) <= self.size:
                return value
            self._values.popitem(last=False)
            self.lost += 1
        if self.lost == self.size:
            warnings.warn(
                f"{2 * self.size} programs were compiled, one for each combination of shapes, and"
                f" the last {self.size} are kept, so what was seen before compiles again; pad"
                " inputs to fewer shapes, or keep more:"
                " onnxla.load(..., limits=onnxla.Limits(programs=...))",
                stacklevel=2,
            )
        return value

    def values(self) -> list[T]:
        """All that are kept, the one that was used last at the end."""
        with self._lock:
            return [*self._values.values()]

    def __len__(self) -> int:
        return len(self._values)
