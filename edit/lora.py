"""Low-rank adaptation: a path of small rank beside a weight learns what is added to the weight.

The path is part of the graph, as ONNX nodes. So adapters can be merged into their weights, or taken
out again, also after the model was saved and loaded.

Source: Hu et al. 2021, LoRA: Low-Rank Adaptation of Large Language Models.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np

from onnxla import ir
from onnxla.edit.adaptable import find_adaptable
from onnxla.edit.adapters import ADAPTS, BASE, REPLACES, Adapter, find_adapters
from onnxla.edit.applications import AdaptableWeight
from onnxla.edit.expansion import collapse
from onnxla.edit.paths import path
from onnxla.edit.whole import find_whole, unmark_whole
from onnxla.ir.names import quoted
from onnxla.ir.rewrite import (
    add_initializers,
    need_opset,
    remove_initializers,
    replace_tensors,
    rewrite,
)
from onnxla.ir.traverse import all_nodes, is_standard
from onnxla.parameters.roles import HEAD, TRAINS, find_parameters, named_constants
from onnxla.parameters.selection import matching


def select(model: ir.Model, patterns: Sequence[str], rank: int) -> dict[str, AdaptableWeight]:
    """The weights that patterns choose, by name; see `Module.lora`.

    Raises:
        ValueError: A pattern matches no weight that can be adapted; the message says why.
    """
    found = find_adaptable(model)
    for name, adapter in find_adapters(model).items():
        found[name] = "it has an adapter already"
        found |= {tensor.name: "it is part of an adapter" for tensor in adapter.tensors}
    for name, tensor in find_whole(model).items():
        what = "is part of a new head" if tensor.metadata[TRAINS] == HEAD else "is in also_train"
        found[name] = f"it {what}, so it trains as a whole"
    weights = {name: w for name, w in found.items() if isinstance(w, AdaptableWeight)}
    can = f"; what can be adapted: {', '.join([*weights][:8]) or 'nothing'}"
    chosen: set[str] = set()
    tensors = named_constants(model)
    for pattern in patterns:
        names = matching(pattern, {**weights, **found}, "weight")
        if weights.keys().isdisjoint(names):
            # Of a weight and its scale and zero point, the reason is that of the weight.
            largest = max(names, key=lambda name: math.prod(tensors[name].shape))
            raise ValueError(f"'{pattern}': {found[largest]}{can}")
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

    Calls that `expand` wrote out are calls again where no weight is adapted.

    Raises:
        UnsupportedError: The model's opset is below 7; elementwise operators do not broadcast then.
    """
    uses = [a for weight in weights.values() for a in weight.applications]
    need_opset(model, 10 if any(a.x_grid or a.requantized for a in uses) else 7, "a low-rank path")
    paths: dict[ir.Node, list[ir.Node]] = {}
    for name, weight in weights.items():
        paths |= {a.end: path(a, weight, adapters[name]) for a in weight.applications}
    tensors = [tensor for name in weights for tensor in adapters[name].tensors]
    model = rewrite(model, node=lambda n: paths.get(n, [n]))
    return collapse(add_initializers(model, tensors))


def strip_adapters(model: ir.Model, names: Collection[str]) -> ir.Model:
    """The model without the adapters of the weights `names`: as it was before they were added."""
    adapters = find_adapters(model)
    ours = [node for node, _ in all_nodes(model) if node.metadata.get(ADAPTS) in names]
    outputs = {
        node.metadata.get(REPLACES, node.inputs[0]): node.outputs[0]
        for node in ours
        if REPLACES in node.metadata or (is_standard(node, "Add") and node.inputs[0].endswith(BASE))
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

    An adapter stays where the weight is quantized, or is no constant tensor any more. If none
    stays, what trained as a whole beside them is no longer marked.

    Raises:
        ModelError: An adapter does not fit the weight that it names.
    """
    adapters = find_adapters(model)
    if not adapters:
        return unmark_whole(model)
    weights = find_adaptable(strip_adapters(model, adapters))
    merged: dict[str, ir.Tensor] = {}
    new: dict[ir.Tensor, ir.Tensor] = {}
    for name, adapter in adapters.items():
        weight = weights.get(name)
        if isinstance(weight, AdaptableWeight) and not weight.view.quantized:
            merged[name] = weight.view.tensor
            new[weight.view.tensor] = updated(weight, adapter)
    model = replace_tensors(strip_adapters(model, merged), new)
    return collapse(unmark_whole(model) if merged.keys() == adapters.keys() else model)


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
