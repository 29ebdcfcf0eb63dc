"""Values of a graph while it is drawn: their numbers, as they are and with small errors."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import Any

import ml_dtypes
import numpy as np
from onnx import NodeProto, TensorProto

from onnxla.peers.difference import is_integer

MAX_SIZE = 500  # elements of a value that is used again
MAX_NUMBER = 16.0  # its largest: near those that strategies draw, where no sigmoid saturates

# A value as it is, and twice with small errors.
Runs = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True, eq=False)
class DrawnValue:
    """A value of the graph.

    Attributes:
        name: Its name.
        runs: Its numbers.
        depth: How many nodes there are on the longest way to it; none if no node makes it.
    """

    name: str
    runs: Runs
    depth: int = 0

    @property
    def array(self) -> np.ndarray:
        """The value as it is."""
        return self.runs[0]

    @property
    def exact(self) -> bool:
        """Whether any two runtimes have the same numbers."""
        return all(np.array_equal(run, self.array) for run in self.runs[1:])

    @functools.cached_property
    def usable(self) -> bool:
        """Whether other nodes may use it."""
        if self.array.size > MAX_SIZE:
            return False
        with np.errstate(all="ignore"):
            return bool(np.all(np.abs(as_double(self.array)) <= MAX_NUMBER))


@dataclass(eq=False)
class DrawnScope:
    """The main graph, or a subgraph, while it is drawn.

    Attributes:
        outer: The graph around it.
        values: What has been made in it so far.
        nodes: Its nodes, in order.
        initializers: Its initializers.
        depth: How many graphs are around it.
    """

    outer: DrawnScope | None = None
    values: list[DrawnValue] = field(default_factory=list)
    nodes: list[NodeProto] = field(default_factory=list)
    initializers: list[TensorProto] = field(default_factory=list)
    depth: int = 0

    def visible(self) -> list[DrawnValue]:
        """All values that a node of this scope may read."""
        return (self.outer.visible() if self.outer else []) + self.values

    def made(self) -> list[DrawnValue]:
        """Values that its own nodes make."""
        return [value for value in self.values if value.depth]

    def root(self) -> DrawnScope:
        """The main graph."""
        return self.outer.root() if self.outer else self


def with_errors(runs: Runs, rtol: float, steps: int, rng: np.random.Generator) -> Runs:
    """Results as another runtime might have them: with errors of opposite signs."""
    first, second, third = runs
    signs = rng.choice((-1, 1), first.shape)
    if first.dtype == np.bool_ or (is_integer(first.dtype) and not steps):
        return runs
    with np.errstate(all="ignore"):
        if is_integer(first.dtype):
            info = ml_dtypes.iinfo(first.dtype)
            moved = [
                np.clip(run.astype(np.int64) + sign * steps, int(info.min), int(info.max))
                for run, sign in ((second, signs), (third, -signs))
            ]
        else:
            error = signs * (tolerance_of(first.dtype, rtol) * scale_of(first) / 4)
            moved = [as_double(second) + error, as_double(third) - error]
        return first, moved[0].astype(first.dtype), moved[1].astype(first.dtype)


def as_double(array: np.ndarray) -> np.ndarray:
    """Numbers in a type that holds them all."""
    return array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)


def scale_of(array: np.ndarray) -> float:
    """The largest finite number."""
    numbers = np.abs(as_double(array))
    finite = numbers[np.isfinite(numbers)]
    return float(finite.max()) if finite.size else 0.0


def tolerance_of(dtype: np.dtype[Any], rtol: float) -> float:
    """Relative tolerance of floats, as `comparison` has it."""
    return max(rtol, 4 * float(ml_dtypes.finfo(dtype).eps))


def are_near(a: np.ndarray, b: np.ndarray, rtol: float, steps: int) -> bool:
    """Whether two runs of a value can be told from each other."""
    if a.shape != b.shape:
        return False
    if a.dtype == np.bool_:
        return np.array_equal(a, b)
    if is_integer(a.dtype):
        same = np.array_equal(a, b)
        return same or bool(np.all(np.abs(a.astype(np.float64) - b.astype(np.float64)) <= steps))
    allowed = tolerance_of(a.dtype, rtol) * scale_of(a)
    with np.errstate(all="ignore"):
        a, b = as_double(a), as_double(b)
        return bool(np.all((np.abs(a - b) <= allowed) | (a == b) | (np.isnan(a) & np.isnan(b))))


def is_within(value: DrawnValue, low: float | None, high: float | None) -> bool:
    """Whether all numbers of a value lie within bounds, in all its runs."""
    if low is None and high is None:
        return True
    if value.array.dtype.kind == "c":
        return False
    return all(
        np.all(as_double(run) >= (-np.inf if low is None else low))
        and np.all(as_double(run) <= (np.inf if high is None else high))
        for run in value.runs
    )


def same_kind(a: DrawnValue, b: DrawnValue) -> bool:
    """Whether two values have the same dtype and rank."""
    return a.array.dtype == b.array.dtype and a.array.ndim == b.array.ndim


def same_shape_and_kind(a: DrawnValue, b: DrawnValue) -> bool:
    """Whether two values have the same dtype and shape."""
    return a.array.dtype == b.array.dtype and a.array.shape == b.array.shape
