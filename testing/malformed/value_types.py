"""Types of inputs, outputs and values that cannot be, or are not those of the values."""

from __future__ import annotations

from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, helper

from onnxla.testing.malformed.parts import HUGE, new_array, new_input, new_node, pick
from onnxla.testing.malformed.registry import breaks


@breaks("an input without a type")
def input_without_type(draw: st.DrawFn, model: ModelProto) -> None:
    """Adds an input without a type."""
    new_input(model).ClearField("type")


@breaks("an input of an unknown element type")
def unknown_input_type(draw: st.DrawFn, model: ModelProto) -> None:
    """Adds an input with an element type that does not exist."""
    new_input(model).type.tensor_type.elem_type = pick(draw, [0, 77, -1])


@breaks("an input of a size that cannot be")
def impossible_size(draw: st.DrawFn, model: ModelProto) -> None:
    """Adds an input of a negative or huge size."""
    name = new_input(model, [pick(draw, [-1, -5, -(2**63), *HUGE]), 2]).name
    new_node(model, "Neg", [name])


@breaks("an input whose sequence, optional or map has no or a wrong element")
def wrong_container(draw: st.DrawFn, model: ModelProto) -> None:
    """Adds an input whose sequence, optional or map has no or a wrong element."""
    kind = new_input(model).type
    kind.Clear()
    which = pick(draw, ["sequence", "optional", "map", "key", "nested"])
    if which == "sequence":
        kind.sequence_type.SetInParent()
    elif which == "optional":
        kind.optional_type.SetInParent()
    elif which == "nested":
        kind.sequence_type.elem_type.sequence_type.elem_type.tensor_type.elem_type = 77
    else:
        kind.map_type.key_type = 7 if which == "map" else pick(draw, [0, 1, 77])


@breaks("a sequence where a tensor must be")
def sequence_for_tensor(draw: st.DrawFn, model: ModelProto) -> None:
    """Adds a node that reads a sequence where a tensor must be."""
    value = new_input(model)
    kind = helper.make_tensor_type_proto(TensorProto.FLOAT, [2])
    value.type.CopyFrom(helper.make_sequence_type_proto(kind))
    new_node(model, pick(draw, ["Neg", "MatMul"]), [value.name] * 2)
    if model.graph.node[-1].op_type == "Neg":
        del model.graph.node[-1].input[1:]


@breaks("an output of another type than declared")
def wrong_output_type(draw: st.DrawFn, model: ModelProto) -> None:
    """Adds an output of another element type than declared."""
    new_node(model, "Neg", [new_array(model)])
    model.graph.output[-1].type.tensor_type.elem_type = pick(draw, [7, 9, 8, 16])


@breaks("an output of another shape than declared")
def wrong_output_shape(draw: st.DrawFn, model: ModelProto) -> None:
    """Adds an output of another shape than declared."""
    new_node(model, "Neg", [new_array(model)])
    name = model.graph.output.pop().name
    shape = pick(draw, [[3, 2], [2], [2, 2, 2], []])
    model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))


@breaks("a value of another type or shape than value_info says")
def wrong_value_info(draw: st.DrawFn, model: ModelProto) -> None:
    """Adds a value of another type or shape than `value_info` declares."""
    name = new_node(model, "Neg", [new_array(model)]).output[0]
    new_node(model, "Abs", [name])
    kind, shape = pick(draw, [(1, [3, 2]), (1, [2]), (7, [2, 2]), (8, [2, 2])])
    model.graph.value_info.append(helper.make_tensor_value_info(name, kind, shape))


@breaks("an initializer of another type or shape than its input")
def wrong_initializer_type(draw: st.DrawFn, model: ModelProto) -> None:
    """Adds an initializer of another type or shape than its input."""
    name = new_array(model)
    kind, shape = pick(draw, [(1, [3, 2]), (1, [2]), (7, [2, 2]), (8, [2, 2])])
    model.graph.input.append(helper.make_tensor_value_info(name, kind, shape))
    new_node(model, "Neg", [name])
