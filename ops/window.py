"""The sliding window of convolutions and pools: where it stands, and what it covers."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from onnxla.ir.errors import ModelError, UnsupportedError
from onnxla.ops.limits import check_size
from onnxla.ops.sizes import at_least, is_symbolic
from onnxla.ops.table import REQUIRED
from onnxla.ops.values import Value


@dataclass(frozen=True)
class Window:
    """A window's positions along each spatial axis.

    Attributes:
        sizes: Sizes of the input.
        kernel: Number of taps.
        strides: Steps from one position to the next.
        dilations: Steps from one tap to the next.
        pads: Padding (before, after) as declared.
        outputs: Numbers of positions.
        spread: Steps from one element of the input to the next, with zeros in between.
    """

    sizes: tuple[int, ...]
    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[tuple[int, int], ...]
    outputs: tuple[int, ...]
    spread: tuple[int, ...]

    @property
    def reach(self) -> list[int]:
        """Steps from the first tap to the last."""
        return [(taps - 1) * step for taps, step in zip(self.kernel, self.dilations, strict=True)]

    @property
    def padding(self) -> list[tuple[int, int]]:
        """Padding with which the positions reach exactly to the end; negative where they do not."""
        return [
            (low, (out - 1) * stride + reach - (size - 1) * apart - low)
            for size, apart, reach, stride, (low, _), out in zip(
                self.sizes,
                self.spread,
                self.reach,
                self.strides,
                self.pads,
                self.outputs,
                strict=True,
            )
        ]

    @property
    def idle(self) -> list[int]:
        """Axes of size 1 along which nothing moves."""
        ones = zip(self.sizes, self.kernel, self.outputs, self.pads, strict=True)
        return [axis for axis, each in enumerate(ones) if each == (1, 1, 1, (0, 0))]

    def without(self, axes: Sequence[int]) -> Window:
        """The window but for some axes."""

        def left(values: tuple[Any, ...]) -> tuple[Any, ...]:
            return tuple(value for axis, value in enumerate(values) if axis not in axes)

        return Window(*(left(getattr(self, each.name)) for each in fields(self)))

    def transposed(self) -> Window:
        """The window from outputs to inputs: every tap, reversed, leads back where it came from."""
        pads = tuple(
            (reach - low, reach - high)
            for reach, (low, high) in zip(self.reach, self.padding, strict=True)
        )
        sizes, outputs, spread, strides = self.outputs, self.sizes, self.strides, self.spread
        return Window(sizes, self.kernel, strides, self.dilations, pads, outputs, spread)

    def positions(self, axis: int) -> np.ndarray:
        """Input positions by output and tap along an axis; int [o, k]. Some are padding."""
        check_size((self.outputs[axis], self.kernel[axis]), what="the positions of a window")
        starts = np.arange(self.outputs[axis]) * self.strides[axis] - self.pads[axis][0]
        return starts[:, None] + np.arange(self.kernel[axis]) * self.dilations[axis]

    def pad(self, x: Value, value: float = 0) -> Value:
        """`x` [N, C, sizes], spread, with `padding`, filled with `value`."""
        ends = zip(self.padding, self.spread, strict=True)
        config = [(0, 0, 0)] * 2 + [(low, high, apart - 1) for (low, high), apart in ends]
        return lax.pad(x, np.asarray(value, x.dtype), config)

    def for_xla(self, x: Value) -> tuple[Value, Sequence[tuple[int, int]], Sequence[int]]:
        """`x`, `padding` and `spread` as JAX's convolution takes them: no padding with symbols."""
        if not is_symbolic(*itertools.chain(*self.padding)):
            return x, self.padding, self.spread
        return self.pad(x), [(0, 0)] * len(self.sizes), [1] * len(self.sizes)

    def span(self, axis: int, tap: int) -> slice:
        """The elements of a padded axis that a tap sees, by position."""
        start = tap * self.dilations[axis]
        end = start + (self.outputs[axis] - 1) * self.strides[axis] + 1
        return slice(start, end, self.strides[axis])

    def spans(self) -> Iterator[tuple[tuple[int, ...], tuple[slice, ...]]]:
        """All taps, the last axis fastest, each with its spans."""
        for tap in np.ndindex(*self.kernel):
            yield tap, tuple(self.span(axis, i) for axis, i in enumerate(tap))


# Taps up to which a loop over them is unrolled: with more, the programs are slow to compile and no
# longer fast.
MOST_UNROLLED = 128
# Taps above which such a loop is refused, where there is no other way.
MOST_TAPS = 2048


def check_taps(taps: int) -> None:
    """Raises: UnsupportedError if a loop over so many taps cannot be unrolled."""
    if taps > MOST_TAPS:
        raise UnsupportedError(
            f"a window of {taps} elements along an axis, with dilations or with indices, is not"
            f" supported; at most {MOST_TAPS} are"
        )


