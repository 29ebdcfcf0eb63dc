"""What `module.values` says of a model: what flows through its graph, by name."""

from __future__ import annotations

from onnxla.draw.content import Content
from onnxla.draw.kept import once_a_program
from onnxla.draw.members import Cluster
from onnxla.draw.reading import Reader
from onnxla.draw.roles import Roles
from onnxla.draw.types import trace
from onnxla.graph_values import GraphValue, GraphValues
from onnxla.interpret.program import Program
from onnxla.ir.names import plain
from onnxla.ir.traverse import is_standard, names_made, names_read


@once_a_program
def values(program: Program) -> GraphValues:
    """The values of a module's main graph; see `Module.values`."""
    graph, reader = program.model.graph, Reader(program.model)
    root = Cluster(graph.name, "graph", reader.graph())
    content = Content(root, reader.names, Roles(program, trace(program)))
    constants = {tensor.name for tensor in graph.initializers}
    makers = {value.name: "input" for value in graph.inputs if value.name not in constants}
    readers: dict[str, list[str]] = {}
    for node in graph.nodes:
        title = plain(f"{node.op_type} {node.name}".rstrip())
        if not is_standard(node, "Constant"):
            makers |= dict.fromkeys(names_made([node]), title)
        for name in names_read(node):  # subgraphs read, too
            readers.setdefault(name, []).append(title)
    for value in graph.outputs:
        readers.setdefault(value.name, []).append("output")
    types = {name: content.types.get(str(value), "") for name, value in reader.main.items()}
    found = {
        name: GraphValue(name, types.get(name, ""), by, tuple(readers.get(name, ())))
        for name, by in makers.items()
    }
    return GraphValues(f"values ({len(found):,})", found)
