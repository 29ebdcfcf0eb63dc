"""The order of nodes: one in which they can be run, and the one that their file has.

ONNX wants them sorted, but not every converter does so, and ONNX Runtime does not mind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from onnxla.ir.model import Attribute, Graph, Model, Node
from onnxla.ir.traverse import all_nodes, names_made, names_read, subgraphs

T = TypeVar("T")


def in_order(model: Model) -> Model:
    """The model with all nodes in an order in which they can be run, near to that of the file.

    What a node needs is moved before it, in subgraphs and functions too. Nodes stay as they are
    where no order would do: they wait for each other, or what is used too early has the name of a
    value of a graph around, which it may mean.
    """
    graph = ordered_graph(model.graph, ())
    functions = tuple(
        f if (nodes := ordered(f.nodes, {*f.inputs}, ())) is f.nodes else replace(f, nodes=nodes)
        for f in model.functions
    )
    return replace(model, graph=graph, functions=functions)


def is_disordered(model: Model) -> bool:
    """Whether a file has nodes in an order in which they cannot be run."""
    return any(node.place is not None for node, _ in all_nodes(model))


def ordered_graph(graph: Graph, around: tuple[set[str], ...]) -> Graph:
    """A graph with its nodes in order; `around` has the names of the graphs around it."""
    made = {value.name for value in graph.inputs} | {t.name for t in graph.initializers}
    nodes = ordered(graph.nodes, made, around)
    return graph if nodes is graph.nodes else replace(graph, nodes=nodes)


def ordered(
    nodes: tuple[Node, ...], made: set[str], around: tuple[set[str], ...]
) -> tuple[Node, ...]:
    """Nodes in order, given the names that are made before them; the same tuple if they were."""
    own = made.union(names_made(nodes))
    inside = {i: ordered_inside(n, (*around, own)) for i, n in enumerate(nodes) if subgraphs(n)}
    if any(new is not nodes[i] for i, new in inside.items()):
        nodes = tuple(inside.get(i, node) for i, node in enumerate(nodes))
    reads = [names_read(node) if i in inside else node.inputs for i, node in enumerate(nodes)]
    early, seen = set(), {"", *made}
    for names, node in zip(reads, nodes, strict=True):
        if not seen.issuperset(names):
            early.update(own.intersection(names) - seen)
        seen.update(node.outputs)
    if not early or any(not early.isdisjoint(names) for names in around):
        return nodes
    maker = {name: i for i, node in enumerate(nodes) for name in node.outputs if name not in made}
    maker.pop("", None)

    def needs(i: int) -> list[int]:
        return sorted({maker[name] for name in reads[i] if name in maker})

    order, cycle = depth_first(range(len(nodes)), needs)
    return nodes if cycle else tuple(placed(nodes[i], i) for i in order)


def placed(node: Node, place: int) -> Node:
    """A node with its place in the file; as `replace` makes it, in a third of the time."""
    values: dict[str, Any] = {**vars(node), "place": place}
    return Node(**values)


def ordered_inside(node: Node, around: tuple[set[str], ...]) -> Node:
    """A node with the nodes of its subgraphs in order; itself if they were."""

    def attribute(value: Attribute) -> Attribute:
        if isinstance(value, tuple) and value and isinstance(value[0], Graph):
            return tuple(map(attribute, value))
        return ordered_graph(value, around) if isinstance(value, Graph) else value

    new = {name: attribute(value) for name, value in node.attributes.items()}
    changed = any(new[name] is not value for name, value in node.attributes.items())
    return replace(node, attributes=new) if changed else node


def in_file_order(nodes: Sequence[Node]) -> Iterable[Node]:
    """Nodes as their file has them; one that is new comes after the one that it follows."""
    last, places = -1, []
    for node in nodes:
        last = last if node.place is None else node.place
        places.append(last)
    return (node for _, node in sorted(zip(places, nodes, strict=True), key=lambda pair: pair[0]))


def depth_first(keys: Iterable[T], edges: Callable[[T], Iterable[T]]) -> tuple[list[T], list[T]]:
    """The keys, each after those that its edges lead to, and []; or some, and a cycle.

    Without recursion: a file decides how deep.
    """
    done: dict[T, None] = {}
    for start in keys:
        if start in done:
            continue
        path = {start: None}  # in order, and quick to search
        stack = [iter(edges(start))]
        while stack:
            following = next(stack[-1], None)
            if following is None:
                stack.pop()
                done[path.popitem()[0]] = None
            elif following in path:
                cycle = list(path)
                return list(done), cycle[cycle.index(following) :]
            elif following not in done:
                path[following] = None
                stack.append(iter(edges(following)))
    return list(done), []
