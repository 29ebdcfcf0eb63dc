"""The order of nodes: one in which they can be run, and the one that their file has.

ONNX wants them sorted, but not every converter does so, and ONNX Runtime does not mind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TypeVar

from onnxla.ir.model import Attribute, Function, Graph, Model, Node
from onnxla.ir.traverse import all_nodes, names_made, names_read, subgraphs

T = TypeVar("T")
G = TypeVar("G", Graph, Function)


def in_order(model: Model) -> Model:
    """The model with all nodes in an order in which they can be run, near to that of the file.

    What a node needs is moved before it, in subgraphs and functions too. Nodes stay as they are
    where no order would do: they wait for each other, or what is used too early has the name of a
    value of a graph around, which it may mean.
    """
    graph = ordered_graph(model.graph, ())
    functions = tuple(with_nodes(f, ordered(f.nodes, {*f.inputs}, ())) for f in model.functions)
    return replace(model, graph=graph, functions=functions)


def is_disordered(model: Model) -> bool:
    """Whether a file has nodes in an order in which they cannot be run."""
    inner = (graph for node, _ in all_nodes(model) for graph in subgraphs(node))
    owners: list[Graph | Function] = [model.graph, *model.functions, *inner]
    return any(owner.disordered for owner in owners)


def ordered_graph(graph: Graph, around: tuple[set[str], ...]) -> Graph:
    """A graph with its nodes in order; `around` has the names of the graphs around it."""
    made = {value.name for value in graph.inputs} | {t.name for t in graph.initializers}
    return with_nodes(graph, ordered(graph.nodes, made, around))


def with_nodes(owner: G, nodes: tuple[Node, ...]) -> G:
    """A graph or function with its nodes in order; itself if they were."""
    if nodes is owner.nodes:
        return owner
    moved = any(new.place != old.place for new, old in zip(nodes, owner.nodes, strict=True))
    return replace(owner, nodes=nodes, disordered=moved)


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
    return nodes if cycle else tuple(nodes[i] for i in order)


def ordered_inside(node: Node, around: tuple[set[str], ...]) -> Node:
    """A node with the nodes of its subgraphs in order; itself if they were."""

    def attribute(value: Attribute) -> Attribute:
        if isinstance(value, tuple) and value and isinstance(value[0], Graph):
            return tuple(map(attribute, value))
        return ordered_graph(value, around) if isinstance(value, Graph) else value

    new = {name: attribute(value) for name, value in node.attributes.items()}
    changed = any(new[name] is not value for name, value in node.attributes.items())
    return replace(node, attributes=new) if changed else node


def in_file_order(owner: Graph | Function) -> Iterable[Node]:
    """The nodes as the file has them; one that is new comes after the one that it follows."""
    if not owner.disordered:
        return owner.nodes
    last, places = -1, []
    for node in owner.nodes:
        last = last if node.place is None else node.place
        places.append(last)
    pairs = sorted(zip(places, owner.nodes, strict=True), key=lambda pair: pair[0])
    return (node for _, node in pairs)


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
