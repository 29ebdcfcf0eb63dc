"""Quantization-aware training: floating-point weights in front of a quantized model's integers.

An integer initializer is no parameter: it has no gradient. `quantization_aware` puts a latent
weight in its place, the numbers that the integers stand for, and a QuantizeLinear that makes the
integers of it; in training, gradients pass straight through that. `restore` puts integers back.

Source: Jacob et al. 2018, arXiv 1712.05877; `ops/quantize.py` has the gradients.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import ml_dtypes
import numpy as np

from onnxla.ir.dtypes import number_of
from onnxla.ir.errors import ModelError
from onnxla.ir.model import Graph, Model, Node, SparseTensor, Tensor
from onnxla.ir.names import listed
from onnxla.ir.rewrite import need_opset, rewrite
from onnxla.ir.traverse import is_standard
from onnxla.ops.quantize import dequantize_linear, quantize_linear
from onnxla.ops.straight_through import STRAIGHT_THROUGH
from onnxla.ops.table import Operator, full_name, lookup, rows

MICROSOFT = "com.microsoft"

QUANTIZED = frozenset(
    np.dtype(getattr(ml_dtypes, name, name))
    for name in (
        *("int2", "uint2", "int4", "uint4", "int8", "uint8", "int16", "uint16", "float4_e2m1fn"),
        *("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz"),
    )
)
# ONNX lets DequantizeLinear read it, but no QuantizeLinear make it; onnxla's does, until saved.
BIAS = np.dtype(np.int32)
# Ways to move the first operand's elements alone, so that one scale holds for the result, too.
MOVED = frozenset({"reshaped", "permuted", "repeated", "sliced", "gathered"})


@dataclass(frozen=True, eq=False, kw_only=True)
class Latent(Tensor):
    """A floating-point weight in the place of `quantized`, the tensor that the file has.

    Attributes:
        grid: What the numbers of `quantized` stand for.
        is_bias: Whether its scale is that of the layer's input times that of the layer's weight,
            which runtimes take for granted.
    """

    quantized: Tensor
    grid: Grid
    is_bias: bool


@dataclass(frozen=True)
class Grid:
    """The numbers that the integers of a tensor stand for; see `ops/quantize.py`."""

    scale: Tensor
    zero_point: Tensor | None
    axis: int
    block_size: int

    @property
    def is_shared(self) -> bool:
        """Whether all integers have the same scale."""
        return self.scale.numpy().size == 1 and not self.block_size

    @property
    def tensors(self) -> list[Tensor]:
        """Scale and, if there is one, zero point."""
        return [self.scale] if self.zero_point is None else [self.scale, self.zero_point]

    def at(self, tensors: Mapping[str, Tensor]) -> Grid:
        """The grid with the current scale and zero point of those names."""
        zero_point = self.zero_point and tensors.get(self.zero_point.name, self.zero_point)
        return replace(self, scale=tensors.get(self.scale.name, self.scale), zero_point=zero_point)

    def dequantize(self, numbers: np.ndarray) -> np.ndarray:
        """What quantized numbers stand for."""
        scale, zero_point = self.scale.numpy(), self.zero_point and self.zero_point.numpy()
        where = {"axis": self.axis, "block_size": self.block_size}
        return np.asarray(dequantize_linear(numbers, scale, zero_point, **where))

    def quantize(self, x: np.ndarray, dtype: np.dtype) -> np.ndarray:
        """The nearest quantized numbers, as `dtype`."""
        scale, zero_point = self.scale.numpy(), self.zero_point and self.zero_point.numpy()
        if dtype == BIAS:  # has more digits than float32
            x, scale = x.astype(np.float64), scale.astype(np.float64)
        y = quantize_linear(
            x,
            scale,
            zero_point,
            axis=self.axis,
            block_size=self.block_size,
            output_dtype=number_of(dtype),
        )
        return np.asarray(y)


def initializers_of(graph: Graph) -> dict[str, Tensor]:
    """Initializers by name, the sparse ones excepted."""
    return {t.name: t for t in graph.initializers if isinstance(t, Tensor)}


def scale_axis(node: Node, index: int, operator: Operator, rank: int) -> int:
    """The axis along which an operand's vector of scales holds."""
    if is_dequantizing(node):
        return int(node.attributes.get("axis", 1))  # type: ignore[arg-type]
    axis = operator.channel_axis(operator.input_name(index), node.attributes)
    return (-1 if axis is None else axis) % rank


