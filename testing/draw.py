"""What the strategies of operators draw with: dtypes that a schema allows, shapes, numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import ml_dtypes
import numpy as np
from hypothesis import strategies as st

from onnxla.ir import STRING
from onnxla.peers.difference import is_integer
from onnxla.testing.case import CLOSE
from onnxla.testing.schemas import Schema
from onnxla.testing.types import dtype_of
from onnxla.testing.use import Use
from onnxla.testing.wanted import Wanted

T = TypeVar("T")

ANY = Wanted()
# Up to this many elements are drawn one by one, so that they shrink; more follow from one seed.
DRAWN_ONE_BY_ONE = 8
# Numbers are multiples of this, so that sums of a few are exact in half precision too; every
# other large array has full precision.
GRID = 0.125
TEXTS = ("a", "b", "", "ab", "B c", "é", "a-1", "  x")
# The first dtype of a schema that is listed here is the simplest one, to which examples shrink.
SIMPLEST = ("tensor(float)", "tensor(int64)", "tensor(bool)", "tensor(string)")


class Draw:
    """Draws parts of a node for one operator at one schema version.

    For example:

        @onnxla.testing.strategy("MyOp", domain="my.domain")
        def my_op(draw: onnxla.testing.Draw) -> onnxla.testing.Use:
            return draw.use((draw.tensor("x", draw.shape()),), {"alpha": draw.floating(-2, 2)})

    Attributes:
        schema: What the schema says.
        wanted: Dtypes, shapes and numbers that are wanted.
    """

    def __init__(
        self,
        draw: Callable[[st.SearchStrategy[Any]], Any],
        schema: Schema,
        wanted: Wanted = ANY,
    ) -> None:
        self.draw = draw
        self.schema = schema
        self.wanted = wanted
        self._bound: dict[str, np.dtype[Any]] = {}

    @property
    def name(self) -> str:
        """The operator's name."""
        return self.schema.name

    @property
    def version(self) -> int:
        """The schema version."""
        return self.schema.version

    @property
    def specials(self) -> bool:
        """Whether NaN, infinities and the extremes of integers may be drawn."""
        return self.wanted.specials

    def use(
        self,
        inputs: Sequence[Any],
        attributes: Mapping[str, Any] | None = None,
        outputs: int | Sequence[bool] = 1,
        types: Mapping[str, str] | None = None,
        ranks: Mapping[str, int] | None = None,
        outer: Mapping[str, np.ndarray] | None = None,
        rtol: float = 1e-5,
        atol: float = 0.0,
        steps: int = 0,
        random: bool = False,
        batch: Sequence[int] = (),
    ) -> Use:
        """A use of the operator: see `Use`.

        Args:
            inputs: In the order of the schema.
            attributes: By name; None where an attribute is absent.
            outputs: How many outputs the node names, or which.
            types: Types of outputs that do not follow from those of the inputs.
            ranks: Ranks of outputs that shape inference does not tell.
            outer: Arrays that only subgraphs read.
            rtol: Tolerance relative to an output's largest element, in single precision. It grows
                with the rounding error of the dtype.
            atol: Absolute tolerance, for results that cancel to nearly nothing.
            steps: Difference that integer outputs may have where a rounding tie decides.
            random: Whether values are random, so that only dtypes and shapes can be compared.
            batch: Positions of the inputs whose first axis is a batch of independent entries.
        """
        return Use(
            self.name,
            inputs,
            attributes or {},
            outputs,
            self.schema.domain,
            types or {},
            ranks or {},
            outer or {},
            replace(CLOSE, scaled=rtol, absolute=atol, steps=steps, random=random),
            batch,
        )

    def has(self, attribute: str) -> bool:
        """Whether the schema version has an attribute or an input of that name."""
        return attribute in self.schema.attributes or attribute in self.schema.inputs

    # Choices. Each shrinks to its first or smallest value.

    def integer(self, low: int, high: int) -> int:
        """An integer from `low` to `high`, both included."""
        return int(self.draw(st.integers(low, high)))

    def floating(self, low: float, high: float) -> float:
        """A single-precision number from `low` to `high`."""
        return float(self.draw(numbers(np.dtype(np.float32), low, high)))

    def choice(self, options: Sequence[T]) -> T:
        """One of the options."""
        drawn: T = self.draw(st.sampled_from(options))
        return drawn

    def flag(self) -> bool:
        """True or false; false is the simpler one."""
        return bool(self.draw(st.booleans()))

    def maybe(self, make: Callable[[], T]) -> T | None:
        """What `make` draws, or None: an optional input or attribute."""
        return make() if self.flag() else None

    def permutation(self, n: int) -> list[int]:
        """The numbers below `n` in some order."""
        return list(self.draw(st.permutations(range(n))))

    def subset(self, n: int, least: int = 0) -> list[int]:
        """Some of the numbers below `n`, at least `least`, in some order."""
        if n == 0:
            return []
        return list(self.draw(st.lists(st.integers(0, n - 1), min_size=least, unique=True)))

    def axis(self, rank: int) -> int:
        """An axis of a tensor of a rank, counted from either end."""
        axes: list[int] = [*range(rank), *range(-rank, 0)]
        return self.choice(axes)

    def axes(self, rank: int, least: int = 0, negative: bool = True) -> list[int]:
        """Several axes, in any order; each counted from either end if `negative`."""
        return [a - rank * (negative and self.flag()) for a in self.subset(rank, least)]

    # Types.

    def dtype(
        self, operand: str, among: Sequence[Any] | None = None, but: Sequence[Any] = ()
    ) -> np.dtype[Any]:
        """The dtype of an operand, one that the schema allows; `object` for strings.

        Operands that share a type variable share the dtype, which is drawn when it is first asked
        for.

        Args:
            operand: Name of an input or output of the schema.
            among: Draw among these dtypes only.
            but: Do not draw these.
        """
        variable = self.schema.inputs.get(operand) or self.schema.outputs[operand]
        if variable not in self._bound:
            texts = [t for t in self.schema.allowed(operand) if "map(" not in t]
            found = list(dict.fromkeys(map(dtype_of, simplest_first(texts))))
            if among is not None:
                found = [d for d in found if d in list(map(np.dtype, among))]
            found = [d for d in found if d not in list(map(np.dtype, but))]
            if not found:
                raise ValueError(f"{self.name}-{self.version} allows {texts} for '{operand}'")
            dtypes = self.wanted.dtypes
            wanted = [d for d in found if dtypes is None or d in dtypes]
            self._bound[variable] = self.choice(wanted or found)
        return self._bound[variable]

    # Shapes.

    def side(self, least: int = 0, most: int = 5) -> int:
        """The size of an axis. One is the simplest; none is drawn now and then."""
        if not self.wanted.empty and most > 0:
            least = max(least, 1)
        sizes = [n for n in (1, 2, 3, 4, 5, 6, 7, 8, 2, 3, 1, 0, 4, 2, 3) if least <= n <= most]
        return self.choice(sizes or [least])

    def shape(
        self, rank: tuple[int, int] = (0, 4), side: tuple[int, int] = (0, 5)
    ) -> tuple[int, ...]:
        """A shape of some rank, both bounds included."""
        n = self.integer(max(rank[0], self._least_rank(rank[1])), rank[1])
        # Large tensors take long and show no more: a high rank has short axes.
        most = min(side[1], 5 if n <= 3 else 3 if n == 4 else 2)
        return tuple(self.side(side[0], max(side[0], most)) for _ in range(n))

    def _least_rank(self, most: int) -> int:
        """The least rank of an operand that may have as many axes as `most`."""
        return min(most, 0 if self.wanted.scalars else 1)

    def any_shape(self, rank: tuple[int, int] = (0, 5), most: int = 5) -> tuple[int, ...]:
        """A shape for what takes any; one in four may have empty axes."""
        return self.shape(rank, (self.choice((1, 1, 1, 0)), most))

    def broadcastable(self, shape: Sequence[int], least_rank: int = 0) -> tuple[int, ...]:
        """A shape that broadcasts to `shape` without changing it."""
        least = max(least_rank, self._least_rank(len(shape)))
        rank = self.integer(min(least, len(shape)), len(shape))
        tail = shape[len(shape) - rank :]
        return tuple(1 if self.flag() else n for n in tail)

    def broadcast_shapes(self, count: int, rank: int = 4) -> list[tuple[int, ...]]:
        """Shapes that broadcast with each other, each of them perhaps stretched."""
        full = self.shape((0, rank))
        if self.flag():
            return [full] * count
        return [self.broadcastable(full) for _ in range(count)]

    # Numbers.

    def array(
        self,
        dtype: Any,
        shape: Sequence[int] = (),
        low: float | None = None,
        high: float | None = None,
        distinct: bool = False,
    ) -> np.ndarray:
        """An array of numbers from `low` to `high`, both included.

        Without bounds they lie between -4 and 4, integers between -8 and 8, as far as the dtype
        has them; and special ones occur if the case may have them.

        Args:
            dtype: A numpy dtype; `object` for strings.
            shape: Its shape.
            low: Smallest value.
            high: Largest value.
            distinct: Whether no number occurs twice (where the dtype has so many).
        """
        dtype = np.dtype(dtype)
        size = math.prod(shape)
        special = self.specials and low is None and high is None and not distinct
        if distinct:
            return self._distinct(dtype, tuple(shape), low)
        if size <= DRAWN_ONE_BY_ONE:
            values = self.elements(dtype, size, low, high, special)
            with np.errstate(all="ignore"):  # a number may round to infinity
                kind = object if dtype == STRING else None
                return np.array(values, kind).astype(dtype).reshape(shape)
        return spread(self.generator(), dtype, tuple(shape), low, high, special)

    def elements(self, dtype: np.dtype[Any], n: int, low: Any, high: Any, special: bool) -> Any:
        """Numbers, each of which shrinks."""
        element = numbers(dtype, low, high, special)
        return [self.draw(element) for _ in range(n)]

    def generator(self) -> Any:
        """A generator of many numbers."""
        return np.random.default_rng(self.integer(0, 2**32 - 1))

    def _distinct(self, dtype: np.dtype[Any], shape: tuple[int, ...], low: Any) -> np.ndarray:
        size = math.prod(shape)
        order = (
            self.permutation(size)
            if size <= DRAWN_ONE_BY_ONE
            else self.generator().permutation(size)
        )
        step = 1 if dtype.kind in "iu" else GRID
        start = -step * (size // 2) if low is None and dtype.kind != "u" else (low or 0)
        return (start + step * np.asarray(order, np.float64)).astype(dtype).reshape(shape)

    def tensor(
        self,
        operand: str,
        shape: Sequence[int] = (),
        low: float | None = None,
        high: float | None = None,
        distinct: bool = False,
    ) -> np.ndarray:
        """`array` of the operand's dtype."""
        return self.array(self.dtype(operand), shape, low, high, distinct)


def simplest_first(texts: Sequence[str]) -> list[str]:
    """Type strings in the order in which they are drawn."""
    return sorted(texts, key=lambda t: SIMPLEST.index(t) if t in SIMPLEST else len(SIMPLEST))


def bounds(dtype: np.dtype[Any], low: float | None, high: float | None) -> tuple[Any, Any]:
    """The range of values to draw from, within what the dtype can hold."""
    if is_integer(dtype):
        info = ml_dtypes.iinfo(dtype)
        least = max(int(info.min), -8 if low is None else math.ceil(low))
        return least, min(int(info.max), 8 if high is None else math.floor(high))
    most = 4.0 if dtype.kind == "c" else min(4.0, float(ml_dtypes.finfo(dtype).max))
    return -most if low is None else low, most if high is None else high


def exponents(low: float | None, high: float | None) -> tuple[int, int]:
    """The powers of two between bounds; from 1/8 to 8 without."""
    first = -3 if low is None or low <= 0 else math.ceil(math.log2(low))
    return first, 3 if high is None else max(first, math.floor(math.log2(high)))


def numbers(
    dtype: np.dtype[Any], low: float | None = None, high: float | None = None, special: bool = False
) -> st.SearchStrategy[Any]:
    """One element of an array, as `Draw.array` has them."""
    if dtype == STRING:
        return st.sampled_from(TEXTS)
    if dtype == np.bool_:
        return st.booleans()
    if dtype.kind == "c":
        part = numbers(np.dtype(np.float32), low, high, special)
        return st.builds(complex, part, part)
    least, most = bounds(dtype, low, high)
    if is_integer(dtype):
        usual: st.SearchStrategy[Any] = st.integers(least, most)
        return usual | st.sampled_from(extremes(dtype)) if special else usual
    if dtype.name == "float8_e8m0fnu":  # powers of two alone
        return st.integers(*exponents(low, high)).map(lambda k: 2.0**k)
    first, last = math.ceil(least / GRID), math.floor(most / GRID)
    if last - first < 4:
        # Bounds that single precision lacks are moved inwards.
        a, b = np.float32(least), np.float32(most)
        a = np.nextafter(a, np.float32(np.inf)) if a < least else a
        b = np.nextafter(b, np.float32(-np.inf)) if b > most else b
        usual = st.floats(float(a), float(b), width=32)
    else:
        usual = st.integers(first, last).map(lambda k: k * GRID)
    return usual | st.sampled_from(extremes(dtype)) if special else usual


def extremes(dtype: np.dtype[Any]) -> list[Any]:
    """The values of a dtype that arithmetic treats in its own way."""
    if is_integer(dtype):
        info = ml_dtypes.iinfo(dtype)
        return [int(info.max), int(info.min)]
    limits = ml_dtypes.finfo(dtype)
    values = [np.nan, np.inf, -np.inf, -0.0, float(limits.max), float(limits.smallest_normal)]
    with np.errstate(all="ignore"):
        return [v for v in values if np.array_equal(float(np.float64(v).astype(dtype)), v, True)]


def spread(
    rng: np.random.Generator,
    dtype: np.dtype[Any],
    shape: tuple[int, ...],
    low: float | None,
    high: float | None,
    special: bool,
) -> np.ndarray:
    """Many elements as `Draw.array` has them, from a random number generator."""
    if dtype == STRING:
        return rng.choice(np.array(TEXTS, object), shape)
    if dtype == np.bool_:
        return rng.integers(0, 2, shape).astype(bool)
    if dtype.kind == "c":
        single = np.dtype(np.float32)
        parts = [spread(rng, single, shape, low, high, special) for _ in range(2)]
        return (parts[0] + 1j * parts[1]).astype(dtype)
    least, most = bounds(dtype, low, high)
    if is_integer(dtype):
        values: Any = rng.integers(least, most, shape, endpoint=True)
    elif dtype.name == "float8_e8m0fnu":
        first, last = exponents(low, high)
        return np.asarray(2.0 ** rng.integers(first, last, shape, endpoint=True)).astype(dtype)
    else:
        values = rng.uniform(least, most, shape)
        if rng.integers(2):
            values = np.clip(np.round(values / GRID) * GRID, least, most)
    with np.errstate(all="ignore"):
        array = np.asarray(values).astype(dtype)
        if special:
            chosen = rng.random(shape) < 0.1
            few = [extremes(dtype)[i] for i in rng.integers(0, len(extremes(dtype)), chosen.sum())]
            array[chosen] = np.array(few).astype(dtype)
    return array
