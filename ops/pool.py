"""Pools over sliding windows, over regions, and over all of space."""

from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np
from jax import lax

from onnxla.ops.elementary import abs_
from onnxla.ops.index import check_indices
from onnxla.ops.sliding import slide_max, slide_sum
from onnxla.ops.table import op
from onnxla.ops.values import Value, as_traced, wide
from onnxla.ops.window import POOL, PoolAttributes, WindowAttributes, check_taps, lowest


@op("MaxPool", since=(1, 8, 10, 11, 12, 22))
def max_pool(
    X: Value,
    *,
    storage_order: int = 0,
    window: PoolAttributes = POOL,
    n_outputs: int,
) -> tuple[Value, ...]:
    """Maxima in a sliding window, and their indices in X as if flat; of equals the first one.

    NaN is the maximum of a window that has one, as in PyTorch; the text is silent on it.
    Indices are int64, row-major; with `storage_order` the spatial axes are column-major.
    """
    seen = window.over(X.shape[2:])
    if n_outputs == 1:
        return (slide_max(X, seen),)
    rank, sizes = len(seen.sizes), seen.sizes
    best: Value = seen.pad(X, lowest(X.dtype))
    index: Value = np.zeros((1,) * X.ndim, np.int64)
    # The last axis first, so that of equals the first one in row-major order wins.
    for axis in reversed(range(rank)):
        step = math.prod(sizes[:axis] if storage_order else sizes[axis + 1 :])
        check_taps(seen.kernel[axis])
        values, flat = best, jnp.broadcast_to(index, best.shape)
        others, found = rank - 1 - axis, np.zeros((), bool)
        for tap, at in enumerate(seen.positions(axis).T):
            view = (..., seen.span(axis, tap), *(slice(None),) * others)
            place = at.reshape(-1, *(1,) * others)
            value, here = values[view], flat[view] + place * step
            inside = (place >= 0) & (place < sizes[axis])
            if tap == 0:
                best, index, found = value, here, inside
                continue
            # NaN is larger than all others, and padding smaller than the lowest number.
            more = inside & (~found | (~(value <= best) & (best == best)))
            best, index = jnp.where(more, value, best), jnp.where(more, here, index)
            found = found | inside
    planes = np.arange(math.prod(X.shape[:2])).reshape(*X.shape[:2], *(1,) * rank)
    return best, index + planes * math.prod(sizes)


@op("AveragePool", since=(1, 7, 10, 11, 19, 22))
def average_pool(
    X: Value,
    *,
    count_include_pad: int = 0,
    window: PoolAttributes = POOL,
) -> Value:
    """Means over a sliding window, of its elements and, if asked to, of the padding."""
    seen = window.over(X.shape[2:])
    count = np.ones((), np.int64)
    for axis, (size, (low, high)) in enumerate(zip(seen.sizes, seen.pads, strict=True)):
        if not (low or high or window.ceil_mode):  # every window is whole
            count = count[..., None] * seen.kernel[axis]
            continue
        at = seen.positions(axis)
        first, last = (-low, size + high) if count_include_pad else (0, size)
        count = count[..., None] * ((at >= first) & (at < last)).sum(1)
    total = slide_sum(X, seen)
    return (total / count.astype(total.dtype)).astype(X.dtype)


def root(total: Value, p: float) -> Value:
    """The p-th root of sums of powers; where the sum is zero, so is the derivative."""
    if p == 1:
        return total
    zero = total == 0
    safe = jnp.where(zero, 1, total)
    return jnp.where(zero, 0, jnp.sqrt(safe) if p == 2 else safe ** (1 / p))


def power(X: Value, p: float) -> Value:
    """|X| ** p."""
    return X * X if p == 2 else abs_(X) ** p


@op("LpPool", since=(2, 11, 18, 22))
def lp_pool(
    X: Value,
    *,
    p: int = 2,
    window: PoolAttributes = POOL,
) -> Value:
    """p-norms of a sliding window."""
    seen = window.over(X.shape[2:])
    return root(slide_sum(power(wide(X), p), seen), p).astype(X.dtype)


@op("LpPool", since=(1,))
def lp_pool_1(
    X: Value,
    *,
    auto_pad: str = "NOTSET",
    kernel_shape: tuple[int, ...] | None = None,
    p: float = 2.0,
    pads: tuple[int, ...] | None = None,
    strides: tuple[int, ...] | None = None,
) -> Value:
    """`lp_pool` with any real p; without `kernel_shape` the window is all of space."""
    window = WindowAttributes(auto_pad, None, kernel_shape or X.shape[2:], pads, strides)
    seen = window.over(X.shape[2:])
    return root(slide_sum(power(wide(X), p), seen), p).astype(X.dtype)