def lowest(dtype: np.dtype) -> float:
    """The number below all others of a dtype: what is no maximum."""
    return -np.inf if jnp.issubdtype(dtype, jnp.floating) else int(jnp.iinfo(dtype).min)


def per_axis(values: Sequence[int] | None, rank: int, name: str) -> tuple[int, ...]:
    """An attribute with one positive number for each spatial axis; ones where it is absent."""
    found = (1,) * rank if values is None else tuple(values)
    if len(found) != rank or min(found, default=1) < 1:
        raise ModelError(f"{name}={list(found)} should be {rank} positive numbers, one an axis")
    return found


def split(total: int, auto_pad: str) -> tuple[int, int]:
    """A number of padded elements (before, after): the odd one is after for SAME_UPPER."""
    smaller = total // 2
    return (smaller, total - smaller) if auto_pad == "SAME_UPPER" else (total - smaller, smaller)


@dataclass(frozen=True)
class WindowAttributes:
    """The attributes by which ONNX describes a window."""

    auto_pad: str = "NOTSET"
    dilations: tuple[int, ...] | None = None
    kernel_shape: tuple[int, ...] | None = None
    pads: tuple[int, ...] | None = None
    strides: tuple[int, ...] | None = None
    ceil_mode = 0  # an attribute of pools alone

    def pairs(self, rank: int) -> tuple[tuple[int, int], ...]:
        """`pads` by axis, which ONNX lists as all begins before all ends; none where VALID."""
        valid = self.pads is None or self.auto_pad == "VALID"
        found = (0,) * (2 * rank) if valid else tuple(self.pads or ())
        if len(found) != 2 * rank:
            raise ModelError(f"pads={list(found)} should be {2 * rank} numbers")
        return tuple(zip(found[:rank], found[rank:], strict=True))

    def taps(self, rank: int, weights: tuple[int, ...] | None = None) -> tuple[int, ...]:
        """Numbers of taps by axis: those of the weights, if any, which the attribute may repeat."""
        given = self.kernel_shape if self.kernel_shape is None else tuple(self.kernel_shape)
        if weights is not None and given not in (None, weights):
            raise ModelError(f"kernel_shape={list(given)}, but that of the weights is {weights}")
        return per_axis(given if weights is None else weights, rank, "kernel_shape")

    def steps(self, rank: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Strides and dilations by axis."""
        found = per_axis(self.strides, rank, "strides"), per_axis(self.dilations, rank, "dilations")
        if max(found[1], default=0) >= 2**31:
            raise ModelError(f"dilations {found[1]} are out of all range")
        return found

    def over(self, sizes: Sequence[int], weights: tuple[int, ...] | None = None) -> Window:
        """The window on an input of these sizes, for weights of these sizes if there are any.

        With `ceil_mode` and explicit pads a last, partial position counts, unless it would start in
        the right padding.
        """
        rank = len(sizes)
        kernel, (strides, dilations) = self.taps(rank, weights), self.steps(rank)
        extents = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
        if self.auto_pad in ("SAME_UPPER", "SAME_LOWER"):
            outputs = tuple(-(-n // s) for n, s in zip(sizes, strides, strict=True))
            pads = tuple(
                split(max(0, (o - 1) * s + e - n), self.auto_pad)
                for o, s, e, n in zip(outputs, strides, extents, sizes, strict=True)
            )
        elif self.auto_pad in ("NOTSET", "VALID", ""):
            pads = self.pairs(rank)
            free = [n + sum(p) - e for n, p, e in zip(sizes, pads, extents, strict=True)]
            if any(at_least(-1 - f, 0) for f in free):
                raise ModelError(
                    f"a window of extent {extents} is larger than the input {list(sizes)} "
                    f"with pads {pads}"
                )
            outputs = tuple(f // s + 1 for f, s in zip(free, strides, strict=True))
            if self.ceil_mode and self.auto_pad != "VALID":
                outputs = tuple(
                    o + (f % s > 0 and o * s < n + low)
                    for o, f, s, n, (low, _) in zip(
                        outputs, free, strides, sizes, pads, strict=True
                    )
                )
        else:
            raise ModelError(
                f"auto_pad={self.auto_pad!r} is none of NOTSET, VALID, SAME_UPPER, SAME_LOWER"
            )
        return Window(tuple(sizes), kernel, strides, dilations, pads, outputs, (1,) * rank)


@dataclass(frozen=True)
class PoolAttributes(WindowAttributes):
    """The attributes of a window that pools, whose size they have to state."""

    kernel_shape: tuple[int, ...] = REQUIRED
    ceil_mode: int = 0


WINDOW, POOL = WindowAttributes(), PoolAttributes()
