"""Changes to a model that keep everything else: other tensors and nodes, other ends."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from onnxla.ir.errors import UnsupportedError
from onnxla.ir.model import Graph, Model, Node, Tensor, TensorType, ValueInfo, is_plain
from onnxla.ir.names import as_names, no_such
from onnxla.ir.traverse import names_read


def rewrite(
    model: Model,
    *,
    tensor: Callable[[Tensor], Tensor] = lambda tensor: tensor,
    node: Callable[[Node], Iterable[Node]] = lambda node: (node,),
) -> Model:
    """The model with each constant tensor, and each node, exchanged for what a function says.

    Subgraphs and functions are rewritten too. A node may become several or none.
    """

    def attribute(value: Any) -> Any:
        if isinstance(value, Graph):
            return graph(value)
        if isinstance(value, tuple) and not is_plain(value):
            return tuple(map(attribute, value))
        return tensor(value) if isinstance(value, Tensor) else value

    def nodes(old: Iterable[Node]) -> Iterator[Node]:
        for new in (new for each in old for new in node(each)):
            attributes = {name: attribute(value) for name, value in new.attributes.items()}
            changed = any(attributes[name] is not new.attributes[name] for name in attributes)
            yield replace(new, attributes=attributes) if changed else new

    def graph(old: Graph) -> Graph:
        initializers = tuple(map(attribute, old.initializers))
        return replace(old, nodes=tuple(nodes(old.nodes)), initializers=initializers)

    functions = tuple(replace(f, nodes=tuple(nodes(f.nodes))) for f in model.functions)
    return replace(model, graph=graph(model.graph), functions=functions)


def replace_tensors(model: Model, tensors: Mapping[Tensor, Tensor]) -> Model:
    """The model with some constant tensors exchanged, wherever they are used."""
    return rewrite(model, tensor=lambda tensor: tensors.get(tensor, tensor))


def add_initializers(model: Model, tensors: Sequence[Tensor]) -> Model:
    """The model with more initializers, which before IR version 4 are inputs too."""
    graph = model.graph
    inputs = tuple(
        ValueInfo(tensor.name, TensorType(tensor.dtype, tensor.shape)) for tensor in tensors
    )
    graph = replace(
        graph,
        initializers=(*graph.initializers, *tensors),
        inputs=(*graph.inputs, *inputs) if model.ir_version < 4 else graph.inputs,
    )
    return replace(model, graph=graph)


def remove_initializers(model: Model, names: Collection[str]) -> Model:
    """The model without some initializers of the main graph."""
    graph = model.graph
    graph = replace(
        graph,
        initializers=tuple(t for t in graph.initializers if t.name not in names),
        inputs=tuple(value for value in graph.inputs if value.name not in names),
    )
    return replace(model, graph=graph)


def need_opset(model: Model, version: int, what: str) -> int:
    """The model's version of the standard operators.

    Raises:
        UnsupportedError: It is below `version`, the first in which nodes for `what` can be written.
    """
    opset = model.opsets.get("", 0)
    if opset < version:
        raise UnsupportedError(
            f"{what} needs opset {version} or newer of ai.onnx; the model has {opset or 'none'}: "
            "module.upgrade() is the same model in a newer one"
        )
    return opset


def cut(
    model: Model,
    inputs: str | Sequence[str] | None = None,
    outputs: str | Sequence[str] | None = None,
) -> Model:
    """The part of the main graph between `inputs` and `outputs`, intermediate values included.

    Inputs of the graph that the part still needs stay inputs.

    Raises:
        ValueError: A name is no value of the graph.
    """
    graph = model.graph
    outputs = [v.name for v in graph.outputs] if outputs is None else as_names(outputs) or ()
    inputs = as_names(inputs) or ()
    types = {v.name: v for v in (*graph.value_info, *graph.outputs, *graph.inputs)}
    made = {name for node in graph.nodes for name in node.outputs if name}
    known = made | {v.name for v in graph.inputs} | {t.name for t in graph.initializers}
    for name in (*inputs, *outputs):
        if name not in known:
            ends = [v.name for v in (*graph.outputs, *graph.inputs)]
            raise ValueError(no_such("value", name, dict.fromkeys([*ends, *sorted(known)])))
    wanted, nodes = set(outputs) - set(inputs), []
    for node in reversed(graph.nodes):
        if wanted.intersection(node.outputs):
            nodes.append(node)
            wanted |= names_read(node).difference(inputs)
    kept = [v for v in graph.inputs if v.name in wanted or v.name in inputs]
    new = [name for name in inputs if name not in {v.name for v in kept}]
    return replace(
        model,
        graph=replace(
            graph,
            nodes=tuple(reversed(nodes)),
            inputs=(*(types.get(name, ValueInfo(name)) for name in new), *kept),
            outputs=tuple(types.get(name, ValueInfo(name)) for name in outputs),
            initializers=tuple(t for t in graph.initializers if t.name in wanted),
            value_info=tuple(v for v in graph.value_info if v.name in wanted),
        ),
    )


def expose_intermediates(model: Model) -> Model:
    """The model with every value that a node of the main graph makes as an output."""
    types = {v.name: v for v in (*model.graph.value_info, *model.graph.outputs)}
    names = [name for node in model.graph.nodes for name in node.outputs if name]
    outputs = tuple(types.get(name, ValueInfo(name)) for name in names)
    return replace(model, graph=replace(model.graph, outputs=outputs))
