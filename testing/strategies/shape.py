"""Shapes: reading them, changing them, and rearranging elements without computing with them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from onnxla.ir import STRING, dtypes
from onnxla.peers.difference import is_integer
from onnxla.testing.draw import Draw
from onnxla.testing.operator_cases import strategy
from onnxla.testing.strategies.optional import any_value, simplest_first
from onnxla.testing.types import tensor_type
from onnxla.testing.use import Use


def as_int64(values: Any) -> np.ndarray:
    """Integers as an int64 tensor, be they none."""
    return np.array(values, np.int64)


def as_input(values: list[int] | None) -> np.ndarray | None:
    """Integers as an int64 tensor, if there are any to give."""
    return None if values is None else as_int64(values)


@strategy("Reshape")
def reshape(draw: Draw) -> Use:
    """A tensor of up to four axes, and a shape with as many elements."""
    old = draw.any_shape((0, 4))
    allowzero = draw.choice((None, 0, 1)) if draw.has("allowzero") else None
    new = new_shape(draw, old, bool(allowzero))
    # An empty list has no type in a file.
    if "shape" not in draw.schema.inputs:
        new = new or [1]
    data = draw.tensor("data", old)
    if "shape" in draw.schema.inputs:
        return draw.use((data, as_int64(new)), {"allowzero": allowzero}, ranks={"y0": len(new)})
    return draw.use((data,), {"shape": new}, ranks={"y0": len(new)})


def new_shape(draw: Draw, old: tuple[int, ...], allowzero: bool) -> list[int]:
    """A shape with as many elements as `old`, with 0 and -1 in it as Reshape takes them."""
    if math.prod(old):
        # The axes in another order, some of them joined, and some of size 1 put in between.
        new: list[int] = []
        for axis in draw.permutation(len(old)):
            if new and draw.flag():
                new[-1] *= old[axis]
            else:
                new.append(old[axis])
        for _ in range(draw.integer(0, 2)):
            new.insert(draw.integer(0, len(new)), 1)
    elif allowzero:
        new = list(draw.shape((1, 4)))
        new[draw.integer(0, len(new) - 1)] = 0
    else:
        # A size of 0 can only be kept.
        new = [n and draw.side(1) for n in old]
        new += [draw.side(1) for _ in range(draw.integer(0, 2))]
    # One size can be inferred from the others if none of these is 0.
    inferable = [i for i in range(len(new)) if math.prod(new[:i] + new[i + 1 :])]
    if inferable and draw.flag():
        new[draw.choice(inferable)] = -1
    if not allowzero:
        new = [0 if i < len(old) and n == old[i] and draw.flag() else n for i, n in enumerate(new)]
    return new


@strategy("Shape")
def shape(draw: Draw) -> Use:
    """A tensor of up to six axes, and where to start and end reading its sizes."""
    data = draw.tensor("data", draw.any_shape((0, 6)))
    attributes = {}
    if draw.has("start"):
        # Positions outside the shape are moved to its ends.
        limits = [0, *range(1, data.ndim + 3), *range(-data.ndim - 2, 0)]
        attributes["start"] = draw.maybe(lambda: draw.choice(limits))
        attributes["end"] = draw.maybe(lambda: draw.choice(limits))
    return draw.use((data,), attributes)


@strategy("Size")
def size(draw: Draw) -> Use:
    """A tensor of up to six axes."""
    return draw.use((draw.tensor("data", draw.any_shape((0, 6))),))


@strategy("Identity")
def identity(draw: Draw) -> Use:
    """A tensor, a sequence or an optional."""
    value = any_value(draw, draw.choice(simplest_first(draw.schema.allowed("input"))))
    return draw.use((value,))


@strategy("Constant")
def constant(draw: Draw) -> Use:
    """A tensor, dense or sparse, or a number or text or a list of them."""
    kind = draw.choice(sorted(draw.schema.attributes))
    if kind == "value":
        array = draw.tensor("output", draw.any_shape((0, 4)))
        value: Any = numpy_helper.from_array(array)
        result = tensor_type(draw.dtype("output"))
    elif kind == "sparse_value":
        dtype = draw.dtype("output", but=(STRING,))
        value, result = sparse(draw, dtype), tensor_type(dtype)
    else:
        texts: dict[str, Any] = {"int": np.int64, "float": np.float32, "string": STRING}
        dtype = np.dtype(texts[kind.removeprefix("value_").removesuffix("s")])
        # An empty list has no type in a file.
        value = draw.array(dtype, (draw.integer(1, 4),) if kind.endswith("s") else ()).tolist()
        result = tensor_type(dtype)
    return draw.use((), {kind: value}, types={"y0": result})


def sparse(draw: Draw, dtype: np.dtype[Any]) -> Any:
    """A sparse tensor, its indices linear or one for each axis."""
    dims = draw.shape((1, 3), (1, 4))
    size = math.prod(dims)
    places = sorted(draw.subset(min(size, 8)))
    indices = as_int64(places)
    if draw.flag():
        indices = np.stack(np.unravel_index(indices, dims), 1).astype(np.int64)
    return helper.make_sparse_tensor(
        numpy_helper.from_array(draw.array(dtype, (len(places),)), "values"),
        numpy_helper.from_array(indices, "indices"),
        dims,
    )


@strategy("ConstantOfShape")
def constant_of_shape(draw: Draw) -> Use:
    """A shape of up to four axes, and the value of all elements."""
    sizes = draw.any_shape((0, 4))
    value = draw.maybe(lambda: draw.tensor("output", (1,)))
    result = "tensor(float)" if value is None else tensor_type(draw.dtype("output"))
    return draw.use(
        (as_int64(sizes),),
        {"value": None if value is None else numpy_helper.from_array(value)},
        types={"y0": result},
        ranks={"y0": len(sizes)},
    )


@strategy("EyeLike")
def eye_like(draw: Draw) -> Use:
    """A matrix, a diagonal that may lie outside of it, and a dtype."""
    # Without `dtype` the output has the input's, which must then be one that an output may have.
    data = draw.tensor("input", draw.any_shape((2, 2)))
    dtype = draw.maybe(lambda: draw.dtype("output"))
    return draw.use(
        (data,),
        {
            "dtype": None if dtype is None else dtypes.number_of(dtype),
            "k": draw.maybe(lambda: draw.integer(-6, 6)),
        },
        types={"y0": tensor_type(data.dtype if dtype is None else dtype)},
    )


@strategy("Range")
def range_(draw: Draw) -> Use:
    """Scalars: a start, a limit on either side of it, and a step of either sign."""
    dtype = draw.dtype("start")
    if is_integer(dtype):
        start, limit = draw.integer(-8, 8), draw.integer(-8, 8)
        delta = draw.choice((1, 2, 3, -1, -2, -3))
        numbers: list[float] = [start, limit, delta]
    else:
        # The limit is in the middle between two steps, so that rounding does not change how many
        # there are; or all three are exact.
        step = draw.floating(0.25, 3) * draw.choice((1, -1))
        count = draw.integer(-1, 9)
        first = draw.floating(-4, 4)
        if draw.flag():
            first, step = round(first * 8) / 8, round(step * 8) / 8
            last = first + count * step
        else:
            last = first + (count - 0.5) * step
        numbers = [first, last, step]
    attributes = {}
    if draw.has("stash_type"):
        attributes["stash_type"] = draw.choice((None, TensorProto.FLOAT))
    return draw.use([np.array(n).astype(dtype) for n in numbers], attributes, ranks={"y0": 1})


@strategy("Transpose")
def transpose(draw: Draw) -> Use:
    """A tensor of up to five axes, and their order."""
    data = draw.tensor("data", draw.any_shape())
    perm = draw.maybe(lambda: draw.permutation(data.ndim))
    return draw.use((data,), {"perm": perm or None}, ranks={"y0": data.ndim})


@strategy("Flatten")
def flatten(draw: Draw) -> Use:
    """A tensor of up to five axes, and how many of them become rows."""
    data = draw.tensor("input", draw.any_shape())
    least = -data.ndim if draw.version >= 11 else 0
    axis = draw.choice([*range(data.ndim + 1), *range(least, 0)])
    return draw.use((data,), {"axis": None if axis == 1 and draw.flag() else axis})


@strategy("Squeeze")
def squeeze(draw: Draw) -> Use:
    """A tensor with axes of size 1, and some of these, or none given for all."""
    sizes = [1 if draw.flag() else n for n in draw.any_shape()]
    units = [i for i, n in enumerate(sizes) if n == 1]
    axes = None
    # What an empty list of axes means is not said.
    if units and draw.flag():
        chosen = [units[i] for i in draw.subset(len(units), 1)]
        axes = [a - len(sizes) * (draw.version >= 11 and draw.flag()) for a in chosen]
    data = draw.tensor("data", sizes)
    ranks = {"y0": len(sizes) - (len(units) if axes is None else len(axes))}
    if "axes" in draw.schema.inputs:
        return draw.use((data, as_input(axes)), ranks=ranks)
    return draw.use((data,), {"axes": axes}, ranks=ranks)


@strategy("Unsqueeze")
def unsqueeze(draw: Draw) -> Use:
    """A tensor of up to three axes, and the positions of one to three new ones."""
    data = draw.tensor("data", draw.any_shape((0, 3)))
    rank = data.ndim + draw.integer(1, 3)
    chosen = draw.permutation(rank)[: rank - data.ndim]
    axes = [a - rank * (draw.version >= 11 and draw.flag()) for a in chosen]
    if "axes" in draw.schema.inputs:
        return draw.use((data, as_int64(axes)), ranks={"y0": rank})
    return draw.use((data,), {"axes": axes})


@strategy("Concat")
def concat(draw: Draw) -> Use:
    """One to four tensors that differ in the size of one axis."""
    sizes = list(draw.any_shape((1, 4)))
    axis = draw.axis(len(sizes)) if draw.version >= 11 else draw.integer(0, len(sizes) - 1)
    parts = []
    for _ in range(draw.integer(1, 4)):
        sizes[axis] = draw.side(0, 3)
        parts.append(draw.tensor("inputs", sizes))
    absent = draw.version == 1 and axis == 1
    return draw.use(parts, {"axis": None if absent else axis}, ranks={"y0": len(sizes)})


@strategy("Split")
def split(draw: Draw) -> Use:
    """A tensor, and the sizes of one to four parts along an axis, equal if not given."""
    sizes = list(draw.any_shape((1, 4)))
    axis = draw.axis(len(sizes)) if draw.version >= 11 else draw.integer(0, len(sizes) - 1)
    count = draw.integer(1, 4)
    equal = draw.flag()
    if not equal:
        parts = [draw.side(0, 3) for _ in range(count)]
    else:
        part = draw.side(0, 3)
        # From opset 18 on the last part may be smaller; it is not empty unless all are.
        missing = draw.integer(0, max(part - 1, 0)) if draw.version >= 18 else 0
        parts = [part] * (count - 1) + [part - missing]
        # The size of the parts must follow from the number of elements.
        if -(-sum(parts) // count) != part:
            parts = [part] * count
    sizes[axis] = sum(parts)
    data = draw.tensor("input", sizes)
    ranks = {f"y{i}": len(sizes) for i in range(count)}
    attributes: dict[str, Any] = {
        # What version 1 does without an axis is not said.
        "axis": None if axis == 0 and draw.version > 1 and draw.flag() else axis
    }
    if draw.has("num_outputs"):
        attributes["num_outputs"] = count if equal else None
    if "split" not in draw.schema.inputs or (draw.version == 1 and draw.flag()):
        attributes["split"] = None if equal else parts
        return draw.use((data,), attributes, outputs=count, ranks=ranks)
    lengths = np.array(parts).astype(data.dtype if draw.version == 1 else np.int64)
    return draw.use((data, None if equal else lengths), attributes, outputs=count, ranks=ranks)


@strategy("Expand")
def expand(draw: Draw) -> Use:
    """A tensor and a shape that broadcast with each other, either of them perhaps stretched."""
    old, new = draw.broadcast_shapes(2)
    ranks = {"y0": max(len(old), len(new))}
    return draw.use((draw.tensor("input", old), as_int64(new)), ranks=ranks)


@strategy("Tile")
def tile(draw: Draw) -> Use:
    """A tensor, and how often it is repeated along each axis; along one in version 1."""
    if draw.version == 1:
        data = draw.tensor("input", draw.any_shape((1, 4)))
        tiles = np.array(draw.integer(1, 3)).astype(data.dtype)
        axis = np.array(draw.integer(0, data.ndim - 1)).astype(data.dtype)
        return draw.use((data, tiles, axis), ranks={"y0": data.ndim})
    data = draw.tensor("input", draw.any_shape((0, 4)))
    repeats = [draw.side(0, 3) for _ in range(data.ndim)]
    return draw.use((data, as_int64(repeats)), ranks={"y0": data.ndim})


@strategy("Pad")
def pad(draw: Draw) -> Use:
    """A tensor of up to four axes, and what is added or removed at the ends of some of them."""
    modes = ("constant", "reflect", "edge", "wrap" if draw.version >= 19 else "edge")
    mode = draw.choice(modes)
    sizes = draw.any_shape((0, 4))
    axes = draw.maybe(lambda: draw.axes(len(sizes))) if draw.has("axes") else None
    chosen = range(len(sizes)) if axes is None else axes
    pairs = [draw_pads(draw, sizes[axis], mode, negative=draw.version > 1) for axis in chosen]
    pads = [begin for begin, _ in pairs] + [end for _, end in pairs]
    data = draw.tensor("data", sizes)
    given = draw.choice((None, mode)) if mode == "constant" else mode
    if draw.version < 11:
        name = "pads" if draw.version == 2 else "paddings"
        value = draw.maybe(lambda: draw.floating(-4, 4))
        # An empty list has no type in a file.
        if not pads:
            data, pads = draw.tensor("data", (2,)), [1, 0]
        attributes = {name: pads, "mode": given, "value": value}
        return draw.use((data,), attributes, ranks={"y0": data.ndim})
    fill = draw.maybe(lambda: draw.tensor("constant_value"))
    inputs = [data, as_int64(pads), fill]
    if axes is not None:
        # ONNX's shape inference reads no int32 here.
        kind = draw.dtype("axes", among=(np.int64,) if draw.integer(0, 2) < 2 else None)
        inputs.append(np.array(axes, kind))
    return draw.use(inputs, {"mode": given}, ranks={"y0": len(sizes)})


def draw_pads(draw: Draw, n: int, mode: str, negative: bool) -> tuple[int, int]:
    """How many elements to add at the two ends of an axis of size n, or to remove from it."""
    removed = [0, 0]
    if negative and draw.flag():
        removed[0] = draw.integer(0, n)
        removed[1] = draw.integer(0, n - removed[0])
    left = n - sum(removed)
    # A reflection goes as far as the other end; nothing can be repeated of nothing.
    most = {"constant": 3, "reflect": max(left - 1, 0)}.get(mode, 3 if left else 0)
    added = [0 if gone else draw.integer(0, min(most, 4)) for gone in removed]
    return added[0] - removed[0], added[1] - removed[1]


@strategy("CenterCropPad")
def center_crop_pad(draw: Draw) -> Use:
    """A tensor, and new sizes of some of its axes."""
    sizes = draw.any_shape((0, 4))
    # An empty list of axes has no type in a file.
    axes = draw.maybe(lambda: draw.axes(len(sizes), 1)) or None
    chosen = range(len(sizes)) if axes is None else axes
    data = draw.tensor("input_data", sizes)
    # No text is zero, with which is padded.
    text = data.dtype == STRING
    new = [draw.side(0, sizes[a] if text else 7) for a in chosen]
    target = np.array(new, draw.dtype("shape"))
    return draw.use((data, target), {"axes": axes}, ranks={"y0": len(sizes)})


@strategy("Slice")
def slice_(draw: Draw) -> Use:
    """A tensor of one to four axes, and positions inside of some axes or beyond their ends."""
    sizes = draw.any_shape((1, 4))
    rank = len(sizes)
    inputs = "starts" in draw.schema.inputs
    if draw.flag():
        axes = draw.subset(rank, 1)
        if draw.version >= 11:
            axes = [a - rank * draw.flag() for a in axes]
        count = len(axes)
    else:
        # As an attribute `starts` may have fewer elements than there are axes.
        axes, count = None, rank if inputs else draw.integer(1, rank)
    # Before opset 10 positions are int64; `end` is often the largest or least integer.
    kind = draw.dtype("starts") if inputs else np.dtype(np.int64)
    info = np.iinfo(kind)
    steps = None
    if inputs and axes is not None and draw.flag():
        steps = [draw.choice((1, 2, 3, -1, -2, -7, 9)) for _ in range(count)]
    starts, ends = [], []
    for i, axis in enumerate(range(count) if axes is None else axes):
        n = sizes[axis]
        backward = steps is not None and steps[i] < 0
        start, end = draw.integer(-n - 2, n + 2), draw.integer(-n - 2, n + 2)
        starts.append(start)
        ends.append(draw.choice((end, int(info.min if backward else info.max))))
    data = draw.tensor("data", sizes)
    if not inputs:
        attributes = {"starts": starts, "ends": ends, "axes": axes}
        return draw.use((data,), attributes, ranks={"y0": rank})
    operands = [None if v is None else np.array(v, kind) for v in (starts, ends, axes, steps)]
    return draw.use((data, *operands), ranks={"y0": rank})


@strategy("Trilu")
def trilu(draw: Draw) -> Use:
    """Matrices [..., N, M], and a diagonal that may lie outside of them."""
    # No text is zero, which the other elements are set to.
    draw.dtype("input", but=(STRING,))
    data = draw.tensor("input", draw.any_shape((2, 5)))
    k = draw.maybe(lambda: as_int64(draw.integer(-6, 6)))
    upper = draw.choice((None, 1, 0))
    return draw.use((data, k), {"upper": upper}, batch=(0,) if data.ndim > 2 else ())


@strategy("DepthToSpace", "SpaceToDepth")
def depth_and_space(draw: Draw) -> Use:
    """[N, C b², H, W], or [N, C, H b, W b], where b is the size of a block."""
    n, c, h, w = draw.any_shape((4, 4))
    block = draw.integer(1, 3)
    deep = draw.name == "DepthToSpace"
    sizes = (n, c * block**2, h, w) if deep else (n, c, h * block, w * block)
    mode = draw.choice((None, "DCR", "CRD")) if draw.has("mode") else None
    data = draw.tensor("input", sizes)
    return draw.use((data,), {"blocksize": block, "mode": mode}, batch=(0,))


@strategy("ReverseSequence")
def reverse_sequence(draw: Draw) -> Use:
    """A tensor whose first two axes are time and batch, in either order."""
    sizes = draw.any_shape((2, 4))
    time = draw.integer(0, 1)
    data = draw.tensor("input", sizes)
    lengths = draw.array(np.int64, (sizes[1 - time],), 0, sizes[time])
    default = time == 0 and draw.flag()
    attributes = {"time_axis": time, "batch_axis": 1 - time}
    return draw.use((data, lengths), {} if default else attributes, batch=(0, 1) if time else ())
