"""A file decides how often, how deep and how long: nothing hangs, recurses or prints on."""

from __future__ import annotations

import itertools

import numpy as np
import onnx
import pytest
from onnx import FunctionProto, NodeProto, helper, numpy_helper

import onnxla
from onnxla.ir.entries import allowed
from onnxla.ir.names import LONGEST
from support.small_models import graph

FLOAT = onnx.TensorProto.FLOAT
X = np.ones((2, 4), np.float32)
LONG = "n" * 100_000


def field(number: int, content: bytes) -> bytes:
    """A field of protobuf with bytes, as it is written."""
    length, size = len(content), b""
    while length >= 128:
        size, length = size + bytes([length & 127 | 128]), length >> 7
    return bytes([number << 3 | 2]) + size + bytes([length]) + content


def chain(op_type: str, length: int, first: str, **attributes: object) -> list[NodeProto]:
    """Nodes of which each reads twice what the one before it made."""
    names = [first, *(f"c{i}" for i in range(length - 1)), "y"]
    count = 1 if op_type == "Neg" else 2
    return [
        helper.make_node(op_type, [a] * count, [b], **attributes)
        for a, b in itertools.pairwise(names)
    ]


def functions(depth: int, times: int) -> bytes:
    """A model in which each function calls the next one so many times, one after another."""
    made: list[FunctionProto] = []
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("f", 1)]
    for i in range(depth):
        values = ["a", *(f"t{j}" for j in range(times))]
        called = (f"F{i + 1}", "f") if i < depth - 1 else ("Neg", "")
        body = [
            helper.make_node(called[0], [a], [b], domain=called[1])
            for a, b in itertools.pairwise(values)
        ]
        made.append(helper.make_function("f", f"F{i}", ["a"], values[-1:], body, opsets))
    node = helper.make_node("F0", ["x"], ["y"], domain="f")
    model = onnx.load_from_string(graph([node], {"x": (FLOAT, [2, 4])}, ["y"], 21))
    model.functions.extend(made)
    model.opset_import.add(domain="f", version=1)
    return model.SerializeToString()


@pytest.mark.parametrize(
    "nodes",
    [
        [*chain("Concat", 60, "w", axis=0)],
        [*chain("Concat", 2000, "w", axis=0)],
        [*chain("Neg", 2000, "w")[:-1], helper.make_node("MatMul", ["x", "c1998"], ["y"])],
        [*chain("Add", 60, "w")[:-1], helper.make_node("MatMul", ["x", "c58"], ["y"])],
        [*chain("Add", 60, "x")],
        [*chain("Mul", 5000, "x")],
    ],
    ids=["doubled", "deep", "deep weight", "doubled weight", "doubled data", "deep data"],
)
def test_what_a_constant_feeds_is_looked_at_once(nodes):
    weight = np.eye(4, dtype=np.float32) * 2
    data = graph(nodes, {"x": (FLOAT, [2, 4])}, ["y"], 21, {"w": weight})
    assert onnxla.check(data).ok
    assert onnxla.load(data).roles["w"] in ("weight", "constant")


def test_a_weight_that_is_computed_in_many_steps_is_one():
    nodes = [*chain("Neg", 3000, "w")[:-1], helper.make_node("MatMul", ["x", "c2998"], ["y"])]
    data = graph(nodes, {"x": (FLOAT, [2, 4])}, ["y"], 21, {"w": np.eye(4, dtype=np.float32) * 2})
    assert onnxla.load(data).roles == {"w": "weight"}


@pytest.mark.parametrize(("depth", "times"), [(150, 1), (2000, 1), (1100, 2), (40, 2), (22, 2)])
def test_functions_that_are_too_many_or_too_deep_are_an_error(depth, times):
    data = functions(depth, times)
    with pytest.raises(onnxla.ModelError, match=r"nodes, each call|deep within each other"):
        onnxla.load(data)
    assert onnxla.check(data).errors


def test_functions_that_call_each_other_twice_are_planned_once():
    data = functions(12, 2)
    with pytest.raises(onnxla.ModelError, match="more than the limit of 1,000; if that"):
        onnxla.load(data, limits=onnxla.Limits(nodes=1000))
    module = onnxla.load(data, limits=onnxla.Limits(nodes=10_000))
    staging = module.program.staging()
    plan = staging.plan(module.program.graph(None), {"x": X}, (), ("x",))
    assert not plan.static
    assert len(staging.calls) <= 24
    np.testing.assert_array_equal(module(X), X)


@pytest.mark.parametrize("number", [1, 5, 11, 13])
def test_a_file_of_empty_messages_is_refused_before_they_are_read(number):
    count = 2 * allowed(2**20)
    data = b"\x08\x0a" + field(7, bytes([number << 3 | 2, 0]) * count) + b"\x42\x02\x10\x14"
    with pytest.raises(onnxla.ModelError, match=r"more than .* nodes, values, attributes and"):
        onnxla.load(data)
    (error,) = onnxla.check(data).errors
    assert "bytes" in error


