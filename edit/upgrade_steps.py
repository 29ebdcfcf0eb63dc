"""How the form of operators changed from opset to opset: a function a change.

A step writes a node of the form before in the one of its opset. What it makes is in the form of
that opset, and goes through the further steps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from onnxla import ir
from onnxla.ir.onnx_pb2 import TensorProto

UNBOUNDED = float(np.finfo(np.float32).max)  # the default of Clip's bounds as attributes


@dataclass
class OldNode:
    """A node in an older form, and the nodes that take its place.

    Attributes:
        node: The node as it is.
        target: The opset that the model will have at last.
        find: The type of a value, if it is known.
        fresh: Makes a name unique.
        read: Names of the values that something reads.
        made: The nodes in its place.
    """

    node: ir.Node
    target: int
    find: Callable[[str], ir.TensorType | None]
    fresh: Callable[[str], str]
    read: set[str]
    made: list[ir.Node] = field(default_factory=list)

    @property
    def x(self) -> str:
        """Its first input."""
        return self.node.inputs[0]

    def input(self, index: int) -> str:
        """An input, or "" if it is not given."""
        return self.node.inputs[index] if index < len(self.node.inputs) else ""

    def attribute(self, name: str, default: Any = None) -> Any:
        """An attribute's value. Raises: UnsupportedError if the caller of a function decides it."""
        value = self.node.attributes.get(name, default)
        if isinstance(value, ir.AttributeReference):
            raise ir.UnsupportedError(f"its attribute {name} is one of the function that it is in")
        return value

    def dtype(self, name: str) -> np.dtype | None:
        """The dtype of a value, if it is known."""
        kind = self.find(name)
        return None if kind is None else kind.dtype

    def rank(self, name: str) -> int:
        """How many axes a value has. Raises: UnsupportedError if that is not known."""
        kind = self.find(name)
        if kind is None or kind.shape is None:
            raise ir.UnsupportedError(f"how many axes '{name}' has is not known: state its shape")
        return len(kind.shape)

    def emit(self, op_type: str, *inputs: str, part: str, **attributes: Any) -> str:
        """The name of the value that a new node makes, which is a part of the old one."""
        name = self.fresh(f"{self.node.outputs[0]}.{part}")
        self.add(op_type, inputs, name, **attributes)
        return name

    def add(
        self, op_type: str, inputs: Sequence[str], output: str, **attributes: ir.Attribute
    ) -> None:
        """A new node that makes a value. What marks the old one, as an edit does, marks it too."""
        name, metadata = self.fresh(f"{output}.{op_type}"), self.node.metadata
        node = ir.Node(op_type, tuple(inputs), (output,), attributes, name, metadata=metadata)
        self.made.append(node)

    def integers(self, values: Any, part: str) -> str:
        """A constant of int64: a list, a number, or what an attribute of a function says."""
        if isinstance(values, ir.AttributeReference):
            return self.emit("Constant", part=part, value_ints=values)
        return self.emit(
            "Constant", part=part, value=ir.Tensor.of("", np.asarray(values, np.int64))
        )

    def number(self, value: Any, like: str, part: str) -> str:
        """A constant in the dtype of a value, which is no parameter of the model."""
        dtype = self.dtype(like)
        if self.target < (12 if dtype else 15):
            raise ir.UnsupportedError(
                f"a constant for '{like}' needs opset {12 if dtype else 15} or newer"
            )
        number = self.emit("Constant", part=part, value_float=value)
        if dtype is None:
            return self.emit("CastLike", number, like, part=f"{part}_cast")
        if dtype != np.float32:
            number = self.emit("Cast", number, part=f"{part}_cast", to=ir.number_of(dtype))
        return number

    def finish(
        self,
        *inputs: str,
        op_type: str | None = None,
        outputs: Sequence[str] | None = None,
        without: Sequence[str] = (),
        **attributes: Any,
    ) -> None:
        """The node itself, with other inputs, and attributes added or left out."""
        kept = {k: v for k, v in self.node.attributes.items() if k not in without}
        while inputs and not inputs[-1]:
            inputs = inputs[:-1]
        self.made.append(
            replace(
                self.node,
                op_type=op_type or self.node.op_type,
                inputs=inputs,
                outputs=self.node.outputs if outputs is None else tuple(outputs),
                attributes={**kept, **attributes},
            )
        )

    def same(self, *, without: Sequence[str] = (), **attributes: Any) -> None:
        """The node itself, with attributes added or left out."""
        self.finish(*self.node.inputs, without=without, **attributes)


