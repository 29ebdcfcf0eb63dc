"""Layers with running statistics, and which tensors these are.

A statistic is found through nodes that only move or convert elements, through functions, and in
subgraphs. Exporters merge equal tensors, so one may be the statistic of several layers, or other
things besides: then each layer needs one of its own.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace

from onnxla.ir.model import Node, Tensor
from onnxla.ir.traverse import subgraphs
from onnxla.ops.table import Operator
from onnxla.parameters.sources import Formal, Source
from onnxla.parameters.uses import TensorUse, scope_of, without_number
from onnxla.parameters.walk import Analysis

STATISTIC = "running_statistic"


@dataclass(frozen=True, eq=False)
class StatisticsLayer:
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
    def learned(self) -> tuple[tuple[Source, Node, int], ...]:
        """What its operands are but for the data, and where they enter."""
        found = self.operands("scale", "bias", STATISTIC)
        return tuple((self.sources[index], *self.places[index]) for index in found)

    def name_at(self, index: int) -> str:
        """The name under which an operand enters the scope that is looked at."""
        node, position = self.places[index]
        return node.inputs[position]

    @property
    def statistics(self) -> Iterator[Source]:
        """What its running statistics are."""
        return (self.sources[index] for index in self.operands(STATISTIC))


def layers(analysis: Analysis, nodes: Sequence[Node]) -> list[StatisticsLayer]:
    """The layers of nodes, of their subgraphs, and of the functions that they call."""
    return [layer for node in nodes for layer in layers_of(analysis, node)]


def layers_of(analysis: Analysis, node: Node) -> list[StatisticsLayer]:
    """The layers of one node, those of a function with the sources that the call gives it."""
    if node not in analysis.layers:
        analysis.layers[node] = [*find_layers(analysis, node)]
    return analysis.layers[node]


def find_layers(analysis: Analysis, node: Node) -> Iterator[StatisticsLayer]:
    """`layers_of` a node that has not been looked at."""
    if function := analysis.function_of(node):
        sources = analysis.sources(node)
        given = dict(zip(function.inputs, enumerate(sources), strict=False))
        inner = (
            called(each, node, function.key, given) for each in layers(analysis, function.nodes)
        )
        # Calls within calls multiply, but what they give one node is often the same.
        yield from {(each.node, each.learned): each for each in inner}.values()
        return
    for graph in subgraphs(node):
        yield from layers(analysis, graph.nodes)
    operator = analysis.operators.get(node)
    if operator is not None and STATISTIC in operator.roles.values():
        sources = analysis.sources(node)
        places = tuple((node, index) for index in range(len(sources)))
        yield StatisticsLayer(node, operator, tuple(sources), places)


def called(
    layer: StatisticsLayer,
    node: Node,
    key: tuple[str, str, str],
    given: dict[str, tuple[int, Source]],
) -> StatisticsLayer:
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


# Which uses are of one layer


def merged_statistics(analysis: Analysis) -> list[TensorUse]:
    """The running statistics that need tensors of their own.

    A tensor that serves as something else too was merged with its equals, and so was one that
    several layers use. Which uses are of one layer, the exporter's names of modules tell; without
    them, four distinct tensors that come again do. What a function itself merges stays.
    """
    if not analysis.operators:
        return []
    uses: dict[Tensor, dict[Hashable, list[tuple[StatisticsLayer, int]]]] = {}
    for layer in layers(analysis, analysis.model.graph.nodes):
        for index in layer.operands(STATISTIC):
            source = layer.sources[index]
            if isinstance(source, Tensor):
                key = index, identity(layer), layer.name_at(index)
                uses.setdefault(source, {}).setdefault(key, []).append((layer, index))
    found = [
        TensorUse(tensor, places_of(group), name_for(*group[0]))
        for tensor, groups in uses.items()
        if len(groups) > 1 or analysis.uses[tensor] != {STATISTIC}
        for group in groups.values()
    ]
    return [use for use in found if all(is_statistic(analysis, place) for place in use.places)]


def is_statistic(analysis: Analysis, place: tuple[Node, int]) -> bool:
    """Whether what a node reads at a position is one running statistic, and nothing else."""
    node, position = place
    if (function := analysis.function_of(node)) is None:
        return True
    formal = Formal(function.inputs[position], function.key)
    slots = {
        index
        for layer in layers(analysis, function.nodes)
        for index, source in enumerate(layer.sources)
        if source == formal
    }
    return len(slots) == 1 and analysis.uses[formal] == {STATISTIC}


def places_of(group: Sequence[tuple[StatisticsLayer, int]]) -> tuple[tuple[Node, int], ...]:
    """Where operands of layers enter, each place once."""
    return tuple(dict.fromkeys(layer.places[index] for layer, index in group))


def identity(layer: StatisticsLayer) -> Hashable:
    """What uses of one layer have in common."""
    scope, exact = scope_of(layer.places[0][0])
    # An exporter that merges tensors may keep the names of all of them, for what Identities make.
    named = [layer.name_at(index) for index in layer.operands("scale", "bias", STATISTIC)]
    distinct = len({*named}) == len(named)
    affine = tuple(layer.name_at(index) for index in layer.operands("scale", "bias"))
    if exact:
        return scope, affine
    if scope:  # the second use of `bn` may be called `bn_1`, but so may another layer
        return (without_number(scope), *named) if distinct else (scope, affine)
    return tuple(named) if distinct else layer.places


def name_for(layer: StatisticsLayer, index: int) -> str:
    """A name for a statistic of a layer."""
    node, position = layer.places[index]
    given = node.inputs[position]
    source = layer.sources[index]
    if isinstance(source, Tensor) and given != source.name:  # what an Identity calls it
        return given
    scope, exact = scope_of(node)
    kind = layer.operator.input_name(index).removeprefix("input_")
    return f"{scope}.running_{kind}" if exact else f"{node.name or node.outputs[0]}.{kind}"
