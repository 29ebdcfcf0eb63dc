"""Picking and placing elements by index, and finding the indices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from onnxla.ir import STRING
from onnxla.testing.draw import Draw
from onnxla.testing.operator_cases import strategy
from onnxla.testing.use import Use


def indices_below(draw: Draw, dtype: Any, shape: Sequence[int], n: int) -> np.ndarray:
    """Indices of an axis of size n; since opset 11 they may be counted from its end."""
    return draw.array(dtype, shape, -n if draw.version >= 11 else 0, n - 1)


def from_either_end(draw: Draw, indices: np.ndarray, n: int) -> np.ndarray:
    """Indices of an axis of size n, some of them counted from its end."""
    return np.where(draw.array(np.bool_, indices.shape), indices - n, indices)


def axis_of(draw: Draw, rank: int, since: int = 11) -> int:
    """An axis, which may be counted from the end since some opset."""
    return draw.axis(rank) if draw.version >= since else draw.integer(0, rank - 1)


def unless(draw: Draw, value: int, default: int) -> int | None:
    """An attribute's value, perhaps absent where it is the default."""
    return None if value == default and draw.flag() else value


@strategy("Gather")
def gather(draw: Draw) -> Use:
    """A tensor, and indices of any shape of one of its axes."""
    sizes = draw.any_shape((1, 3))
    axis = axis_of(draw, len(sizes), since=1)
    # There is no index of an axis of size 0.
    shape = draw.any_shape((0, 3), 3) if sizes[axis] else (0, *draw.shape((0, 2)))
    indices = indices_below(draw, draw.dtype("indices"), shape, sizes[axis])
    data = draw.tensor("data", sizes)
    return draw.use((data, indices), {"axis": unless(draw, axis, 0)})


@strategy("GatherElements")
def gather_elements(draw: Draw) -> Use:
    """A tensor, and indices of an axis, of a shape that is no larger on the other axes."""
    sizes = draw.any_shape((1, 4))
    axis = draw.axis(len(sizes))
    shape = [draw.integer(min(1, n), n) if draw.flag() else n for n in sizes]
    shape[axis] = draw.side(1) if sizes[axis] else 0
    indices = indices_below(draw, draw.dtype("indices"), shape, sizes[axis])
    return draw.use((draw.tensor("data", sizes), indices), {"axis": unless(draw, axis, 0)})


@strategy("GatherND")
def gather_nd(draw: Draw) -> Use:
    """[B ..., D1 ..., E ...] and indices [B ..., I ..., k] of its k axes after the batch axes."""
    sizes = draw.any_shape((1, 4))
    batch = draw.integer(0, len(sizes) - 1) if draw.has("batch_dims") else 0
    depth = draw.integer(1, len(sizes) - batch)
    indexed = sizes[batch : batch + depth]
    outer = draw.any_shape((0, 2), 3)
    # There is no index of an axis of size 0.
    if not math.prod(indexed):
        outer = (0, *outer)
    columns = [
        indices_below(draw, np.int64, (*sizes[:batch], *outer), n)
        if n
        else np.zeros((*sizes[:batch], *outer), np.int64)
        for n in indexed
    ]
    attributes = {"batch_dims": unless(draw, batch, 0)} if draw.has("batch_dims") else {}
    rank = len(outer) + len(sizes) - depth
    operands = (draw.tensor("data", sizes), np.stack(columns, -1))
    return draw.use(operands, attributes, ranks={"y0": rank})


@strategy("Scatter", "ScatterElements")
def scatter_elements(draw: Draw) -> Use:
    """A tensor, indices of an axis, and updates; no index occurs twice without a reduction."""
    sizes = draw.any_shape((1, 4))
    axis = draw.axis(len(sizes)) if draw.version >= 11 else draw.integer(0, len(sizes) - 1)
    reduction, low, high = draw_reduction(draw)
    n = sizes[axis]
    shape = [draw.integer(min(1, s), s) if draw.flag() else s for s in sizes]
    if reduction in (None, "none"):
        places = draw.array(
            np.float64,
            [n if i == axis % len(sizes) else s for i, s in enumerate(shape)],
            distinct=True,
        )
        indices = np.argsort(places, axis).take(range(shape[axis]), axis)
        if draw.version >= 11:
            indices = from_either_end(draw, indices, n)
    else:
        shape[axis] = draw.side(1) if n else 0
        indices = indices_below(draw, np.int64, shape, n)
    return draw.use(
        (
            draw.tensor("data", sizes, low, high),
            indices.astype(draw.dtype("indices")),
            draw.tensor("updates", shape, low, high),
        ),
        {"axis": unless(draw, axis, 0), "reduction": reduction},
    )


