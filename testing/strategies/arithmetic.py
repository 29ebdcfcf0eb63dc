"""Element by element, with broadcasting: arithmetic, bits; and running sums and products."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from onnxla.peers.difference import is_integer
from onnxla.testing.draw import GRID, Draw
from onnxla.testing.operator_cases import strategy
from onnxla.testing.strategies.elementary import batch, legacy, ranks
from onnxla.testing.use import Use


@strategy("Add", "Sub", "Mul", "Div")
def arithmetic(draw: Draw) -> Use:
    """Operands that broadcast; before opset 7 the second one at an axis, where asked for."""
    shapes, attributes = operand_shapes(draw)
    a, b = (draw.tensor(name, shape) for name, shape in zip("AB", shapes, strict=True))
    if draw.name == "Div":
        a, b = dividable(a, b)
    return draw.use((a, b), attributes, ranks=ranks(*shapes), batch=batch_of(shapes, attributes))


def batch_of(shapes: Sequence[tuple[int, ...]], attributes: Mapping[str, Any]) -> tuple[int, ...]:
    """See `batch`; none, where the second operand has the first axis of the first one alone."""
    return () if attributes.get("axis") == 0 else batch(*shapes)


def operand_shapes(draw: Draw) -> tuple[list[tuple[int, ...]], dict[str, Any]]:
    """Shapes of two operands that broadcast, and the attributes that say how."""
    if not draw.has("broadcast"):
        return draw.broadcast_shapes(2), {}
    attributes: dict[str, Any] = legacy(draw, 2)
    a = draw.shape()
    how = draw.choice(("not at all", "axes", "one element"))
    if how == "not at all":
        return [a, a], {**attributes, "broadcast": draw.choice((None, 0))}
    attributes["broadcast"] = 1
    if how == "one element":
        return [a, (1,) * draw.integer(0, len(a))], attributes
    # `b` is a run of a's axes, from `axis` on; the last ones if that is absent.
    start = draw.integer(0, len(a))
    stop = draw.integer(start, len(a))
    if start < stop:
        attributes["axis"] = start if stop < len(a) else draw.choice((None, start))
    return [a, a[start:stop]], attributes


def dividable(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Integers without a division by 0, or one whose result the type lacks; floats as they are."""
    if not is_integer(a.dtype):
        return a, b
    if a.dtype.kind == "i":  # the least number has no opposite
        a = np.where(a == np.iinfo(a.dtype).min, a.dtype.type(0), a)
    return a, np.where(b == 0, b.dtype.type(1), b)


@strategy("Mod")
def mod(draw: Draw) -> Use:
    """Operands that broadcast. Remainders of floats have `fmod`, except in opset 28."""
    shapes = draw.broadcast_shapes(2)
    a, b = (draw.tensor(name, shape) for name, shape in zip("AB", shapes, strict=True))
    a, b = dividable(a, b)
    integers = is_integer(a.dtype)
    if draw.version == 10 and not integers:  # a division by 0 is undefined until opset 13
        b = np.where(b == 0, b.dtype.type(1), b)
    options: tuple[int | None, ...] = (None, 0, 1)
    if draw.version < 28 and not integers:
        options = (1,)
    elif draw.version == 13:
        options = (None, 0)
    return draw.use((a, b), {"fmod": draw.choice(options)}, batch=batch(*shapes))


@strategy("Pow")
def power(draw: Draw) -> Use:
    """Bases and exponents that broadcast.

    Exponents of integers are not negative, their powers are in range, and negative bases have
    integral exponents: what else comes out is not said.
    """
    shapes, attributes = operand_shapes(draw)
    x, y = draw.dtype("X"), draw.dtype("Y")
    integral = is_integer(y) or draw.flag()
    if is_integer(x):
        base = draw.array(x, shapes[0], -8 if integral else 0, 8)
        exponent = draw.array(y, shapes[1], 0, 4)
    else:
        base = draw.array(x, shapes[0], *((None, None) if integral else (0, 4)))
        exponent = draw.array(y, shapes[1], -4, 4)
    if integral and not is_integer(y):
        exponent = np.asarray(np.rint(exponent), y)
    return draw.use(
        (base, exponent), attributes, ranks=ranks(*shapes), batch=batch_of(shapes, attributes)
    )


