"""Nodes that do not fit their operator are errors that name them, whatever is wrong with them."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import NodeProto, helper, numpy_helper

import onnxla
from onnxla.ops.table import lookup
from onnxla.testing.use import case_of
from support.samples import samples
from support.small_models import graph

FLOAT = onnx.TensorProto.FLOAT
SETTINGS = settings(
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
VALUES: tuple[Any, ...] = (
    *(0, -1, 3, 2**63 - 1, 0.5, float("nan"), "text", b"\xff", "T", [0], [1, -1, 1], [0.5]),
    *(["a", "b"], numpy_helper.from_array(np.zeros(2, np.float32)), [2**40, 2**40]),
)
SAMPLES = [*samples()]
OPERANDS: tuple[np.ndarray, ...] = (
    np.zeros((0,), np.float32),
    np.float32(2),
    np.ones((1,) * 7, np.float32),
    np.array(["a", "b"], object),
    np.array([True]),
    np.array([-1, 7], np.int64),
    np.array([[1j]], np.complex64),
)


def load(node: NodeProto, opset: int = 21) -> onnxla.Module:
    """A model of one node that reads x."""
    return onnxla.load(graph([node], {"x": (FLOAT, [2, 2])}, ["y"], opset))


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (helper.make_node("Add", ["x"], ["y"]), "Add -> y has 1 inputs; Add takes the inputs A, B"),
        (helper.make_node("Add", ["x", ""], ["y"]), "Add -> y needs the input B, which is absent"),
        (helper.make_node("Sum", [], ["y"]), "Sum -> y has 0 inputs"),
        (helper.make_node("Relu", ["x", "x"], ["y"]), "Relu -> y has 2 inputs"),
        (helper.make_node("Relu", ["x"], ["y", "z"]), "Relu -> y, z has 2 outputs; Relu has 1"),
        (helper.make_node("Relu", ["x"], ["y"], k=1), "has the attribute 'k', which Relu has not"),
        (helper.make_node("Cast", ["x"], ["y"]), "lacks the attribute to, which Cast needs"),
        (helper.make_node("Softmax", ["x"], ["y"], axis="k"), "axis not a whole number: 'k'"),
        (helper.make_node("Softmax", ["x"], ["y"], axis=[1]), r"axis not a whole number: '\(1,\)'"),
        (helper.make_node("Transpose", ["x"], ["y"], perm=1), "perm not a list of whole numbers"),
        (helper.make_node("LeakyRelu", ["x"], ["y"], alpha="k"), "alpha not a number: 'k'"),
        (helper.make_node("Einsum", ["x"], ["y"], equation=2), "equation not text: '2'"),
        (helper.make_node("If", ["x"], ["y"], then_branch=1, else_branch=1), "not a graph: '1'"),
    ],
)
def test_a_node_that_does_not_fit_is_found_when_it_is_loaded(node, message):
    with pytest.raises(onnxla.ModelError, match=message):
        load(node)
    findings = onnxla.check(graph([node], {"x": (FLOAT, [2, 2])}, ["y"], 21))
    assert not findings.ok


def test_a_call_that_does_not_fit_its_function_is_found_when_it_is_loaded():
    body = [helper.make_node("Neg", ["a"], ["b"])]
    opsets = [helper.make_opsetid("", 21)]
    function = helper.make_function("f", "F", ["a"], ["b"], body, opsets, attributes=["k"])
    node = helper.make_node("F", ["x", "x"], ["y", "z"], domain="f")
    model = onnx.load_from_string(graph([node], {"x": (FLOAT, [2])}, ["y"]))
    model.functions.append(function)
    model.opset_import.add(domain="f", version=1)
    with pytest.raises(onnxla.ModelError) as caught:
        onnxla.load(model)
    assert str(caught.value).splitlines() == [
        "f.F -> y, z has 2 inputs; its function has 'a'",
        "f.F -> y, z has 2 outputs; its function has 'b'",
        "f.F -> y, z lacks the attributes 'k' of its function",
    ]


def test_what_an_operator_raises_is_an_error_that_names_the_node():
    node = helper.make_node("Add", ["x", "w"], ["y"])
    strings = {"w": np.array(["a"], object)}
    module = onnxla.load(graph([node], {"x": (FLOAT, [1])}, ["y"], 21, strings))
    with pytest.raises(onnxla.ModelError, match="Add -> y cannot be evaluated") as caught:
        module(np.ones(1, np.float32))
    assert caught.value.__cause__ is not None


def damage_inputs(draw: st.DrawFn, node: NodeProto) -> None:
    """Takes an input away, adds one, or makes one absent."""
    how = draw(st.sampled_from(("fewer", "more", "absent")))
    if how == "more" or not node.input:
        node.input.append(node.input[0] if node.input else "")
    elif how == "fewer":
        del node.input[draw(st.integers(0, len(node.input) - 1)) :]
    else:
        node.input[draw(st.integers(0, len(node.input) - 1))] = ""


def damage_outputs(draw: st.DrawFn, node: NodeProto) -> None:
    """Adds outputs, or makes one absent."""
    if draw(st.booleans()):
        node.output.extend(("more", "and_more"))
    else:
        node.output[0] = ""


def damage_attributes(draw: st.DrawFn, node: NodeProto) -> None:
    """Takes an attribute away, gives one another value, or adds one."""
    names = [attribute.name for attribute in node.attribute]
    name = draw(st.sampled_from((*names, "axis", "unknown")))
    others = [attribute for attribute in node.attribute if attribute.name != name]
    if draw(st.integers(0, 3)):
        others.append(helper.make_attribute(name, draw(st.sampled_from(VALUES))))
    del node.attribute[:]
    node.attribute.extend(others)


def damage_operand(draw: st.DrawFn, model: onnx.ModelProto, node: NodeProto) -> None:
    """Gives the node something else for one of its operands: a constant, or a sequence."""
    place = draw(st.integers(0, len(node.input) - 1))
    if draw(st.integers(0, 3)):
        array = np.asarray(draw(st.sampled_from(OPERANDS)))
        model.graph.initializer.append(numpy_helper.from_array(array, "other"))
    else:
        make = helper.make_node("SequenceConstruct", [node.input[place]] * 2, ["other"])
        model.graph.node.insert(0, make)
        node = model.graph.node[-1]
    node.input[place] = "other"


@st.composite
def damaged_uses(draw: st.DrawFn) -> tuple[bytes, dict[str, Any]]:
    """A model of one operator's sample in which something is wrong, and its inputs."""
    sample = draw(st.sampled_from(SAMPLES))
    known = draw(st.booleans())
    operator = lookup(sample.domain, sample.op_type, 10**6)
    version = max(sample.versions or operator.since)
    case = case_of(sample, version, stored=lambda position, name: known, declared=False)
    model, inputs = case.proto, dict(case.inputs)
    node = model.graph.node[0]
    for _ in range(draw(st.integers(1, 2))):
        how = draw(st.sampled_from(("inputs", "outputs", "attributes", "operand")))
        if how == "inputs":
            damage_inputs(draw, node)
        elif how == "outputs":
            damage_outputs(draw, node)
        elif how == "attributes":
            damage_attributes(draw, node)
        elif node.input and "other" not in node.input:
            damage_operand(draw, model, node)
            node = model.graph.node[-1]
    return model.SerializeToString(), inputs


@settings(SETTINGS, max_examples=60)
@given(damaged_uses())
def test_a_use_that_is_damaged_runs_or_is_a_documented_error(use):
    data, inputs = use
    assert str(onnxla.check(data))
    try:
        module = onnxla.load(data)
        str(module.summary())
        module.run({name: inputs[name] for name in module.input_names})
    except (onnxla.OnnxlaError, ValueError):
        pass
