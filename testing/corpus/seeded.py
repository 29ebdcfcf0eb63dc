"""Draws that depend on a seed alone, and on no version of Hypothesis or of numpy."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from onnxla.ir import STRING
from onnxla.testing.draw import Draw, spread
from onnxla.testing.schemas import Schema
from onnxla.testing.wanted import Wanted

T = TypeVar("T")


class Bits:
    """Random numbers from SHA-256 of a seed and a counter.

    The names are those of numpy's generators, whose own numbers may change with numpy's version.
    """

    def __init__(self, seed: str) -> None:
        self.seed = seed
        self.count = 0

    def word(self) -> int:
        """64 random bits."""
        text = f"{self.seed}/{self.count}"
        self.count += 1
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")

    def integer(self, low: int, high: int) -> int:
        """An integer from `low` to `high`, both included."""
        return low + self.word() % (high - low + 1)

    def array(self, draw: Callable[[], Any], shape: Any) -> Any:
        """An array of drawn numbers; one number where there is no shape."""
        if shape is None:
            return draw()
        shape = (shape,) if isinstance(shape, int | np.integer) else tuple(shape)
        values = [draw() for _ in range(int(np.prod(shape)))]
        return np.array(values).reshape(shape)

    def integers(self, low: int, high: Any = None, size: Any = None, endpoint: bool = False) -> Any:
        """Integers below a number, or between two."""
        low, high = (0, low) if high is None else (low, high)
        return self.array(lambda: self.integer(int(low), int(high) - (not endpoint)), size)

    def random(self, size: Any = None) -> Any:
        """Numbers from 0 to 1."""
        return self.array(lambda: (self.word() >> 11) / 2**53, size)

    def uniform(self, low: float, high: float, size: Any = None) -> Any:
        """Numbers from `low` to `high`."""
        return low + (high - low) * self.random(size)

    def choice(self, options: Any, size: Any = None) -> Any:
        """Some of the options."""
        return np.asarray(options)[self.integers(len(options), size=size)]

    def permutation(self, n: int) -> np.ndarray:
        """The numbers below `n` in some order."""
        order = [*range(n)]
        for i in range(n - 1, 0, -1):
            j = self.integer(0, i)
            order[i], order[j] = order[j], order[i]
        return np.array(order, np.int64)


class SeededDraw(Draw):
    """Draws what strategies ask for from a seed."""

    def __init__(self, schema: Schema, seed: str, wanted: Wanted) -> None:
        super().__init__(self.refuse, schema, wanted)
        self.bits = Bits(seed)

    @staticmethod
    def refuse(strategy: Any) -> Any:
        """Every draw is one of the methods below. Raises: TypeError."""
        raise TypeError(f"{strategy} is drawn past the methods of Draw")

    def integer(self, low: int, high: int) -> int:
        """See `Draw`."""
        return self.bits.integer(low, high)

    def floating(self, low: float, high: float) -> float:
        """See `Draw`."""
        return float(np.float32(self.bits.uniform(low, high)))

    def choice(self, options: Sequence[T]) -> T:
        """See `Draw`."""
        return options[self.bits.integer(0, len(options) - 1)]

    def flag(self) -> bool:
        """See `Draw`."""
        return bool(self.bits.integer(0, 1))

    def permutation(self, n: int) -> list[int]:
        """See `Draw`."""
        return [int(i) for i in self.bits.permutation(n)]

    def subset(self, n: int, least: int = 0) -> list[int]:
        """See `Draw`."""
        return self.permutation(n)[: self.integer(min(least, n), n)]

    def elements(self, dtype: np.dtype[Any], n: int, low: Any, high: Any, special: bool) -> Any:
        """See `Draw`."""
        values = spread(self.generator(), dtype, (n,), low, high, special)
        return values.tolist() if dtype == STRING else values

    def generator(self) -> Any:
        """See `Draw`."""
        return self.bits