@strategy("Max", "Min", "Sum", "Mean")
def variadic(draw: Draw) -> Use:
    """One to four operands that broadcast; before opset 8 they have one shape."""
    count = draw.integer(1, 4)
    shapes = draw.broadcast_shapes(count) if draw.version >= 8 else [draw.shape()] * count
    # No text says whether the sum of large numbers may be out of range where their mean is not.
    narrow = draw.name == "Mean" and draw.dtype("data_0").itemsize < 4
    limits = (-4, 4) if narrow else (None, None)
    operands = [draw.tensor("data_0", shape, *limits) for shape in shapes]
    return draw.use(operands, legacy(draw, count), ranks=ranks(*shapes), batch=batch(*shapes))


@strategy("Clip")
def clip(draw: Draw) -> Use:
    """An operand of any shape, and bounds: numbers, before opset 11 attributes.

    The lower one may be above the upper one from opset 13 on, which says what then comes out.
    """
    shape = draw.any_shape()
    x = draw.tensor("input", shape)
    low, high = (draw.maybe(lambda: draw.array(x.dtype, (), -4, 4)) for _ in range(2))
    if low is not None and high is not None and draw.version < 13:
        low, high = min(low, high), max(low, high)
    if draw.has("min") and draw.version >= 11:
        return draw.use((x, low, high), batch=batch(shape))
    bounds = {
        "min": None if low is None else float(low),
        "max": None if high is None else float(high),
    }
    return draw.use([x], {**bounds, **legacy(draw)}, ranks=ranks(shape), batch=batch(shape))


def bits(draw: Draw, dtype: np.dtype[Any], shape: tuple[int, ...]) -> np.ndarray:
    """Integers over all of their range."""
    signed = np.iinfo(f"i{dtype.itemsize}")
    return draw.array(signed.dtype, shape, signed.min, signed.max).view(dtype)


@strategy("BitShift")
def bit_shift(draw: Draw) -> Use:
    """Integers and numbers of bits that broadcast; all shifts are legal from opset 28 on."""
    shapes = draw.broadcast_shapes(2)
    dtype = draw.dtype("X")
    width = 8 * dtype.itemsize
    x = bits(draw, dtype, shapes[0])
    if draw.version < 28:
        y = draw.array(dtype, shapes[1], 0, width - 1)
    else:
        y = draw.array(dtype, shapes[1], -2, width + 2)
    direction = draw.choice(("LEFT", "RIGHT"))
    return draw.use((x, y), {"direction": direction}, batch=batch(*shapes))


@strategy("BitwiseAnd", "BitwiseOr", "BitwiseXor")
def bitwise(draw: Draw) -> Use:
    """Integers that broadcast."""
    shapes = draw.broadcast_shapes(2)
    dtype = draw.dtype("A")
    return draw.use([bits(draw, dtype, shape) for shape in shapes], batch=batch(*shapes))


@strategy("BitwiseNot")
def bitwise_not(draw: Draw) -> Use:
    """Integers of any shape."""
    shape = draw.any_shape()
    return draw.use([bits(draw, draw.dtype("X"), shape)], batch=batch(shape))


@strategy("CumSum", "CumProd")
def cumulative(draw: Draw) -> Use:
    """An operand of rank 1 or more, and one of its axes."""
    shape = draw.any_shape((1, 5))
    axis = draw.axis(len(shape))
    x = on_grid(draw.tensor("x", shape))
    flags = {name: draw.choice((None, 0, 1)) for name in ("exclusive", "reverse")}
    along = draw.array(draw.dtype("axis"), (), axis, axis)
    return draw.use((x, along), flags, batch=(0,) if axis % len(shape) else ())


def on_grid(x: np.ndarray) -> np.ndarray:
    """Floats rounded to multiples of `GRID`, so that sums are exact even where they cancel."""
    if is_integer(x.dtype):
        return x
    with np.errstate(over="ignore"):
        return np.asarray(np.rint(x / GRID) * GRID, x.dtype)
