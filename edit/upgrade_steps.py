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
class Step:
    """A node that is written anew.

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
        """The name of the value that a new node makes."""
        name = self.fresh(f"{self.node.outputs[0]}.{part}")
        self.made.append(ir.Node(op_type, inputs, (name,), attributes, name))
        return name

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
        **attributes: ir.Attribute,
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

    def same(self, *, without: Sequence[str] = (), **attributes: ir.Attribute) -> None:
        """The node itself, with attributes added or left out."""
        self.finish(*self.node.inputs, without=without, **attributes)


StepFunction = Callable[[Step], None]
STEPS: dict[str, dict[int, StepFunction]] = {}


def step(version: int, *op_types: str) -> Callable[[StepFunction], StepFunction]:
    """Registers what changed in some operators at a version."""

    def register(function: StepFunction) -> StepFunction:
        for op_type in op_types:
            STEPS.setdefault(op_type, {})[version] = function
        return function

    return register


# Attributes that became inputs


def axes_as_input(s: Step) -> None:
    """`axes` are an input; of no axes, none: that means all."""
    axes = s.node.attributes.get("axes")
    s.finish(s.x, s.integers(axes, "axes") if axes else "", without=["axes"])


step(13, "Squeeze", "Unsqueeze", "ReduceSum")(axes_as_input)
step(
    18,
    *(f"Reduce{name}" for name in ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min")),
    *("ReduceProd", "ReduceSumSquare"),
)(axes_as_input)


@step(11, "Clip")
def clip(s: Step) -> None:
    """Bounds are inputs."""
    bounds = {k: s.node.attributes.get(k) for k in ("min", "max")}
    given = [
        s.number(bound, s.x, name)
        if isinstance(bound, ir.AttributeReference)
        or (bound is not None and abs(bound) < UNBOUNDED)
        else ""
        for name, bound in bounds.items()
    ]
    s.finish(s.x, *given, without=["min", "max"])


@step(20, "DFT")
def dft(s: Step) -> None:
    """The axis is an input."""
    axis = s.integers(s.attribute("axis", 1), "axis")
    s.finish(s.x, s.input(1), axis, without=["axis"])


@step(7, "Dropout")
def dropout_7(s: Step) -> None:
    """No training: until opset 12 only others' functions have it."""
    trains = not s.attribute("is_test", 0)
    if trains and s.target < 12:
        raise ir.UnsupportedError("it drops in inference too, which takes opset 12 or newer")
    s.same(without=() if trains else ["is_test"])


@step(10, "Dropout")
def dropout_10(s: Step) -> None:
    """The mask is boolean."""
    y, *mask = s.node.outputs
    if not mask or mask[0] not in s.read:
        s.finish(s.x, outputs=[y])
        return
    dtype = s.dtype(s.x)
    if dtype is None:
        raise ir.UnsupportedError(f"the type of its mask is not known: state that of '{s.x}'")
    kept = s.fresh(f"{mask[0]}.bool")
    s.finish(s.x, outputs=[y, kept])
    s.made.append(ir.Node("Cast", (kept,), (mask[0],), {"to": ir.number_of(dtype)}, mask[0]))


@step(12, "Dropout")
def dropout_12(s: Step) -> None:
    """The ratio is an input, and so is whether it drops."""
    ratio = s.emit("Constant", part="ratio", value_float=s.node.attributes.get("ratio", 0.5))
    trains = ""
    if not s.attribute("is_test", 1):
        truth = ir.Tensor.of("", np.asarray(True))
        trains = s.emit("Constant", part="training_mode", value=truth)
    s.finish(s.x, ratio, trains, without=["ratio", "is_test"])


@step(2, "Pad")
def pad_2(s: Step) -> None:
    """`paddings` are called pads."""
    s.same(without=["paddings"], pads=s.node.attributes["paddings"])


@step(11, "Pad")
def pad_11(s: Step) -> None:
    """Pads and the value are inputs."""
    value = s.node.attributes.get("value", 0.0)
    fill = s.number(value, s.x, "constant_value") if value else ""
    s.finish(s.x, s.integers(s.node.attributes["pads"], "pads"), fill, without=["pads", "value"])


@step(5, "Reshape")
def reshape(s: Step) -> None:
    """The shape is an input."""
    s.finish(s.x, s.integers(s.node.attributes.get("shape", ()), "shape"), without=["shape"])


@step(10, "Slice")
def slice_(s: Step) -> None:
    """Starts, ends and axes are inputs."""
    names = [name for name in ("starts", "ends", "axes") if name in s.node.attributes]
    s.finish(s.x, *(s.integers(s.node.attributes[name], name) for name in names), without=names)