def draw_reduction(draw: Draw) -> tuple[str | None, int | None, int | None]:
    """A reduction of scattered updates, and the range of numbers; binds the dtype of `data`."""
    if not draw.has("reduction"):
        return None, None, None
    names = ("none", "add", "mul") + (("max", "min") if draw.version >= 18 else ())
    reduction = draw.choice((None, *names))
    if reduction in (None, "none"):
        return reduction, None, None
    # Texts and truth values have no sum; complex numbers have no order.
    complex_too = reduction in ("add", "mul")
    but = (STRING, np.bool_) + (() if complex_too else (np.complex64, np.complex128))
    draw.dtype("data", but=but)
    # The product of a few small integers fits into 8 bits.
    return (reduction, -2, 2) if reduction == "mul" else (reduction, None, None)


@strategy("ScatterND")
def scatter_nd(draw: Draw) -> Use:
    """[D1 ..., E ...], indices [I ..., k] of its first k axes, and updates [I ..., E ...]."""
    sizes = draw.any_shape((1, 4))
    depth = draw.integer(1, len(sizes))
    indexed, rest = sizes[:depth], sizes[depth:]
    reduction, low, high = draw_reduction(draw)
    count = math.prod(indexed)
    outer = draw.any_shape((0, 2), 3) if count else (0, *draw.shape((0, 1)))
    number = math.prod(outer)
    if reduction in (None, "none"):
        # No place is written to twice.
        if number > count:
            outer, number = (count,), count
        places = np.argsort(draw.array(np.float64, (count,), distinct=True))[:number]
    else:
        places = draw.array(np.int64, (number,), 0, count - 1)
    columns = (
        np.unravel_index(places.reshape(outer), indexed)
        if number
        else [np.zeros(outer, np.int64)] * depth
    )
    columns = [from_either_end(draw, c, n) for c, n in zip(columns, indexed, strict=True)]
    return draw.use(
        (
            draw.tensor("data", sizes, low, high),
            np.stack(columns, -1).astype(np.int64),
            draw.tensor("updates", (*outer, *rest), low, high),
        ),
        {"reduction": reduction},
    )


@strategy("TensorScatter")
def tensor_scatter(draw: Draw) -> Use:
    """A cache [B, D ..., S, E ...], an update that is shorter along S, and where it begins."""
    sizes = draw.any_shape((2, 4))
    rank = len(sizes)
    axis = draw.choice([i for i in (-2, *range(-1, -rank, -1), *range(1, rank)) if i % rank])
    mode = draw.choice((None, "linear", "circular"))
    n = sizes[axis]
    steps = draw.integer(0, n)
    shape = list(sizes)
    shape[axis] = steps
    most = 2 * n if mode == "circular" else n - steps
    starts = draw.maybe(lambda: draw.array(np.int64, (sizes[0],), 0, most))
    return draw.use(
        (draw.tensor("past_cache", sizes), draw.tensor("update", shape), starts),
        {"axis": unless(draw, axis, -2), "mode": mode},
        batch=(0, 1) if starts is None else (0, 1, 2),
    )


@strategy("OneHot")
def one_hot(draw: Draw) -> Use:
    """Indices inside of a depth and outside, of any kind of number, and what is off and on."""
    depth = draw.integer(1, 6)
    # The three types are independent; runtimes have few combinations.
    if not draw.flag():
        draw.dtype("indices", among=(np.int64,))
        draw.dtype("depth", among=(np.int64,))
    # Before opset 11 indices must not be negative. ONNX infers no shape of a scalar's.
    low = -depth - 2 if draw.version >= 11 else 0
    indices = draw.tensor("indices", draw.any_shape((1, 3)), low, depth + 2)
    size = np.full(draw.choice(((), (1,))), depth).astype(draw.dtype("depth"))
    rank = indices.ndim + 1
    axis = axis_of(draw, rank)
    return draw.use(
        (indices, size, draw.tensor("values", (2,))),
        {"axis": unless(draw, axis if axis != rank - 1 else -1, -1)},
        ranks={"y0": rank},
    )


