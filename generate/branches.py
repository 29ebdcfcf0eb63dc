"""One of the graphs that exporters merge in a file: for the first tokens, or for those after."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from onnxla import ir
from onnxla.ir.traverse import is_standard

BRANCH = "use_cache_branch"  # the input that says which


def with_branch(model: ir.Model, cached: bool) -> ir.Model:
    """The model with one branch in place of each If that the input decides."""
    attribute = "then_branch" if cached else "else_branch"
    initializers = [*model.graph.initializers]

    def written(node: ir.Node) -> Iterator[ir.Node]:
        branch = node.attributes.get(attribute)
        decides = is_standard(node, "If") and node.inputs == (BRANCH,)
        if not decides or not isinstance(branch, ir.Graph):
            yield node
            return
        initializers.extend(branch.initializers)
        yield from branch.nodes
        for inner, outer in zip(branch.outputs, node.outputs, strict=True):
            if outer and inner.name != outer:
                yield ir.Node("Identity", (inner.name,), (outer,))

    nodes = tuple(new for node in model.graph.nodes for new in written(node))
    graph = replace(model.graph, nodes=nodes, initializers=tuple(initializers))
    return replace(model, graph=graph)
