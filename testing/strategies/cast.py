"""Conversion between element types."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
from onnx import TensorProto

from onnxla.ir.dtypes import STRING, bits_of, number_of
from onnxla.peers.difference import is_integer
from onnxla.testing.draw import Draw
from onnxla.testing.operator_cases import strategy
from onnxla.testing.strategies.arithmetic import on_grid
from onnxla.testing.strategies.elementary import batch, ranks
from onnxla.testing.types import dtype_of, tensor_type
from onnxla.testing.use import Use

BOOL = np.dtype(bool)
E8M0 = np.dtype(ml_dtypes.float8_e8m0fnu)
FLOAT8 = ("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz")
# Out of the range of these, a float has no result that the text says.
FINITE = ("float4_e2m1fn", "float6_e2m3fn", "float6_e3m2fn")


@strategy("Cast", "CastLike")
def cast(draw: Draw) -> Use:
    """An operand of any shape and a type, by number (in opset 1 by name) or by a tensor of it."""
    source, target = draw.dtype("input"), draw.dtype("output")
    # No text says how a truth value is written, or read.
    if {source, target} == {BOOL, STRING}:
        source = target
    shape = draw.any_shape()
    attributes: dict[str, Any] = {}
    if draw.has("saturate"):
        attributes["saturate"] = draw.choice((None, 0, 1))
    if draw.has("round_mode"):
        attributes["round_mode"] = draw.choice((None, "up", "down", "nearest"))
    x = source_numbers(draw, source, target, shape, attributes)
    if draw.name == "CastLike":
        like = draw.array(target, draw.shape((0, 2), (0, 2)))
        return draw.use((x, like), attributes, batch=batch(shape))
    number = number_of(target)
    to = TensorProto.DataType.Name(number) if draw.version == 1 else number
    types = {"output": tensor_type(target)}
    return draw.use(
        [x], {"to": to, **attributes}, types=types, ranks=ranks(shape), batch=batch(shape)
    )


def source_numbers(
    draw: Draw,
    source: np.dtype[Any],
    target: np.dtype[Any],
    shape: tuple[int, ...],
    attributes: dict[str, Any],
) -> np.ndarray:
    """Numbers of one type of which another one has a value that the text says."""
    if source in (target, BOOL):
        return draw.array(source, shape)
    if source == STRING:
        return texts(draw, target, shape)
    if target == STRING:  # no text says how many digits are written
        return on_grid(draw.array(source, shape))
    if target == BOOL:  # zeros, and numbers that an integer would truncate
        return draw.array(source, shape, *((-1, 1) if is_integer(source) else (-0.25, 0.25)))
    if target == E8M0:
        return positive(draw, source, shape, attributes)
    if is_integer(source):
        info = ml_dtypes.iinfo(source)
        return draw.array(source, shape, int(info.min), min(int(info.max), 2**63 - 1))
    if is_integer(target):
        info = ml_dtypes.iinfo(target)
        return within(draw, source, shape, max(int(info.min), -100), min(int(info.max), 100))
    if draw.specials and target.name not in FINITE:
        return draw.array(source, shape)
    most = float(ml_dtypes.finfo(target).max)
    if target.name in FLOAT8:
        most = 2 * most  # what is out of range saturates, or does not
    elif target.name not in FINITE:
        most = draw.choice((4.0, 1e5))
    return within(draw, source, shape, -most, most)


def within(
    draw: Draw, dtype: np.dtype[Any], shape: tuple[int, ...], low: float, high: float
) -> np.ndarray:
    """Floats from `low` to `high`, as far as the dtype has them."""
    most = float(ml_dtypes.finfo(dtype).max)
    x = draw.array(dtype, shape, max(low, -most), min(high, most))
    # The bounds mean nothing to float8e8m0.
    return np.where(x.astype(np.float64) > high, dtype.type(1), x)


def positive(
    draw: Draw, dtype: np.dtype[Any], shape: tuple[int, ...], attributes: dict[str, Any]
) -> np.ndarray:
    """Positive numbers over the range of float8e8m0.

    Zero is not among them, of which the text says that it becomes 0, a value that the type lacks.
    What is out of range is said for two combinations of the attributes only.
    """
    if is_integer(dtype):
        return draw.array(dtype, shape, 1, 100)
    most = ml_dtypes.finfo(dtype)
    least, largest = max(-126, most.minexp), min(126, most.maxexp - 1)
    how = attributes.get("saturate") != 0, attributes.get("round_mode") or "up"
    if dtype == np.float64 and how in ((True, "up"), (False, "nearest")):
        least, largest = -135, 135
    exponents = draw.array(np.int64, shape, least, largest)
    fractions = draw.array(np.int64, shape, 4, 7)  # quarters: a tie is among them
    return np.asarray(fractions / 4 * 2.0**exponents, dtype)


def texts(draw: Draw, dtype: np.dtype[Any], shape: tuple[int, ...]) -> np.ndarray:
    """Strings that denote numbers of a type."""
    if is_integer(dtype):
        info = ml_dtypes.iinfo(dtype)
        return (
            draw.array(np.int64, shape, int(info.min), min(int(info.max), 2**63 - 1))
            .astype(str)
            .astype(object)
        )
    options = ["1", "2", "0.5", "4e0", "2.0E-1"]
    if dtype != E8M0:
        options += ["-3.5", "0", "-0.0", "1e-5", "-1E0", "+2"]
        if dtype.name not in FINITE:
            options += ["INF", "-INF", "+INF", "inf", "NaN", "nan", "100.5", "3.1415926535", "1E8"]
    which = draw.array(np.int64, shape, 0, len(options) - 1)
    return np.asarray(np.array(options, object)[which], object)


@strategy("BitCast")
def bit_cast(draw: Draw) -> Use:
    """An operand of any shape and a type of the same width. Not all bits are a truth value."""
    target, shape = draw.dtype("output"), draw.any_shape()
    number = number_of(target)
    widths = [t for t in map(dtype_of, draw.schema.allowed("input"))]
    source = draw.dtype("input", [t for t in widths if bits_of(number_of(t)) == bits_of(number)])
    if target == BOOL and source != BOOL:
        x = draw.array(np.uint8, shape, 0, 1).view(source)
    else:
        x = draw.array(source, shape)
    types = {"output": tensor_type(target)}
    return draw.use([x], {"to": number}, types=types, ranks=ranks(shape), batch=batch(shape))