StepFunction = Callable[[OldNode], None]
STEPS: dict[str, dict[int, StepFunction]] = {}


def step(version: int, *op_types: str) -> Callable[[StepFunction], StepFunction]:
    """Registers what changed in some operators at a version."""

    def register(function: StepFunction) -> StepFunction:
        for op_type in op_types:
            STEPS.setdefault(op_type, {})[version] = function
        return function

    return register


# Attributes that became inputs


def axes_as_input(old: OldNode) -> None:
    """`axes` are an input."""
    axes = old.node.attributes.get("axes")
    old.finish(old.x, "" if axes is None else old.integers(axes, "axes"), without=["axes"])


step(13, "Squeeze", "Unsqueeze", "ReduceSum")(axes_as_input)
step(
    18,
    *(f"Reduce{name}" for name in ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min")),
    *("ReduceProd", "ReduceSumSquare"),
)(axes_as_input)


@step(11, "Clip")
def clip(old: OldNode) -> None:
    """Bounds are inputs."""
    bounds: dict[str, Any] = {k: old.node.attributes.get(k) for k in ("min", "max")}
    given = [
        old.number(bound, old.x, name)
        if isinstance(bound, ir.AttributeReference)
        or (bound is not None and abs(bound) < UNBOUNDED)
        else ""
        for name, bound in bounds.items()
    ]
    old.finish(old.x, *given, without=["min", "max"])


@step(20, "DFT")
def dft(old: OldNode) -> None:
    """The axis is an input."""
    axis = old.integers(old.attribute("axis", 1), "axis")
    old.finish(old.x, old.input(1), axis, without=["axis"])


@step(7, "Dropout")
def dropout_7(old: OldNode) -> None:
    """No training: until opset 12 only others' functions have it."""
    trains = not old.attribute("is_test", 0)
    if trains and old.target < 12:
        raise ir.UnsupportedError("it drops in inference too, which takes opset 12 or newer")
    old.same(without=() if trains else ["is_test"])


@step(10, "Dropout")
def dropout_10(old: OldNode) -> None:
    """The mask is boolean."""
    outputs = old.node.outputs
    if len(outputs) < 2 or outputs[1] not in old.read:
        old.finish(old.x, outputs=outputs[:1])
        return
    dtype = old.dtype(old.x)
    if dtype is None:
        raise ir.UnsupportedError(f"the type of its mask is not known: state that of '{old.x}'")
    kept = old.fresh(f"{outputs[1]}.bool")
    old.finish(old.x, outputs=[outputs[0], kept])
    old.add("Cast", [kept], outputs[1], to=ir.number_of(dtype))


@step(12, "Dropout")
def dropout_12(old: OldNode) -> None:
    """The ratio is an input, and so is whether it drops."""
    ratio = old.emit("Constant", part="ratio", value_float=old.node.attributes.get("ratio", 0.5))
    trains = ""
    if not old.attribute("is_test", 1):
        truth = ir.Tensor.of("", np.asarray(True))
        trains = old.emit("Constant", part="training_mode", value=truth)
    old.finish(old.x, ratio, trains, without=["ratio", "is_test"])


@step(2, "Pad")
def pad_2(old: OldNode) -> None:
    """`paddings` are called pads."""
    old.same(without=["paddings"], pads=old.node.attributes["paddings"])


@step(11, "Pad")
def pad_11(old: OldNode) -> None:
    """Pads and the value are inputs."""
    value = old.node.attributes.get("value", 0.0)
    fill = old.number(value, old.x, "constant_value") if value else ""
    old.finish(
        old.x, old.integers(old.node.attributes["pads"], "pads"), fill, without=["pads", "value"]
    )


@step(5, "Reshape")
def reshape(old: OldNode) -> None:
    """The shape is an input."""
    old.finish(
        old.x, old.integers(old.node.attributes.get("shape", ()), "shape"), without=["shape"]
    )


@step(10, "Slice")
def slice_(old: OldNode) -> None:
    """Starts, ends and axes are inputs."""
    names = [name for name in ("starts", "ends", "axes") if name in old.node.attributes]
    old.finish(
        old.x, *(old.integers(old.node.attributes[name], name) for name in names), without=names
    )


@step(2, "Split")
def split_2(old: OldNode) -> None:
    """The sizes are no input; they will be one again."""
    sizes = old.input(1)
    if sizes and old.target < 13:
        raise ir.UnsupportedError("its sizes are an input, which takes opset 13 or newer")
    old.finish(old.x, old.emit("Cast", sizes, part="sizes", to="INT64") if sizes else "")


@step(13, "Split")
def split_13(old: OldNode) -> None:
    """The sizes are an input."""
    sizes = old.node.attributes.get("split")
    given = old.integers(sizes, "split") if sizes is not None else old.input(1)
    old.finish(old.x, given, without=["split"])


@step(18, "Split")
def split_18(old: OldNode) -> None:
    """Without sizes, it is told how many there are."""
    number: Any = {} if old.input(1) else {"num_outputs": len(old.node.outputs)}
    old.same(**number)


@step(10, "TopK")
def top_k(old: OldNode) -> None:
    """`k` is an input."""
    old.finish(old.x, old.integers([old.attribute("k")], "k"), without=["k"])


@step(11, "TopK")
def top_k_11(old: OldNode) -> None:
    """The largest are still what it takes."""
    old.same()


# Broadcasting, which opset 7 made what numpy's is


@step(7, *("Add", "Sub", "Mul", "Div", "Pow", "And", "Or", "Xor", "Greater", "Less", "Equal"))
def broadcast(old: OldNode) -> None:
    """The second operand matches the last axes of the first; before, those from `axis` on."""
    a, b = old.node.inputs
    axis = old.attribute("axis")
    if old.attribute("broadcast", 0) and axis is not None:
        own = old.rank(b)
        if trailing := old.rank(a) - axis % old.rank(a) - own:
            b = old.emit("Unsqueeze", b, part="aligned", axes=tuple(range(own, own + trailing)))
    old.finish(a, b, without=["axis", "broadcast"])


@step(7, "PRelu")
def p_relu(old: OldNode) -> None:
    """The slope is broadcast; before, a vector was of channels."""
    slope, kind = old.input(1), old.find(old.input(1))
    if old.rank(slope) == 1 and kind and kind.shape != (1,) and old.rank(old.x) > 2:
        axes = tuple(range(1, old.rank(old.x) - 1))
        slope = old.emit("Unsqueeze", slope, part="slope", axes=axes)
    old.finish(old.x, slope)


@step(7, "Gemm")
def gemm(old: OldNode) -> None:
    """What is added is broadcast without being asked to."""
    old.same(without=["broadcast"])


# Attributes with another name, default or type


@step(4, "Concat")
def concat(old: OldNode) -> None:
    """The axis is stated."""
    old.same(axis=old.node.attributes.get("axis", 1))


@step(6, "Cast")
def cast(old: OldNode) -> None:
    """The type is a number."""
    name = str(old.attribute("to")).upper()
    if name not in dict(TensorProto.DataType.items()):
        raise ir.UnsupportedError(f"'{name}' is not the name of an element type")
    old.same(to=int(TensorProto.DataType.Value(name)))


@step(6, "Selu")
def selu(old: OldNode) -> None:
    """The defaults have more digits."""
    given = old.node.attributes
    old.same(alpha=given.get("alpha", 1.6732), gamma=given.get("gamma", 1.0507))


@step(3, "GRU")
def gru(old: OldNode) -> None:
    """The default of the direction was misspelt."""
    old.same(direction=str(old.attribute("direction", "forward")).replace("foward", "forward"))


@step(7, "GRU", "LSTM", "RNN")
def recurrent(old: OldNode) -> None:
    """Whether there is an output, the node's outputs say."""
    old.same(without=["output_sequence"])


@step(2, "LpPool", "GlobalLpPool")
def lp_pool(old: OldNode) -> None:
    """`p` is whole, and a window stated."""
    p = old.attribute("p", 2.0)
    if p != int(p):
        raise ir.UnsupportedError(f"p={p} is not whole")
    if old.node.op_type == "LpPool" and "kernel_shape" not in old.node.attributes:
        windows = ["auto_pad", "pads", "strides"]
        old.finish(old.x, op_type="GlobalLpPool", without=windows, p=int(p))
    else:
        old.same(p=int(p))


@step(20, "GridSample")
def grid_sample(old: OldNode) -> None:
    """Modes have other names."""
    mode = old.attribute("mode", "bilinear")
    old.same(mode={"bilinear": "linear", "bicubic": "cubic"}.get(mode, mode))


@step(16, "RoiAlign")
def roi_align(old: OldNode) -> None:
    """Regions are moved by half a pixel unless told."""
    old.same(coordinate_transformation_mode="output_half_pixel")


@step(19, "QuantizeLinear")
def quantize_linear(old: OldNode) -> None:
    """What is quantized has the type of the scale; before, it could be integers."""
    x, scale, *zero_point = old.node.inputs
    if old.dtype(x) == np.int32:
        x = old.emit("Cast", x, part="float", to=TensorProto.FLOAT)
    old.finish(x, scale, *zero_point)


@step(11, "Scatter")
def scatter(old: OldNode) -> None:
    """It has another name."""
    old.finish(*old.node.inputs, op_type="ScatterElements")


# Other meanings


@step(13, "Softmax", "LogSoftmax", "Hardmax")
def softmax(old: OldNode) -> None:
    """It is along one axis; before, along all from `axis` on as if they were one."""
    axis, kind = old.node.attributes.get("axis", 1), old.find(old.x)
    rank = None if kind is None or kind.shape is None else len(kind.shape)
    if axis == -1 or (rank and axis == rank - 1):
        old.same(axis=-1)
        return
    flat = old.emit("Flatten", old.x, part="flat", axis=axis)
    y = old.fresh(f"{old.node.outputs[0]}.flat_result")
    old.finish(flat, outputs=[y], axis=-1)
    shape = old.emit("Shape", old.x, part="shape")
    old.add("Reshape", [y, shape], old.node.outputs[0])


def without_outputs(old: OldNode, number: int) -> list[str]:
    """A node's first outputs. Raises: UnsupportedError if something reads another one."""
    if old.read.intersection(filter(None, old.node.outputs[number:])):
        raise ir.UnsupportedError("something reads outputs of it that there are no more")
    return list(old.node.outputs[:number])


@step(7, "BatchNormalization")
def batch_normalization_7(old: OldNode) -> None:
    """Whether it trains, its further outputs say."""
    outputs = without_outputs(old, 1) if old.attribute("is_test", 0) else old.node.outputs
    old.finish(*old.node.inputs, outputs=outputs, without=["is_test"])


@step(9, "BatchNormalization")
def batch_normalization_9(old: OldNode) -> None:
    """Statistics are of channels; before, those of features could be asked for."""
    if old.attribute("spatial", 1):
        old.same(without=["spatial"])
        return
    if any(old.node.outputs[1:]):
        raise ir.UnsupportedError("it trains with statistics of each feature")
    flat, one = old.emit("Flatten", old.x, part="flat", axis=1), old.integers([-1], "all")
    statistics = [
        old.emit("Reshape", value, one, part=f"input_{i}")
        for i, value in enumerate(old.node.inputs[1:])
    ]
    result = old.fresh(f"{old.node.outputs[0]}.flat_result")
    old.finish(flat, *statistics, outputs=[result], without=["spatial"])
    shape = old.emit("Shape", old.x, part="shape")
    old.add("Reshape", [result, shape], old.node.outputs[0])


@step(14, "BatchNormalization")
def batch_normalization_14(old: OldNode) -> None:
    """Whether it trains is stated, and it does not put out the statistics of the batch."""
    trains = any(old.node.outputs[1:])
    outputs = without_outputs(old, 3 if trains else 1)
    old.finish(*old.node.inputs, outputs=outputs, training_mode=int(trains))


@step(21, "GroupNormalization")
def group_normalization(old: OldNode) -> None:
    """Scale and bias are of channels; before, of groups."""
    groups = old.attribute("num_groups")
    channels = old.emit("Shape", old.x, part="channels", start=1, end=2)
    size = old.emit("Div", channels, old.integers([groups], "groups"), part="size")
    shape = old.emit("Concat", old.integers([1], "one"), size, part="shape", axis=0)
    column, flat = old.integers([-1, 1], "column"), old.integers([-1], "flat")
    inputs = []
    for name, value in zip(("scale", "bias"), old.node.inputs[1:], strict=True):
        wide = old.emit("Reshape", value, column, part=f"{name}_column")
        wide = old.emit("Expand", wide, shape, part=f"{name}_repeated")
        inputs.append(old.emit("Reshape", wide, flat, part=name))
    old.finish(old.x, *inputs)


@step(6, "Tile")
def tile(old: OldNode) -> None:
    """How often is told of each axis; before, of one."""
    ones = (old.integers([1] * n, part) for n, part in ((old.rank(old.x), "ones"), (1, "one")))
    all_ones, one = ones
    tiles, axis = (
        old.emit(
            "Reshape", old.emit("Cast", x, part=f"{part}_int", to=TensorProto.INT64), one, part=part
        )
        for part, x in (("tiles", old.input(1)), ("axis", old.input(2)))
    )
    if old.target < 11:
        raise ir.UnsupportedError("it takes opset 11 or newer")
    old.finish(old.x, old.emit("ScatterElements", all_ones, axis, tiles, part="repeats"))


@step(24, "Attention")
def attention(old: OldNode) -> None:
    """A mask is padded; before, one for a single key was for all."""
    mask = old.input(3)
    if mask:
        keys = old.emit("Shape", old.input(1), part="keys", start=-2, end=-1)
        if old.input(4):
            past = old.emit("Shape", old.input(4), part="past", start=2, end=3)
            keys = old.emit("Add", keys, past, part="all_keys")
        mask = old.emit("Expand", mask, keys, part="mask")
    old.finish(*old.node.inputs[:3], mask, *old.node.inputs[4:])


# Resampling


@step(7, "Upsample")
def upsample_7(old: OldNode) -> None:
    """The scales are of all axes, and a mode has another name."""
    names = "height_scale", "width_scale"
    mode = str(old.attribute("mode", "nearest")).replace("bilinear", "linear")
    old.same(without=names, scales=(1.0, 1.0, *map(old.attribute, names)), mode=mode)


@step(9, "Upsample")
def upsample_9(old: OldNode) -> None:
    """The scales are an input. They decide a shape, so they are no parameter."""
    scales = ir.Tensor.of("", np.asarray(old.attribute("scales"), np.float32))
    old.finish(old.x, old.emit("Constant", part="scales", value=scales), without=["scales"])


@step(10, "Upsample")
def upsample_10(old: OldNode) -> None:
    """It is called Resize."""
    old.finish(*old.node.inputs, op_type="Resize")


@step(11, "Resize")
def resize_11(old: OldNode) -> None:
    """How coordinates are computed is stated.

    The nearest element was the one before when enlarging, and the one after when reducing, so
    there are two nodes, of which one does nothing in the usual case.
    """
    mode = "nearest" if old.attribute("mode", "nearest") == "nearest" else "linear"
    roi = old.emit("Constant", part="roi", value=ir.Tensor.of("", np.zeros(0, np.float32)))
    how: dict[str, Any] = {"mode": mode, "coordinate_transformation_mode": "asymmetric"}
    if mode == "linear":
        old.finish(old.x, roi, old.input(1), **how)
        return
    one = old.emit("Constant", part="one", value=ir.Tensor.of("", np.ones(1, np.float32)))
    up, down = (old.emit(o, old.input(1), one, part=f"scales_{o.lower()}") for o in ("Max", "Min"))
    larger = old.fresh(f"{old.node.outputs[0]}.enlarged")
    old.finish(old.x, roi, up, outputs=[larger], nearest_mode="floor", **how)
    old.finish(larger, roi, down, nearest_mode="ceil", **how)


@step(13, "Resize")
def resize_13(old: OldNode) -> None:
    """Scales are absent where there are sizes; one way to compute coordinates is no more."""
    if old.attribute("coordinate_transformation_mode", "") == "tf_half_pixel_for_nn":
        raise ir.UnsupportedError(
            "coordinate_transformation_mode='tf_half_pixel_for_nn' is no more"
        )
    x, roi, scales, *sizes = old.node.inputs
    old.finish(x, roi, "" if any(sizes) else scales, *sizes)


# Scan, which had a batch


@step(9, "Scan")
def scan(old: OldNode) -> None:
    """Without a batch: a Scan over the batch has the Scan of one element in its body."""
    lengths, *values = old.node.inputs
    if lengths:
        raise ir.UnsupportedError("its sequences have lengths of their own")
    n = old.attribute("num_scan_inputs")
    directions = old.attribute("directions")
    given = [old.fresh(f"{old.node.outputs[0]}.element_{i}") for i in range(len(values))]
    outputs = [old.fresh(f"{y}.element") if y else "" for y in old.node.outputs]
    attributes: Mapping[str, ir.Attribute] = {
        "body": old.attribute("body"),
        "num_scan_inputs": n,
        **({"scan_input_directions": directions} if directions else {}),
    }
    inner = replace(old.node, inputs=tuple(given), outputs=tuple(outputs), attributes=attributes)
    body = ir.Graph(
        (inner,),
        tuple(map(ir.ValueInfo, given)),
        tuple(map(ir.ValueInfo, filter(None, outputs))),
        name=f"{old.node.outputs[0]}.batch",
    )
    results = tuple(filter(None, old.node.outputs))
    outer: dict[str, Any] = {"body": body, "num_scan_inputs": len(values)}
    old.made.append(ir.Node("Scan", tuple(values), results, outer, f"{old.node.name}.batch"))
