"""Calls of model-local functions, written out in place, and written as calls again.

What an edit puts beside a node of a function belongs to one call of it. So calls are written out
first, and those that the edit has left as they were are written as calls again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from itertools import zip_longest
from typing import Any

from onnxla import ir
from onnxla.ir.model import FunctionId, is_plain
from onnxla.ir.rewrite import rewrite
from onnxla.ir.traverse import all_nodes, names_made, subgraphs


@dataclass(frozen=True, eq=False)
class Expansion:
    """A call, and the nodes that were written in its place."""

    call: ir.Node
    nodes: list[ir.Node] = field(default_factory=list)


@dataclass(frozen=True, eq=False, kw_only=True)
class Expanded(ir.Node):
    """A node that was written in the place of a call."""

    expansion: Expansion


def expand(model: ir.Model) -> ir.Model:
    """The model with the calls of its functions written out.

    A call stays if its function has another version of an operator set than the model, returns an
    input that the call leaves out, or names values in attributes.
    """
    functions = {function.key: function for function in model.functions}
    if not functions:
        return model
    inside = {node for function in model.functions for node in function.nodes}
    taken = {name for node, _ in all_nodes(model) for name in (*node.inputs, *node.outputs)}
    taken |= {value.name for value in model.graph.inputs}
    taken |= {tensor.name for tensor in model.graph.initializers}

    def written(node: ir.Node) -> list[ir.Node]:
        if node in inside or not is_call(node, functions):
            return [node]
        expansion = Expansion(node)
        found = write_out(node, functions, model.opsets, taken)
        if found is None:
            return [node]
        expansion.nodes.extend(found)
        return [
            Expanded(**{f.name: getattr(n, f.name) for f in fields(ir.Node)}, expansion=expansion)
            for n in found
        ]

    return rewrite(model, node=written)


def is_call(node: ir.Node, functions: Mapping[FunctionId, ir.Function]) -> bool:
    """Whether a node calls a function."""
    return (node.domain, node.op_type, node.overload) in functions


def write_out(
    call: ir.Node,
    functions: Mapping[FunctionId, ir.Function],
    opsets: Mapping[str, int],
    taken: set[str],
) -> list[ir.Node] | None:
    """The nodes of a function that a call stands for, and of those that it calls; None if it stays.

    Args:
        call: The call.
        functions: The model's functions.
        opsets: The operator sets that the nodes get.
        taken: Names that are used; those that are made up are added.
    """
    found: list[ir.Node] = []
    pending = [call]
    while pending:
        node = pending.pop()
        function = functions.get((node.domain, node.op_type, node.overload))
        if function is None:
            found.append(node)
            continue
        fits = all(
            is_call(inner, functions)
            or function.opsets.get(inner.domain) == opsets.get(inner.domain)
            for inner, _ in all_nodes(ir.Model(ir.Graph(function.nodes), function.opsets))
        )
        body = FunctionBody(node, function, taken)
        if not fits or not body.can_be_written:
            return None
        pending.extend(reversed([*body.nodes()]))
    return found


class FunctionBody:
    """The nodes of a function with a call's names and attributes.

    Attributes:
        names: The name that each of the function's values gets.
        returned: The outputs that are inputs, or were returned before: the names of both.
    """

    def __init__(self, call: ir.Node, function: ir.Function, taken: set[str]) -> None:
        self.call, self.function, self.taken = call, function, taken
        self.prefix = next(filter(None, call.outputs), function.name)
        inputs = zip_longest(function.inputs, call.inputs[: len(function.inputs)], fillvalue="")
        self.names = {"": "", **dict(inputs)}
        self.returned: list[tuple[str, str]] = []
        for inner, outer in zip(function.outputs, call.outputs, strict=False):
            if outer and inner in self.names:
                self.returned.append((self.names[inner], outer))
            elif outer:
                self.names[inner] = outer

    @property
    def can_be_written(self) -> bool:
        """Whether what it returns is there, and no attribute of a node names values."""
        named = any(node.domain == "ai.onnx.preview.training" for node in self.function.nodes)
        return not named and all(inner for inner, _ in self.returned)

    def nodes(self) -> Iterator[ir.Node]:
        """The nodes, in order."""
        yield from map(self.node, self.function.nodes)
        for inner, outer in self.returned:
            yield ir.Node("Identity", (inner,), (outer,), {}, outer)

    def name(self, inner: str) -> str:
        """The name that a value of the function gets; for a new one, one that is not taken."""
        if inner not in self.names:
            wanted = found = f"{self.prefix}/{inner}"
            number = 1
            while found in self.taken:
                found, number = f"{wanted}_{number}", number + 1
            self.taken.add(found)
            self.names[inner] = found
        return self.names[inner]

    def node(self, old: ir.Node) -> ir.Node:
        """A node of the function."""
        return replace(
            old,
            name=f"{self.prefix}/{old.name}" if old.name else "",
            inputs=tuple(map(self.name, old.inputs)),
            outputs=tuple(map(self.name, old.outputs)),
            attributes=dict(self.attributes(old)),
        )

    def attributes(self, old: ir.Node) -> Iterator[tuple[str, ir.Attribute]]:
        """The attributes of a node, those that the call decides too."""
        for key, value in old.attributes.items():
            if not isinstance(value, ir.AttributeReference):
                yield key, self.attribute(value)
            elif value.name in self.call.attributes:
                yield key, self.call.attributes[value.name]
            elif value.name in self.function.defaults:
                yield key, self.function.defaults[value.name]

    def attribute(self, value: Any) -> Any:
        """An attribute, of a subgraph with names of its own."""
        if isinstance(value, tuple) and not is_plain(value):
            return tuple(map(self.attribute, value))
        return self.graph(value) if isinstance(value, ir.Graph) else value

    def graph(self, old: ir.Graph) -> ir.Graph:
        """A subgraph."""

        def values(found: tuple[ir.ValueInfo, ...]) -> tuple[ir.ValueInfo, ...]:
            return tuple(replace(value, name=self.name(value.name)) for value in found)

        def tensor(found: ir.Tensor | ir.SparseTensor) -> ir.Tensor | ir.SparseTensor:
            if isinstance(found, ir.SparseTensor):
                return replace(found, values=replace(found.values, name=self.name(found.name)))
            return replace(found, name=self.name(found.name))

        return replace(
            old,
            inputs=values(old.inputs),
            initializers=tuple(map(tensor, old.initializers)),
            nodes=tuple(map(self.node, old.nodes)),
            outputs=values(old.outputs),
            value_info=values(old.value_info),
        )


def collapse(model: ir.Model) -> ir.Model:
    """The model with calls in the place of what was written out for them and is still the same."""
    present: dict[Expansion, list[ir.Node]] = {}
    for node, _ in all_nodes(model):
        if isinstance(node, Expanded):
            present.setdefault(node.expansion, []).append(node)
    if not present:
        return model
    calls = {
        expansion
        for expansion, nodes in present.items()
        if same(nodes, expansion.nodes) and not read_elsewhere(model, expansion, nodes)
    }
    written: set[Expansion] = set()

    def again(node: ir.Node) -> list[ir.Node]:
        if not isinstance(node, Expanded) or node.expansion not in calls:
            return [node]
        if node.expansion in written:
            return []
        written.add(node.expansion)
        return [node.expansion.call]

    return rewrite(model, node=again)


def same(a: Any, b: Any) -> bool:
    """Whether nodes, or attributes of them, are the same but for the data of tensors."""
    if isinstance(a, ir.Node) and isinstance(b, ir.Node):
        there = [(n.domain, n.op_type, n.overload, n.inputs, n.outputs) for n in (a, b)]
        return (
            there[0] == there[1]
            and a.attributes.keys() == b.attributes.keys()
            and all(same(value, b.attributes[key]) for key, value in a.attributes.items())
        )
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, ir.Graph) and isinstance(b, ir.Graph):
        return same(a.nodes, b.nodes)
    tensors = ir.Tensor | ir.SparseTensor
    return bool(isinstance(a, tensors) and isinstance(b, tensors)) or bool(a == b)


def read_elsewhere(model: ir.Model, expansion: Expansion, nodes: list[ir.Node]) -> bool:
    """Whether values that only the written out nodes have are read by others."""
    inner = {*names_made(nodes)}.difference(expansion.call.outputs)
    members = {node for node, _ in all_nodes(ir.Model(ir.Graph(tuple(nodes)), {}))}
    outputs = {value.name for value in model.graph.outputs}
    for node, _ in all_nodes(model):
        if node not in members:
            outputs |= inner.intersection(node.inputs)
            outputs |= {value.name for graph in subgraphs(node) for value in graph.outputs}
    return not inner.isdisjoint(outputs)
