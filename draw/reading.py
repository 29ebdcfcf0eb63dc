"""A model's nodes as members of a drawing: values told apart, constants folded into their nodes."""

from __future__ import annotations

from collections import ChainMap, defaultdict
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from typing import TypeAlias

import numpy as np

from onnxla.draw.members import Cluster, Constant, Leaf, Member, Pin
from onnxla.draw.paths import paths_of
from onnxla.ir.model import Function, Graph, Model, Node, SparseTensor, Tensor, graphs_in
from onnxla.ir.number_list import NumberList
from onnxla.ir.traverse import is_standard

# What a name stands for in a scope: a value of the drawing, a constant, or nothing.
Meaning: TypeAlias = str | Constant | None
# Nodes from which on calls of functions stay closed: they may multiply.
MOST = 50_000


class Reader:
    """Reads a model's scopes.

    Attributes:
        names: By value of the drawing, what its scope calls it.
        main: By name in the main graph, its value of the drawing or its constant.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self.functions = {function.key: function for function in model.functions}
        self.names: dict[str, str] = {}
        self.main: dict[str, Meaning] = {}
        self.counts: dict[str, int] = defaultdict(lambda: 1)
        self.left = MOST

    def value(self, name: str) -> str:
        """A value of the drawing for a name: itself unless another scope has it too."""
        value = name
        while value in self.names:
            self.counts[name] += 1
            value = f"{name} ({self.counts[name]})"
        self.names[value] = name
        return value

    def graph(self) -> list[Member]:
        """The members of the main graph."""
        return self.members(self.model.graph, {}, self.model.opsets, inner=False)

    def members(
        self,
        graph: Graph,
        outer: MutableMapping[str, Meaning],
        opsets: Mapping[str, int],
        inner: bool,
    ) -> list[Member]:
        """The members of a graph within the scope of another."""
        own: dict[str, Meaning] = {tensor.name: tensor for tensor in graph.initializers}
        if not inner:
            self.main = own
        scope: MutableMapping[str, Meaning] = ChainMap(own, outer)
        found: list[Member] = []
        for info in graph.inputs:
            if not inner and info.name in own:
                continue  # a constant that a call need not give
            own[info.name] = self.value(info.name)
            found.append(Pin(info.name, makes=(str(own[info.name]),)))
        found += self.nodes(graph.nodes, scope, opsets, inner)
        for info in graph.outputs:
            meaning = scope.get(info.name)
            reads = (meaning,) if isinstance(meaning, str) else ()
            found.append(Pin(info.name, reads=reads))
        return found

    def nodes(
        self,
        nodes: Sequence[Node],
        scope: MutableMapping[str, Meaning],
        opsets: Mapping[str, int],
        inner: bool,
    ) -> Iterator[Member]:
        """The members that nodes are; their values are noted in `scope`."""
        self.left -= len(nodes)
        paths = paths_of(nodes, scope)
        for node, path in zip(nodes, paths, strict=True):
            if is_standard(node, "Constant"):
                scope[node.outputs[0]] = as_tensor(node)
                continue
            inside = self.inside(node, scope, opsets)
            if function := self.called(node):
                formals: dict[str, Meaning] = dict.fromkeys(function.inputs)
                formals |= {
                    formal: scope.get(name)
                    for formal, name in zip(function.inputs, node.inputs, strict=False)
                }
                members = [*self.nodes(function.nodes, formals, function.opsets, True)]
                for name, output in zip(node.outputs, function.outputs, strict=False):
                    scope[name] = formals.get(output)
                    if isinstance(value := scope[name], str):
                        self.names[value] = name
                yield Cluster(titled(node), "node", members, path=path)
                continue
            leaf = self.leaf(node, scope)
            leaf.path, leaf.opsets, leaf.inner = path, opsets, inner
            if not inside:
                yield leaf
                continue
            leaf.reads += tuple(cluster.result for cluster in inside)
            yield Cluster(titled(node), "node", [*inside, leaf], path=path)

    def called(self, node: Node) -> Function | None:
        """The function that a node calls, while there is room for its nodes."""
        function = self.functions.get((node.domain, node.op_type, node.overload))
        return function if self.left > 0 else None

    def inside(
        self, node: Node, scope: MutableMapping[str, Meaning], opsets: Mapping[str, int]
    ) -> list[Cluster]:
        """The subgraphs of a node."""
        return [
            Cluster(name, "subgraph", self.members(graph, scope, opsets, True), self.value(name))
            for name, attribute in node.attributes.items()
            for graph in graphs_in(attribute)
        ]

    def leaf(self, node: Node, scope: MutableMapping[str, Meaning]) -> Leaf:
        """A node with what it reads."""
        meanings = [scope.get(name) if name else None for name in node.inputs]
        reads = dict.fromkeys(m for m in meanings if isinstance(m, str))
        constants = {
            i: m for i, m in enumerate(meanings) if m is not None and not isinstance(m, str)
        }
        for name in filter(None, node.outputs):
            scope[name] = self.value(name)
        makes = tuple(str(scope[name]) for name in node.outputs if name)
        return Leaf(node, tuple(reads), makes, constants)


def titled(node: Node) -> str:
    """What a node with members is called."""
    name = node.name.rpartition("/")[2]
    return name if name.startswith(node.op_type) else f"{node.op_type} {name}".strip()


def as_tensor(node: Node) -> Constant | None:
    """The value of a Constant."""
    for value in node.attributes.values():
        if isinstance(value, Tensor | SparseTensor):
            return value
        if isinstance(value, int | float | str | tuple | NumberList):
            texts = object if isinstance(value, str) else None
            return Tensor.of(node.outputs[0], np.asarray(value, texts))
    return None
