"""Checking that a model makes sense: every name is made once, before it is used.

Follows the ONNX specification except where exporters do not and ONNX Runtime does not mind:
initializers need not be inputs (IR version < 4), a subgraph may define a name of the graph around
it again or return one of its values, node names may repeat, and a call of a local function needs no
opset import. Tensors were checked, and nodes put in order, when they were read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from onnxla.ir.model import (
    Attribute,
    AttributeReference,
    Function,
    FunctionId,
    Graph,
    Model,
    Node,
    graphs_in,
)
from onnxla.ir.names import SHOWN, plain, quoted, shortened
from onnxla.ir.onnx_pb2 import AttributeProto, NodeProto
from onnxla.ir.order import depth_first
from onnxla.ir.problems import Problems
from onnxla.ir.traverse import names_made, names_read, subgraphs
from onnxla.ir.wire import ATTRIBUTE_FIELDS, normal_domain

MAX_NESTING = 60  # of graphs; protobuf cannot parse 40
MAX_DEPTH = 100  # of calls of functions, and of graphs, within each other
MAX_NODES = 100_000  # to evaluate, with each call of a function replaced by its nodes
MANY = 10**18  # nodes beyond which they are not counted
PREFIX = 1000  # letters of a message that say in which graph it is

# Domains of ONNX Runtime that it knows without an import. All their operators have version 1.
IMPLICIT_DOMAINS = frozenset({"com.microsoft"})

T = TypeVar("T")
VALUE_FIELDS = frozenset(ATTRIBUTE_FIELDS.values())


def verify(model: Model, nodes: float = MAX_NODES) -> None:
    """Checks a model, which may expand to so many nodes.

    For example:

        onnxla.ir.verify(onnxla.ir.read("model.onnx"))

    Raises:
        ModelError: Something is wrong; the message has all problems, one a line, up to a number.
    """
    find_problems(model, nodes).raise_any()


def check(model: Model, nodes: float = MAX_NODES) -> list[str]:
    """What is wrong with a model: a sentence for each problem, naming the node or value.

    For example:

        assert not onnxla.ir.check(onnxla.ir.read("model.onnx"))
    """
    return find_problems(model, nodes).listed()


def find_problems(model: Model, most_nodes: float) -> Problems:
    """What is wrong with a model, which may expand to so many nodes."""
    checker = Checker({function.key for function in model.functions})
    problems = checker.problems
    if model.wire is not None:
        keys = (entry.key for entry in model.wire.metadata_props)  # type: ignore[attr-defined]
        for key in repeated(keys):
            problems.add(f"metadata has the key {quoted(key)} twice")
    checker.opsets(model, "the model")
    checker.graph(model.graph, GraphPlace("", model.opsets, "the model"), None)

    for function_id in repeated(function.key for function in model.functions):
        problems.add(f"function {spell_id(function_id)} is defined twice")
    calls: dict[FunctionId, set[FunctionId]] = {}
    for function in model.functions:
        checker.called = set()
        checker.function(function)
        calls[function.key] = checker.called
    if cycle := depth_first(calls, calls.__getitem__)[1]:
        problems.add(f"functions call each other in a cycle: {spell_cycle(cycle, spell_id)}")
    elif not checker.too_deep:
        check_expansion(model, calls, most_nodes, problems)
    return problems


def check_expansion(
    model: Model,
    calls: Mapping[FunctionId, Iterable[FunctionId]],
    most_nodes: float,
    problems: Problems,
) -> None:
    """Checks how much there is to evaluate; a few functions can call each other very often."""
    nodes, depth = expansion(model, calls)
    if nodes > most_nodes:
        number = f"{nodes:,}" if nodes < MANY else "over 10^18"
        problems.add(
            f"it has {number} nodes, each call of a function replaced by the function's, which is"
            f" more than the limit of {most_nodes:,}; if that is as it should be, raise it:"
            " onnxla.load(..., limits=onnxla.Limits(nodes=...))"
        )
    if depth > MAX_DEPTH:
        problems.add(
            f"calls of functions, and graphs, lie {depth:,} deep within each other, which is more"
            f" than {MAX_DEPTH}"
        )


@dataclass
class NameScope:
    """The names of one graph while its nodes are visited.

    Attributes:
        own: Every name that the graph defines, sooner or later.
        made: Those that are defined so far.
        late: Uses of names before they are made, with the node that uses each.
    """

    outer: NameScope | None
    own: set[str]
    made: set[str] = field(default_factory=set)
    late: list[tuple[str, Node]] = field(default_factory=list)


@dataclass(frozen=True)
class GraphPlace:
    """Where a graph is.

    Attributes:
        prefix: What to put before a message.
        opsets: Imports that hold here.
        owner: Who imports them.
        function: Whether this is inside a function.
        depth: How many graphs are around.
    """

    prefix: str
    opsets: Mapping[str, int]
    owner: str
    function: bool = False
    depth: int = 0


class Checker:
    """What is wrong with the graphs and functions that it has visited."""

    def __init__(self, functions: set[FunctionId]) -> None:
        self.functions = functions
        self.problems = Problems()
        self.called: set[FunctionId] = set()  # the functions that have been called
        self.too_deep = False
        self.missing_domains: set[tuple[str, str]] = set()

    def opsets(self, owner: Model | Function, name: str) -> None:
        """Checks that each imported version can be and that no two contradict."""
        for domain, version in owner.opsets.items():
            if version < 1:
                self.problems.add(
                    f"{name} imports version {version} of operator domain {quoted(domain)}"
                )
        if owner.wire is not None:
            imports = owner.wire.opset_import  # type: ignore[attr-defined]
            # Repeating an import does no harm unless it contradicts.
            distinct = {(normal_domain(entry.domain), entry.version) for entry in imports}
            for domain in repeated(domain for domain, _ in distinct):
                self.problems.add(f"{name} imports several versions of domain {quoted(domain)}")

    def function(self, function: Function) -> None:
        """Checks a function's names and its nodes."""
        name = f"function {spell_id(function.key)}"
        place = GraphPlace(f"{name}: ", function.opsets, name, function=True)
        self.opsets(function, name)
        if not function.name:
            self.problems.add(f"{name} has an empty name")
        for what, names in (
            ("input", function.inputs),
            ("output", function.outputs),
            ("attribute", (*function.attributes, *function.defaults)),
        ):
            self.names(what, names, place)
        if function.wire is not None:
            wires = function.wire.attribute_proto  # type: ignore[attr-defined]
            for problem in wire_problems(wires, function.defaults):
                self.problems.add(f"{place.prefix}{problem}")
        scope = NameScope(None, {*function.inputs, *names_made(function.nodes)})
        scope.made.update(function.inputs)
        self.nodes(function.nodes, scope, place)
        self.results(function.outputs, scope, place)

    def graph(self, graph: Graph, place: GraphPlace, outer: NameScope | None) -> None:
        """Checks a graph's names and its nodes."""
        if place.depth > MAX_NESTING:
            self.too_deep = True
            self.problems.add(
                f"graph {quoted(graph.name)} is nested more than {MAX_NESTING} graphs deep"
            )
            return
        inputs = [value.name for value in graph.inputs]
        initializers = [tensor.name for tensor in graph.initializers]
        self.names("input", inputs, place)
        self.names("initializer", initializers, place)
        scope = NameScope(outer, {*inputs, *initializers, *names_made(graph.nodes)})
        scope.made.update(inputs, initializers)
        self.nodes(graph.nodes, scope, place)
        self.results((value.name for value in graph.outputs), scope, place)

    def names(self, what: str, names: Iterable[str], place: GraphPlace) -> None:
        """Checks that names that are defined together differ and are not empty."""
        counts = Counter(names)
        for name, count in counts.items():
            if not name:
                self.problems.add(f"{place.prefix}an {what} has an empty name")
            elif count > 1:
                self.problems.add(f"{place.prefix}{what} {quoted(name)} is defined {count} times")

    def nodes(self, nodes: tuple[Node, ...], scope: NameScope, place: GraphPlace) -> None:
        """Checks that the nodes of a graph read what is there and make new names."""
        for node in nodes:
            for name in node.inputs:
                if name and name not in scope.made:
                    self.use(name, node, scope, place)
            self.operator(node, place)
            self.attributes(node, scope, place)
            for name in node.outputs:
                if name and name in scope.made:
                    self.problems.add(
                        f"{place.prefix}node {node}: its output {quoted(name)} is defined already;"
                        " a name may be assigned only once"
                    )
                scope.made.add(name)
        if scope.late and not self.too_deep:
            self.order(nodes, scope, place)

    def use(self, name: str, node: Node, scope: NameScope | None, place: GraphPlace) -> None:
        """Find a name in this graph or the graphs around it."""
        while scope is not None:
            if name in scope.made:
                return
            if name in scope.own:
                scope.late.append((name, node))
                return
            scope = scope.outer
        self.problems.add(
            f"{place.prefix}node {node}: its input {quoted(name)} is made by no node, input or"
            " initializer"
        )

    def results(self, names: Iterable[str], scope: NameScope, place: GraphPlace) -> None:
        """Checks that outputs have names that something makes."""
        for name in names:
            around: NameScope | None = scope
            while around is not None and name not in around.made:
                around = around.outer
            if not name:
                self.problems.add(f"{place.prefix}an output has an empty name")
            elif around is None:
                self.problems.add(
                    f"{place.prefix}output {quoted(name)} is made by no node, input or initializer"
                )

    def operator(self, node: Node, place: GraphPlace) -> None:
        """Checks that a node's operator has a name and an opset import or a function."""
        if not node.op_type:
            self.problems.add(f"{place.prefix}node {node} has an empty operator name")
        function_id = (node.domain, node.op_type, node.overload)
        if function_id in self.functions:
            self.called.add(function_id)
        elif node.domain not in place.opsets and node.domain not in IMPLICIT_DOMAINS:
            missing = (place.owner, node.domain)
            if missing not in self.missing_domains:
                self.missing_domains.add(missing)
                self.problems.add(
                    f"{place.prefix}node {node}: {place.owner} does not import an opset for its"
                    f" domain {quoted(node.domain)}"
                )

    def attributes(self, node: Node, scope: NameScope, place: GraphPlace) -> None:
        """Checks a node's attributes, and the graphs in them."""
        if isinstance(node.wire, NodeProto) and node.wire.attribute:
            for problem in wire_problems(node.wire.attribute, node.attributes):
                self.problems.add(f"{place.prefix}node {node}: {problem}")
        for name, value in node.attributes.items():
            if not name:
                self.problems.add(f"{place.prefix}node {node}: an attribute has an empty name")
            if isinstance(value, AttributeReference) and not place.function:
                self.problems.add(
                    f"{place.prefix}node {node}: attribute {quoted(name)} refers to an attribute"
                    f" {quoted(value.name)} of a function, but it is in none"
                )
            for graph in graphs_in(value):
                inner = GraphPlace(
                    shortened(f"{place.prefix}node {node}, attribute {quoted(name)}: ", PREFIX),
                    place.opsets,
                    place.owner,
                    place.function,
                    place.depth + 1,
                )
                self.graph(graph, inner, scope)

    def order(self, nodes: tuple[Node, ...], scope: NameScope, place: GraphPlace) -> None:
        """Tell nodes that are only in the wrong order from those that wait for each other."""
        maker = {name: index for index, node in enumerate(nodes) for name in node.outputs if name}
        needs = {
            index: {maker[name] for name in names_read(node) if name in maker}
            for index, node in enumerate(nodes)
        }
        cycle = depth_first(needs, needs.__getitem__)[1]
        if cycle:
            cycle.reverse()  # from a node to the one that uses it, as data flows
            first = cycle.index(min(cycle))
            path = spell_cycle([nodes[index] for index in cycle[first:] + cycle[:first]], str)
            self.problems.add(f"{place.prefix}nodes form a cycle: {path}")
        waiting = set(cycle)
        for name, user in scope.late:
            if maker[name] not in waiting:
                self.problems.add(
                    f"{place.prefix}node {user}: its input {quoted(name)} is made later, by node"
                    f" {nodes[maker[name]]}; nodes must be in an order in which they can be run"
                )