@strategy("TopK")
def top_k(draw: Draw) -> Use:
    """A tensor, some of its elements equal, and how many of an axis to keep."""
    sizes = list(draw.any_shape((1, 4)))
    axis = axis_of(draw, len(sizes))
    sizes[axis] = draw.side(1, 8)
    k = draw.integer(1, sizes[axis])
    attributes: dict[str, Any] = {"axis": unless(draw, axis if axis != len(sizes) - 1 else -1, -1)}
    if draw.has("largest"):
        attributes["largest"] = draw.choice((None, 1, 0))
        # The order is undefined if not sorted, unless there is only one element.
        attributes["sorted"] = draw.choice((None, 1, 0) if k == 1 else (None, 1))
    # Half of the time few numbers, so that many are equal.
    few = draw.flag()
    data = draw.tensor("X", sizes, *((0, 1) if few else (None, None)))
    data[data != data] = 0  # where NaN is in the order is not said
    batch = (0,) if axis % len(sizes) else ()
    if not draw.has("K"):
        return draw.use((data,), {**attributes, "k": k}, outputs=2, batch=batch)
    ranks = {"y0": len(sizes), "y1": len(sizes)}
    operands = (data, np.array([k], np.int64))
    return draw.use(operands, attributes, outputs=2, ranks=ranks, batch=batch)


@strategy("ArgMax", "ArgMin")
def arg(draw: Draw) -> Use:
    """A tensor, and an axis; of equal elements the first or last one counts since opset 12."""
    sizes = list(draw.any_shape((1, 4)))
    axis = axis_of(draw, len(sizes))
    sizes[axis] = draw.side(1)
    ties = draw.has("select_last_index")
    attributes = {"axis": unless(draw, axis, 0), "keepdims": draw.choice((None, 1, 0))}
    if ties:
        attributes["select_last_index"] = draw.choice((None, 0, 1))
    low, high = (0, 1) if ties and draw.flag() else (None, None)
    data = draw.tensor("data", sizes, low, high, distinct=not ties)
    return draw.use((data,), attributes, batch=(0,) if axis % len(sizes) else ())


@strategy("NonZero")
def non_zero(draw: Draw) -> Use:
    """A tensor of up to four axes, some of its elements zero."""
    sizes = draw.any_shape((0, 4))
    data = draw.tensor("X", sizes, *((0, 1) if draw.flag() else (None, None)))
    return draw.use((data,), ranks={"y0": 2})


@strategy("Compress")
def compress(draw: Draw) -> Use:
    """A tensor, and which entries to keep along an axis, or of all elements."""
    sizes = draw.any_shape((1, 4))
    axis = None if draw.flag() else axis_of(draw, len(sizes))
    n = math.prod(sizes) if axis is None else sizes[axis]
    # Entries that the condition does not reach are dropped.
    length = draw.integer(0, n) if draw.flag() else n
    condition = draw.array(np.bool_, (length,))
    ranks = {"y0": 1 if axis is None else len(sizes)}
    return draw.use((draw.tensor("input", sizes), condition), {"axis": axis}, ranks=ranks)


@strategy("Unique")
def unique(draw: Draw) -> Use:
    """A tensor with equal elements or slices along an axis."""
    sizes = draw.any_shape((0, 3), 4)
    axis = draw.axis(len(sizes)) if sizes and draw.flag() else None
    few = draw.flag()
    data = draw.tensor("X", sizes, *((0, 1) if few else (None, None)))
    outputs = [True, *(not draw.flag() for _ in range(3))]
    ranks = {"y0": 1 if axis is None else len(sizes), "y1": 1, "y2": 1, "y3": 1}
    attributes = {"axis": axis, "sorted": draw.choice((None, 1, 0))}
    return draw.use((data,), attributes, outputs, ranks=ranks)
