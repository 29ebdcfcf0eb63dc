"""Which nodes of a graph make and read its values, for edits between them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from onnxla.ir.model import Graph, Model, Node
from onnxla.ir.traverse import names_read, subgraphs


@dataclass(frozen=True, eq=False)
class Surrounding:
    """A graph, within those whose values it can read."""

    graph: Graph
    outer: Surrounding | None = None

    @cached_property
    def makers(self) -> dict[str, Node]:
        """The node of this graph that makes each of its values."""
        return {name: node for node in self.graph.nodes for name in node.outputs if name}

    @cached_property
    def readers(self) -> dict[str, list[Node]]:
        """The nodes of this graph that read each value, their subgraphs included."""
        found: dict[str, list[Node]] = {}
        for node in self.graph.nodes:
            for name in names_read(node):
                found.setdefault(name, []).append(node)
        return found

    @cached_property
    def outputs(self) -> Counter[str]:
        """How often each value is an output of this graph."""
        return Counter(value.name for value in self.graph.outputs)

    def maker(self, name: str) -> Node | None:
        """The node that makes a value, here or further out; None of an input or a constant."""
        found, scope = self.makers.get(name), self.outer
        while found is None and scope is not None:
            found, scope = scope.makers.get(name), scope.outer
        return found

    def only_reader(self, name: str) -> Node | None:
        """The node that alone reads a value of this graph, and once; None if there is none."""
        readers = self.readers.get(name, [])
        alone = len(readers) == 1 and not self.outputs[name]
        return readers[0] if alone and [*readers[0].inputs].count(name) == 1 else None


def scopes(model: Model) -> dict[Node, Surrounding]:
    """The graph that each node stands in, those in functions excepted."""

    def walk(graph: Graph, outer: Surrounding | None) -> Iterator[tuple[Node, Surrounding]]:
        scope = Surrounding(graph, outer)
        for node in graph.nodes:
            yield node, scope
            for inner in subgraphs(node):
                yield from walk(inner, scope)

    return dict(walk(model.graph, None))