class Surroundings:
    """A graph's initializers by name, and the nodes that make and read each of its values."""

    def __init__(self, graph: Graph) -> None:
        self.tensors = initializers_of(graph)
        self.makers = {name: node for node in graph.nodes for name in node.outputs}
        self.readers: dict[str, list[Node]] = {}
        for node in graph.nodes:
            for name in set(node.inputs):
                self.readers.setdefault(name, []).append(node)

    def reader(self, name: str, op_type: str) -> Node | None:
        """The first node of an operator that reads a value."""
        readers = self.readers.get(name, ())
        return next((node for node in readers if is_standard(node, op_type)), None)


def grid_of(node: Node, index: int, operator: Operator, around: Surroundings) -> Grid | None:
    """The grid of an operand, where its scale is a constant: another operand, or applied later."""
    tensors = around.tensors
    given = dict(zip((name.lower() for name in operator.inputs), node.inputs, strict=False))
    operand = operator.input_name(index).lower().removesuffix("_quant")
    scale = tensors.get(given.get(f"{operand}_scale", ""))
    if is_standard(node, "MatMulInteger", "ConvInteger") and index == 1:
        scale = applied_scale(node.outputs[0], around)
    zero_point = given.get(f"{operand}_zero_point", "")
    if scale is None or (zero_point and zero_point not in tensors):
        return None
    block_size = int(node.attributes.get("block_size", 0))  # type: ignore[arg-type]
    shared = Grid(scale, tensors.get(zero_point), 0, block_size)
    if shared.is_shared or node.inputs[index] not in tensors:
        return shared
    rank = len(tensors[node.inputs[index]].shape)
    return replace(shared, axis=scale_axis(node, index, operator, rank))


def applied_scale(product: str, around: Surroundings) -> Tensor | None:
    """The weight's scale, where a product of integers is cast, then multiplied by both scales.

    So does ONNX Runtime's dynamic quantization.
    """
    cast = around.reader(product, "Cast")
    scaled = around.reader(cast.outputs[0], "Mul") if cast else None
    scales = [name for name in scaled.inputs if cast and name != cast.outputs[0]] if scaled else []
    both = around.makers.get(scales[0]) if scales else None
    found = [around.tensors[name] for name in both.inputs if name in around.tensors] if both else []
    return found[0] if both and is_standard(both, "Mul") and len(found) == 1 else None


def is_faithful(tensor: Tensor, grid: Grid) -> bool:
    """Whether the numbers that `tensor` stands for are quantized to `tensor` again.

    Not in bfloat16, where they have too few digits. A bias passes: its steps are finer than needed.
    """
    try:
        numbers = tensor.numpy()
        back = grid.quantize(grid.dequantize(numbers), tensor.dtype)
        return tensor.dtype == BIAS or bool((back == numbers).all())
    except ModelError:  # a scale of another shape
        return False