@step(2, "Split")
def split_2(s: Step) -> None:
    """The sizes are no input; they will be one again."""
    sizes = s.input(1)
    if sizes and s.target < 13:
        raise ir.UnsupportedError("its sizes are an input, which takes opset 13 or newer")
    s.finish(s.x, s.emit("Cast", sizes, part="sizes", to="INT64") if sizes else "")


@step(13, "Split")
def split_13(s: Step) -> None:
    """The sizes are an input."""
    sizes = s.node.attributes.get("split")
    given = s.integers(sizes, "split") if sizes is not None else s.input(1)
    s.finish(s.x, given, without=["split"])


@step(18, "Split")
def split_18(s: Step) -> None:
    """Without sizes, it is told how many there are."""
    s.same(**({} if s.input(1) else {"num_outputs": len(s.node.outputs)}))


@step(10, "TopK")
def top_k(s: Step) -> None:
    """`k` is an input."""
    k = s.node.attributes["k"]
    given = (
        s.emit("Constant", part="k", value_int=k) if isinstance(k, ir.AttributeReference) else ""
    )
    if given:
        given = s.emit("Reshape", given, s.integers([1], "one"), part="k_list")
    s.finish(s.x, given or s.integers([k], "k"), without=["k"])


@step(11, "TopK")
def top_k_11(s: Step) -> None:
    """The largest are still what it takes."""
    s.same()


# Broadcasting, which opset 7 made what numpy's is


@step(7, *("Add", "Sub", "Mul", "Div", "Pow", "And", "Or", "Xor", "Greater", "Less", "Equal"))
def broadcast(s: Step) -> None:
    """The second operand matches the last axes of the first; before, those from `axis` on."""
    a, b = s.node.inputs
    axis = s.attribute("axis")
    if s.attribute("broadcast", 0) and axis is not None:
        own = s.rank(b)
        if trailing := s.rank(a) - axis % s.rank(a) - own:
            b = s.emit("Unsqueeze", b, part="aligned", axes=tuple(range(own, own + trailing)))
    s.finish(a, b, without=["axis", "broadcast"])


@step(7, "PRelu")
def p_relu(s: Step) -> None:
    """The slope is broadcast; before, a vector was of channels."""
    slope, kind = s.input(1), s.find(s.input(1))
    if s.rank(slope) == 1 and kind and kind.shape != (1,) and s.rank(s.x) > 2:
        axes = tuple(range(1, s.rank(s.x) - 1))
        slope = s.emit("Unsqueeze", slope, part="slope", axes=axes)
    s.finish(s.x, slope)


@step(7, "Gemm")
def gemm(s: Step) -> None:
    """What is added is broadcast without being asked to."""
    s.same(without=["broadcast"])


# Attributes with another name, default or type


@step(4, "Concat")
def concat(s: Step) -> None:
    """The axis is stated."""
    s.same(axis=s.node.attributes.get("axis", 1))


@step(6, "Cast")
def cast(s: Step) -> None:
    """The type is a number."""
    name = str(s.attribute("to")).upper()
    if name not in dict(TensorProto.DataType.items()):
        raise ir.UnsupportedError(f"'{name}' is not the name of an element type")
    s.same(to=int(TensorProto.DataType.Value(name)))


@step(6, "Selu")
def selu(s: Step) -> None:
    """The defaults have more digits."""
    given = s.node.attributes
    s.same(alpha=given.get("alpha", 1.6732), gamma=given.get("gamma", 1.0507))


@step(3, "GRU")
def gru(s: Step) -> None:
    """The default of the direction was misspelt."""
    s.same(direction=str(s.attribute("direction", "forward")).replace("foward", "forward"))


@step(7, "GRU", "LSTM", "RNN")
def recurrent(s: Step) -> None:
    """Whether there is an output, the node's outputs say."""
    s.same(without=["output_sequence"])


@step(2, "LpPool", "GlobalLpPool")
def lp_pool(s: Step) -> None:
    """`p` is whole, and a window stated."""
    p = s.attribute("p", 2.0)
    if p != int(p):
        raise ir.UnsupportedError(f"p={p} is not whole")
    if s.node.op_type == "LpPool" and "kernel_shape" not in s.node.attributes:
        windows = ["auto_pad", "pads", "strides"]
        s.finish(s.x, op_type="GlobalLpPool", without=windows, p=int(p))
    else:
        s.same(p=int(p))


@step(20, "GridSample")
def grid_sample(s: Step) -> None:
    """Modes have other names."""
    mode = s.attribute("mode", "bilinear")
    s.same(mode={"bilinear": "linear", "bicubic": "cubic"}.get(mode, mode))


