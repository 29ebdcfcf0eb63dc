"""What the strategies of operators draw with in a graph, whose values they are given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from onnxla.ir import STRING
from onnxla.testing.draw import Draw, spread
from onnxla.testing.random_graphs.values import DrawnScope, DrawnValue, is_within
from onnxla.testing.random_graphs.vocabulary import PRODUCERS, USUAL, can_make
from onnxla.testing.schemas import Schema
from onnxla.testing.wanted import Wanted

if TYPE_CHECKING:
    from onnxla.testing.random_graphs.drawn_graph import DrawnGraph


T = TypeVar("T")


class ConnectingDraw(Draw):
    """Draws parts of a node, and gives it values that the graph has already.

    Attributes:
        focus: The value whose dtype and shape the node's are likely to be.
        asked: The dtype and shape that a value must have which the node is to make, if any.
    """

    def __init__(
        self,
        graph: DrawnGraph,
        scope: DrawnScope,
        schema: Schema,
        focus: DrawnValue | None = None,
        asked: tuple[np.dtype[Any], tuple[int, ...]] | None = None,
    ) -> None:
        super().__init__(graph.draw, schema)
        self.graph = graph
        self.scope = scope
        self.focus = focus
        self.asked = asked
        self._taken: list[tuple[np.ndarray, DrawnValue]] = []
        likely: Sequence[np.dtype[Any]] = graph.dtypes
        if asked is not None:
            likely = asked[:1]
        elif focus is not None:
            likely = (focus.array.dtype,)
        elif graph.chance(0.5):
            likely = [dtype for dtype in USUAL if dtype in graph.dtypes] or likely
        self.wanted = Wanted(dtypes=tuple(likely))

    def choice(self, options: Sequence[T]) -> T:
        """One of the options. Two that are equal are two, so that graphs differ."""
        return options[self.integer(0, len(options) - 1)]

    def value_of(self, array: Any) -> DrawnValue | None:
        """The value that an array is, unless it is new or the strategy has changed it."""
        for given, value in self._taken:
            if given is array and np.array_equal(given, value.array):
                return value
        return None

    def place(self, array: np.ndarray) -> DrawnValue:
        """The value that an array is, a new one if need be."""
        return self.value_of(array) or self.graph.constant(
            self.scope, array, self.graph.chance(0.5)
        )

    def shape(
        self, rank: tuple[int, int] = (0, 4), side: tuple[int, int] = (0, 5)
    ) -> tuple[int, ...]:
        """The shape of a value of the graph, or another."""
        shape = self.asked[1] if self.asked else self.focus.array.shape if self.focus else None
        if (
            shape is not None
            and rank[0] <= len(shape) <= rank[1]
            and all(side[0] <= n <= max(side[1], 5) for n in shape)
        ):
            return shape
        return super().shape(rank, side)

    def array(
        self,
        dtype: Any,
        shape: Sequence[int] = (),
        low: float | None = None,
        high: float | None = None,
        distinct: bool = False,
    ) -> np.ndarray:
        """A copy of a value of the graph if one fits, or other numbers."""
        dtype, shape = np.dtype(dtype), tuple(shape)
        if dtype == STRING or distinct or not self.graph.chance(0.9):
            return self._new(dtype, shape, low, high, distinct)
        fitting = [
            value
            for value in self.graph.usable(self.scope)
            if (value.array.dtype, value.array.shape) == (dtype, shape)
            and is_within(value, low, high)
        ]
        if fitting:
            return self._take(self.graph.one_of(fitting))
        if low is None and high is None and self.asked is None and self.graph.left > 0:
            opset, ops = self.graph.opset, self.graph.ops
            names = [n for n in PRODUCERS if n in ops and can_make(n, dtype, opset)]
            if names and self.graph.chance(0.5):
                name = self.choice(names)
                for value in self.graph.operator(self.scope, name, asked=(dtype, shape)):
                    if value.usable and (value.array.dtype, value.array.shape) == (dtype, shape):
                        return self._take(value)
        return self._new(dtype, shape, low, high)

    def _new(
        self,
        dtype: np.dtype[Any],
        shape: tuple[int, ...],
        low: float | None,
        high: float | None,
        distinct: bool = False,
    ) -> np.ndarray:
        """Other numbers."""
        if distinct:
            return super().array(dtype, shape, low, high, distinct)
        return spread(self.graph.rng(), dtype, shape, low, high, special=False)

    def _take(self, value: DrawnValue) -> np.ndarray:
        copy = value.array.copy()
        self._taken.append((copy, value))
        return copy
