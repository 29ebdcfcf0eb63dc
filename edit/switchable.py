"""A model whose adapters are inputs with defaults, as ONNX Runtime switches them.

An initializer that is an input too can be given another value in each run. ONNX Runtime's own
adapters are such values for one name each, read from a file of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from onnxla import ir
from onnxla.edit.adapter_files import find_trained
from onnxla.edit.adapters import ADAPTS, find_adapters
from onnxla.edit.whole import find_whole
from onnxla.ir.names import quoted
from onnxla.ir.rewrite import remove_initializers, replace_tensors, rewrite
from onnxla.ir.traverse import all_nodes, is_standard


def with_switches(model: ir.Model) -> ir.Model:
    """The model whose adapters, and what trained as a whole, are inputs with their values.

    Scales are part of the second factors, so that adapters of other scales fit; and the sizes of
    factors are open, as one is the rank. What trained as a whole in a Constant node, or a subgraph,
    cannot be an input.

    Raises:
        ValueError: There are no adapters, or something that trained is no initializer.
    """
    adapters = find_adapters(model)
    if not adapters:
        raise ValueError("the model has no adapters to switch; make some with lora()")
    scales = {a.scale.name for a in adapters.values() if a.scale}
    scaled = {
        node.outputs[0]: node.inputs[0]
        for node, _ in all_nodes(model)
        if ADAPTS in node.metadata and is_standard(node, "Mul") and node.inputs[1] in scales
    }

    def unscaled(node: ir.Node) -> list[ir.Node]:
        if scaled.keys() & {*node.outputs}:
            return []
        if scaled.keys().isdisjoint(node.inputs):
            return [node]
        return [replace(node, inputs=tuple(scaled.get(name, name) for name in node.inputs))]

    new = {
        a.b: a.b.with_data(times(a.b.numpy(), a.scale.numpy()))
        for a in adapters.values()
        if a.scale
    }
    model = remove_initializers(replace_tensors(rewrite(model, node=unscaled), new), scales)
    graph, kinds = model.graph, {}
    for adapter in find_adapters(model).values():
        for tensor in adapter.tensors:
            kinds[tensor.name] = ir.TensorType(tensor.dtype, (None,) * len(tensor.shape))
    initializers = {tensor.name for tensor in graph.initializers}
    for name, tensor in find_whole(model).items():
        if name not in initializers:
            raise ValueError(
                f"{quoted(name)} trained as a whole, but is no initializer: it cannot switch"
            )
        kinds[name] = ir.TensorType(tensor.dtype, tensor.shape)
    there = {value.name for value in graph.inputs}
    inputs = tuple(ir.ValueInfo(name, kind) for name, kind in kinds.items() if name not in there)
    return replace(model, graph=replace(graph, inputs=(*graph.inputs, *inputs)))


def times(factor: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """A factor times a scale, rounded once to the factor's dtype."""
    wide = np.promote_types(factor.dtype, np.float32)
    scaled: np.ndarray = factor.astype(wide) * scale.astype(wide)
    return scaled.astype(factor.dtype)


def switched_values(model: ir.Model, params: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """What an adapter has to hold for ONNX Runtime and a model that `with_switches` made."""
    trained = find_trained(model, params)
    values = dict(trained.whole)
    for name, (a, b) in trained.factors.items():
        scale = np.asarray(trained.alphas[name] / trained.rank(name))
        values |= {f"{name}.lora_A": a, f"{name}.lora_B": times(b, scale)}
    return values