def find_quantized(model: Model) -> tuple[dict[Tensor, Grid], list[Tensor]]:
    """The quantized weights among the initializers: those on a known grid with it, and the others.

    Others are those whose scale is computed, of which two readers have different scales, and the
    bias of QLinearConv or QGemm, whose scale is a product.
    """
    around, inputs = Surroundings(model.graph), {value.name for value in model.graph.inputs}
    tensors = around.tensors
    grids: dict[Tensor, set[Grid | None]] = {}
    moved: dict[str, str] = {}
    for node in model.graph.nodes:
        operator = lookup(node.domain, node.op_type, model.opsets.get(node.domain, 1))
        if operator is not None and operator.moves in MOVED:
            moved |= dict.fromkeys(node.outputs, moved.get(node.inputs[0], node.inputs[0]))
        for index, name in enumerate(node.inputs if operator else ()):
            tensor = tensors.get(moved.get(name, name))
            if operator is None or tensor is None or tensor.dtype not in QUANTIZED | {BIAS}:
                continue
            grid, dequantizes = grid_of(node, index, operator, around), is_dequantizing(node)
            if tensor.dtype == BIAS and not (dequantizes and name not in moved):
                grid = None
            if name in moved and grid and not grid.is_shared:
                grid = None
            role = operator.roles.get(operator.input_name(index))
            if grid or role in ("weight", "bias", "addend") or (dequantizes and index == 0):
                grids.setdefault(tensor, set()).add(grid)
    found = {}
    for tensor, (grid, *more) in grids.items():
        if grid and not more and tensor.name not in inputs:
            found[tensor] = grid
    return found, [tensor for tensor in grids if tensor not in found]


def is_dequantizing(node: Node) -> bool:
    """Whether a node is a DequantizeLinear, of either domain."""
    return node.op_type == "DequantizeLinear" and node.domain in ("", MICROSOFT)


def quantization_aware(model: Model) -> Model:
    """The model with latent weights in the place of its quantized ones; all values stay the same.

    Each takes its place among the initializers, and the integers' name is that of the value which
    a QuantizeLinear makes. (A bias of more than 2**22 steps may differ in its last digit.)

    Raises:
        ValueError: There are no quantized weights, or none that are on a known grid.
        UnsupportedError: The model's opset is below 10.
    """
    known, left = find_quantized(model)
    found = {tensor: grid for tensor, grid in known.items() if is_faithful(tensor, grid)}
    if found:
        need_opset(model, 10, "a QuantizeLinear")
    else:
        left = [*known, *left]
        names = listed([tensor.name for tensor in left])
        raise ValueError(
            "no quantized weight can be trained: "
            + (f"the numbers that {names} stand for are not known" if left else "there is none")
        )
    graph = model.graph
    taken = set(initializers_of(graph)).union(*(n.inputs + n.outputs for n in graph.nodes))
    latents = {}
    for tensor, grid in found.items():
        name = tensor.name.removesuffix("_quantized")  # which ONNX Runtime's quantizer adds
        name = f"{name}_latent" if name in taken else name
        taken.add(name)
        weight, product = grid.dequantize(tensor.numpy()), layer_scale(tensor.name, graph)
        latents[tensor.name] = Latent(
            name,
            weight.dtype,
            weight.shape,
            partial(np.asarray, weight),
            quantized=tensor,
            grid=grid,
            is_bias=product is not None and is_close(product, grid.scale),
        )
    nodes = (*map(quantizer, latents.values()), *graph.nodes)
    initializers = tuple(latents.get(t.name, t) for t in graph.initializers)
    return replace(model, graph=replace(graph, nodes=nodes, initializers=initializers))


def quantizer(weight: Latent) -> Node:
    """The QuantizeLinear that makes the quantized tensor of a latent weight."""
    tensor, grid = weight.quantized, weight.grid
    attributes = {} if grid.is_shared else {"axis": grid.axis}
    if grid.block_size:
        attributes["block_size"] = grid.block_size
    if grid.zero_point is None:
        attributes["output_dtype"] = number_of(tensor.dtype)
    if tensor.dtype == BIAS:  # whose numbers may be beyond float16
        attributes["precision"] = number_of(np.dtype(np.float32))
    inputs = (weight.name, *(t.name for t in grid.tensors))
    return Node("QuantizeLinear", inputs, (tensor.name,), attributes, f"{tensor.name}_quantize")