def test_problems_are_counted_and_the_first_are_listed():
    nodes = [helper.make_node("Relu", [f"q{i}"], [f"y{i}"]) for i in range(1000)]
    errors = onnxla.check(graph(nodes, {}, ["y0"], 21)).errors
    assert len(errors) == 101
    assert errors[-1] == "and 900 more"


def test_a_long_name_is_shortened_wherever_it_is_said():
    branch = helper.make_graph(
        [helper.make_node("Relu", ["q"], [f"{LONG}{i}"]) for i in range(50)],
        LONG,
        [],
        [helper.make_tensor_value_info(f"{LONG}0", FLOAT, None)],
    )
    node = helper.make_node("If", ["x"], ["y"], LONG, then_branch=branch, else_branch=branch)
    broken = str(onnxla.check(graph([node], {"x": (onnx.TensorProto.BOOL, [])}, ["y"], 21)))
    assert len(broken) < 101 * 20 * LONGEST
    assert "... (100,000 characters)'" in broken

    nodes = [helper.make_node("Sin", ["x"], [LONG], LONG), helper.make_node(LONG, [LONG], ["y"])]
    data = graph(nodes, {"x": (FLOAT, [2, 4])}, ["y"], 21)
    assert max(map(len, str(onnxla.check(data)).splitlines())) < 10 * LONGEST
    module = onnxla.load(data)
    assert len(str(module.summary())) < 50 * LONGEST
    with pytest.raises(onnxla.UnsupportedError) as caught:
        module(X)
    assert len(str(caught.value)) < 20 * LONGEST


def test_control_characters_of_a_file_reach_no_terminal():
    name = "a\x1b[31m\r\nb\u202e"
    nodes = [
        helper.make_node("Sin", [name], [f"{name}1"], name),
        helper.make_node(name, [f"{name}1"], [f"{name}2"], name),
    ]
    data = graph(nodes, {name: (FLOAT, [name, 4])}, [f"{name}2"], 21, {f"{name}w": X})
    module = onnxla.load(data)
    with pytest.raises(onnxla.UnsupportedError) as unsupported:
        module(X)
    with pytest.raises(ValueError, match=r"\\x1b") as shape:
        module(X[:, :3])
    broken = graph(nodes[1:], {}, [f"{name}2"], 21)
    for text in (
        *(str(module.summary()), module.summary()._repr_html_(), repr(module)),
        *(str(onnxla.check(data)), str(onnxla.check(broken))),
        *(str(unsupported.value), str(shape.value)),
    ):
        assert "\\x1b" in text
        assert not {"\x1b", "\r", "\u202e"} & set(text)


def test_a_file_that_is_not_there_is_a_finding(tmp_path):
    (error,) = onnxla.check(tmp_path / "nope").errors
    assert "nope" in error


def test_many_small_parameters_are_what_the_file_says():
    tensors = {f"w{i}": np.full(1, i, np.float32) for i in range(3000)}
    tensors |= {"s": np.float32(7), "d": np.ones(1)}
    module = onnxla.load(
        graph([helper.make_node("Sin", ["x"], ["y"])], {"x": (FLOAT, [1])}, ["y"], 21, tensors)
    )
    assert list(module.params) == list(tensors)
    for name, value in tensors.items():
        assert module.params[name].dtype == value.dtype
        np.testing.assert_array_equal(module.params[name], value)


def test_a_graph_within_many_branches_is_not_copied_for_each():
    nodes = []
    for i in range(300):
        made = helper.make_node("Neg", [f"r{i}"], ["z"])
        branch = helper.make_graph(
            [made], "b", [], [helper.make_tensor_value_info("z", FLOAT, None)]
        )
        nodes.append(
            helper.make_node("If", ["c"], [f"r{i + 1}"], then_branch=branch, else_branch=branch)
        )
    inputs = {"r0": (FLOAT, [2, 4]), "c": (onnx.TensorProto.BOOL, [])}
    module = onnxla.load(graph(nodes, inputs, ["r300"], 21))
    np.testing.assert_array_equal(module(X, np.array(True)), X)


def test_a_tensor_of_another_name_is_no_part_of_the_message():
    tensor = numpy_helper.from_array(X, LONG)
    tensor.dims[0] = 3
    model = onnx.load_from_string(
        graph([helper.make_node("Sin", ["x"], ["y"])], {"x": (1, [1])}, "y")
    )
    model.graph.initializer.append(tensor)
    with pytest.raises(onnxla.ModelError) as caught:
        onnxla.load(model)
    assert len(str(caught.value)) < 3 * LONGEST
