"""Operators and versions that do not exist, and operands that do not fit."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from onnx import ModelProto, helper, numpy_helper

from onnxla.testing.malformed.parts import (
    HUGE,
    any_node,
    new_array,
    new_input,
    new_node,
    operator_node,
    pick,
)
from onnxla.testing.malformed.registry import breaks


@breaks("an unknown operator")
def unknown_operator(draw: st.DrawFn, model: ModelProto) -> None:
    """Gives some node an operator that the ONNX specification does not have."""
    operator_node(draw, model).op_type = pick(draw, ["Nothing", "add", "Add ", "é"])


@breaks("a domain that is not imported")
def unknown_domain(draw: st.DrawFn, model: ModelProto) -> None:
    """Puts some node into a domain that is not imported."""
    any_node(draw, model).domain = "nobody"


@breaks("an unknown operator of an imported domain")
def unknown_in_imported_domain(draw: st.DrawFn, model: ModelProto) -> None:
    """Puts some node into an imported domain that lacks its operator."""
    model.opset_import.append(helper.make_opsetid("nobody", 1))
    any_node(draw, model).domain = "nobody"


@breaks("no opset import")
def no_opset(draw: st.DrawFn, model: ModelProto) -> None:
    """Takes all opset imports."""
    del model.opset_import[:]


@breaks("an opset version that does not exist")
def wrong_opset(draw: st.DrawFn, model: ModelProto) -> None:
    """Imports an opset version that does not exist."""
    model.opset_import[0].version = pick(draw, [0, -1, -(2**63), 1000, *HUGE])


@breaks("two opset versions of one domain")
def two_opsets(draw: st.DrawFn, model: ModelProto) -> None:
    """Imports another version of ONNX's own domain too."""
    model.opset_import.append(helper.make_opsetid(pick(draw, ["", "ai.onnx"]), 7))


@breaks("an IR version that does not exist")
def wrong_ir_version(draw: st.DrawFn, model: ModelProto) -> None:
    """Sets an IR version that does not exist."""
    model.ir_version = pick(draw, [0, -1, -(2**63), 1000, *HUGE])


@breaks("no IR version")
def no_ir_version(draw: st.DrawFn, model: ModelProto) -> None:
    """Takes the IR version."""
    model.ClearField("ir_version")


@breaks("no graph")
def no_graph(draw: st.DrawFn, model: ModelProto) -> None:
    """Takes the graph."""
    model.ClearField("graph")


@breaks("too many inputs")
def too_many_inputs(draw: st.DrawFn, model: ModelProto) -> None:
    """Adds a node with more inputs than its operator has."""
    name = new_array(model)
    new_node(model, pick(draw, ["Neg", "Add", "Conv", "Gemm"]), [name] * 9)


@breaks("too few inputs")
def too_few_inputs(draw: st.DrawFn, model: ModelProto) -> None:
    """Adds a node with fewer inputs than its operator needs."""
    name = new_array(model)
    new_node(
        model,
        *pick(
            draw,
            [("Neg", []), ("Add", [name]), ("Conv", [name]), ("Concat", []), ("Add", [name, ""])],
        ),
    )


@breaks("too many outputs")
def too_many_outputs(draw: st.DrawFn, model: ModelProto) -> None:
    """Adds a node with more outputs than its operator has."""
    node = new_node(model, pick(draw, ["Neg", "Relu", "Softmax"]), [new_array(model)])
    node.output.extend(f"more_{i}" for i in range(pick(draw, [1, 9])))


@breaks("no outputs")
def no_outputs(draw: st.DrawFn, model: ModelProto) -> None:
    """Adds a node that makes nothing."""
    new_node(model, "Neg", [new_array(model)])
    del model.graph.node[-1].output[:]
    del model.graph.output[-1]


@breaks("shapes that do not fit")
def unfit_shapes(draw: st.DrawFn, model: ModelProto) -> None:
    """Adds a node whose operands have shapes that do not fit."""
    name = new_array(model)
    new_node(model, pick(draw, ["Add", "MatMul", "Gemm"]), [name, new_input(model, [3, 5]).name])


@breaks("element types that do not fit")
def unfit_types(draw: st.DrawFn, model: ModelProto) -> None:
    """Adds a node whose operands have element types that differ."""
    model.graph.initializer.append(numpy_helper.from_array(np.arange(4).reshape(2, 2), "int_w"))
    new_node(model, pick(draw, ["Add", "MatMul", "Gemm"]), [new_array(model), "int_w"])


@breaks("an element type that the operator does not have")
def unfit_operand(draw: st.DrawFn, model: ModelProto) -> None:
    """Adds a node whose operand has an element type that its operator lacks."""
    array = pick(draw, [np.array(["a"], object), np.array([True]), np.array([1j], np.complex64)])
    model.graph.initializer.append(numpy_helper.from_array(array, "odd_w"))
    node = new_node(model, pick(draw, ["Sigmoid", "Softmax", "MaxPool"]), ["odd_w"])
    if node.op_type == "MaxPool":
        node.attribute.append(helper.make_attribute("kernel_shape", [1]))
