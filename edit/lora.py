"""Low-rank adaptation: a path of small rank beside a weight learns what is added to the weight.

The path is part of the graph, as ONNX nodes. Its factors are initializers in the role `adapter`,
and its nodes and initializers say in their metadata which weight they adapt: so they can be merged
into the weight, or taken out again, also after the model was saved and loaded.

Source: Hu et al. 2021, LoRA: Low-Rank Adaptation of Large Language Models.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from onnxla import ir
from onnxla.edit.adaptable import (
    AdaptableWeight,
    Application,
    find_adaptable,
    swapped,
    undone,
)
from onnxla.ir.names import quoted
from onnxla.ir.rewrite import (
    add_initializers,
    need_opset,
    remove_initializers,
    replace_tensors,
    rewrite,
)
from onnxla.ir.traverse import all_nodes, is_standard
from onnxla.parameters.roles import ROLE, find_parameters
from onnxla.parameters.selection import matching

ADAPTS = "onnxla.adapts"  # metadata of nodes and tensors: the name of the weight they adapt
PART = "onnxla.part"  # metadata of tensors: A, B or scale


@dataclass(frozen=True)
class Adapter:
    """What is added to a weight: `scale` times the product of the factors `a` and `b`."""

    a: ir.Tensor
    b: ir.Tensor
    scale: ir.Tensor | None = None  # 1

    @property
    def tensors(self) -> list[ir.Tensor]:
        """The tensors of the adapter."""
        return [self.a, self.b, *([self.scale] if self.scale else [])]


def find_adapters(model: ir.Model) -> dict[str, Adapter]:
    """The adapters of a model, by the name of the weight. Raises: ModelError if one is cut up."""
    parts: dict[str, dict[str, ir.Tensor]] = {}
    for tensor in model.graph.initializers:
        if isinstance(tensor, ir.Tensor) and ADAPTS in tensor.metadata:
            name = tensor.metadata[ADAPTS]
            parts.setdefault(name, {})[tensor.metadata.get(PART, "")] = tensor
    for name, found in parts.items():
        if not {"A", "B"} <= found.keys() <= {"A", "B", "scale"}:
            raise ir.ModelError(
                f"the adapter of {quoted(name)} consists of {sorted(found)}, not A and B"
            )
    return {n: Adapter(found["A"], found["B"], found.get("scale")) for n, found in parts.items()}


def select(model: ir.Model, patterns: Sequence[str], rank: int) -> dict[str, AdaptableWeight]:
    """The weights that patterns choose, by name; see `Module.lora`.

    Raises:
        ValueError: A pattern matches no weight that can be adapted; the message says why.
    """
    if rank < 1:
        raise ValueError(f"the rank must be at least 1, got {rank}")
    found = find_adaptable(model)
    for name, adapter in find_adapters(model).items():
        found[name] = "it has an adapter already"
        found |= {tensor.name: "it is part of an adapter" for tensor in adapter.tensors}
    weights = {name: w for name, w in found.items() if isinstance(w, AdaptableWeight)}
    can = f"; what can be adapted: {', '.join([*weights][:8]) or 'nothing'}"
    chosen: set[str] = set()
    for pattern in patterns:
        names = matching(pattern, {**weights, **found}, "weight")
        if weights.keys().isdisjoint(names):
            raise ValueError(f"'{pattern}': {found[names[0]]}{can}")
        chosen.update(names)
    if not patterns:
        roles = find_parameters(model).roles
        chosen = {
            name
            for name, weight in weights.items()
            if roles.get(name, "weight") == "weight"
            and weight.saves(rank)
            and not any(application.form == "rows" for application in weight.applications)
        }
        if not chosen:
            raise ValueError(
                f"nothing in the role weight is larger than its path of rank {rank}{can}"
            )
    return {name: weight for name, weight in weights.items() if name in chosen}


def add_adapters(
    model: ir.Model, weights: Mapping[str, AdaptableWeight], adapters: Mapping[str, Adapter]
) -> ir.Model:
    """The model with a low-rank path beside each of some weights.

    Raises:
        UnsupportedError: The model's opset is below 7; elementwise operators do not broadcast then.
    """
    need_opset(model, 7, "a low-rank path")
    paths: dict[ir.Node, list[ir.Node]] = {}
    for name, weight in weights.items():
        paths |= {a.node: path(a, weight, adapters[name]) for a in weight.applications}
    tensors = [tensor for name in weights for tensor in adapters[name].tensors]
    return add_initializers(rewrite(model, node=lambda n: paths.get(n, [n])), tensors)


def initial(weight: AdaptableWeight, rank: int, alpha: float, rng: np.random.Generator) -> Adapter:
    """An adapter whose product is zero: one factor is normal with variance 1 / fan-in, one is zero.

    The paper has the factor normal that is applied first. In an embedding it is the second one, so
    that rows which are never looked up in training stay as they are.
    """
    shapes = dict(zip("AB", weight.factor_shapes(rank), strict=True))
    form = weight.applications[0].form
    drawn = "B" if form == "rows" else "A"
    fan_in = math.prod(shapes["A"][1:]) if form == "convolution" else shapes[drawn][-2]
    factors = {part: np.zeros(shape) for part, shape in shapes.items()}
    factors[drawn] = rng.normal(0, fan_in**-0.5, shapes[drawn])
    dtype = weight.view.dtype
    return make_adapter(weight, *(factors[part].astype(dtype) for part in "AB"), scale=alpha / rank)


def make_adapter(weight: AdaptableWeight, *factors: np.ndarray, scale: float) -> Adapter:
    """An adapter of a weight with the factors A and B, its tensors named after it."""

    def tensor(part: str, data: np.ndarray, role: str) -> ir.Tensor:
        metadata = {ROLE: role, ADAPTS: weight.name, PART: part}
        return ir.Tensor.of(f"{weight.name}.lora_{part}", data, metadata)

    a, b = (tensor(*part, "adapter") for part in zip("AB", factors, strict=True))
    scaling = tensor("scale", np.asarray(scale).astype(weight.view.dtype), "constant")
    return Adapter(a, b, None if scale == 1 else scaling)


def path(use: Application, weight: AdaptableWeight, adapter: Adapter) -> list[ir.Node]:
    """The nodes that take the place of a weight's user: itself, the path beside it, and the sum."""
    (y, *others), metadata = use.node.outputs, {ADAPTS: weight.name}
    base = f"{y}.lora_base"
    nodes = [replace(use.node, outputs=(base, *others))]

    def emit(op_type: str, *inputs: str, **attributes: ir.Attribute) -> str:
        name = f"{y}.lora_{len(nodes)}"  # of the sum, too: a node may have the name y
        output = y if op_type == "Add" else name
        nodes.append(ir.Node(op_type, inputs, (output,), attributes, name, metadata=metadata))
        return output

    # M = A @ B, or of a use that sees it transposed B' @ A'. To the left of x stands M'.
    flipped = use.transposed != weight.applications[0].transposed
    first, second = (adapter.b, adapter.a) if flipped else (adapter.a, adapter.b)
    transposes = flipped != (use.form == "left")

    def factor(tensor: ir.Tensor) -> str:
        perm = swapped(range(len(tensor.shape)))
        return emit("Transpose", tensor.name, perm=perm) if transposes else tensor.name

    def rearranged(value: str, kind: str, how: tuple[int, ...]) -> str:
        if kind == "transpose":
            return emit("Transpose", value, perm=how)
        shape = emit("Constant", value=ir.Tensor.of("", np.asarray(how, np.int64)))
        return emit("Reshape", value, shape)

    x = emit("Transpose", use.x, perm=(1, 0)) if use.transpose_x else use.x
    match use.form:
        case "right":
            small = emit("MatMul", x, factor(first))
        case "left":
            small = emit("MatMul", factor(first), x)
        case "rows":
            small = emit("Gather", factor(first), x, axis=0)
        case "convolution":
            small = emit("Conv", x, first.name, **use.node.attributes)
        case "linear":
            small = emit("MatMul", factor(first), factor(second))  # the update, which is not small
    if adapter.scale:
        small = emit("Mul", small, adapter.scale.name)
    if use.factor != 1:
        value = ir.Tensor.of("", np.asarray(use.factor).astype(use.view.dtype))
        small = emit("Mul", small, emit("Constant", value=value))
    match use.form:
        case "right" | "rows":
            product = emit("MatMul", small, factor(second))
        case "left":
            product = emit("MatMul", factor(second), small)
        case "convolution":
            product = emit("Conv", small, second.name, group=use.group)
        case "linear":
            for kind, how in undone(use.matrix):
                small = rearranged(small, kind, how)
            changed = {use.x: small} | dict.fromkeys(use.left_out, "")
            inputs = tuple(changed.get(name, name) for name in use.node.inputs)
            product = f"{y}.lora_{len(nodes)}"
            like = use.node
            nodes.append(
                ir.Node(
                    like.op_type,
                    inputs,
                    (product,),
                    like.attributes,
                    product,
                    like.domain,
                    metadata=metadata,
                )
            )
    emit("Add", base, product)
    return nodes


