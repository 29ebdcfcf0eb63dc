"""Linear quantization, and back."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from onnxla.ir.dtypes import number_of
from onnxla.peers.difference import is_integer
from onnxla.testing.draw import Draw
from onnxla.testing.operator_cases import strategy
from onnxla.testing.types import tensor_type
from onnxla.testing.use import Use


@strategy("QuantizeLinear")
def quantize_linear(draw: Draw) -> Use:
    """x, and a scale and zero point of the whole, along an axis, or in blocks."""
    shape, granularity, attributes = draw_granularity(draw)
    kind = draw.dtype("x")
    scale_dtype = draw.dtype("y_scale")
    zero = draw.maybe(lambda: draw_zero_point(draw, "y_zero_point", granularity))
    dtype = np.dtype(np.uint8) if zero is None else zero.dtype
    if draw.has("output_dtype"):
        if zero is None and draw.flag():
            dtype = draw.dtype("y")
            attributes["output_dtype"] = number_of(dtype)
        else:
            attributes["output_dtype"] = draw.choice((None, number_of(dtype)))
    if draw.has("saturate"):
        attributes["saturate"] = draw.choice((None, 1, 0))
    if draw.has("precision"):
        attributes["precision"] = draw.choice((None, 0, number_of(np.dtype(np.float32))))
    scale = draw_scales(draw, scale_dtype, granularity)
    # Some numbers are beyond what the narrow types hold.
    high = draw.choice((8, 400))
    x = draw.array(kind, shape, -high, high)
    return draw.use(
        (x, scale, zero), attributes, types={"y0": tensor_type(dtype)}, ranks={"y0": len(shape)}
    )


@strategy("DequantizeLinear")
def dequantize_linear(draw: Draw) -> Use:
    """x, and a scale and zero point of the whole, along an axis, or in blocks."""
    shape, granularity, attributes = draw_granularity(draw)
    dtype = draw.dtype("x")
    bounds = (-100_000, 100_000) if is_integer(dtype) else (None, None)
    x = draw.array(dtype, shape, *bounds)
    scale_dtype = draw.dtype("x_scale") if draw.version >= 19 else np.dtype(np.float32)
    scale = draw_scales(draw, scale_dtype, granularity)
    zero = draw.maybe(lambda: draw_zero_point(draw, "x_zero_point", granularity))
    result = scale.dtype
    if draw.has("output_dtype"):
        result = draw.dtype("y")
        # A scale of float8e8m0 is none of the result's types.
        same = result == scale.dtype and draw.flag()
        attributes["output_dtype"] = None if same else number_of(result)
    return draw.use(
        (x, scale, zero), attributes, types={"y0": tensor_type(result)}, ranks={"y0": len(shape)}
    )


@strategy("DynamicQuantizeLinear")
def dynamic_quantize_linear(draw: Draw) -> Use:
    """x, which is not all zero."""
    shape = draw.shape((0, 4), (1, 5))
    x = draw.tensor("x", shape)
    if not x.any():
        x = x + np.float32(draw.choice((1, -2, 0.5)))
    return draw.use((x,), outputs=3)


def draw_granularity(
    draw: Draw,
) -> tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]:
    """Shapes of x and of its scale, and the attributes that say how they belong together."""
    shape = draw.shape((0, 4), (draw.choice((1, 1, 1, 0)), 5))
    rank = len(shape)
    kinds = ["whole"]
    # The text is of two minds about one entry along the axis of a vector.
    if draw.has("axis") and rank > 1:
        kinds.append("axis")
    if draw.has("block_size") and rank > 0 and 0 not in shape:
        kinds.append("blocks")
    kind = draw.choice(kinds)
    attributes: dict[str, Any] = {}
    if kind == "whole":
        if draw.has("axis") and rank > 1:
            attributes["axis"] = draw.choice((None, 0, -1))
        return shape, (), attributes
    axis = draw.axis(rank)
    attributes["axis"] = draw.choice((axis, None)) if axis == 1 else axis
    axis %= rank
    if kind == "axis":
        return shape, shape[axis : axis + 1], attributes
    size = draw.integer(1, shape[axis])
    attributes["block_size"] = size
    blocks = math.ceil(shape[axis] / size)
    return shape, (*shape[:axis], blocks, *shape[axis + 1 :]), attributes


def draw_scales(draw: Draw, dtype: np.dtype[Any], shape: tuple[int, ...]) -> np.ndarray:
    """Positive scales: powers of two, unless the dtype has the bits to divide by others."""
    if dtype == np.int32:
        return draw.array(dtype, shape, 1, 4)
    if dtype == np.float32 and draw.flag():
        return draw.array(dtype, shape, 0.1, 3)
    return np.asarray(2.0 ** draw.array(np.int32, shape, -3, 2)).astype(dtype)


def draw_zero_point(draw: Draw, operand: str, shape: tuple[int, ...]) -> np.ndarray:
    """A zero point; zero for the types that are said to have none."""
    dtype = draw.dtype(operand)
    if is_integer(dtype) and dtype != np.int32:
        return draw.array(dtype, shape, -200, 200)
    return np.zeros(shape, dtype)
