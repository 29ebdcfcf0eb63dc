"""Attributes that are missing, unknown, repeated, or have a wrong value."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st
from onnx import AttributeProto, ModelProto, helper, numpy_helper

from onnxla.ir.splice import encode_varint
from onnxla.testing.malformed.parts import HUGE, new_array, new_node, operator_node, pick
from onnxla.testing.malformed.registry import breaks
from onnxla.testing.malformed.wire_format import encode_tag


@breaks("an unknown attribute")
def unknown_attribute(draw: st.DrawFn, model: ModelProto) -> None:
    """Gives some node an attribute that its operator lacks."""
    operator_node(draw, model).attribute.append(helper.make_attribute("nothing", 1))


@breaks("an attribute twice")
def attribute_twice(draw: st.DrawFn, model: ModelProto) -> None:
    """Adds a node with an attribute twice."""
    node = new_node(model, "Elu", [new_array(model)], alpha=0.5)
    node.attribute.append(helper.make_attribute("alpha", pick(draw, [0.5, 1.0])))


@breaks("an attribute of another type")
def wrong_attribute_type(draw: st.DrawFn, model: ModelProto) -> None:
    """Adds a node whose attribute should be an integer and is none."""
    name = new_array(model)
    values: list[Any] = [1.5, b"text", [1, 2], [0.5], [b"a"], helper.make_tensor("t", 1, [1], [1])]
    value = pick(draw, values)
    new_node(model, pick(draw, ["Softmax", "Flatten", "Cast"]), [name])
    key = "to" if model.graph.node[-1].op_type == "Cast" else "axis"
    model.graph.node[-1].attribute.append(helper.make_attribute(key, value))


@breaks("a list of integers that is of another type")
def wrong_list_type(draw: st.DrawFn, model: ModelProto) -> None:
    """Adds a node whose attribute should be a list of integers and is none."""
    value: Any = pick(draw, [1, 1.5, [0.5, 1.5], b"text", [b"a", b"b"]])
    new_node(model, "Transpose", [new_array(model)], perm=value)


@breaks("an attribute without a value")
def no_value(draw: st.DrawFn, model: ModelProto) -> None:
    """Adds a node whose attribute has a type and no value."""
    node = pick(
        draw,
        [
            new_node(model, "Constant", []),
            new_node(model, "If", [new_array(model)]),
            new_node(model, "Optional", []),
        ],
    )
    name, kind = {
        "Constant": ("value", AttributeProto.TENSOR),
        "If": ("then_branch", AttributeProto.GRAPH),
        "Optional": ("type", AttributeProto.TYPE_PROTO),
    }[node.op_type]
    node.attribute.add(name=name, type=kind)


@breaks("an attribute whose type and value differ")
def type_without_its_value(draw: st.DrawFn, model: ModelProto) -> None:
    """Adds a node whose attribute says it is an integer and holds a float."""
    node = new_node(model, "Softmax", [new_array(model)])
    node.attribute.add(name="axis", type=AttributeProto.INT, f=1.0)


@breaks("an attribute of an unknown kind")
def unknown_kind(draw: st.DrawFn, model: ModelProto) -> None:
    """Adds a node whose attribute has a type that does not exist."""
    # Python's protobuf takes no number that the enumeration lacks, so it goes in as bytes.
    node = new_node(model, "Softmax", [new_array(model)])
    attribute = node.attribute.add(name="axis", i=1)
    attribute.MergeFromString(encode_tag(20, 0) + encode_varint(pick(draw, [77, 2**31 - 1])))


@breaks("an attribute of no kind")
def no_kind(draw: st.DrawFn, model: ModelProto) -> None:
    """Adds a node whose attribute has a value and no type."""
    node = new_node(model, "Softmax", [new_array(model)])
    node.attribute.add(name="axis", i=1)


@breaks("an attribute with two values")
def two_values(draw: st.DrawFn, model: ModelProto) -> None:
    """Adds a node whose attribute has values of several types."""
    node = new_node(model, "Softmax", [new_array(model)])
    node.attribute.add(name="axis", type=AttributeProto.INT, i=1, f=1.0, s=b"1")


@breaks("a reference to an attribute outside a function")
def reference_outside_function(draw: st.DrawFn, model: ModelProto) -> None:
    """Adds a node of the graph that refers to a function's attribute."""
    node = new_node(model, "Softmax", [new_array(model)])
    node.attribute.add(name="axis", type=AttributeProto.INT, ref_attr_name="a")


@breaks("a required attribute is missing")
def required_attribute_missing(draw: st.DrawFn, model: ModelProto) -> None:
    """Adds a node without an attribute that its operator requires."""
    name = new_array(model)
    new_node(
        model, pick(draw, ["Cast", "Concat", "LRN", "MaxPool", "If", "Loop", "Einsum"]), [name]
    )


@breaks("an attribute out of range")
def attribute_out_of_range(draw: st.DrawFn, model: ModelProto) -> None:
    """Adds a node whose attribute has a number that cannot be."""
    name = new_array(model)
    number = pick(draw, [2, -3, 1000, -(2**63), *HUGE])
    kind = pick(draw, ["Concat", "Gather", "Softmax", "Flatten", "Transpose", "Cast", "MaxPool"])
    if kind == "Gather":
        model.graph.initializer.append(numpy_helper.from_array(np.array([0]), "indices"))
        new_node(model, kind, [name, "indices"], axis=number)
    elif kind == "Transpose":
        new_node(model, kind, [name], perm=pick(draw, [[0, 0], [0], [number, 0], [0, 1, 2]]))
    elif kind == "Cast":
        new_node(model, kind, [name], to=pick(draw, [0, -1, 77, *HUGE]))
    elif kind == "MaxPool":
        number = pick(draw, [0, -1, -(2**63)])
        new_node(model, kind, [name], kernel_shape=[number, 1])
    else:
        new_node(model, kind, [name], axis=3 if number == 2 else number)


@breaks("a text that is none of those that an attribute may have")
def unknown_text(draw: st.DrawFn, model: ModelProto) -> None:
    """Adds a convolution whose padding is called by what is no name for it."""
    text = pick(draw, [b"nothing", b"", b"\xff", b"same_upper"])
    kernel = [new_array(model), new_array(model)]
    for tensor in model.graph.initializer[-2:]:
        tensor.dims[:] = [1, 1, 4]
    new_node(model, "Conv", kernel, auto_pad=text)
    model.graph.output[-1].type.tensor_type.shape.dim.add()
