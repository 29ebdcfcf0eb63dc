"""Picking and placing elements by index, and finding the indices."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from onnxla.ir.errors import ModelError
from onnxla.ops.checks import only
from onnxla.ops.limits import check_size
from onnxla.ops.sizes import open_mesh
from onnxla.ops.table import op
from onnxla.ops.values import Value, is_floating, is_known, xp

Index: TypeAlias = tuple[Any, ...]  # arrays of positions that broadcast together, and slices

# A reduction by ONNX's name: the method of `jax.Array.at`, and the numpy function.
REDUCTIONS = {
    "none": ("set", None),
    "add": ("add", np.add),
    "mul": ("multiply", np.multiply),
    "max": ("max", np.maximum),
    "min": ("min", np.minimum),
}


def check_indices(indices: Value, n: int) -> None:
    """Raises ModelError if an index, where known, is outside [-n, n-1]."""
    if is_known(indices) and indices.size and not -n <= indices.min() <= indices.max() < n:
        wrong = indices[(indices < -n) | (indices >= n)]
        raise ModelError(f"index {wrong.flat[0]} is out of range for an axis of size {n}")


def pick(data: Value, index: Index) -> Value:
    """`data[index]`. Traced indices that are out of range pick NaN, or the least integer."""
    if xp(data, *index) is np:
        return data[index]
    return jnp.asarray(data).at[index].get(mode="fill")


def place(data: Value, index: Index, updates: Value, reduction: str = "none") -> Value:
    """`data` with `updates` put at `index`, or combined with what is there by `reduction`.

    Where an index occurs twice, both updates are combined; without a reduction, either may win.
    Traced indices that are out of range are ignored.
    """
    if reduction not in REDUCTIONS:
        raise ModelError(f"reduction '{reduction}' is none of {', '.join(REDUCTIONS)}")
    method, function = REDUCTIONS[reduction]
    if xp(data, updates, *(i for i in index if not isinstance(i, slice))) is np:
        result = np.array(data)
        if function is None:
            result[index] = updates
        else:
            function.at(result, index, updates)
        return result
    if reduction == "mul":
        return multiply_at(jnp.asarray(data), index, jnp.asarray(updates))
    return getattr(jnp.asarray(data).at[index], method)(updates)


def multiply_at(data: jax.Array, index: Index, updates: jax.Array) -> jax.Array:
    """`data.at[index].multiply(updates)`, which JAX cannot differentiate for repeated indices.

    The factors of each element are put side by side, and multiplied without a division, so that
    derivatives of any order are right where some of them are zero.
    """
    nowhere = data.size
    places = jnp.arange(nowhere).reshape(data.shape).at[index].get(mode="fill", fill_value=nowhere)
    if not places.size:
        return data
    order = jnp.argsort(places.ravel())
    factors = jnp.broadcast_to(updates, places.shape).ravel()[order]
    place = places.ravel()[order]
    changes = place[1:] != place[:-1]
    first = jnp.concatenate([jnp.ones(1, bool), changes])
    last = jnp.concatenate([changes, jnp.ones(1, bool)])

    def multiply(a: tuple[Value, Value], b: tuple[Value, Value]) -> tuple[Value, Value]:
        return a[0] | b[0], jnp.where(b[0], b[1], a[1] * b[1])

    _, products = lax.associative_scan(multiply, (first, factors))
    ones = jnp.ones(nowhere, data.dtype)
    product = ones.at[jnp.where(last, place, nowhere)].set(products, mode="drop")
    return data * product.reshape(data.shape)


def along(data: Value, indices: Value, axis: int) -> Index:
    """The index of entry [i, j, ...]: [i, j, ...] with position `axis` taken from `indices`."""
    check_indices(indices, data.shape[axis])
    index = open_mesh(indices.shape)
    index[axis] = indices
    return tuple(index)


def tuples(data: Value, indices: Value, batch_dims: int = 0) -> Index:
    """The index of [..., :]: batch axes, then the entries along the last axis of `indices`."""
    *outer, depth = indices.shape
    if depth > data.ndim - batch_dims:
        raise ModelError(f"tuples of {depth} indices for {data.ndim - batch_dims} axes")
    index = open_mesh(outer)[:batch_dims]
    for i in range(depth):
        check_indices(indices[..., i], data.shape[batch_dims + i])
        index.append(indices[..., i])
    return tuple(index)


@op("Gather", since=(1, 11, 13), roles={"data": "embedding"}, moves="gathered")
def gather(data: Value, indices: Value, *, axis: int = 0) -> Value:
    """Entries of `data` along `axis`; rank q + r - 1. Negative indices count from the end."""
    check_indices(indices, data.shape[axis])
    m = xp(data, indices)
    if indices.size == 0:  # jnp.take of an empty axis has the data's shape
        axis %= data.ndim
        return m.zeros((*data.shape[:axis], *indices.shape, *data.shape[axis + 1 :]), data.dtype)
    return m.take(data, indices, axis=axis)


@op(
    "GatherElements",
    since=(11, 13),
    moves="gathered",
    matched=dict.fromkeys(("data", "indices")),
)
def gather_elements(data: Value, indices: Value, *, axis: int = 0) -> Value:
    """Element [i, j, ...] is that of `data` with position `axis` replaced by `indices[i, j, ...]`.

    The other sizes of `indices` may be smaller than those of `data`.
    """
    check_indices(indices, data.shape[axis])
    window = [slice(n) for n in indices.shape]
    window[axis] = slice(None)
    return xp(data, indices).take_along_axis(data[tuple(window)], indices, axis)


@op("GatherND", since=(11, 12, 13), moves="gathered")
def gather_nd(data: Value, indices: Value, *, batch_dims: int = 0) -> Value:
    """Slices of `data` at the index tuples in the last axis of `indices`.

    The tuples start at axis `batch_dims`; the axes before it are those of `indices`.
    """
    return pick(data, tuples(data, indices, batch_dims))


SCATTERED = dict.fromkeys(("data", "indices", "updates"))


@op("ScatterElements", since=(11, 13, 16, 18), matched=SCATTERED)
def scatter_elements(
    data: Value, indices: Value, updates: Value, *, axis: int = 0, reduction: str = "none"
) -> Value:
    """`data` with `updates` put where `gather_elements` would pick them; see `place`."""
    return place(data, along(data, indices, axis), updates, reduction)


@op("Scatter", since=(9, 11), matched=SCATTERED)
def scatter(data: Value, indices: Value, updates: Value, *, axis: int = 0) -> Value:
    """`scatter_elements` by its old name, without reductions."""
    return scatter_elements(data, indices, updates, axis=axis)


@op("ScatterND", since=(11, 13, 16, 18))
def scatter_nd(data: Value, indices: Value, updates: Value, *, reduction: str = "none") -> Value:
    """`data` with the slices `updates` put where `gather_nd` would pick them; see `place`."""
    return place(data, tuples(data, indices), updates, reduction)


@op("TensorScatter", since=(24,))
def tensor_scatter(
    past_cache: Value,
    update: Value,
    write_indices: Value = None,
    *,
    axis: int = -2,
    mode: str = "linear",
) -> Value:
    """The cache [B, ..., S, ...] with `update` [B, ..., L, ...] written into it.

    Example b is written from position `write_indices[b]` of `axis`, that of S and L, on; by default
    from 0. In `mode` circular, positions are modulo S.
    """
    batch, n = past_cache.shape[0], past_cache.shape[axis]
    if write_indices is None:
        write_indices = np.zeros(batch, np.int64)
    positions = write_indices[:, None] + np.arange(update.shape[axis])
    if mode == "circular":
        positions %= n
    check_indices(positions, n)
    between = [slice(None)] * (axis % past_cache.ndim - 1)
    index = (np.arange(batch)[:, None], *between, positions)
    # Axes that are indexed by arrays come first where there are slices between them.
    return place(past_cache, index, xp(update).moveaxis(update, axis, 1))


@op("OneHot", since=(9, 11, 28), static=("depth",))
def one_hot(indices: Value, depth: np.ndarray, values: Value, *, axis: int = -1) -> Value:
    """`values[1]` where the position along a new axis equals the index, elsewhere `values[0]`.

    The axis has size `depth` and is inserted at `axis`. Negative indices count from its end; an
    index outside it is nowhere.
    """
    m, n = xp(indices, values), int(depth.item())
    check_size((*indices.shape, n), values.dtype)
    axis %= indices.ndim + 1
    places = m.expand_dims(indices.astype(np.int64), axis)
    classes = np.arange(n).reshape(-1, *(1,) * (indices.ndim - axis))
    # One element each, not a string: numpy would make text of another dtype of it.
    return m.where((places == classes) | (places + n == classes), values[1:], values[:1])


@op("TopK", since=(11, 24), static=("K",))
def top_k(
    X: Value, K: np.ndarray, *, axis: int = -1, largest: int = 1, sorted: int = 1
) -> tuple[Value, Value]:
    """The K largest (or smallest) elements along `axis`, best first, and their int64 indices.

    Of equal elements, the one with the lower index comes first.
    """
    only("the shape of K", K.shape, (1,))
    x = jnp.moveaxis(jnp.asarray(X), axis, -1)
    # The order of integers is reversed by `~`, which cannot overflow.
    keys = x if largest else jnp.negative(x) if is_floating(x) else jnp.invert(x)
    if is_floating(x):
        # JAX takes -0 for less than 0, to which it is equal.
        keys = jnp.where(keys == 0, jnp.zeros_like(keys), keys)
    indices = lax.top_k(lax.stop_gradient(keys), int(K.item()))[1]
    values = jnp.take_along_axis(x, indices, -1)
    return jnp.moveaxis(values, -1, axis), jnp.moveaxis(indices, -1, axis).astype(np.int64)


@op("TopK", since=(10,), static=("K",))
def top_k_10(X: Value, K: np.ndarray, *, axis: int = -1) -> tuple[Value, Value]:
    """`top_k` of the largest elements."""
    return top_k(X, K, axis=axis)


@op("TopK", since=(1,))
def top_k_1(X: Value, *, k: int, axis: int = -1) -> tuple[Value, Value]:
    """`top_k` with `k` as an attribute."""
    return top_k(X, np.asarray([k]), axis=axis)


def first(x: Value, best: Value, axis: int) -> Value:
    """Where x first equals `best` along an axis, or is NaN; int32.

    JAX expands `lax.argmax` when it compiles a program, perhaps with 64-bit types disabled, and is
    then wrong for an x of 64 bits.
    """
    place = lax.broadcasted_iota(np.int32, x.shape, axis % x.ndim)
    found = (x == best) | (x != x)
    return jnp.where(found, place, x.shape[axis]).min(axis)


def argmax(x: Value, axis: int) -> Value:
    """Where the largest element along an axis is, the first of equal ones; int32."""
    return first(x, jnp.max(x, axis, keepdims=True), axis)


def arg(reduce: Callable[..., Value], data: Value, axis: int, keepdims: int, last: int) -> Value:
    """Index of the first or last extremal element along `axis`; int64."""
    data = jnp.flip(data, axis) if last else jnp.asarray(data)
    indices = first(data, reduce(data, axis, keepdims=True), axis).astype(np.int64)
    indices = data.shape[axis] - 1 - indices if last else indices
    return jnp.expand_dims(indices, axis) if keepdims else indices


@op("ArgMax", since=(1, 11, 12, 13))
def arg_max(data: Value, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Value:
    """Index of the largest element along `axis`, the first or last of equal ones; int64."""
    return arg(jnp.max, data, axis, keepdims, select_last_index)


@op("ArgMin", since=(1, 11, 12, 13))
def arg_min(data: Value, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Value:
    """Index of the smallest element along `axis`, the first or last of equal ones; int64."""
    return arg(jnp.min, data, axis, keepdims, select_last_index)


@op("NonZero", since=(9, 13), static=("X",))
def non_zero(X: np.ndarray) -> np.ndarray:
    """Indices of the elements that are not zero, in row-major order; int64 [rank, count]."""
    return np.argwhere(X).T


@op("Compress", since=(9, 11, 28), static=("condition",))
def compress(input: Value, condition: np.ndarray, *, axis: int | None = None) -> Value:
    """Entries along `axis` where `condition` holds; of the flattened input if there is no axis."""
    if axis is None:
        input, axis = input.reshape(-1), 0
    return gather(input, np.flatnonzero(condition), axis=axis)


@op("Unique", since=(11, 28), static=("X",))
def unique(
    X: np.ndarray, *, axis: int | None = None, sorted: int = 1
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The distinct slices along `axis`: Y, where each occurs first, which each slice is, counts.

    Without an axis: the distinct elements. In ascending order if `sorted`, else as they occur.
    """
    if axis is None:
        X, axis = X.reshape(-1), 0
    slices = np.moveaxis(X, axis, 0)
    # Ranks stand for the elements, since numpy finds distinct rows of simple dtypes only.
    ranks = np.unique(X, return_inverse=True)[1].reshape(X.shape)
    rows = np.moveaxis(ranks, axis, 0).reshape(len(slices), math.prod(slices.shape[1:]))
    _, first, inverse, counts = np.unique(
        rows, return_index=True, return_inverse=True, return_counts=True, axis=0
    )
    inverse = inverse.reshape(-1)
    if not sorted:
        order = np.argsort(first)
        first, counts, inverse = first[order], counts[order], np.argsort(order)[inverse]
    return np.take(X, first, axis), first, inverse, counts
