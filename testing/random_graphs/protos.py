"""Parts of a graph as protobuf: what nodes read, and models of some of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import onnx
from onnx import NodeProto, helper

from onnxla.testing.random_graphs.values import DrawnScope, DrawnValue
from onnxla.testing.types import tensor_type, type_proto
from onnxla.testing.use import IR_VERSION


def names_read(node: NodeProto) -> set[str]:
    """Names that a node or its subgraphs read, those that subgraphs make included."""
    names = set(filter(None, node.input))
    for inner in subgraphs_of(node):
        names |= {name for other in inner.node for name in names_read(other)}
    return names


def subgraphs_of(node: NodeProto) -> list[onnx.GraphProto]:
    """The subgraphs of a node."""
    return [a.g for a in node.attribute if a.type == a.GRAPH]


def every_node(nodes: Iterable[NodeProto]) -> Iterator[NodeProto]:
    """Nodes and those of their subgraphs."""
    for node in nodes:
        yield node
        for inner in subgraphs_of(node):
            yield from every_node(inner.node)


def needed_nodes(nodes: Sequence[NodeProto], names: set[str]) -> list[NodeProto]:
    """Nodes without those that the values named do not need."""
    kept = []
    for node in reversed(nodes):
        if names.intersection(node.output):
            kept.append(node)
            names = names | names_read(node)
    return kept[::-1]


def info_of(value: DrawnValue) -> onnx.ValueInfoProto:
    """What a graph states of a value."""
    kind = type_proto(tensor_type(value.array.dtype), value.array.shape)
    return helper.make_value_info(value.name, kind)


def subgraph_proto(
    name: str, scope: DrawnScope, outputs: Sequence[DrawnValue], inputs: Sequence[DrawnValue] = ()
) -> onnx.GraphProto:
    """A subgraph; its outputs have no shape, which differs between branches."""
    nodes = needed_nodes(scope.nodes, {value.name for value in outputs})
    read = {name for node in nodes for name in names_read(node)}
    return helper.make_graph(
        nodes,
        name,
        [info_of(value) for value in inputs],
        [helper.make_value_info(v.name, type_proto(tensor_type(v.array.dtype))) for v in outputs],
        [tensor for tensor in scope.initializers if tensor.name in read],
    )


def model_of(
    scope: DrawnScope,
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    opset: int,
) -> onnx.ModelProto:
    """A model of the nodes of the outermost scope."""
    return helper.make_model(
        helper.make_graph(scope.nodes, "graph", inputs, outputs, scope.initializers),
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=IR_VERSION,
    )
