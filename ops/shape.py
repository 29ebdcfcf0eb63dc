"""Shapes: reading them, changing them, and rearranging elements without computing with them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.core import max_dim, min_dim

from onnxla.ir.dtypes import STRING, dtype_of
from onnxla.ir.errors import ModelError
from onnxla.ops.checks import check_split
from onnxla.ops.index import check_indices
from onnxla.ops.limits import check_size
from onnxla.ops.sizes import as_sizes, at_least, is_symbolic
from onnxla.ops.table import lookup, op, register
from onnxla.ops.values import Value, alike, as_traced, is_known, xp

# Exporters write such positions, and larger ones, for the end of any axis.
END = 10**9
# So many times its size, and an axis is padded by its elements' places: numpy pads piece by piece.
TIMES = 64


def integers(values: Value) -> tuple[int, ...]:
    """A known tensor, or an attribute, as Python integers."""
    return tuple(np.ravel(values).tolist())


@op(
    "Reshape",
    since=(5, 13, 14, 19, 21, 23, 24, 25),
    static=("shape",),
    moves="reshaped",
    shaped_by="shape",
)
def reshape(data: Value, shape: np.ndarray, *, allowzero: int = 0) -> Value:
    """`data` with another shape. One -1 is inferred; 0 keeps the old size unless `allowzero`."""
    sizes = [
        data.shape[i] if size == 0 and not allowzero else size
        for i, size in enumerate(integers(shape))
    ]
    return data.reshape(sizes)


@op("Reshape", since=(1,), moves="reshaped")
def reshape_1(data: Value, *, shape: tuple[int, ...] = ()) -> Value:
    """`reshape` with the shape as an attribute."""
    return reshape(data, np.asarray(shape))


@op("Shape", since=(1, 13, 15, 19, 21, 23, 24, 25), reads_shape=True)
def shape(data: Value, *, start: int = 0, end: int | None = None) -> np.ndarray:
    """Sizes of the axes from `start` to `end`; int64 [number]. Known even if data is not."""
    return as_sizes(data.shape[slice(start, end)])


@op("Size", since=(1, 13, 19, 21, 23, 24, 25), reads_shape=True)
def size(data: Value) -> np.ndarray:
    """Number of elements; int64 []. Known even if data is not."""
    return as_sizes(data.size)


@op("Identity", since=(1, 13, 14, 16, 19, 21, 23, 24, 25), moves="reshaped")
def identity(input: Value) -> Value:
    """The input, be it a tensor, a sequence or an optional."""
    return input


@op("Constant", since=(1, 9, 11, 12, 13, 19, 21, 23, 24, 25))
def constant(
    *,
    value: Value = None,
    sparse_value: Value = None,
    value_int: int | None = None,
    value_ints: tuple[int, ...] | None = None,
    value_float: float | None = None,
    value_floats: tuple[float, ...] | None = None,
    value_string: str | None = None,
    value_strings: tuple[str, ...] | None = None,
) -> Value:
    """The attribute's value: a tensor (dense, though stored sparse), a scalar or a vector."""
    scalars = (
        (value_int, np.int64),
        (value_ints, np.int64),
        (value_float, np.float32),
        (value_floats, np.float32),
        (value_string, STRING),
        (value_strings, STRING),
    )
    given = [tensor for tensor in (value, sparse_value) if tensor is not None]
    given += [np.array(scalar, dtype) for scalar, dtype in scalars if scalar is not None]
    if len(given) != 1:
        raise ModelError(f"Constant needs one value, not {len(given)}")
    return given[0]


@op("ConstantOfShape", since=(9, 20, 21, 23, 24, 25), static=("input",))
def constant_of_shape(input: np.ndarray, *, value: Value = None) -> Value:
    """A tensor of the shape `input` filled with the one element of `value`: float32 0 if absent."""
    fill = np.zeros((), np.float32) if value is None else np.reshape(value, ())
    if is_symbolic(*input):
        return jnp.broadcast_to(fill, tuple(input))
    return np.broadcast_to(fill, check_size(input, fill.dtype))