def space(X: Value) -> tuple[int, ...]:
    """The axes after N and C."""
    return tuple(range(2, X.ndim))


@op("GlobalAveragePool", since=(1, 22))
def global_average_pool(X: Value) -> Value:
    """Means over all of space; [N, C, 1, ...]."""
    return jnp.mean(X, space(X), keepdims=True)


@op("GlobalMaxPool", since=(1, 22))
def global_max_pool(X: Value) -> Value:
    """Maxima over all of space; [N, C, 1, ...]."""
    return jnp.max(X, space(X), keepdims=True)


def global_lp_pool(X: Value, *, p: float = 2) -> Value:
    """p-norms over all of space; [N, C, 1, ...]."""
    return root(jnp.sum(power(wide(X), p), space(X), keepdims=True), p).astype(X.dtype)


@op("GlobalLpPool", since=(1,))
def global_lp_pool_1(X: Value, *, p: float = 2.0) -> Value:
    """`global_lp_pool` with any real p."""
    return global_lp_pool(X, p=p)


op("GlobalLpPool", since=(2, 22))(global_lp_pool)


@op("MaxUnpool", since=(9, 11, 22), static=("output_shape",), shaped_by="output_shape")
def max_unpool(
    X: Value,
    I: Value,  # noqa: E741
    output_shape: np.ndarray | None = None,
    *,
    kernel_shape: tuple[int, ...],
    pads: tuple[int, ...] | None = None,
    strides: tuple[int, ...] | None = None,
) -> Value:
    """X at the places I of the tensor that was pooled, and zeros elsewhere.

    I counts in the smallest tensor that the window's attributes allow; a larger `output_shape`
    adds zeros at its ends.
    """
    rank, window = X.ndim - 2, WindowAttributes("NOTSET", None, kernel_shape, pads, strides)
    axes = zip(
        X.shape[2:], window.steps(rank)[0], window.taps(rank), window.pairs(rank), strict=True
    )
    shape = (*X.shape[:2], *((n - 1) * s + k - low - high for n, s, k, (low, high) in axes))
    check_indices(I, math.prod(shape))
    full = jnp.zeros(math.prod(shape), X.dtype).at[I.ravel()].set(X.ravel()).reshape(shape)
    if output_shape is None:
        return full
    margins = [(0, int(n) - size, 0) for n, size in zip(output_shape, shape, strict=True)]
    return lax.pad(full, np.zeros((), X.dtype), margins)


@op("MaxRoiPool", since=(1, 22))
def max_roi_pool(
    X: Value, rois: Value, *, pooled_shape: tuple[int, int], spatial_scale: float = 1.0
) -> Value:
    """Maxima over a grid of bins in each region; [R, C, *pooled_shape]; 0 where a bin is empty.

    `rois` [R, 5] lists (image, x1, y1, x2, y2), both corners included.
    """
    X, rois = as_traced([X, rois])
    corners = jnp.round(rois[:, 1:] * spatial_scale)

    def inside(first: Value, last: Value, bins: int, size: int) -> Value:
        """Which elements of an axis are in which bin; [R, bins, size]."""
        length = jnp.maximum(last - first + 1, 1)[:, None] / bins
        start = first[:, None] + jnp.floor(np.arange(bins).astype(X.dtype) * length)
        end = first[:, None] + jnp.ceil(np.arange(1, bins + 1).astype(X.dtype) * length)
        at = np.arange(size).astype(X.dtype)
        return (at >= start[..., None]) & (at < end[..., None])

    rows = inside(corners[:, 1], corners[:, 3], pooled_shape[0], X.shape[2])
    columns = inside(corners[:, 0], corners[:, 2], pooled_shape[1], X.shape[3])
    images = X[rois[:, 0].astype(np.int32)][:, :, :, None]
    band = jnp.max(jnp.where(columns[:, None, None], images, -jnp.inf), 4)
    both = jnp.max(jnp.where(rows[:, None, :, :, None], band[:, :, None], -jnp.inf), 3)
    full = jnp.any(rows, -1)[:, :, None] & jnp.any(columns, -1)[:, None]
    return jnp.where(full[:, None], both, 0)
