"""Layers with running statistics, and which tensors these are.

A statistic is found through nodes that only move or convert elements, through functions, and in
subgraphs. Exporters merge equal tensors, so one may be the statistic of several layers, or other
things besides: then each layer needs one of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from onnxla.ir.model import Node
from onnxla.ir.traverse import subgraphs
from onnxla.ops.table import Operator
from onnxla.parameters.sources import Formal, Source
from onnxla.parameters.walk import Analysis

STATISTIC = "running_statistic"


@dataclass(frozen=True, eq=False)
class Layer:
    """A use of an operator with running statistics.

    Attributes:
        node: The operator's node, which may be one of a function.
        operator: The table's row for it.
        sources: What has the elements of its operands, in their order.
        places: Where each operand enters the scope that is looked at: a node, or the call of a
            function, and the position among its inputs.
    """

    node: Node
    operator: Operator
    sources: tuple[Source, ...]
    places: tuple[tuple[Node, int], ...]

    def operands(self, *roles: str) -> Iterator[int]:
        """Positions of the operands in some roles."""
        for index in range(len(self.sources)):
            if self.operator.roles.get(self.operator.input_name(index)) in roles:
                yield index

    @property
    def statistics(self) -> Iterator[Source]:
        """What its running statistics are."""
        return (self.sources[index] for index in self.operands(STATISTIC))


def layers(analysis: Analysis, nodes: Sequence[Node]) -> list[Layer]:
    """The layers of nodes, of their subgraphs, and of the functions that they call."""
    return [layer for node in nodes for layer in layers_of(analysis, node)]


def layers_of(analysis: Analysis, node: Node) -> list[Layer]:
    """The layers of one node, those of a function with the sources that the call gives it."""
    if node not in analysis.layers:
        analysis.layers[node] = [*find_layers(analysis, node)]
    return analysis.layers[node]


def find_layers(analysis: Analysis, node: Node) -> Iterator[Layer]:
    """`layers_of` a node that has not been looked at."""
    if function := analysis.function_of(node):
        sources = analysis.sources(node)
        given = dict(zip(function.inputs, enumerate(sources), strict=False))
        for layer in layers(analysis, function.nodes):
            yield called(layer, node, function.key, given)
        return
    for graph in subgraphs(node):
        yield from layers(analysis, graph.nodes)
    operator = analysis.operators.get(node)
    if operator is not None and STATISTIC in operator.roles.values():
        sources = analysis.sources(node)
        places = tuple((node, index) for index in range(len(sources)))
        yield Layer(node, operator, tuple(sources), places)


def called(
    layer: Layer, node: Node, key: tuple[str, str, str], given: dict[str, tuple[int, Source]]
) -> Layer:
    """A layer of a function, as one call of it uses it."""
    sources, places = [*layer.sources], [*layer.places]
    for index, source in enumerate(sources):
        if isinstance(source, Formal) and source.function == key:
            position, sources[index] = given.get(source.name, (0, None))
            places[index] = node, position
    return replace(layer, sources=tuple(sources), places=tuple(places))


def carried(analysis: Analysis, node: Node) -> list[Source]:
    """The running statistics of the layers in a node's subgraphs, each once."""
    graphs = subgraphs(node)
    found = (
        s for graph in graphs for layer in layers(analysis, graph.nodes) for s in layer.statistics
    )
    return [*dict.fromkeys(found)]
