"""Names that nothing makes, that are made twice or that are missing."""

from __future__ import annotations

from hypothesis import strategies as st
from onnx import ModelProto, helper

from onnxla.testing.malformed.parts import (
    any_attribute,
    any_node,
    graphs_within,
    main_node,
    new_array,
    new_input,
    new_node,
    pick,
)
from onnxla.testing.malformed.registry import breaks


@breaks("a node reads a value that nothing makes")
def unmade_input(draw: st.DrawFn, model: ModelProto) -> None:
    """Gives some node an input that nothing makes."""
    any_node(draw, model).input.append("nothing")


@breaks("an output that nothing makes")
def unmade_output(draw: st.DrawFn, model: ModelProto) -> None:
    """Names an output of some graph by what nothing makes."""
    graph = pick(draw, list(graphs_within(model.graph)))
    pick(draw, list(graph.output)).name = "nothing"


@breaks("a node reads its own output")
def own_output(draw: st.DrawFn, model: ModelProto) -> None:
    """Makes some node read its own output."""
    node = any_node(draw, model)
    node.input[:] = [node.output[0]] * max(1, len(node.input))


@breaks("nodes form a cycle")
def nodes_in_cycle(draw: st.DrawFn, model: ModelProto) -> None:
    """Adds two nodes that wait for each other."""
    # In front, for a cycle is not in an order either.
    a = helper.make_node("Neg", ["cycle_b"], ["cycle_a"])
    b = helper.make_node("Neg", ["cycle_a"], ["cycle_b"])
    nodes = [a, *model.graph.node, b]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


@breaks("nodes in the wrong order")
def nodes_out_of_order(draw: st.DrawFn, model: ModelProto) -> None:
    """Adds a node in front of the one whose output it reads."""
    new_node(model, "Neg", ["late"])
    new_node(model, "Neg", [new_array(model)]).output[0] = "late"
    model.graph.output[-1].name = "late"


@breaks("two nodes make one name")
def made_twice(draw: st.DrawFn, model: ModelProto) -> None:
    """Adds a node that makes the output of another."""
    name = main_node(draw, model).output[0]
    node = new_node(model, "Neg", [new_array(model)])
    node.output[0] = name
    del model.graph.output[-1]


@breaks("a node makes the name of an input or initializer")
def input_made_again(draw: st.DrawFn, model: ModelProto) -> None:
    """Adds a node that makes the name of an input or initializer."""
    node = new_node(model, "Neg", [new_array(model)])
    node.output[0] = pick(draw, [node.input[0], new_input(model).name])
    del model.graph.output[-1]


@breaks("an input twice")
def input_twice(draw: st.DrawFn, model: ModelProto) -> None:
    """Adds two inputs of one name."""
    model.graph.input.append(new_input(model))


@breaks("an initializer twice")
def initializer_twice(draw: st.DrawFn, model: ModelProto) -> None:
    """Adds two initializers of one name."""
    new_array(model)
    model.graph.initializer.append(model.graph.initializer[-1])


@breaks("an output twice")
def output_twice(draw: st.DrawFn, model: ModelProto) -> None:
    """Lists an output of the graph again."""
    model.graph.output.append(pick(draw, list(model.graph.output)))


@breaks("a value of a subgraph is used outside")
def inner_value_outside(draw: st.DrawFn, model: ModelProto) -> None:
    """Adds a node that reads a value of a subgraph from outside."""
    inner = [g for g in graphs_within(model.graph) if g is not model.graph and g.node]
    new_node(model, "Neg", [pick(draw, inner).node[0].output[0]])


@breaks("an input without a name")
def unnamed_input(draw: st.DrawFn, model: ModelProto) -> None:
    """Adds an input without a name."""
    new_input(model).name = ""


@breaks("an output without a name")
def unnamed_output(draw: st.DrawFn, model: ModelProto) -> None:
    """Takes the name of an output of some graph."""
    graph = pick(draw, list(graphs_within(model.graph)))
    pick(draw, list(graph.output)).name = ""


@breaks("an initializer without a name")
def unnamed_initializer(draw: st.DrawFn, model: ModelProto) -> None:
    """Adds an initializer without a name."""
    new_array(model)
    model.graph.initializer[-1].name = ""


@breaks("an attribute without a name")
def unnamed_attribute(draw: st.DrawFn, model: ModelProto) -> None:
    """Takes the name of some attribute."""
    any_attribute(draw, model).name = ""


@breaks("a node without an operator")
def unnamed_operator(draw: st.DrawFn, model: ModelProto) -> None:
    """Takes the operator's name of some node."""
    any_node(draw, model).op_type = ""
