"""Reductions of a tensor along some of its axes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from onnxla.ops.arithmetic import div, mul
from onnxla.ops.elementary import abs_, log
from onnxla.ops.shape import integers
from onnxla.ops.sizes import sum_dtype
from onnxla.ops.table import op
from onnxla.ops.values import Value, is_floating, is_known

Axes = tuple[int, ...]


def reduction(
    name: str, attribute: tuple[int, ...], operand: tuple[int, ...]
) -> Callable[[Callable[[Value, Axes, bool], Value]], Callable[[Value, Axes, bool], Value]]:
    """Registers a function of data, axes and keepdims as the operator `name`.

    Its axes are an attribute in the schema versions `attribute`, an operand in `operand`. Where no
    axes are given, all are meant, or none if `noop_with_empty_axes`.
    """

    def decorate(function: Callable[[Value, Axes, bool], Value]) -> Any:
        def latest(
            data: Value,
            axes: np.ndarray | None = None,
            *,
            keepdims: int = 1,
            noop_with_empty_axes: int = 0,
        ) -> Value:
            chosen = () if axes is None else integers(axes)
            if not chosen and not noop_with_empty_axes:
                chosen = tuple(range(data.ndim))
            return function(data, chosen, bool(keepdims))

        def legacy(data: Value, *, axes: Axes | None = None, keepdims: int = 1) -> Value:
            return latest(data, np.asarray(axes) if axes else None, keepdims=keepdims)

        latest.__doc__ = legacy.__doc__ = function.__doc__
        op(name, since=attribute)(legacy)
        op(name, since=operand, static=("axes",))(latest)
        return function

    return decorate


def module(data: Value) -> Any:
    """`numpy` for known integers, which occur in shape arithmetic; else `jax.numpy`.

    The latter sums narrow floats in a wider type.
    """
    return np if is_known(data) and not is_floating(data) else jnp


def wide(data: Value) -> Value:
    """`data` in a type for computing: float64 for integers, float32 for narrow floats."""
    if not is_floating(data):
        return data.astype(np.float64)
    return data.astype(np.float32) if data.dtype.itemsize < 4 else data


@reduction("ReduceSum", (1, 11), (13,))
def reduce_sum(data: Value, axes: Axes, keepdims: bool) -> Value:
    """Sum of the elements; 0 of none."""
    return module(data).sum(data, axes, dtype=sum_dtype(data), keepdims=keepdims)


@reduction("ReduceMean", (1, 11, 13), (18,))
def reduce_mean(data: Value, axes: Axes, keepdims: bool) -> Value:
    """Mean of the elements; of integers, truncated toward zero."""
    if is_floating(data):
        return jnp.mean(data, axes, keepdims=keepdims)
    total = module(data).sum(data, axes, keepdims=keepdims)  # 64 bits wide
    count = math.prod(data.shape[axis] for axis in axes)
    return div(total, np.asarray(count, total.dtype)).astype(data.dtype)


@reduction("ReduceMax", (1, 11, 12, 13), (18, 20))
def reduce_max(data: Value, axes: Axes, keepdims: bool) -> Value:
    """Largest element; the least value of the dtype (minus infinity of floats) if there is none."""
    return module(data).max(data, axes, keepdims=keepdims, **identity_of(data, -1))


@reduction("ReduceMin", (1, 11, 12, 13), (18, 20))
def reduce_min(data: Value, axes: Axes, keepdims: bool) -> Value:
    """Smallest element; the greatest value of the dtype (infinity of floats) if there is none."""
    return module(data).min(data, axes, keepdims=keepdims, **identity_of(data, 1))


def identity_of(data: Value, sign: int) -> dict[str, Any]:
    """Keywords for `max` (-1) and `min` (1) of empty data: the extreme value of its dtype."""
    if data.size:
        return {}
    if is_floating(data):
        return {"initial": sign * math.inf}
    if data.dtype == bool:
        return {"initial": sign > 0}
    limits = np.iinfo(data.dtype)
    # A number of the dtype: a Python integer may have more bits than JAX gives it.
    return {"initial": data.dtype.type(limits.max if sign > 0 else limits.min)}


@reduction("ReduceProd", (1, 11, 13), (18,))
def reduce_prod(data: Value, axes: Axes, keepdims: bool) -> Value:
    """Product of the elements; 1 of none."""
    return module(data).prod(data, axes, dtype=sum_dtype(data), keepdims=keepdims)


@reduction("ReduceL1", (1, 11, 13), (18,))
def reduce_l1(data: Value, axes: Axes, keepdims: bool) -> Value:
    """Sum of the absolute values."""
    return reduce_sum(abs_(data), axes, keepdims)


@reduction("ReduceSumSquare", (1, 11, 13), (18,))
def reduce_sum_square(data: Value, axes: Axes, keepdims: bool) -> Value:
    """Sum of the squares."""
    x = wide(data) if is_floating(data) else data
    return reduce_sum(mul(x, x), axes, keepdims).astype(data.dtype)


@reduction("ReduceL2", (1, 11, 13), (18,))
def reduce_l2(data: Value, axes: Axes, keepdims: bool) -> Value:
    """Square root of the sum of the squares; its derivative at zero is zero."""
    squares = reduce_sum_square(wide(data), axes, keepdims)
    root = jnp.sqrt(jnp.where(squares == 0, 1, squares))
    return jnp.where(squares == 0, 0, root).astype(data.dtype)


@reduction("ReduceLogSum", (1, 11, 13), (18, 28))
def reduce_log_sum(data: Value, axes: Axes, keepdims: bool) -> Value:
    """Logarithm of the sum."""
    return log(reduce_sum(wide(data), axes, keepdims)).astype(data.dtype)


@reduction("ReduceLogSumExp", (1, 11, 13), (18, 28))
def reduce_log_sum_exp(data: Value, axes: Axes, keepdims: bool) -> Value:
    """Logarithm of the sum of the exponentials, without overflow; minus infinity of none."""
    x = jnp.asarray(wide(data))
    largest = lax.stop_gradient(reduce_max(x, axes, True))
    largest = jnp.where(jnp.isfinite(largest), largest, 0)
    total = reduce_sum(jnp.exp(x - largest), axes, keepdims)
    # Where all elements are minus infinity, the derivative is zero, not 0 / 0.
    result = jnp.where(total == 0, -math.inf, jnp.log(jnp.where(total == 0, 1, total)))
    return (result + largest.reshape(result.shape)).astype(data.dtype)