@step(16, "RoiAlign")
def roi_align(s: Step) -> None:
    """Regions are moved by half a pixel unless told."""
    s.same(coordinate_transformation_mode="output_half_pixel")


@step(19, "QuantizeLinear")
def quantize_linear(s: Step) -> None:
    """What is quantized has the type of the scale; before, it could be integers."""
    x, scale, *zero_point = s.node.inputs
    if s.dtype(x) == np.int32:
        x = s.emit("Cast", x, part="float", to=TensorProto.FLOAT)
    s.finish(x, scale, *zero_point)


@step(11, "Scatter")
def scatter(s: Step) -> None:
    """It has another name."""
    s.finish(*s.node.inputs, op_type="ScatterElements")


# Other meanings


@step(13, "Softmax", "LogSoftmax", "Hardmax")
def softmax(s: Step) -> None:
    """It is along one axis; before, along all from `axis` on as if they were one."""
    axis, kind = s.node.attributes.get("axis", 1), s.find(s.x)
    rank = None if kind is None or kind.shape is None else len(kind.shape)
    if axis == -1 or (rank and axis == rank - 1):
        s.same(axis=-1)
        return
    flat = s.emit("Flatten", s.x, part="flat", axis=axis)
    y = s.fresh(f"{s.node.outputs[0]}.flat_result")
    s.finish(flat, outputs=[y], axis=-1)
    shape = s.emit("Shape", s.x, part="shape")
    s.made.append(ir.Node("Reshape", (y, shape), s.node.outputs, name=f"{y}.reshape"))


def without_outputs(s: Step, number: int) -> list[str]:
    """A node's first outputs. Raises: UnsupportedError if something reads another one."""
    if s.read.intersection(filter(None, s.node.outputs[number:])):
        raise ir.UnsupportedError("something reads outputs of it that there are no more")
    return list(s.node.outputs[:number])


@step(7, "BatchNormalization")
def batch_normalization_7(s: Step) -> None:
    """Whether it trains, its further outputs say."""
    outputs = without_outputs(s, 1) if s.attribute("is_test", 0) else s.node.outputs
    s.finish(*s.node.inputs, outputs=outputs, without=["is_test"])


@step(9, "BatchNormalization")
def batch_normalization_9(s: Step) -> None:
    """Statistics are of channels; before, those of features could be asked for."""
    if s.attribute("spatial", 1):
        s.same(without=["spatial"])
        return
    if len(s.node.outputs) > 1:
        raise ir.UnsupportedError("it trains with statistics of each feature")
    flat, one = s.emit("Flatten", s.x, part="flat", axis=1), s.integers([-1], "all")
    statistics = [
        s.emit("Reshape", value, one, part=f"input_{i}")
        for i, value in enumerate(s.node.inputs[1:])
    ]
    result = s.fresh(f"{s.node.outputs[0]}.flat_result")
    s.finish(flat, *statistics, outputs=[result], without=["spatial"])
    shape = s.emit("Shape", s.x, part="shape")
    s.made.append(ir.Node("Reshape", (result, shape), s.node.outputs, name=f"{result}.reshape"))


@step(14, "BatchNormalization")
def batch_normalization_14(s: Step) -> None:
    """Whether it trains is stated, and it does not put out the statistics of the batch."""
    trains = any(s.node.outputs[1:])
    outputs = without_outputs(s, 3 if trains else 1)
    s.finish(*s.node.inputs, outputs=outputs, training_mode=int(trains))


@step(21, "GroupNormalization")
def group_normalization(s: Step) -> None:
    """Scale and bias are of channels; before, of groups."""
    groups = s.attribute("num_groups")
    channels = s.emit("Shape", s.x, part="channels", start=1, end=2)
    size = s.emit("Div", channels, s.integers([groups], "groups"), part="size")
    shape = s.emit("Concat", s.integers([1], "one"), size, part="shape", axis=0)
    column, flat = s.integers([-1, 1], "column"), s.integers([-1], "flat")
    inputs = []
    for name, value in zip(("scale", "bias"), s.node.inputs[1:], strict=True):
        wide = s.emit("Reshape", value, column, part=f"{name}_column")
        wide = s.emit("Expand", wide, shape, part=f"{name}_repeated")
        inputs.append(s.emit("Reshape", wide, flat, part=name))
    s.finish(s.x, *inputs)


