"""Local functions and subgraphs that are wrong or are called wrongly."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import strategies as st
from onnx import (
    AttributeProto,
    FunctionProto,
    ModelProto,
    NodeProto,
    TensorProto,
    helper,
    numpy_helper,
)

from onnxla.testing.malformed.parts import new_array, new_input, new_node, pick
from onnxla.testing.malformed.registry import breaks
from onnxla.testing.random_graphs.vocabulary import OPSET


def new_function(
    model: ModelProto, name: str, nodes: Sequence[NodeProto], inputs: Sequence[str] = ("a",)
) -> FunctionProto:
    """A new function in the domain `f`, which returns `b`."""
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("f", 1)]
    if all(entry.domain != "f" for entry in model.opset_import):
        model.opset_import.append(helper.make_opsetid("f", 1))
    model.functions.append(helper.make_function("f", name, inputs, ["b"], nodes, opsets))
    return model.functions[-1]


def call_of(name: str, value: str = "a", result: str = "b") -> NodeProto:
    """A node that calls a function of the domain `f`."""
    return helper.make_node(name, [value], [result], domain="f")


@breaks("a function that calls itself")
def recursion(draw: st.DrawFn, model: ModelProto) -> None:
    """Adds functions that call each other in a cycle."""
    length = pick(draw, [1, 2, 3, 50])
    for index in range(length):
        new_function(model, f"F{index}", [call_of(f"F{(index + 1) % length}")])
    new_node(model, "F0", [new_array(model)], domain="f")


@breaks("functions that call each other exponentially often")
def exponential_calls(draw: st.DrawFn, model: ModelProto) -> None:
    """Adds functions each of which calls the next twice."""
    for index in range(40):
        new_function(
            model,
            f"F{index}",
            [call_of(f"F{index + 1}", "a", "c"), call_of(f"F{index + 1}", "c", "b")],
        )
    # The last one reads what nothing makes, for their number alone breaks no rule.
    new_function(model, "F40", [helper.make_node("Neg", ["nothing"], ["b"])])
    new_node(model, "F0", [new_array(model)], domain="f")


@breaks("a function that reads a value of the graph, or one that nothing makes")
def unmade_value_in_function(draw: st.DrawFn, model: ModelProto) -> None:
    """Adds a function that reads what it does not make."""
    name = new_array(model)
    read = pick(draw, [name, "nothing"])
    new_function(model, "F", [helper.make_node("Add", ["a", read], ["b"])])
    new_node(model, "F", [name], domain="f")


@breaks("a function whose output nothing makes")
def unmade_function_output(draw: st.DrawFn, model: ModelProto) -> None:
    """Adds a function whose output nothing makes."""
    new_function(model, "F", [helper.make_node("Neg", ["a"], ["c"])])
    new_node(model, "F", [new_array(model)], domain="f")


@breaks("a function twice")
def function_twice(draw: st.DrawFn, model: ModelProto) -> None:
    """Adds two functions of one name."""
    for op_type in ("Neg", "Abs"):
        new_function(model, "F", [helper.make_node(op_type, ["a"], ["b"])])
    new_node(model, "F", [new_array(model)], domain="f")


@breaks("a function with an input twice")
def function_input_twice(draw: st.DrawFn, model: ModelProto) -> None:
    """Adds a function with two inputs of one name."""
    new_function(model, "F", [helper.make_node("Add", ["a", "a"], ["b"])], inputs=["a", "a"])
    new_node(model, "F", [new_array(model)] * 2, domain="f")


@breaks("a function without a name")
def unnamed_function(draw: st.DrawFn, model: ModelProto) -> None:
    """Adds a function without a name."""
    new_function(model, "", [helper.make_node("Neg", ["a"], ["b"])])


@breaks("a function without opset imports")
def function_without_opsets(draw: st.DrawFn, model: ModelProto) -> None:
    """Adds a function without opset imports."""
    function = new_function(model, "F", [helper.make_node("Neg", ["a"], ["b"])])
    del function.opset_import[:]
    new_node(model, "F", [new_array(model)], domain="f")


@breaks("a function is called with too many inputs")
def too_many_arguments(draw: st.DrawFn, model: ModelProto) -> None:
    """Calls a function with more inputs than it has."""
    new_function(model, "F", [helper.make_node("Neg", ["a"], ["b"])])
    new_node(model, "F", [new_array(model)] * 5, domain="f")


@breaks("a function is called with an attribute that it does not have")
def unknown_argument(draw: st.DrawFn, model: ModelProto) -> None:
    """Calls a function with an attribute that it lacks."""
    new_function(model, "F", [helper.make_node("Neg", ["a"], ["b"])])
    new_node(model, "F", [new_array(model)], domain="f", nothing=1)


@breaks("a function's node refers to an attribute that the function does not have")
def unknown_reference(draw: st.DrawFn, model: ModelProto) -> None:
    """Adds a function whose node refers to an attribute that the function lacks."""
    node = helper.make_node("Softmax", ["a"], ["b"])
    node.attribute.add(name="axis", type=AttributeProto.INT, ref_attr_name="nothing")
    new_function(model, "F", [node])
    new_node(model, "F", [new_array(model)], domain="f")


@breaks("a function whose attribute is not given")
def attribute_not_given(draw: st.DrawFn, model: ModelProto) -> None:
    """Calls a function without the attribute that it needs."""
    node = helper.make_node("Cast", ["a"], ["b"])
    node.attribute.add(name="to", type=AttributeProto.INT, ref_attr_name="to")
    new_function(model, "F", [node]).attribute.append("to")
    new_node(model, "F", [new_array(model)], domain="f")


@breaks("subgraphs with another number of outputs")
def wrong_branches(draw: st.DrawFn, model: ModelProto) -> None:
    """Adds an If whose branches have wrong inputs or outputs."""
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "condition"))
    name = new_array(model)
    value = helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)
    node = helper.make_node("Neg", [name], ["inner"])
    one = helper.make_graph([node], "one", [], [value])
    none = helper.make_graph([], "none", [], [])
    one_with_input = helper.make_graph([node], "one", [new_input(ModelProto())], [value])
    then, other = pick(draw, [(one, none), (none, one), (none, none), (one_with_input, one)])
    new_node(model, "If", ["condition"], then_branch=then, else_branch=other)


@breaks("a loop whose body has the wrong inputs or outputs")
def wrong_loop_body(draw: st.DrawFn, model: ModelProto) -> None:
    """Adds a Loop whose body has too few inputs or outputs."""
    name = new_array(model)
    model.graph.initializer.append(numpy_helper.from_array(np.array(2), "trips"))
    info = helper.make_tensor_value_info
    ins = [info("i", 7, []), info("c", 9, []), info("v", 1, None)]
    outs = [info("d", 9, []), info("u", 1, None)]
    nodes = [helper.make_node("Identity", ["c"], ["d"]), helper.make_node("Neg", [name], ["u"])]
    ins, outs = pick(
        draw, [(ins[:2], outs), (ins[:1], outs), ([], outs), (ins, []), (ins, outs[:1])]
    )
    body = helper.make_graph(nodes, "body", ins, outs)
    new_node(model, "Loop", ["trips", "", name], body=body)


@breaks("a loop whose condition is no boolean")
def wrong_loop_condition(draw: st.DrawFn, model: ModelProto) -> None:
    """Adds a Loop whose condition is a float."""
    name = new_array(model)
    model.graph.initializer.append(numpy_helper.from_array(np.array(2), "trips"))
    info = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Neg", ["v"], ["u"]), helper.make_node("Neg", ["v"], ["d"])],
        "body",
        [info("i", 7, []), info("c", 9, []), info("v", 1, None)],
        [info("d", 1, None), info("u", 1, None)],
    )
    new_node(model, "Loop", ["trips", pick(draw, ["", name]), name], body=body)
