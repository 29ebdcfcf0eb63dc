"""How far the values of two runtimes are apart, and whether a tolerance allows it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

from onnxla.ir import STRING

# XLA rounds numbers near the smallest of their type to zero.
NEARLY_ZERO = 1e-30


@dataclass(frozen=True)
class Tolerance:
    """What a value may differ by and still agree; by default nothing.

    The floats of a tensor may differ by the sum of the first three.

    Attributes:
        relative: In units of the element expected.
        scaled: In units of the tensor's largest finite value.
        absolute: As it is.
        roundings: Lower bound of `scaled`, in rounding errors (`eps`) of the tensor's dtype.
        steps: What integers may differ by; None if they may as floats do.
        random: Whether the values are random, so that only dtypes and shapes can be compared.
        nonfinite: Whether NaN and infinities agree with whatever they are compared with.
    """

    relative: float = 0.0
    scaled: float = 0.0
    absolute: float = 0.0
    roundings: float = 0.0
    steps: int | None = None
    random: bool = False
    nonfinite: bool = False


@dataclass(frozen=True)
class Deviation:
    """How far a value is from the one expected.

    Attributes:
        absolute: Largest absolute difference; infinite where there is none to tell.
        scale: Largest finite absolute value expected.
        reason: Why the values cannot be subtracted: other types, shapes or texts; else empty.
        element: The first element that differs by more than the tolerance; else empty.
    """

    absolute: float = 0.0
    scale: float = 0.0
    reason: str = ""
    element: str = ""

    @property
    def ok(self) -> bool:
        """Whether the value agrees with the one expected."""
        return not (self.reason or self.element)

    def __str__(self) -> str:
        return self.reason or self.element


def difference(got: Any, expected: Any, tolerance: Tolerance) -> Deviation:
    """How far a value is from the one expected.

    Args:
        got: An array; a list for a sequence, a dict for a map, None for an absent optional.
        expected: What it should be. NaN equals NaN.
        tolerance: What is allowed.
    """
    if isinstance(expected, list | tuple):
        if not isinstance(got, list | tuple) or len(got) != len(expected):
            return unlike(f"{kind_of(got)}, not {kind_of(expected)}")
        return together(difference(*pair, tolerance) for pair in zip(got, expected, strict=True))
    if expected is None or got is None:
        same = expected is got
        return Deviation() if same else unlike(f"{kind_of(got)}, not {kind_of(expected)}")
    if isinstance(expected, dict):
        if not isinstance(got, dict) or got.keys() != expected.keys():
            return unlike(f"{got}, not {expected}")
        # In which order the keys are means nothing.
        got, expected = (np.array([value[key] for key in expected]) for value in (got, expected))
    if isinstance(got, np.ma.MaskedArray):
        return unlike("a masked array, not one of numbers alone")
    return between_arrays(np.asarray(got), np.asarray(expected), tolerance)


def together(items: Iterable[Deviation]) -> Deviation:
    """The deviation of a sequence: the largest one, and what is wrong with the first wrong item."""
    found = list(items)
    absolute = max((item.absolute for item in found), default=0.0)
    scale = max((item.scale for item in found), default=0.0)
    for i, item in enumerate(found):
        if not item.ok:
            texts = (text and f"item {i}: {text}" for text in (item.reason, item.element))
            return Deviation(absolute, scale, *texts)
    return Deviation(absolute, scale)


def unlike(reason: str) -> Deviation:
    """The deviation of what cannot be subtracted."""
    return Deviation(np.inf, 0.0, reason)


def kind_of(value: Any) -> str:
    """What a value is, where another kind is expected."""
    sequence = isinstance(value, list | tuple)
    return f"a sequence of {len(value)}" if sequence else type(value).__name__


def between_arrays(got: np.ndarray, expected: np.ndarray, tolerance: Tolerance) -> Deviation:
    """How far an array is from the one expected."""
    texts = [array.dtype == STRING or array.dtype.kind in "US" for array in (got, expected)]
    if got.dtype != expected.dtype and not all(texts):
        return unlike(f"{got.dtype}, not {expected.dtype}")
    if got.shape != expected.shape:
        return unlike(f"shape {list(got.shape)}, not {list(expected.shape)}")
    if tolerance.random or got.size == 0:
        return Deviation()
    if all(texts):
        text = first_of(np.asarray(got != expected), got, expected)
        return unlike(text) if text else Deviation()
    gap, scale = gaps(got, expected)
    if got.dtype == np.bool_:
        wrong = np.asarray(got != expected)
    elif is_integer(got.dtype) and tolerance.steps is not None:
        # As Python's integers, whose differences do not overflow.
        a, b = (array.astype(object) for array in (got, expected))
        wrong = np.asarray(np.abs(a - b) > tolerance.steps, np.bool_)
    else:
        wrong = ~(gap <= allowed(expected, scale, tolerance))
    if tolerance.nonfinite:
        wrong &= np.isfinite(got.astype(complex)) & np.isfinite(expected.astype(complex))
    absolute = float(np.nan_to_num(gap, nan=np.inf).max())
    return Deviation(absolute, scale, element=first_of(wrong, got, expected))


def gaps(got: np.ndarray, expected: np.ndarray) -> tuple[np.ndarray, float]:
    """Absolute differences, 0 between NaNs; and the largest finite absolute value expected."""
    wide = np.complex128 if got.dtype.kind == "c" else np.float64
    with np.errstate(all="ignore"):  # of infinities
        a, b = got.astype(wide), expected.astype(wide)
        same = (a == b) | (np.isnan(a) & np.isnan(b))
        finite = np.abs(b[np.isfinite(b)])
        return np.where(same, 0.0, np.abs(a - b)), float(finite.max(initial=0.0))


def allowed(expected: np.ndarray, scale: float, tolerance: Tolerance) -> Any:
    """What each element of a tensor may differ by, in double precision."""
    wide = expected.astype(np.complex128 if expected.dtype.kind == "c" else np.float64)
    own = np.abs(np.where(np.isfinite(wide), wide, 0.0))
    scaled = tolerance.scaled
    if tolerance.roundings and not is_integer(expected.dtype):
        single = expected.dtype.kind == "c"
        epsilon = 1e-7 if single else float(ml_dtypes.finfo(expected.dtype).eps)
        scaled = max(scaled, tolerance.roundings * epsilon)
    limits = tolerance.relative * own + scaled * scale + tolerance.absolute
    if not (scaled or tolerance.relative):
        return limits
    return limits + largest_subnormal(expected.dtype)


def largest_subnormal(dtype: np.dtype[Any]) -> float:
    """The number beneath the least normal one, below which XLA and others round to zero.

    It is 0 where such numbers are no rarity, as in half precision, and of integers.
    """
    if is_integer(dtype) or dtype.kind in "cb":
        return 0.0
    found = ml_dtypes.finfo(dtype)
    least = float(found.smallest_normal)
    return least - float(found.smallest_subnormal) if least < NEARLY_ZERO else 0.0


def first_of(wrong: np.ndarray, got: np.ndarray, expected: np.ndarray) -> str:
    """The first element that is wrong, and how many are; empty if none is."""
    if not wrong.any():
        return ""
    where = tuple(int(i) for i in np.argwhere(wrong)[0])
    count = int(wrong.sum())
    return (
        f"{got[where]!s} at {list(where)}, not {expected[where]!s} "
        f"({count} of {got.size} elements differ)"
    )


def is_integer(dtype: np.dtype[Any]) -> bool:
    """Whether the elements are integers, the narrow kinds of ml_dtypes included."""
    return dtype.kind in "iu" or dtype.name.startswith(("int", "uint"))
