"""The nodes of a low-rank path beside a node that uses a weight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from onnxla import ir
from onnxla.edit.adapters import ADAPTS, BASE, REPLACES, Adapter
from onnxla.edit.applications import AdaptableWeight, Application
from onnxla.edit.views import swapped, undone


@dataclass
class Path:
    """The nodes of a path, as they are written.

    Attributes:
        y: Name of the result that the update is added to.
        metadata: What each node says of itself.
    """

    y: str
    metadata: Mapping[str, str]
    nodes: list[ir.Node] = field(default_factory=list)

    def write(
        self,
        op_type: str,
        inputs: Sequence[str],
        attributes: Mapping[str, ir.Attribute],
        y: str = "",
        domain: str = "",
    ) -> str:
        """Adds a node; returns the name `y` of its output, which is made up unless it is given."""
        # Of what makes y, too: a node may have the name y.
        name = f"{self.y}.lora_{len(self.nodes) + 1}"
        node = ir.Node(op_type, tuple(inputs), (y or name,), attributes, name, domain)
        self.nodes.append(replace(node, metadata=self.metadata))
        return y or name

    def emit(self, op_type: str, *inputs: str, **attributes: ir.Attribute) -> str:
        """Adds a node with a name that is made up for its output; returns that."""
        return self.write(op_type, inputs, attributes)

    def constant(self, value: np.ndarray) -> str:
        """Adds a constant; returns its name."""
        return self.emit("Constant", value=ir.Tensor.of("", value))

    def transposed(self, value: str, rank: int) -> str:
        """Adds a node that swaps the last two of `rank` axes."""
        return self.emit("Transpose", value, perm=swapped(range(rank)))

    def reshaped(self, value: str, *shape: int) -> str:
        """Adds a node that reshapes a value."""
        return self.emit("Reshape", value, self.constant(np.asarray(shape, np.int64)))


def path(use: Application, weight: AdaptableWeight, adapter: Adapter) -> list[ir.Node]:
    """The nodes that take the place of the last node of a weight's use.

    They are that node, the path beside it, and the sum.
    """
    y, *others = use.end.outputs
    nodes = Path(y, {ADAPTS: weight.name})
    update = write_update(use, weight, adapter, nodes)
    if use.requantized:
        write_requantized(use, update, nodes)
    else:
        nodes.write("Add", (y + BASE, update), {}, y)
    return [replace(use.end, outputs=(y + BASE, *others)), *nodes.nodes]


def write_update(use: Application, weight: AdaptableWeight, adapter: Adapter, path: Path) -> str:
    """Writes what an adapter adds to the result of a use; returns its name."""
    # M = A @ B, or of a use that sees it transposed B' @ A'. To the left of x stands M'.
    flipped = use.transposed != weight.applications[0].transposed
    first, second = (adapter.b, adapter.a) if flipped else (adapter.a, adapter.b)
    transposes = flipped != (use.form == "left")

    def factor(tensor: ir.Tensor) -> str:
        return path.transposed(tensor.name, len(tensor.shape)) if transposes else tensor.name

    x = path.emit("DequantizeLinear", use.x, *use.x_grid) if use.x_grid else use.x
    x = path.emit("Transpose", x, perm=(1, 0)) if use.transpose_x else x
    match use.form:
        case "right":
            small = path.emit("MatMul", x, factor(first))
        case "left":
            small = path.emit("MatMul", factor(first), x)
        case "rows":
            small = path.emit("Gather", factor(first), x, axis=0)
        case "convolution":
            small = path.write("Conv", (x, first.name), window(use))
        case "linear":
            # The update of the weight, which is not small.
            small = path.emit("MatMul", factor(first), factor(second))
    if adapter.scale:
        small = path.emit("Mul", small, adapter.scale.name)
    if use.factor != 1:
        small = path.emit("Mul", small, path.constant(np.asarray(use.factor, use.view.dtype)))
    match use.form:
        case "right" | "rows":
            return path.emit("MatMul", small, factor(second))
        case "left":
            return path.emit("MatMul", factor(second), small)
        case "convolution":
            return path.emit("Conv", small, second.name, group=use.group)
    for kind, how in undone(use.matrix):
        transpose = kind == "transpose"
        small = path.emit("Transpose", small, perm=how) if transpose else path.reshaped(small, *how)
    changed = {use.x: small} | dict.fromkeys(use.left_out, "")
    inputs = [changed.get(name, name) for name in use.node.inputs]
    node = use.node
    return path.write(node.op_type, inputs, node.attributes, domain=node.domain)


def window(use: Application) -> dict[str, ir.Attribute]:
    """The attributes of a convolution that are those of Conv."""
    return {k: v for k, v in use.node.attributes.items() if k != "channels_last"}


def write_requantized(use: Application, update: str, path: Path) -> None:
    """Writes the result of a QLinearConv or QLinearMatMul with an update added.

    These round what they compute to a grid, and cut off what is beyond it: so do quantizers write
    the Relu after a layer. So it is computed once more and the update is added before. While that
    is zero, the result is the operator's, bit for bit where its sums are below 2**24.
    """
    x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero, *bias = use.node.inputs
    dtype, kernel = use.view.dtype, (1,) * (len(use.view.shape) - 2)
    to = ir.number_of(dtype)
    scale = path.emit("Div", path.emit("Mul", x_scale, w_scale), y_scale)
    if use.form == "convolution":
        # For ONNX Runtime, kernels have one zero point; all of them are the same.
        w_zero = path.emit("Gather", path.reshaped(w_zero, -1), path.constant(np.asarray(0)))
        product = path.write("ConvInteger", (x, w, x_zero, w_zero), window(use))
        scale = path.reshaped(scale, -1, *kernel)
    else:
        product = path.emit("MatMulInteger", x, w, x_zero, w_zero)
    product = path.emit("Cast", product, to=to)
    if any(bias):  # in training the product is a float, so it is no sum of integers
        addend = path.emit("Cast", bias[0], to=to)
        product = path.emit("Add", product, path.reshaped(addend, -1, *kernel))
    steps = path.emit("Mul", product, scale)
    total = path.emit("Add", steps, path.emit("Div", update, y_scale))
    one = path.constant(np.ones((), dtype))
    path.metadata = {**path.metadata, REPLACES: path.y + BASE}
    path.write("QuantizeLinear", (total, one, y_zero), {}, path.y)
