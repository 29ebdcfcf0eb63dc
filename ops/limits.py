"""Limits on what a file decides: how large a value is, how many operators and steps are run.

A few bytes of a constant or an attribute can ask for more memory, or time, than there is. So all
that is evaluated is counted against a budget: the interpreter checks what each operator is about to
make, and an operator says itself what it makes on the way where that is large (`require`).
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from onnxla.ir.checker import MAX_NODES
from onnxla.ir.errors import ModelError
from onnxla.ops.values import Value

# Of what is given to a call, a value may have so many times the bytes. Constants are in the file,
# whose size is in an attacker's hands; inputs are in the caller's, and networks widen them.
OF_CONSTANTS, OF_INPUTS = 3, 1024
# What a program has in memory at one time may have so many times the bytes of one value.
TEMPORARY = 3
# A program's intermediates are rarely all in memory, as XLA fuses them; this is for absurd ones.
FUSED = 64
# So many elements of a sequence, or texts that are made of numbers, take as long as an operator.
OF_A_CALL = 64


@dataclass(frozen=True)
class Limits:
    """How much a model may make of its constants and attributes: `onnxla.load(path, limits=...)`.

    For example:

        module = onnxla.load("model.onnx", limits=onnxla.Limits(bytes=2**32))

    Attributes:
        bytes: Of one value, and of all that is computed while a call is traced. Allowed beside them
            are three times the bytes of the model's constants and 1,024 times those of the inputs.
        calls: How many operators a call evaluates, those of functions counted at each call and
            those of loops at each step that is not compiled as one.
        steps: How many steps a compiled loop has whose number the file decides; of loops within
            loops, the product.
        nodes: How many nodes the model has with each call of a function replaced by its nodes.
        programs: How many compiled programs are kept, one for each combination of shapes; the one
            that was not used for longest goes first.

    Raises:
        TypeError, ValueError: One is no number, or not above zero.
    """

    bytes: float = 2**28
    calls: float = 100_000
    steps: float = 1_000_000
    nodes: float = MAX_NODES
    programs: int = 128

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise TypeError(f"{name} is a number, got {value!r}")
            if not value > 0:
                raise ValueError(f"{name} is above 0, got {value!r}")


@dataclass
class Budget:
    """What is left of the limits in one evaluation.

    Attributes:
        limits: The limits.
        given: Bytes that are allowed beside them.
        calls: Operators evaluated so far.
        known: Bytes of what was computed while tracing.
        steps: How many steps the longest loop has that was traced in the scope at hand.
    """

    limits: Limits = field(default_factory=Limits)
    given: float = 0
    calls: int = 0
    known: int = 0
    steps: int = 1

    @property
    def bytes(self) -> float:
        """How many bytes a value may have."""
        return self.limits.bytes + self.given

    def count_call(self, times: int = 1) -> None:
        """Counts an operator, or parts of one. Raises: ModelError if there were too many."""
        self.calls += times
        exceeds(self.calls, self.limits.calls, "calls", "evaluating the graph takes", "operators")

    def check(self, size: float, what: str) -> None:
        """Raises: ModelError if what is described would have too many bytes."""
        exceeds(size, self.bytes, "bytes", f"{what} would have", "bytes")

    def add(self, size: int) -> None:
        """Counts bytes of a known value. Raises: ModelError if all have too many."""
        self.known += size
        what = "what is computed while tracing would have"
        exceeds(self.known, self.bytes, "bytes", what, "bytes")

    @contextlib.contextmanager
    def loop(self) -> Iterator[Callable[[int], None]]:
        """Inside, a loop's step is traced; what is yielded is told of how many steps there are.

        Raises:
            ModelError: These are too many, with those of the loops within the step.
        """
        around, self.steps = self.steps, 1

        def count(steps: int) -> None:
            self.steps *= max(steps, 1)
            exceeds(self.steps, self.limits.steps, "steps", "the loop would have", "steps")

        try:
            yield count
        finally:
            self.steps = max(self.steps, around)


def exceeds(number: float, limit: float, name: str, what: str, unit: str) -> None:
    """Raises: ModelError if a number is above a limit of `Limits`, here called `name`."""
    if number > limit:
        raise ModelError(
            f"{what} {spell(number)} {unit}, {spell(number / limit)} times the limit of"
            f" {spell(limit)}; if that is as it should be, raise it:"
            f" onnxla.load(..., limits=onnxla.Limits({name}=...))"
        )


def spell(number: float) -> str:
    """A number as text: exactly if it is small and whole, else to three digits."""
    if number == math.inf:
        return "infinitely many"
    if number < 10**6 and number == int(number):
        return f"{int(number):,}"
    try:
        return f"{float(number):.3g}"
    except OverflowError:
        return f"over 10^{len(str(number)) - 1}"


BUDGET: ContextVar[Budget | None] = ContextVar("BUDGET", default=None)


def budget() -> Budget:
    """The budget in force."""
    return BUDGET.get() or Budget()


@contextlib.contextmanager
def spending(budget: Budget) -> Iterator[None]:
    """A budget is in force inside."""
    token = BUDGET.set(budget)
    try:
        yield
    finally:
        BUDGET.reset(token)


def check_size(
    shape: Iterable[Any], dtype: Any = np.int64, what: str = "an array"
) -> tuple[int, ...]:
    """A shape that an array may have, as Python integers.

    Args:
        shape: The shape.
        dtype: The array's dtype.
        what: What the array is.

    Raises:
        ModelError: A size is negative, or the array would have too many bytes.
    """
    sizes = tuple(map(int, shape))
    if min(sizes, default=0) < 0:
        raise ModelError(f"{what} would have the shape {list(sizes)}")
    kind = np.dtype(dtype)
    budget().check(math.prod(sizes) * kind.itemsize, f"{what}, {kind}{list(sizes)},")
    return sizes


def bytes_of(value: Value) -> int:
    """Bytes of a value: an array, traced or not, or a sequence of them; references of strings."""
    if isinstance(value, list | tuple):
        return sum(map(bytes_of, value))
    if isinstance(value, dict):
        return 16 * len(value)
    shape = getattr(value, "shape", None)
    if shape is None:
        return 0
    sizes: Sequence[Any] = [size for size in shape if isinstance(size, int)]  # others are symbolic
    size: int = math.prod(sizes) * max(value.dtype.itemsize, 1)
    return size
