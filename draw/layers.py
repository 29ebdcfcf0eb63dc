"""What `module.layers` says of a model: its nodes, with scopes and blocks that repeat folded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from onnxla.draw.content import Content
from onnxla.draw.figures import figures, products
from onnxla.draw.grouping import grouped, in_order, opened, read
from onnxla.draw.kept import once_a_program
from onnxla.draw.members import Cluster, Leaf
from onnxla.draw.roles import Roles
from onnxla.draw.types import trace
from onnxla.graph_layers import GraphLayer, GraphLayers, LayerLine, row_of
from onnxla.interpret.program import Program
from onnxla.ir.names import number_of

ROWS = 40  # of a text, before scopes are folded


@once_a_program
def layers(program: Program) -> GraphLayers:
    """The nodes of a module's model; see `Module.layers`."""
    roles = Roles(program, trace(program, products))
    root, names = read(program.model)
    content = Content(grouped(root), names, roles, figures("flops", root.leaves, roles, {}))
    assert content.figures is not None
    shown = opened(root, ROWS, None)
    total = math.fsum(content.figures.numbers.values()) or 1.0

    def rows(cluster: Cluster, outside: frozenset[str]) -> tuple[LayerLine, ...]:
        read = outside.union(*(member.reads for member in cluster.members))
        members = (m for m in in_order(cluster.members) if isinstance(m, Leaf | Cluster))
        return tuple(leaf_row(m) if isinstance(m, Leaf) else folded(m, read) for m in members)

    def leaf_row(leaf: Leaf) -> LayerLine:
        node = leaf.node
        value = next(filter(None, node.outputs), "")
        kind = content.types.get(leaf.makes[0], "") if leaf.makes else ""
        operator = f"{node.domain}.{node.op_type}".lstrip(".")
        parameters = tuple(roles.parameters(leaf))
        share = content.figures.numbers.get(leaf, 0.0) / total if content.figures else 0.0
        told = {names.get(each, each) for each in leaf.reads}
        layer = GraphLayer(
            name=node.name or value,
            operator=operator,
            value=value,
            inputs=tuple(name for name in node.inputs if name in told),
            output=kind,
            parameters=parameters,
            elements=elements_of(parameters),
            share=share,
        )
        title = layer.name.rpartition("/")[2] if leaf.path else layer.name
        return replace(row_of(layer), title=title or layer.name)

    def elements_of(parameters: Sequence[str]) -> int:
        tensors = program.parameters.params
        return sum(math.prod(tensors[name].shape) for name in dict.fromkeys(parameters))

    def folded(cluster: Cluster, outside: frozenset[str]) -> LayerLine:
        inside = rows(cluster, outside)
        parameters = [n for row in inside for layer in row.layers() for n in layer.parameters]
        share = math.fsum(row.share for row in inside)
        count = len(cluster.leaves)
        read = [name for name in cluster.makes if name in outside]
        made = [content.types.get(name, "") for name in read or cluster.makes]
        return LayerLine(
            cluster.title,
            number_of(count, "node"),
            next(filter(None, reversed(made)), ""),
            elements_of(parameters),
            share,
            rows=inside,
            open=cluster in shown and cluster.kind != "run",
        )

    title = f"layers ({content.subtitle.partition(' · operations')[0]})"
    return GraphLayers(title, rows(root, frozenset()))