def wire_problems(
    wires: Iterable[AttributeProto], attributes: Mapping[str, Attribute]
) -> Iterator[str]:
    """What the dataclasses cannot show: repeated attributes, and values of another type."""
    seen = set()
    for wire in wires:
        if wire.name in seen:
            yield f"attribute {quoted(wire.name)} is given twice"
        seen.add(wire.name)
        fields = {field.name for field, _ in wire.ListFields()} & VALUE_FIELDS
        if wire.type and wire.name in attributes:
            fields.discard(ATTRIBUTE_FIELDS[wire.type])
            if fields:
                yield (
                    f"attribute {quoted(wire.name)} has type"
                    f" {AttributeProto.AttributeType.Name(wire.type)}, but a value in"
                    f" '{', '.join(sorted(fields))}'"
                )


def expansion(model: Model, calls: Mapping[FunctionId, Iterable[FunctionId]]) -> tuple[int, int]:
    """How many nodes there are to evaluate, and how deep they lie. `calls` has no cycle."""
    nodes = {function.key: function.nodes for function in model.functions}
    found: dict[FunctionId, tuple[int, int]] = {}

    # Neither part recurses: a file decides how deep.
    def measure(nodes: Iterable[Node]) -> tuple[int, int]:
        total = deepest = 0
        waiting = [(node, 1) for node in nodes]
        while waiting:
            node, depth = waiting.pop()
            number, further = found.get((node.domain, node.op_type, node.overload), (0, 0))
            total, deepest = total + 1 + number, max(deepest, depth + further)
            waiting += ((n, depth + 1) for graph in subgraphs(node) for n in graph.nodes)
        return min(total, MANY), deepest

    # Callees first.
    pending = list(nodes)
    while pending:
        if pending[-1] in found:
            pending.pop()
        elif missing := [callee for callee in calls[pending[-1]] if callee not in found]:
            pending += missing
        else:
            function_id = pending.pop()
            found[function_id] = measure(nodes[function_id])
    return measure(model.graph.nodes)


def spell_cycle(steps: Sequence[T], spell: Callable[[T], str]) -> str:
    """A cycle as text: from its first step round to it again."""
    more = [f"{len(steps) - SHOWN:,} more"] if len(steps) > SHOWN else []
    return " => ".join([*map(spell, steps[:SHOWN]), *more, spell(steps[0])])


def repeated(names: Iterable[T]) -> list[T]:
    """Those that occur more than once, each once."""
    return [name for name, count in Counter(names).items() if count > 1]


def spell_id(function: FunctionId) -> str:
    """A function's domain, name and overload as text in quotes."""
    return quoted(".".join(filter(None, map(plain, function))))