@op("EyeLike", since=(9, 22), reads_shape=True)
def eye_like(input: Value, *, dtype: int | None = None, k: int = 0) -> np.ndarray:
    """Ones on the `k`-th diagonal, zeros elsewhere; shape and default dtype of the input [N, M]."""
    kind = input.dtype if dtype is None else dtype_of(dtype)
    rows, columns = check_size(input.shape, kind)
    return np.eye(rows, columns, k, dtype=kind)


@op("Range", since=(11, 27), static=("start", "limit", "delta"))
def range_(
    start: np.ndarray, limit: np.ndarray, delta: np.ndarray, *, stash_type: int = 1
) -> Value:
    """start, start + delta, start + 2 delta, ... up to `limit`, exclusive."""
    dtype = start.dtype
    sizes = [integers(x)[0] for x in (start, limit, delta)]
    if is_symbolic(*sizes):
        count = max_dim(-((sizes[0] - sizes[1]) // sizes[2]), 0)
        begin, by = (as_traced(as_sizes(x, dtype)) for x in (sizes[0], sizes[2]))
        return begin + jnp.arange(count, dtype=dtype) * by
    # float16 and bfloat16 are computed in a wider type.
    kind = dtype if dtype.itemsize > 2 or dtype.kind == "i" else dtype_of(stash_type)
    first, last, step = (np.reshape(x, ()).astype(kind) for x in (start, limit, delta))
    try:
        if dtype.kind == "i":
            count = -((int(first) - int(last)) // int(step))
        else:
            count = math.ceil(float(last - first) / float(step))
    except (ArithmeticError, ValueError):  # the step is zero, or a number is not finite
        raise ModelError(f"Range from {first} to {last} by {step} has no length") from None
    (count,) = check_size((max(count, 0),), kind)
    values = first + np.arange(count).astype(kind) * step
    return values.astype(dtype)


@op("Transpose", since=(1, 13, 21, 23, 24, 25), moves="permuted")
def transpose(data: Value, *, perm: tuple[int, ...] | None = None) -> Value:
    """`data` with its axes in the order `perm`; by default reversed."""
    return data.transpose(perm)


@op("Flatten", since=(1, 9, 11, 13, 21, 23, 24, 25), moves="reshaped")
def flatten(input: Value, *, axis: int = 1) -> Value:
    """The input as a matrix: its axes before `axis` are the rows, the others the columns."""
    check_split(axis, input.ndim)
    return input.reshape(math.prod(input.shape[:axis]), math.prod(input.shape[axis:]))


@op("Squeeze", since=(13, 21, 23, 24, 25), static=("axes",), moves="reshaped")
def squeeze(data: Value, axes: np.ndarray | None = None) -> Value:
    """`data` without `axes`, which have size 1; by default without all such axes."""
    return data.squeeze(None if axes is None else integers(axes))


@op("Squeeze", since=(1, 11), moves="reshaped")
def squeeze_1(data: Value, *, axes: tuple[int, ...] | None = None) -> Value:
    """`squeeze` with the axes as an attribute."""
    return data.squeeze(axes)


@op("Unsqueeze", since=(13, 21, 23, 24, 25), static=("axes",), moves="reshaped")
def unsqueeze(data: Value, axes: np.ndarray) -> Value:
    """`data` with further axes of size 1; `axes` are their positions in the result."""
    return xp(data).expand_dims(data, integers(axes))


@op("Unsqueeze", since=(1, 11), moves="reshaped")
def unsqueeze_1(data: Value, *, axes: tuple[int, ...]) -> Value:
    """`unsqueeze` with the axes as an attribute."""
    return xp(data).expand_dims(data, axes)


@op("Concat", since=(4, 11, 13), moves="joined", matched={"inputs": None})
def concat(*inputs: Value, axis: int) -> Value:
    """The inputs, one after another along `axis`; their other sizes are equal."""
    return xp(*inputs).concatenate(alike(*inputs), axis)


@op("Concat", since=(1,), moves="joined", matched={"inputs": None})
def concat_1(*inputs: Value, axis: int | None = None) -> Value:
    """`concat` along axis 1 by default."""
    return concat(*inputs, axis=1 if axis is None else axis)


@op("Split", since=(13, 18), static=("split",), moves="sliced")
def split_(
    input: Value,
    split: np.ndarray | None = None,
    *,
    axis: int = 0,
    num_outputs: int | None = None,
    n_outputs: int,
) -> tuple[Value, ...]:
    """Parts of the input along `axis`, of the sizes `split`; by default equal, the last smaller."""
    n = input.shape[axis]
    if split is None:
        count = num_outputs or n_outputs
        if count != n_outputs:
            raise ModelError(f"num_outputs={count}, but the node has {n_outputs} outputs")
        offsets = [clamped(0, i * -(-n // count), n) for i in range(1, count)]
    elif min(split, default=0) < 0 or sum(split) != n:
        raise ModelError(f"Split sizes {split.tolist()} do not add up to {n}, the size of the axis")
    else:
        offsets = np.cumsum(split)[:-1].tolist()
    return tuple(xp(input).split(input, offsets, axis))


@op("Split", since=(2, 11), moves="sliced")
def split_2(
    input: Value, *, split: tuple[int, ...] | None = None, axis: int = 0, n_outputs: int
) -> tuple[Value, ...]:
    """`split_` with the sizes as an attribute."""
    sizes = None if split is None else np.asarray(split)
    return split_(input, sizes, axis=axis, n_outputs=n_outputs)


@op("Split", since=(1,), static=("split",), moves="sliced")
def split_1(
    input: Value, split: Value = None, *, axis: int | None = None, n_outputs: int
) -> tuple[Value, ...]:
    """`split_` with the sizes as an attribute, or as an operand of the input's dtype."""
    return split_2(
        input,
        split=None if split is None else integers(np.asarray(split, np.int64)),
        axis=axis or 0,
        n_outputs=n_outputs,
    )


# A signature cannot have an input and an attribute of the same name.
SPLIT_1 = lookup("", "Split", 1)
assert SPLIT_1 is not None
register(replace(SPLIT_1, attributes={"split": None, "axis": None}))


@op("Expand", since=(8, 13), static=("shape",), moves="repeated")
def expand(input: Value, shape: np.ndarray) -> Value:
    """The input broadcast together with `shape`, whose sizes of 1 keep the input's."""
    sizes: tuple[Any, ...] = jnp.broadcast_shapes(input.shape, integers(shape))
    if not is_known(input) or is_symbolic(*sizes):
        return jnp.broadcast_to(input, sizes)
    return np.broadcast_to(input, check_size([int(size) for size in sizes], input.dtype))


@op("Tile", since=(6, 13), static=("repeats",), moves="repeated")
def tile(input: Value, repeats: np.ndarray) -> Value:
    """The input repeated `repeats[i]` times along each axis i."""
    counts = integers(repeats)
    if len(counts) != input.ndim:
        raise ModelError(f"Tile needs {input.ndim} repeats, not {list(counts)}")
    if is_symbolic(*counts, *input.shape):
        return jnp.tile(input, counts)
    if is_known(input):
        check_size([n * r for n, r in zip(input.shape, counts, strict=True)], input.dtype)
    return xp(input).tile(input, counts)


@op("Tile", since=(1,), static=("tiles", "axis"), moves="repeated")
def tile_1(input: Value, tiles: np.ndarray, axis: np.ndarray) -> Value:
    """The input repeated `tiles` times along one axis."""
    repeats = np.ones(input.ndim, np.int64)
    repeats[int(axis.item())] = int(tiles.item())
    return tile(input, repeats)


@op("Pad", since=(11, 13, 18, 19, 21, 23, 24, 25), static=("pads", "axes"))
def pad(
    data: Value,
    pads: np.ndarray,
    constant_value: Value = None,
    axes: np.ndarray | None = None,
    *,
    mode: str = "constant",
) -> Value:
    """`data` with elements added, or where negative removed, at the beginning and end of `axes`.

    `pads` [2 * number of axes] has all beginnings before all ends. What is added is constant,
    reflected without repeating the edge, the edge, or wrapped around.
    """
    chosen = range(data.ndim) if axes is None else integers(axes)
    amounts = integers(pads)
    if len(amounts) != 2 * len(chosen):
        raise ModelError(f"Pad needs two pads for each of {len(chosen)} axes, not {list(amounts)}")
    widths = [(0, 0)] * data.ndim
    for i, axis in enumerate(chosen):
        widths[axis] = amounts[i], amounts[i + len(chosen)]
    if not any(amounts):
        return data
    if not all(at_least(amount, 0) for amount in amounts):
        kept = zip(widths, data.shape, strict=True)
        data = data[
            tuple(slice(max_dim(-b, 0), max_dim(n + min_dim(e, 0), 0)) for (b, e), n in kept)
        ]
        widths = [(max_dim(b, 0), max_dim(e, 0)) for b, e in widths]
    made = [n + b + e for (b, e), n in zip(widths, data.shape, strict=True)]
    symbolic = is_symbolic(*made)
    if not symbolic:
        check_size(made, data.dtype, "the padded tensor")
    if mode in ("reflect", "wrap") and (
        symbolic or any(m > TIMES * max(n, 1) for m, n in zip(made, data.shape, strict=True))
    ):
        return pad_often(data, widths, mode)
    m = jnp if symbolic else xp(data)
    if mode != "constant":
        return m.pad(data, widths, mode)
    if constant_value is None:
        constant_value = np.asarray("" if data.dtype == STRING else 0, data.dtype)
    data, constant_value = alike(data, constant_value)
    fill = constant_value.reshape(())
    if is_known(fill):
        return m.pad(data, widths, constant_values=fill)
    # `lax.pad` has no derivative by the padding value alone.
    inside = jnp.pad(jnp.ones(data.shape, bool), widths)
    return jnp.where(inside, jnp.pad(data, widths), fill)


def pad_often(data: Value, widths: Sequence[tuple[int, int]], mode: str) -> Value:
    """`data` reflected or wrapped around, as often as it takes."""
    for axis, (n, (begin, end)) in enumerate(zip(data.shape, widths, strict=True)):
        if n == 0 and begin + end:
            raise ModelError(f"Pad cannot {mode} axis {axis}, which is empty")
        if begin or end:
            size, first = as_sizes(n), as_sizes(begin)
            if is_symbolic(n, begin, end):
                size, first = as_traced(size), as_traced(first)
            m = xp(size, first)
            period = size if mode == "wrap" else m.maximum(2 * (size - 1), 1)
            places = (m.arange(begin + n + end) - first) % period
            places = places if mode == "wrap" else m.minimum(places, period - places)
            data = xp(data, places).take(data, places, axis)
    return data


@op("Pad", since=(2,))
def pad_2(
    data: Value, *, pads: tuple[int, ...], mode: str = "constant", value: float = 0.0
) -> Value:
    """`pad` with everything in attributes."""
    return pad(data, np.asarray(pads, np.int64), np.asarray(value, data.dtype), mode=mode)


@op("Pad", since=(1,))
def pad_1(
    data: Value, *, paddings: tuple[int, ...], mode: str = "constant", value: float = 0.0
) -> Value:
    """`pad_2` by another attribute name."""
    return pad_2(data, pads=paddings, mode=mode, value=value)


@op("CenterCropPad", since=(18,), static=("shape",), shaped_by="shape")
def center_crop_pad(
    input_data: Value, shape: np.ndarray, *, axes: tuple[int, ...] | None = None
) -> Value:
    """The input cropped, or padded with zeros, to `shape` along `axes`, its center kept.

    Of an odd number of elements, the one more is removed or added at the end.
    """
    chosen = range(input_data.ndim) if axes is None else axes
    extra = shape - np.take(input_data.shape, chosen)
    begin = np.trunc(extra / 2).astype(np.int64)
    return pad(input_data, np.concatenate([begin, extra - begin]), axes=np.asarray(chosen))


@op("Slice", since=(10, 11, 13), static=("starts", "ends", "axes", "steps"), moves="sliced")
def slice_(
    data: Value,
    starts: np.ndarray,
    ends: np.ndarray,
    axes: np.ndarray | None = None,
    steps: np.ndarray | None = None,
) -> Value:
    """Elements of `data` from `starts` to `ends`, exclusive, by `steps` along `axes`.

    Negative positions count from the end of the axis; those outside it are moved to its ends.
    """
    chosen = range(len(starts)) if axes is None else integers(axes)
    step_sizes = [1] * len(starts) if steps is None else integers(steps)
    index = [slice(None)] * data.ndim
    for axis, start, end, step in zip(
        chosen, integers(starts), integers(ends), step_sizes, strict=True
    ):
        if step == 0:
            raise ModelError(f"Slice step of axis {axis} is 0")
        n = data.shape[axis]
        # Going backward, the positions before the first and at the last element are the limits.
        low, high = (0, n) if step > 0 else (-1, n - 1)
        first = clamped(0, start + n if start < 0 else start, high)
        last = clamped(low, end + n if end < 0 else end, high)
        index[axis] = slice(first, last if last >= 0 else None, step)
    return data[tuple(index)]


def clamped(low: Any, position: Any, high: Any) -> Any:
    """A position that is not below `low` nor above `high`, which may be symbolic."""
    if not is_symbolic(low, position, high):
        return min(max(position, low), high)
    if not is_symbolic(position) and position >= END:
        return high
    return min_dim(max_dim(position, low), high)


@op("Slice", since=(1,), moves="sliced")
def slice_1(
    data: Value,
    *,
    starts: tuple[int, ...],
    ends: tuple[int, ...],
    axes: tuple[int, ...] | None = None,
) -> Value:
    """`slice_` with everything in attributes."""
    return slice_(
        data, np.asarray(starts), np.asarray(ends), None if axes is None else np.asarray(axes)
    )


@op("Trilu", since=(14,))
def trilu(input: Value, k: Value = None, *, upper: int = 1) -> Value:
    """The upper (or lower) triangle of each matrix of the input [..., N, M], zeros elsewhere.

    The `k`-th diagonal is included: 0 is the main one, 1 the one above it.
    """
    m = xp(input, k)
    rows, columns = input.shape[-2:]
    diagonal = m.arange(columns) - m.arange(rows)[:, None]
    k = 0 if k is None else k.reshape(())
    keep = diagonal >= k if upper else diagonal <= k
    return m.where(keep, input, m.zeros((), input.dtype))


@op("DepthToSpace", since=(1, 11, 13, 28))
def depth_to_space(input: Value, *, blocksize: int, mode: str = "DCR") -> Value:
    """[N, C, H, W] -> [N, C / b², H b, W b], b = blocksize: channels become blocks of pixels.

    Going through the channels, `mode` DCR changes the new channel fastest, CRD the block's column.
    """
    n, c, h, w = input.shape
    if blocksize < 1 or c % blocksize**2:
        raise ModelError(f"{c} channels are no blocks of {blocksize} by {blocksize}")
    b, depth = blocksize, c // blocksize**2
    if mode == "DCR":
        parts = input.reshape(n, b, b, depth, h, w).transpose(0, 3, 4, 1, 5, 2)
    else:
        parts = input.reshape(n, depth, b, b, h, w).transpose(0, 1, 4, 2, 5, 3)
    return parts.reshape(n, depth, h * b, w * b)


@op("SpaceToDepth", since=(1, 13, 28))
def space_to_depth(input: Value, *, blocksize: int, mode: str = "DCR") -> Value:
    """[N, C, H, W] -> [N, C b², H / b, W / b], b = blocksize: the inverse of `depth_to_space`."""
    n, c, h, w = input.shape
    b = blocksize
    if b < 1 or h % b or w % b:
        raise ModelError(f"an image of {h} by {w} is not made of blocks of {b} by {b}")
    parts = input.reshape(n, c, h // b, b, w // b, b)
    order = (0, 3, 5, 1, 2, 4) if mode == "DCR" else (0, 1, 3, 5, 2, 4)
    return parts.transpose(order).reshape(n, c * b * b, h // b, w // b)


@op("ReverseSequence", since=(10, 28), matched={"sequence_lens": 0})
def reverse_sequence(
    input: Value, sequence_lens: Value, *, batch_axis: int = 1, time_axis: int = 0
) -> Value:
    """The input with the first `sequence_lens[b]` steps of each sequence b in reverse order."""
    m = xp(input, sequence_lens)
    check_indices(sequence_lens, input.shape[time_axis] + 1)
    steps, batch = m.arange(input.shape[time_axis]), m.arange(input.shape[batch_axis])
    lengths = sequence_lens.astype(steps.dtype)
    if time_axis == 0:
        steps = steps[:, None]
    else:
        batch, lengths = batch[:, None], lengths[:, None]
    source = m.where(steps < lengths, lengths - 1 - steps, steps)
    index = (source, batch) if time_axis == 0 else (batch, source)
    return m.asarray(input)[index]
