"""The nodes of a model, those of its subgraphs and functions too, and what they read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from onnxla.ir.model import Graph, Model, Node


def all_nodes(model: Model) -> Iterator[tuple[Node, Mapping[str, int]]]:
    """Every node with the opset imports that hold for it, those of subgraphs and functions too."""

    def walk(
        nodes: Sequence[Node], opsets: Mapping[str, int]
    ) -> Iterator[tuple[Node, Mapping[str, int]]]:
        for node in nodes:
            yield node, opsets
            for graph in subgraphs(node):
                yield from walk(graph.nodes, opsets)

    yield from walk(model.graph.nodes, model.opsets)
    for function in model.functions:
        yield from walk(function.nodes, function.opsets)


def is_standard(node: Node, *op_types: str) -> bool:
    """Whether a node is of one of ONNX's own operators."""
    return not node.domain and node.op_type in op_types


def names_made(nodes: Iterable[Node]) -> Iterator[str]:
    """The names that nodes make."""
    return (name for node in nodes for name in node.outputs if name)


def names_read(node: Node) -> set[str]:
    """Names that a node reads from its scope, those that its subgraphs use included."""
    names = set(filter(None, node.inputs))
    if (node.domain, node.op_type) == ("ai.onnx.preview.training", "Gradient"):
        # What is differentiated is named by an attribute.
        names |= {y} if isinstance(y := node.attributes.get("y"), str) else set()
    for graph in subgraphs(node):
        made = {value.name for value in graph.inputs} | {t.name for t in graph.initializers}
        read = {value.name for value in graph.outputs}
        for inner in graph.nodes:
            read |= names_read(inner)
            made.update(inner.outputs)
        names |= read - made
    return names


def subgraphs(node: Node) -> tuple[Graph, ...]:
    """Graphs in a node's attributes."""
    return node.subgraphs


def names_of(model: Model) -> tuple[set[str], set[str]]:
    """All names of a model's values, and those that something reads."""
    names: set[str] = set()
    read = {value.name for value in model.graph.outputs}
    graphs = [model.graph]
    for node, _ in all_nodes(model):
        graphs += subgraphs(node)
        names.update(node.outputs)
        read |= names_read(node)
    for graph in graphs:
        names.update(each.name for each in (*graph.inputs, *graph.initializers))
        read.update(value.name for value in graph.outputs)
    for function in model.functions:
        names.update(function.inputs)
        read.update(function.outputs)
    return names, read
