"""Images: resizing, and sampling at positions given by a grid."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Sequence

import jax.numpy as jnp
import numpy as np
from jax import lax

from onnxla.ir.errors import ModelError
from onnxla.ops.chain_rule import product
from onnxla.ops.checks import only
from onnxla.ops.limits import budget, check_size
from onnxla.ops.shape import integers
from onnxla.ops.sizes import is_symbolic, ratio, repeated, scaled
from onnxla.ops.sparse_matrix import SparseMatrix, multiply
from onnxla.ops.table import op
from onnxla.ops.values import Value, is_floating, xp

# A weight as a function of the distance, and the distance from which on it is zero.
Filter = tuple[Callable[[Value], Value], int]


def linear_filter() -> Filter:
    """Linear interpolation between two neighbours."""
    return lambda d: np.maximum(1 - np.abs(d), 0), 1


def cubic_filter(a: float) -> Filter:
    """Cubic convolution of four neighbours. Source: Keys 1981, doi:10.1109/TASSP.1981.1163711."""

    def weight(distance: Value) -> Value:
        m, d = xp(distance), abs(distance)
        near = ((a + 2) * d - (a + 3)) * d * d + 1
        far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
        return m.where(d <= 1, near, m.where(d < 2, far, 0))

    return weight, 2


def coordinates(mode: str, n: int, size: int, scale: float, roi: Sequence[float]) -> np.ndarray:
    """Position in an axis of length n of each element of the resized axis; float32 [size].

    `scale` times the length is the length after resizing before it is rounded down to `size`.
    """
    # In single precision, as in other runtimes: rounding decides which element is the nearest.
    x: np.ndarray = np.arange(*check_size((size,)), dtype=np.float32)
    half, factor = np.float32(0.5), np.float32(scale)
    width = np.float32(factor * n)
    match mode:
        case "half_pixel":
            return (x + half) / factor - half
        case "half_pixel_symmetric":
            return (x + half) / factor - half + np.float32(n / 2) * (1 - size / width)
        case "pytorch_half_pixel":
            return (x + half) / factor - half if size > 1 else x
        case "align_corners":
            return x * (n - 1) / (width - 1) if width != 1 else x
        case "asymmetric":
            return x / factor
        case "tf_half_pixel_for_nn":
            return (x + half) / factor
        case "tf_crop_and_resize":
            start, end = map(np.float32, roi)
            if size == 1:
                x = half * (start + end) * (n - 1) + x
            else:
                x = start * (n - 1) + x * (end - start) * (n - 1) / np.float32(size - 1)
            return x
    raise ModelError(f"unknown coordinate transformation mode '{mode}'")


def nearest(x: np.ndarray, n: int, mode: str) -> np.ndarray:
    """Index of the element of an axis of length n nearest to each position; int64."""
    half = np.float32(0.5)
    rounded = {
        "round_prefer_floor": np.ceil(x - half),
        "round_prefer_ceil": np.floor(x + half),
        "floor": np.floor(x),
        "ceil": np.ceil(x),
    }
    only("nearest_mode", mode, *rounded)
    index: np.ndarray = np.clip(rounded[mode], 0, n - 1)
    return index.astype(np.int64)


def interpolation(
    x: np.ndarray, n: int, filter: Filter, stretch: float, exclude_outside: bool
) -> SparseMatrix:
    """For each position x in an axis of length n, its neighbours and their weights.

    The filter is `stretch` times as wide as for interpolation. Neighbours outside the axis repeat
    its end, or do not count if `exclude_outside`.
    """
    weight, support = filter
    reach = math.ceil(support * stretch)
    check_size((len(x), 2 * reach), what="neighbours of all positions")
    taps = np.floor(x)[:, None].astype(np.int64) + np.arange(1 - reach, reach + 1)
    weights = weight((taps - x[:, None].astype(np.float64)) / stretch)
    if exclude_outside:
        weights *= (taps >= 0) & (taps < n)
    if exclude_outside or stretch > 1:
        total = weights.sum(1, keepdims=True)
        weights /= np.where(total == 0, 1, total)
    return SparseMatrix(np.clip(taps, 0, n - 1), weights, n)


def take_nearest(X: Value, index: np.ndarray, axis: int) -> Value:
    """The elements `index` of an axis; as a repetition, which is faster, if it is one."""
    m, n = xp(X), X.shape[axis]
    times = len(index) // n if n else 0
    if times and np.array_equal(index, np.repeat(np.arange(n), times)):
        return m.repeat(X, times, axis)
    return m.take(X, index, axis)


def nearest_places(
    transformation: str, nearest_mode: str, factor: float, n: int, size: int
) -> np.ndarray:
    """Of `n` elements the one that each of `size` is made of."""
    return nearest(coordinates(transformation, n, size, factor, (0.0, 1.0)), n, nearest_mode)


@op("Resize", since=(13, 18, 19), static=("roi", "scales", "sizes"), shaped_by="sizes")
def resize(
    X: Value,
    roi: np.ndarray | None = None,
    scales: np.ndarray | None = None,
    sizes: np.ndarray | None = None,
    *,
    antialias: int = 0,
    axes: tuple[int, ...] | None = None,
    coordinate_transformation_mode: str = "half_pixel",
    cubic_coeff_a: float = -0.75,
    exclude_outside: int = 0,
    extrapolation_value: float = 0.0,
    keep_aspect_ratio_policy: str = "stretch",
    mode: str = "nearest",
    nearest_mode: str = "round_prefer_floor",
) -> Value:
    """X resampled along `axes` to `sizes`, or to its sizes times `scales`, rounded down."""
    only("mode", mode, "nearest", "linear", "cubic")
    policy = keep_aspect_ratio_policy
    only("keep_aspect_ratio_policy", policy, "stretch", "not_larger", "not_smaller")
    chosen = tuple(range(X.ndim)) if axes is None else tuple(axis % X.ndim for axis in axes)
    crop = coordinate_transformation_mode == "tf_crop_and_resize"
    rois = [(0.0, 1.0)] * len(chosen)
    if crop and roi is not None:
        rois = np.reshape(roi, (2, -1)).T.astype(np.float32).tolist()
    lengths = [X.shape[axis] for axis in chosen]
    if sizes is not None and len(sizes):
        factors = [ratio(size, n) for size, n in zip(sizes.tolist(), lengths, strict=True)]
        if policy != "stretch":
            best = min(factors) if policy == "not_larger" else max(factors)
            sizes = np.asarray([math.floor(best * n + 0.5) for n in lengths])
            factors = [best] * len(factors)
        targets = integers(sizes)
    elif scales is not None and len(scales) == len(chosen):
        factors = scales.astype(np.float32).tolist()
        targets = tuple(
            scaled(n, factor)
            if is_symbolic(n)
            else math.floor(np.float32(n) * np.float32(end - start) * np.float32(factor))
            for n, factor, (start, end) in zip(lengths, factors, rois, strict=True)
        )
    else:
        raise ModelError(f"Resize needs sizes or scales for {len(chosen)} axes")
    shape = list(X.shape)
    for axis, target in zip(chosen, targets, strict=True):
        shape[axis] = target
    check_size([0] if is_symbolic(*shape) else shape, X.dtype, "the resized tensor")

    kind = X.dtype if is_floating(X) and X.dtype.itemsize >= 4 else np.dtype(np.float32)
    result = X if mode == "nearest" else X.astype(kind)
    outside = np.zeros((1,) * X.ndim, bool)
    for axis, n, size, factor, part in zip(chosen, lengths, targets, factors, rois, strict=True):
        if size == n and factor == 1 and tuple(part) == (0, 1):
            continue
        if is_symbolic(n, size):
            how = coordinate_transformation_mode, nearest_mode, factor
            places = functools.partial(nearest_places, *how) if mode == "nearest" else None
            result = repeated(result, axis, factor, places)
            continue
        x = coordinates(coordinate_transformation_mode, n, size, factor, part)
        if crop:
            beyond = (x < 0) | (x > n - 1)
            outside = outside | beyond.reshape(-1, *(1,) * (X.ndim - axis - 1))
        if mode == "nearest":
            result = take_nearest(result, nearest(x, n, nearest_mode), axis)
            continue
        filter = cubic_filter(cubic_coeff_a) if mode == "cubic" else linear_filter()
        stretch = max(1.0, 1 / factor) if antialias and factor else 1.0
        matrix = interpolation(x, n, filter, stretch, bool(exclude_outside))
        result = multiply(matrix, result, axis)
    if outside.any():
        fill = np.asarray(extrapolation_value, result.dtype)
        result = xp(result).where(outside, fill, result)
    if not is_floating(X) and mode != "nearest":
        limits = np.iinfo(X.dtype)
        result = jnp.clip(result, limits.min, limits.max)
    return result.astype(X.dtype)


@op("Resize", since=(11,), static=("roi", "scales", "sizes"), shaped_by="sizes")
def resize_11(
    X: Value,
    roi: np.ndarray,
    scales: np.ndarray,
    sizes: np.ndarray | None = None,
    *,
    coordinate_transformation_mode: str = "half_pixel",
    cubic_coeff_a: float = -0.75,
    exclude_outside: int = 0,
    extrapolation_value: float = 0.0,
    mode: str = "nearest",
    nearest_mode: str = "round_prefer_floor",
) -> Value:
    """`resize` of all axes."""
    return resize(
        X,
        roi,
        scales,
        sizes,
        coordinate_transformation_mode=coordinate_transformation_mode,
        cubic_coeff_a=cubic_coeff_a,
        exclude_outside=exclude_outside,
        extrapolation_value=extrapolation_value,
        mode=mode,
        nearest_mode=nearest_mode,
    )


@op("Upsample", since=(9, 10), static=("scales",))
@op("Resize", since=(10,), static=("scales",))
def upsample(X: Value, scales: np.ndarray, *, mode: str = "nearest") -> Value:
    """X resampled to its sizes times `scales`, rounded down.

    Source: ONNX Runtime, where the nearest element is the one before when enlarging, the one after
    when reducing; the schema does not say.
    """
    result = X
    for rounding, some in (("floor", scales >= 1), ("ceil", scales < 1)):
        result = resize(
            result,
            None,
            np.where(some, scales, 1).astype(np.float32),
            mode="nearest" if mode == "nearest" else "linear",
            coordinate_transformation_mode="asymmetric",
            nearest_mode=rounding,
        )
    return result


@op("Upsample", since=(7,))
def upsample_7(X: Value, *, scales: tuple[float, ...], mode: str = "nearest") -> Value:
    """`upsample` with the scales as an attribute."""
    return upsample(X, np.asarray(scales), mode=mode)


@op("Upsample", since=(1,))
def upsample_1(
    X: Value, *, height_scale: float, width_scale: float, mode: str = "nearest"
) -> Value:
    """`upsample` of X [N, C, H, W]."""
    return upsample(X, np.asarray([1, 1, height_scale, width_scale]), mode=mode)


@op("GridSample", since=(20, 22), matched={"X": 0, "grid": 0})
def grid_sample(
    X: Value,
    grid: Value,
    *,
    align_corners: int = 0,
    mode: str = "linear",
    padding_mode: str = "zeros",
) -> Value:
    """X [N, C, D1, ..., Dr] interpolated at the positions `grid` [N, E1, ..., Er, r].

    [N, C, E1, ..., Er]. Positions are (xr, ..., x1) from -1 to 1: the centers of the outermost
    elements if `align_corners`, else their outer edges.
    """
    only("mode", mode, "nearest", "linear", "cubic")
    only("padding_mode", padding_mode, "zeros", "border", "reflection")
    X, grid = jnp.asarray(X), jnp.asarray(grid)
    if grid.shape[-1] != X.ndim - 2 or grid.ndim != X.ndim:
        raise ModelError(f"the grid {list(grid.shape)} has no positions in X {list(X.shape)}")
    # In half precision cubic weights would cancel to little.
    dtype = np.promote_types(X.dtype if is_floating(X) else grid.dtype, np.float32)
    taps = []
    for axis, n in enumerate(X.shape[2:]):
        position = grid[..., -1 - axis].astype(dtype)
        low, high = (0.0, n - 1.0) if align_corners else (-0.5, n - 0.5)
        x = low + (position + 1) / 2 * (high - low)
        if mode != "cubic":
            x = pad_position(x, n, low, high, padding_mode)
        taps.append(axis_taps(x, n, low, high, mode, padding_mode))
    budget().count_call(math.prod(map(len, taps)))
    batch = jnp.arange(X.shape[0]).reshape(-1, *(1,) * (grid.ndim - 2))
    pixels = jnp.moveaxis(X, 1, -1).astype(dtype)
    result: Value = 0
    for combination in itertools.product(*taps):
        weight = functools.reduce(product, (weight for _, weight in combination))
        index = (batch, *(index for index, _ in combination))
        result += product(pixels[index], weight[..., None])
    return jnp.moveaxis(result, -1, 1).astype(X.dtype)


def pad_position(x: Value, n: int, low: float, high: float, padding_mode: str) -> Value:
    """Positions in an axis of length n, those outside moved into it unless padded with zeros."""
    if padding_mode == "reflection":
        period = 2 * (high - low)
        phase = jnp.mod(x - low, period) if period else jnp.zeros_like(x)
        x = low + jnp.minimum(phase, period - phase)
    return x if padding_mode == "zeros" else jnp.clip(x, 0, n - 1)


def axis_taps(
    x: Value, n: int, low: float, high: float, mode: str, padding_mode: str
) -> list[tuple[Value, Value]]:
    """Indices of the neighbours of positions in an axis of length n, and their weights."""
    if mode == "nearest":
        neighbours = [(jnp.rint(x), jnp.ones_like(x))]
    else:
        base = lax.stop_gradient(jnp.floor(x))
        if mode == "linear":
            neighbours = [(base, 1 - (x - base)), (base + 1, x - base)]
        else:
            cubic, _ = cubic_filter(-0.75)
            neighbours = [(base + k, cubic(x - (base + k))) for k in (-1, 0, 1, 2)]
    taps = []
    for index, weight in neighbours:
        if mode == "cubic":
            index = pad_position(index, n, low, high, padding_mode)
        inside = (index >= 0) & (index <= n - 1)
        # Not-a-number is nowhere.
        index = jnp.where(inside, index, 0).astype(jnp.int32)
        taps.append((index, jnp.where(inside, weight, 0)))
    return taps


@op("GridSample", since=(16,), matched={"X": 0, "grid": 0})
def grid_sample_16(
    X: Value,
    grid: Value,
    *,
    align_corners: int = 0,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
) -> Value:
    """`grid_sample` of two spatial axes, with the modes' older names."""
    mode = {"bilinear": "linear", "bicubic": "cubic"}.get(mode, mode)
    return grid_sample(X, grid, align_corners=align_corners, mode=mode, padding_mode=padding_mode)


@op("AffineGrid", since=(20,), static=("size",), shaped_by="size")
def affine_grid(theta: Value, size: np.ndarray, *, align_corners: int = 0) -> Value:
    """Grid [N, D1, ..., Dr, r] for `grid_sample`: `theta` [N, r, r+1] times regular positions.

    `size` is (N, C, D1, ..., Dr), r = 2 or 3. Positions range from -1 to 1: the centers of the
    outermost elements if `align_corners`, else their outer edges.
    """
    only("the length of AffineGrid's size", len(size), 4, 5)
    lengths = check_size(size, theta.dtype)[2:]
    steps = []
    for n in lengths:
        centers = (2 * np.arange(n) + 1) / max(n, 1) - 1
        steps.append(centers * (n / (n - 1) if align_corners and n > 1 else 1))
    positions = np.meshgrid(*steps, indexing="ij")[::-1]
    points = np.stack([*positions, np.ones(lengths)], -1).astype(theta.dtype)
    rows = theta.reshape(len(theta), *(1,) * len(lengths), *theta.shape[1:])
    return product(points[..., None, :], rows).sum(-1)