@step(6, "Tile")
def tile(s: Step) -> None:
    """How often is told of each axis; before, of one."""
    ones = (s.integers([1] * n, part) for n, part in ((s.rank(s.x), "ones"), (1, "one")))
    all_ones, one = ones
    tiles, axis = (
        s.emit(
            "Reshape", s.emit("Cast", x, part=f"{part}_int", to=TensorProto.INT64), one, part=part
        )
        for part, x in (("tiles", s.input(1)), ("axis", s.input(2)))
    )
    if s.target < 11:
        raise ir.UnsupportedError("it takes opset 11 or newer")
    s.finish(s.x, s.emit("ScatterElements", all_ones, axis, tiles, part="repeats"))


@step(24, "Attention")
def attention(s: Step) -> None:
    """A mask is padded; before, one for a single key was for all."""
    mask = s.input(3)
    if mask:
        keys = s.emit("Shape", s.input(1), part="keys", start=-2, end=-1)
        if s.input(4):
            past = s.emit("Shape", s.input(4), part="past", start=2, end=3)
            keys = s.emit("Add", keys, past, part="all_keys")
        mask = s.emit("Expand", mask, keys, part="mask")
    s.finish(*s.node.inputs[:3], mask, *s.node.inputs[4:])


# Resampling


@step(7, "Upsample")
def upsample_7(s: Step) -> None:
    """The scales are of all axes."""
    height, width = s.attribute("height_scale"), s.attribute("width_scale")
    s.same(without=["height_scale", "width_scale"], scales=(1.0, 1.0, height, width))


@step(9, "Upsample")
def upsample_9(s: Step) -> None:
    """The scales are an input. They decide a shape, so they are no parameter."""
    scales = ir.Tensor.of("", np.asarray(s.attribute("scales"), np.float32))
    s.finish(s.x, s.emit("Constant", part="scales", value=scales), without=["scales"])


@step(10, "Upsample")
def upsample_10(s: Step) -> None:
    """It is called Resize."""
    s.finish(*s.node.inputs, op_type="Resize")


@step(11, "Resize")
def resize_11(s: Step) -> None:
    """How coordinates are computed is stated.

    The nearest element was the one before when enlarging, and the one after when reducing, so
    there are two nodes, of which one does nothing in the usual case.
    """
    mode = "nearest" if s.attribute("mode", "nearest") == "nearest" else "linear"
    roi = s.emit("Constant", part="roi", value=ir.Tensor.of("", np.zeros(0, np.float32)))
    how: dict[str, Any] = {"mode": mode, "coordinate_transformation_mode": "asymmetric"}
    if mode == "linear":
        s.finish(s.x, roi, s.input(1), **how)
        return
    one = s.emit("Constant", part="one", value=ir.Tensor.of("", np.ones(1, np.float32)))
    up, down = (s.emit(o, s.input(1), one, part=f"scales_{o.lower()}") for o in ("Max", "Min"))
    larger = s.fresh(f"{s.node.outputs[0]}.enlarged")
    s.finish(s.x, roi, up, outputs=[larger], nearest_mode="floor", **how)
    s.finish(larger, roi, down, nearest_mode="ceil", **how)


@step(13, "Resize")
def resize_13(s: Step) -> None:
    """Scales are absent where there are sizes; one way to compute coordinates is no more."""
    if s.attribute("coordinate_transformation_mode", "") == "tf_half_pixel_for_nn":
        raise ir.UnsupportedError(
            "coordinate_transformation_mode='tf_half_pixel_for_nn' is no more"
        )
    x, roi, scales, *sizes = s.node.inputs
    s.finish(x, roi, "" if any(sizes) else scales, *sizes)


# Scan, which had a batch


@step(9, "Scan")
def scan(s: Step) -> None:
    """Without a batch: a Scan over the batch has the Scan of one element in its body."""
    lengths, *values = s.node.inputs
    if lengths:
        raise ir.UnsupportedError("its sequences have lengths of their own")
    n = s.attribute("num_scan_inputs")
    directions = s.attribute("directions")
    given = [s.fresh(f"{s.node.outputs[0]}.element_{i}") for i in range(len(values))]
    outputs = [s.fresh(f"{y}.element") if y else "" for y in s.node.outputs]
    attributes: Mapping[str, ir.Attribute] = {
        "body": s.attribute("body"),
        "num_scan_inputs": n,
        **({"scan_input_directions": directions} if directions else {}),
    }
    inner = replace(s.node, inputs=tuple(given), outputs=tuple(outputs), attributes=attributes)
    body = ir.Graph(
        (inner,),
        tuple(map(ir.ValueInfo, given)),
        tuple(map(ir.ValueInfo, filter(None, outputs))),
        name=f"{s.node.outputs[0]}.batch",
    )
    results = tuple(filter(None, s.node.outputs))
    outer = {"body": body, "num_scan_inputs": len(values)}
    s.made.append(ir.Node("Scan", tuple(values), results, outer, f"{s.node.name}.batch"))
