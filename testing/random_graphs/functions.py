"""Model-local functions: some nodes of a graph, which a call takes the place of."""

from __future__ import annotations

from collections.abc import Callable

import onnx
from onnx import AttributeProto, ModelProto, NodeProto, helper

from onnxla.testing.random_graphs.protos import names_read

DOMAIN = "local"
MAX_NODES = 5
SCALARS = (AttributeProto.INT, AttributeProto.FLOAT)


def outline(integer: Callable[[int, int], int], model: ModelProto, name: str) -> None:
    """Makes a function of a few nodes in a row, and a call where they were.

    An attribute may become one of the function, so that the call says what it is. `integer` draws.
    """
    nodes = list(model.graph.node)
    start = integer(0, len(nodes) - 1)
    count = integer(1, min(MAX_NODES, len(nodes) - start))
    body, rest = nodes[start : start + count], nodes[:start] + nodes[start + count :]
    made = [value for node in body for value in node.output if value]
    read = dict.fromkeys(value for node in body for value in sorted(names_read(node)))
    outside = {value for node in rest for value in names_read(node)}
    outside |= {value.name for value in model.graph.output}
    own = set(made) | {value for node in body for value in names_inside(node)}
    inputs = [value for value in read if value not in own]
    outputs = [value for value in made if value in outside]
    call = helper.make_node(name, inputs, outputs, domain=DOMAIN)
    scalars = [a for node in body for a in node.attribute if a.type in SCALARS]
    attributes = []
    if scalars and integer(0, 1):
        moved = scalars[integer(0, len(scalars) - 1)]
        given = call.attribute.add()
        given.CopyFrom(moved)
        given.name = "a"
        moved.CopyFrom(AttributeProto(name=moved.name, type=moved.type, ref_attr_name="a"))
        attributes.append("a")
    imports = list(model.opset_import)
    if all(opset.domain != DOMAIN for opset in imports):
        imports.append(helper.make_opsetid(DOMAIN, 1))
        model.opset_import.append(imports[-1])
    model.functions.append(
        helper.make_function(DOMAIN, name, inputs, outputs, body, imports, attributes)
    )
    kept = [*nodes[:start], call, *nodes[start + count :]]
    del model.graph.node[:]
    model.graph.node.extend(kept)


def names_inside(node: NodeProto) -> set[str]:
    """Names of what subgraphs of a node have of their own."""
    names: set[str] = set()
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            inner = attribute.g
            names |= {value.name for value in inner.input}
            names |= {tensor.name for tensor in inner.initializer}
            for other in inner.node:
                names |= {*other.output} | names_inside(other)
    return names
