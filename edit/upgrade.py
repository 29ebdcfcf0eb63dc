"""A model of an old opset in a newer one: nodes whose form changed are written anew.

What changed, operator by operator, is in `upgrade_steps`; what no step is for stays as it is.
Subgraphs and functions are upgraded too, each function from the opset that it imports.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

from onnxla import ir
from onnxla.edit.heads import abstract_values
from onnxla.edit.upgrade_steps import STEPS, OldNode
from onnxla.interpret.program import Program
from onnxla.ir.problems import Problems
from onnxla.ir.rewrite import remove_initializers, rewrite
from onnxla.ir.traverse import is_standard, names_made, names_of, subgraphs
from onnxla.ops.signatures import find_misfits
from onnxla.ops.table import rows

# The newest that runtimes of the last years read: ONNX Runtime does from version 1.18 on.
DEFAULT_OPSET = 21
# The version of the file format from which on initializers are no inputs.
CONSTANT_INITIALIZERS = 4
# The standard operators, and their newest opset.
KNOWN = {row.name for _, row in rows() if not row.domain}
NEWEST = max(version for version, row in rows() if not row.domain)

FindType: TypeAlias = Callable[[str], ir.TensorType | None]


def upgrade(program: Program, opset: int | None) -> ir.Model:
    """A program's model in a newer opset; see `Module.upgrade`."""
    model = program.model
    owners: tuple[ir.Model | ir.Function, ...] = (model, *model.functions)
    imported = [owner.opsets[""] for owner in owners if "" in owner.opsets]
    newest = max(imported, default=1)
    target = max(DEFAULT_OPSET, newest) if opset is None else opset
    if not newest <= target <= NEWEST:
        raise ValueError(
            f"a model of opset {newest} can be upgraded to opsets from that to {NEWEST}, not to"
            f" {target}"
        )
    return Upgrade(program, target).model() if {*imported} != {target} else model


