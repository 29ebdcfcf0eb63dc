"""Linear quantization: y = saturate(x / scale + zero point), and back.

A scale is a scalar, a vector along `axis`, or blocked: of x's rank, where each element holds for
`block_size` ones of x along `axis`. A zero point has the scale's shape.

JAX has no derivatives by integers. So in training (`train`) what is quantized has a floating-point
dtype, in which it is exactly the numbers it would be; all that reads it takes either.
"""

from __future__ import annotations

from functools import partial

import jax.numpy as jnp
import ml_dtypes
import numpy as np
from jax import lax

from onnxla.ir.dtypes import dtype_of, is_float
from onnxla.ir.errors import ModelError
from onnxla.ops.arithmetic import clip, div
from onnxla.ops.cast import E8M0, convert, widen
from onnxla.ops.straight_through import straight_through
from onnxla.ops.table import op
from onnxla.ops.values import Value, xp


def spread(scale: Value, x: Value, axis: int, block_size: int) -> Value:
    """A scale or zero point in a shape that broadcasts to that of `x`.

    Raises:
        ModelError: Its shape fits none of the three granularities.
    """
    if scale.size == 1 and not block_size:
        return scale.reshape(())
    if not -x.ndim <= axis < x.ndim:
        raise ModelError(f"axis {axis} is not one of shape {list(x.shape)}")
    axis %= x.ndim
    if block_size:
        if scale.ndim == x.ndim:
            blocks = xp(scale).repeat(scale, block_size, axis)
            blocks = blocks[(slice(None),) * axis + (slice(x.shape[axis]),)]
            if blocks.shape == x.shape:
                return blocks
    elif scale.shape == x.shape[axis : axis + 1]:
        return scale.reshape(scale.shape + (1,) * (x.ndim - axis - 1))
    raise ModelError(
        f"a scale or zero point of shape {list(scale.shape)} does not fit x of shape "
        f"{list(x.shape)} with axis={axis}, block_size={block_size}"
    )


def quantized(
    y: Value,
    zero_point: Value | None,
    dtype: np.dtype,
    saturate: bool = True,
    *,
    train: bool = False,
) -> Value:
    """`y`, in steps, rounded to the nearest even, plus the zero point, saturated; as `dtype`.

    In training in the dtype of `y`. Then rounding has the derivative 1 and saturation 0, by which a
    scale that also dequantizes has the gradient of a learned step size: the error of rounding.

    Source: Jacob et al. 2018, arXiv 1712.05877; Esser et al. 2020, arXiv 1902.08153.
    """
    m, integral = xp(y), not is_float(dtype)
    rint = partial(straight_through, jnp.rint) if train else m.rint
    if integral:
        y = rint(y)
    if zero_point is not None:
        y = y + zero_point.astype(y.dtype)
    if integral:
        limits = ml_dtypes.iinfo(dtype)
        y = clip(y, *np.asarray([limits.min, limits.max], np.float64).astype(y.dtype))
    if not train:
        return convert(y, dtype, saturate)
    if integral:
        return y
    if saturate:
        limit = np.asarray(ml_dtypes.finfo(dtype).max, y.dtype)
        y = clip(y, -limit, limit)
    return straight_through(lambda y: convert(y, dtype, saturate).astype(y.dtype), y)


@op(
    "QuantizeLinear",
    since=(10, 13, 19, 21, 23, 24, 25, 28),
    roles={"y_scale": "quantization_scale"},
    converts=True,
)
def quantize_linear(
    x: Value,
    y_scale: Value,
    y_zero_point: Value = None,
    *,
    axis: int = 1,
    block_size: int = 0,
    output_dtype: int = 0,
    precision: int = 0,
    saturate: int = 1,
    train: bool = False,
) -> Value:
    """`x` divided by its scale, rounded to the nearest even, plus the zero point; saturated.

    In the type of the zero point, or `output_dtype`, or uint8. `saturate` matters for float8 only.
    """
    dtype = dtype_of(output_dtype or 2) if y_zero_point is None else y_zero_point.dtype
    if output_dtype and dtype != dtype_of(output_dtype):
        raise ModelError(f"output_dtype is {dtype_of(output_dtype)}, but y_zero_point is {dtype}")
    scale = spread(y_scale, x, axis, block_size)
    if precision:
        scale = convert(scale, dtype_of(precision))
    elif scale.dtype in (np.int32, E8M0):
        scale = scale.astype(np.float32)
    y = widen(div(x.astype(scale.dtype), scale))
    zero = None if y_zero_point is None else spread(y_zero_point, x, axis, block_size)
    return quantized(y, zero, dtype, bool(saturate), train=train)


@op(
    "DequantizeLinear",
    since=(10, 13, 19, 21, 23, 24, 25, 28),
    roles={"x_scale": "quantization_scale"},
    converts=True,
)
def dequantize_linear(
    x: Value,
    x_scale: Value,
    x_zero_point: Value = None,
    *,
    axis: int = 1,
    block_size: int = 0,
    output_dtype: int = 0,
) -> Value:
    """`x` minus its zero point, times its scale; in the type of the scale, or `output_dtype`."""
    scale = widen(spread(x_scale, x, axis, block_size))
    y = x.astype(scale.dtype)
    if x_zero_point is not None:
        y = y - spread(x_zero_point, x, axis, block_size).astype(scale.dtype)
    return (y * scale).astype(dtype_of(output_dtype) if output_dtype else x_scale.dtype)


@op("DynamicQuantizeLinear", since=(11,))
def dynamic_quantize_linear(x: Value, *, train: bool = False) -> tuple[Value, Value, Value]:
    """`x` as uint8 with the least scale that covers it and 0; that scale []; and its zero point [].

    Where all of x is 0, any scale does, and it is 1. In training both are observed, not learned:
    they have no derivative.
    """
    low, high = jnp.min(x, initial=0), jnp.max(x, initial=0)
    if train:
        low, high = lax.stop_gradient((low, high))
    spacing = jnp.where(high == low, 1, div(high - low, np.asarray(255, low.dtype)))
    uint8 = np.dtype("u1")
    zero_point = quantized(div(-low, spacing), None, uint8, train=train)
    y = quantized(div(x, spacing), zero_point, uint8, train=train)
    return y, spacing, zero_point