def layer_scale(name: str, graph: Graph) -> np.ndarray | None:
    """The scale of the input times that of the weight, in the layer of which `name` is the bias.

    None unless the layer reads all three from a DequantizeLinear.
    """
    tensors = initializers_of(graph)
    sources = {node.outputs[0]: node for node in graph.nodes if is_dequantizing(node)}
    for layer in graph.nodes:
        read = [sources[name] for name in layer.inputs[:3] if name in sources]
        if len(read) == 3 and read[2].inputs[0] == name:
            scales = [tensors.get(node.inputs[1]) for node in read[:2]]
            known = [scale.numpy() for scale in scales if scale is not None]
            return known[0] * known[1] if len(known) == 2 else None
    return None


def is_close(product: np.ndarray, scale: Tensor) -> bool:
    """Whether a scale is the product of two, up to rounding."""
    same_size = product.size == scale.numpy().size
    return same_size and np.allclose(product.ravel(), scale.numpy().ravel(), rtol=1e-6, atol=0)


def restore(model: Model) -> Model:
    """The model as its file has it: integers instead of latent weights, and no marks on nodes.

    Integers that stand for what their latent weight is stay, and a tensor of such alone is the
    same object. Scales are the current ones; that of a bias follows those that it is a product of.
    """
    model = rewrite(model, node=lambda node: [unmarked(node)])
    graph = model.graph
    tensors = initializers_of(graph)
    latents = {name: tensor for name, tensor in tensors.items() if isinstance(tensor, Latent)}
    for bias in latents.values():
        scale = tensors[bias.grid.scale.name]
        product = layer_scale(bias.quantized.name, graph) if bias.is_bias else None
        if product is not None and not is_close(product, scale):
            tensors[scale.name] = scale.with_data(product.reshape(scale.shape).astype(scale.dtype))

    def written(tensor: Tensor | SparseTensor) -> Tensor | SparseTensor:
        if isinstance(tensor, Latent):
            return quantized_again(tensor, tensor.grid.at(tensors))
        return tensors.get(tensor.name, tensor)

    nodes = tuple(node for node in graph.nodes if not is_quantizer(node, latents))
    initializers = tuple(map(written, graph.initializers))
    return replace(model, graph=replace(graph, nodes=nodes, initializers=initializers))


def is_quantizer(node: Node, latents: Collection[str]) -> bool:
    """Whether a node is the QuantizeLinear of one of the latent weights."""
    return is_standard(node, "QuantizeLinear") and node.inputs[0] in latents


def quantized_again(weight: Latent, grid: Grid) -> Tensor:
    """The quantized tensor of a latent weight."""
    old, now = weight.quantized.numpy(), weight.numpy()
    new = np.where(grid.dequantize(old) == now, old, grid.quantize(now, old.dtype))
    return weight.quantized if (new == old).all() else weight.quantized.with_data(new)


def mark_straight_through(model: Model, operators: Iterable[str]) -> Model:
    """The model whose nodes of some operators are marked to have the derivative 1 in training.

    Args:
        model: The model.
        operators: Names, preceded by their domain and a dot if it is not ONNX's.

    Raises:
        ValueError: An operator is not constant between jumps, or the model has no such node.
    """
    wanted, met = set(operators), set()
    steps = {
        full_name(row.name, row.domain) for _, row in rows() if row.steps and len(row.inputs) == 1
    }
    if unknown := sorted(wanted.difference(steps)):
        known = ", ".join(sorted(steps))
        raise ValueError(f"{unknown[0]} is not an operator without slope: {known}")

    def marked(node: Node) -> list[Node]:
        name = full_name(node.op_type, node.domain)
        if name not in wanted:
            return [node]
        met.add(name)
        return [replace(node, metadata={**node.metadata, STRAIGHT_THROUGH: "1"})]

    model = rewrite(model, node=marked)
    if missing := sorted(wanted - met):
        raise ValueError(f"the model has no {missing[0]}")
    return model


def unmarked(node: Node) -> Node:
    """The node without the mark of `mark_straight_through`."""
    if STRAIGHT_THROUGH not in node.metadata:
        return node
    return replace(node, metadata={k: v for k, v in node.metadata.items() if k != STRAIGHT_THROUGH})