class Upgrade:
    """The upgrade of one model to the opset `target`."""

    def __init__(self, program: Program, target: int) -> None:
        self.program, self.target = program, target
        self.problems = Problems()
        self.names, self.read = names_of(program.model)

    def model(self) -> ir.Model:
        """The upgraded model. Raises: UnsupportedError, which names the nodes that cannot be."""
        model = self.program.model
        graph = self.graph(model.graph, model.opsets.get("", 0), self.inferred)
        functions = tuple(
            replace(
                f,
                nodes=tuple(self.nodes(f.nodes, f.opsets.get("", 0), lambda name: None)),
                opsets={k: v if k else self.target for k, v in f.opsets.items()},
            )
            for f in model.functions
        )
        if model.ir_version < CONSTANT_INITIALIZERS:
            constants = {tensor.name for tensor in graph.initializers}
            inputs = tuple(value for value in graph.inputs if value.name not in constants)
            graph = replace(graph, inputs=inputs)
        graph = replace(
            graph,
            outputs=tuple(map(self.output, graph.outputs)),
            value_info=tuple(value for value in graph.value_info if self.output(value) is value),
        )
        upgraded = replace(
            model,
            graph=graph,
            functions=functions,
            opsets={**model.opsets, "": self.target},
            ir_version=max(model.ir_version, CONSTANT_INITIALIZERS),
        )
        upgraded = without_unread(upgraded, self.read)
        if self.problems.count:
            raise ir.UnsupportedError("\n".join(self.problems.listed()))
        if misfits := find_misfits(upgraded).listed():
            raise ir.UnsupportedError("\n".join(misfits))
        return upgraded

    def graph(self, graph: ir.Graph, version: int, outer: FindType) -> ir.Graph:
        """A graph afterwards; `outer` finds the types of what the file states no type of."""
        stated: dict[str, ir.Type] = {
            **{v.name: v.type for v in (*graph.inputs, *graph.value_info, *graph.outputs)},
            **{t.name: ir.TensorType(t.dtype, t.shape) for t in graph.initializers},
        }

        def find(name: str) -> ir.TensorType | None:
            kind = stated.get(name)
            if not isinstance(kind, ir.TensorType):
                return outer(name)
            return kind if kind.dtype and kind.shape is not None else outer(name) or kind

        return replace(graph, nodes=tuple(self.nodes(graph.nodes, version, find)))

    def output(self, value: ir.ValueInfo) -> ir.ValueInfo:
        """A value's stated type, its sizes left open where the file states a shape of a wrong rank.

        Shape inference sees more of newer forms, and refuses what it then finds out.
        """
        stated = value.type
        if not isinstance(stated, ir.TensorType) or stated.shape is None:
            return value
        found = self.inferred(value.name)
        if found is None or found.shape is None or len(found.shape) == len(stated.shape):
            return value
        return replace(value, type=replace(stated, shape=(None,) * len(found.shape)))

    def nodes(self, nodes: Sequence[ir.Node], version: int, find: FindType) -> Iterator[ir.Node]:
        """What nodes of an opset become, with their subgraphs."""
        for node in nodes:
            yield from self.node(self.inside(node, version, find), version, find)

    def inside(self, node: ir.Node, version: int, find: FindType) -> ir.Node:
        """A node with its subgraphs as they are afterwards; `find` knows the types around it."""
        graphs = subgraphs(node)
        if not graphs:
            return node
        made = {*names_made(inner for graph in graphs for inner in graph.nodes)}

        def outer(name: str) -> ir.TensorType | None:
            return None if name in made else find(name)

        def attribute(value: Any) -> Any:
            if isinstance(value, ir.Graph):
                return self.graph(value, version, outer)
            return tuple(map(attribute, value)) if isinstance(value, tuple) else value

        return replace(node, attributes={k: attribute(v) for k, v in node.attributes.items()})

    def node(self, node: ir.Node, version: int, find: FindType) -> Iterator[ir.Node]:
        """What a node in the form of an opset becomes: step by step, as does all that it makes."""
        if node.domain or (node.domain, node.op_type, node.overload) in self.program.functions:
            yield node
            return
        if node.op_type not in KNOWN:
            self.problems.add(f"{node} cannot be upgraded: onnxla does not know its operator")
            return
        if "consumed_inputs" in node.attributes:  # a hint of opset 1
            kept = {k: v for k, v in node.attributes.items() if k != "consumed_inputs"}
            node = replace(node, attributes=kept)
        due = [v for v in STEPS.get(node.op_type, ()) if version < v <= self.target]
        if not due:
            yield node
            return
        old = OldNode(node, self.target, find, self.fresh, self.read)
        try:
            STEPS[node.op_type][min(due)](old)
        except ir.UnsupportedError as error:
            self.problems.add(f"{node} cannot be upgraded to opset {self.target}: {error}")
        for made in old.made:
            yield from self.node(made, min(due), find)

    def fresh(self, name: str) -> str:
        """A name that nothing has."""
        while name in self.names:
            name += "_"
        self.names.add(name)
        return name

    def inferred(self, name: str) -> ir.TensorType | None:
        """The type of a value of the main graph, found by abstract evaluation."""
        if name not in self.inferable:
            return None
        if not (found := self.all_inferred.get(name)):
            found = self.evaluated((name,)).get(name)
        return found

    @functools.cached_property
    def inferable(self) -> frozenset[str]:
        """The values that nodes of the main graph make, and its inputs."""
        made = names_made(self.program.model.graph.nodes)
        return frozenset({*made, *(value.name for value in self.program.inputs)})

    @functools.cached_property
    def all_inferred(self) -> dict[str, ir.TensorType]:
        """The types of all values of the main graph, if they can be found together."""
        return self.evaluated(tuple(self.inferable))

    def evaluated(self, names: Sequence[str]) -> dict[str, ir.TensorType]:
        """The types of some values; nothing where evaluation takes other inputs."""
        try:
            values = abstract_values(self.program, names)
        except ir.UnsupportedError:
            return {}
        return {
            name: ir.TensorType(value.dtype, value.shape)
            for name, value in zip(names, values, strict=True)
            if hasattr(value, "dtype")
        }


def without_unread(model: ir.Model, read: set[str]) -> ir.Model:
    """A model without constants that nothing reads any more, which would become parameters.

    Such as the empty scales of a Resize to given sizes; `read` are the names read before.
    """
    unread = read - names_of(model)[1]
    if not unread:
        return model

    def node(old: ir.Node) -> list[ir.Node]:
        return [] if is_standard(old, "Constant") and unread.issuperset(old.outputs) else [old]

    names = unread.intersection(tensor.name for tensor in model.graph.initializers)
    return remove_initializers(rewrite(model, node=node), names)
