"""If, Loop and Scan, whose subgraphs are drawn as graphs and use values around them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from onnx import helper

from onnxla.testing.draw import Draw
from onnxla.testing.random_graphs.connecting import ConnectingDraw
from onnxla.testing.random_graphs.drawn_graph import DrawnGraph
from onnxla.testing.random_graphs.protos import subgraph_proto
from onnxla.testing.random_graphs.values import (
    DrawnScope,
    DrawnValue,
    Runs,
    same_kind,
    same_shape_and_kind,
)
from onnxla.testing.random_graphs.vocabulary import can_make, schema_at


def subgraph(graph: DrawnGraph, scope: DrawnScope, values: Sequence[DrawnValue] = ()) -> DrawnScope:
    """A subgraph of a few nodes, that knows some values of its own from the start."""
    inner = DrawnScope(scope, [*values], depth=scope.depth + 1)
    graph.add_nodes(inner, min(graph.left, graph.integer(1, 2 + graph.left // 20)))
    return inner


def drawing_of(graph: DrawnGraph, scope: DrawnScope, name: str) -> ConnectingDraw:
    """What draws the operands of a node with subgraphs."""
    found, focus = schema_at(name, graph.opset), graph.focus(scope)
    if focus is not None and not can_make(name, focus.array.dtype, graph.opset):
        focus = None
    return ConnectingDraw(graph, scope, found, focus)


def carried_value(graph: DrawnGraph, scope: DrawnScope, name: str) -> DrawnValue:
    """A value that a body is given and gives back."""
    drawing = drawing_of(graph, scope, name)
    dtype = drawing.focus.array.dtype if drawing.focus else np.dtype(np.float32)
    return drawing.place(drawing.array(dtype, drawing.shape()))


def new_value(graph: DrawnGraph, kind: str, runs: Runs) -> DrawnValue:
    """An input of a subgraph."""
    return DrawnValue(graph.name(kind), runs)


def branches(graph: DrawnGraph, scope: DrawnScope) -> None:
    """An If, both of whose branches are drawn."""
    graph.left -= 1
    drawing = drawing_of(graph, scope, "If")
    condition = drawing.place(drawing.array(np.bool_, ()))
    then, other = subgraph(graph, scope), subgraph(graph, scope)
    if not then.made():
        graph.identity(then, drawing.place(drawing.array(np.float32, drawing.shape())))
    results = then.made()[-graph.integer(1, 2) :]
    matching: list[DrawnValue] = []
    for value in results:
        matching.append(value_like(graph, other, value, matching))
    node = helper.make_node(
        "If",
        [condition.name],
        [graph.name("y") for _ in results],
        then_branch=subgraph_proto("then", then, results),
        else_branch=subgraph_proto("else", other, matching),
    )
    graph.append_subgraphs(scope, node, [value.array.dtype for value in results])


def value_like(
    graph: DrawnGraph, scope: DrawnScope, wanted: DrawnValue, but: Sequence[DrawnValue]
) -> DrawnValue:
    """A value that a subgraph makes, of the dtype and rank of another, and not one of some."""
    own = [value for value in scope.made() if same_kind(value, wanted) and value not in but]
    if own:
        return own[-1]
    around = [value for value in scope.visible() if same_kind(value, wanted)]
    if not around:
        drawing = drawing_of(graph, scope, "If")
        array = Draw.array(drawing, wanted.array.dtype, wanted.array.shape)
        around = [graph.constant(scope, array, stored=True)]
    return graph.identity(scope, around[-1])


def given_back(
    graph: DrawnGraph, body: DrawnScope, value: DrawnValue, but: Sequence[DrawnValue]
) -> DrawnValue:
    """What a body gives back for a value that it is given: one of the same dtype and shape."""
    own = [v for v in body.made() if v.usable and same_shape_and_kind(v, value) and v not in but]
    return own[-1] if own else graph.identity(body, value)


def stacked(body: DrawnScope, but: Sequence[DrawnValue]) -> list[DrawnValue]:
    """A vector that a body makes, to be stacked, if there is one.

    The reference evaluator stacks vectors alone rightly.
    """
    return [v for v in body.made() if v.array.ndim == 1 and v not in but][-1:]


def loop(graph: DrawnGraph, scope: DrawnScope) -> None:
    """A Loop of up to three steps that carries a value or two, and may stack a third."""
    graph.left -= 1
    drawing = drawing_of(graph, scope, "Loop")
    stacks = drawing.flag()
    # No runtime can know the shape of a stack of nothing, so then there is a step.
    trips = drawing.place(drawing.array(np.int64, (), low=1 if stacks else 0, high=3))
    # The reference evaluator takes an absent condition for a false one, so it is there.
    true = np.array(True)
    condition = drawing.place(true if stacks else drawing.array(np.bool_, ()))
    carried = [carried_value(graph, scope, "Loop") for _ in range(graph.integer(1, 2))]
    zero = np.array(0, np.int64)
    index = new_value(graph, "i", (zero, zero, zero))
    going = new_value(graph, "c", (true, true, true))
    ins = [new_value(graph, "v", value.runs) for value in carried]
    body = subgraph(graph, scope, [index, going, *ins])
    again = [v for v in body.made() if v.array.dtype == np.bool_ and v.array.shape == ()]
    outs = [again[-1] if again and drawing.flag() else graph.identity(body, going)]
    for value in ins:
        outs.append(given_back(graph, body, value, outs))
    outs += stacked(body, outs) if stacks else []
    node = helper.make_node(
        "Loop",
        [trips.name, condition.name, *(v.name for v in carried)],
        [graph.name("y") for _ in outs[1:]],
        body=subgraph_proto("body", body, outs, [index, going, *ins]),
    )
    graph.append_subgraphs(scope, node, [value.array.dtype for value in outs[1:]])


def scan(graph: DrawnGraph, scope: DrawnScope) -> None:
    """A Scan over the entries of a value that carries another, and may stack a third."""
    graph.left -= 1
    state = carried_value(graph, scope, "Scan")
    drawing = drawing_of(graph, scope, "Scan")
    dtype = drawing.focus.array.dtype if drawing.focus else np.dtype(np.float32)
    scanned = drawing.place(drawing.array(dtype, drawing.shape((1, 4), (1, 5))))
    first, second, third = scanned.runs
    ins = [
        new_value(graph, "v", state.runs),
        new_value(graph, "e", (np.asarray(first[0]), np.asarray(second[0]), np.asarray(third[0]))),
    ]
    body = subgraph(graph, scope, ins)
    outs = [given_back(graph, body, ins[0], [])]
    outs += stacked(body, outs)
    node = helper.make_node(
        "Scan",
        [state.name, scanned.name],
        [graph.name("y") for _ in outs],
        body=subgraph_proto("body", body, outs, ins),
        num_scan_inputs=1,
    )
    graph.append_subgraphs(scope, node, [value.array.dtype for value in outs])


# By operator.
MAKERS: dict[str, Callable[[DrawnGraph, DrawnScope], None]] = {
    "If": branches,
    "Loop": loop,
    "Scan": scan,
}