def strip_adapters(model: ir.Model, names: Collection[str]) -> ir.Model:
    """The model without the adapters of the weights `names`: as it was before they were added."""
    adapters = find_adapters(model)
    outputs = {
        node.inputs[0]: node.outputs[0]
        for node, _ in all_nodes(model)
        if is_standard(node, "Add") and node.metadata.get(ADAPTS) in names
    }

    def node(old: ir.Node) -> list[ir.Node]:
        if old.metadata.get(ADAPTS) in names:
            return []
        if outputs.keys().isdisjoint(old.outputs):
            return [old]
        return [replace(old, outputs=tuple(outputs.get(name, name) for name in old.outputs))]

    tensors = {tensor.name for name in names for tensor in adapters[name].tensors}
    return remove_initializers(rewrite(model, node=node), tensors)


def merge_adapters(model: ir.Model) -> ir.Model:
    """The model with its adapters added to the weights, its nodes as they were without them.

    An adapter stays where the weight is quantized, or is no constant tensor any more.

    Raises:
        ModelError: An adapter does not fit the weight that it names.
    """
    adapters = find_adapters(model)
    if not adapters:
        return model
    weights = find_adaptable(strip_adapters(model, adapters))
    merged: dict[str, ir.Tensor] = {}
    new: dict[ir.Tensor, ir.Tensor] = {}
    for name, adapter in adapters.items():
        weight = weights.get(name)
        if isinstance(weight, AdaptableWeight) and not weight.view.quantized:
            merged[name] = weight.view.tensor
            new[weight.view.tensor] = updated(weight, adapter)
    return replace_tensors(strip_adapters(model, merged), new)


def updated(weight: AdaptableWeight, adapter: Adapter) -> ir.Tensor:
    """The weight with the adapter added, rounded once to its own dtype; itself, if that is zero."""
    tensor = weight.view.tensor
    shapes = adapter.a.shape, adapter.b.shape
    if shapes != weight.factor_shapes(weight.rank(adapter.a.shape)):
        raise ir.ModelError(f"the adapter of {quoted(weight.name)} has factors of shapes {shapes}")
    wide = np.promote_types(tensor.dtype, np.float32)
    a, b = adapter.a.numpy().astype(wide), adapter.b.numpy().astype(wide)
    scale = wide.type(1) if adapter.scale is None else adapter.scale.numpy().astype(wide)
    update = scale * weight.update(a, b)
    if not update.any():
        return tensor
    return tensor.with_data((tensor.numpy().astype(wide) + update).astype(tensor.dtype))
