"""Files whose nodes are not in an order in which they can be run: sorted to run, saved as read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

import onnxla
from onnxla import ir
from onnxla.commands.main import main
from onnxla.ir.order import is_disordered
from support.small_models import header, linear, make

X = np.arange(6, dtype=np.float32).reshape(2, 3)
FILES = {
    "in the graph": """ m (float[2, 3] x, bool c) => (float[2, 3] y) {
        y = Exp (a)
        d = Not (c)
        a = Neg (x)
    }""",
    "in a subgraph": """ m (float[2, 3] x, bool c) => (float[2, 3] y) {
        y = If (c) <then_branch = t () => (float[2, 3] r) { r = Exp (q) q = Neg (x) },
                    else_branch = e () => (float[2, 3] r) { r = Identity (x) }>
    }""",
    "before a subgraph that reads it": """ m (float[2, 3] x, bool c) => (float[2, 3] y) {
        y = If (c) <then_branch = t () => (float[2, 3] r) { r = Exp (q) },
                    else_branch = e () => (float[2, 3] r) { r = Identity (x) }>
        q = Neg (x)
    }""",
    "in a function": """ m (float[2, 3] x, bool c) => (float[2, 3] y) { y = f.F (x) }
        <opset_import: ["" : 20], domain: "f"> F (a) => (b) { b = Exp (q) q = Neg (a) }""",
}


def file(text: str) -> bytes:
    opsets = header().replace('["" : 20]', '["" : 20, "f" : 1]') if "f.F" in text else header()
    return make(opsets + text)


@pytest.mark.parametrize("name", FILES)
def test_runs_and_is_saved_as_it_was(name: str, tmp_path: Path) -> None:
    data = file(FILES[name])
    module = onnxla.load(data)
    np.testing.assert_allclose(module(X, np.array(True)), np.exp(-X), rtol=1e-6)
    assert any("not in an order" in note for note in onnxla.check(data).notes)
    module.save(tmp_path / "m.onnx")
    assert (tmp_path / "m.onnx").read_bytes() == data


def test_a_sorted_file_is_left_alone() -> None:
    model = ir.read(linear())
    assert not is_disordered(model)
    assert not any("order" in note for note in onnxla.check(linear()).notes)


def test_nodes_move_no_further_than_they_must() -> None:
    text = """ m (float[2] x) => (float[2] y) {
        c = Neg (x) y = Add (a, c) b = Neg (x) a = Exp (b) d = Abs (x)
    }"""
    order = [node.outputs[0] for node in ir.read(file(text)).graph.nodes]
    assert order == ["c", "b", "a", "y", "d"]


def test_what_edits_add_is_saved_beside_what_it_belongs_to(tmp_path: Path) -> None:
    weight = np.eye(3, dtype=np.float32)
    text = " m (float[2, 3] x) => (float[2, 3] y) { y = Add (a, b) a = MatMul (x, w) }"
    module = onnxla.load(make(header() + text, w=weight, b=weight[0])).insert_dropout("a")
    module = module.lora("w", rank=1)
    module.save(tmp_path / "m.onnx", merge=False, check=True)
    saved = [node.op_type for node in onnx.load(tmp_path / "m.onnx").graph.node]
    assert saved == ["Add", "MatMul", "MatMul", "MatMul", "Add", "Constant", "Dropout"]
    np.testing.assert_array_equal(onnxla.load(tmp_path / "m.onnx")(X), module(X))
    head = onnxla.load(make(header() + text, w=weight, b=weight[0])).replace_head("a", 4)
    head.save(tmp_path / "head.onnx", check=True)


REFUSED = {
    "a cycle": (
        " m (float[2] x) => (float[2] y) { y = Add (a, x) a = Neg (y) }",
        "nodes form a cycle: Add -> y => Neg -> a => Add -> y",
    ),
    "a name made twice": (
        " m (float[2] x) => (float[2] y) { y = Add (a, x) a = Neg (x) a = Exp (x) }",
        "its output 'a' is defined already",
    ),
    "a name of the graph around, which it may mean": (
        """ m (float[2] x, bool c) => (float[2] y) {
            q = Exp (x)
            y = If (c) <then_branch = t () => (float[2] r) { r = Exp (q) q = Neg (x) },
                        else_branch = e () => (float[2] r) { r = Identity (x) }>
        }""",
        "its input 'q' is made later",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_order_makes_right(name: str) -> None:
    text, message = REFUSED[name]
    with pytest.raises(onnxla.ModelError, match=message):
        onnxla.load(file(text))


def test_a_long_graph_in_reverse_is_no_recursion() -> None:
    length = 20_000
    nodes = [onnx.helper.make_node("Neg", [f"v{i}"], [f"v{i + 1}"]) for i in range(length)]
    ends = [onnx.helper.make_tensor_value_info(f"v{i}", 1, [1]) for i in (0, length)]
    built = onnx.helper.make_graph(nodes[::-1], "g", ends[:1], ends[1:])
    model = ir.read(onnx.helper.make_model(built))
    assert [node.inputs[0] for node in model.graph.nodes] == [f"v{i}" for i in range(length)]


def test_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "m.onnx").write_bytes(file(FILES["in the graph"]))
    assert main(["info", str(tmp_path / "m.onnx")]) == 0
    assert "not in an order" in capsys.readouterr().out
    assert main(["compare", str(tmp_path / "m.onnx")]) == 0


def test_bytes_with_data_in_a_folder(tmp_path: Path) -> None:
    model = onnx.load_from_string(linear())
    onnx.save(model, tmp_path / "m.onnx", save_as_external_data=True, size_threshold=0)
    data = (tmp_path / "m.onnx").read_bytes()
    module = onnxla.load(data, folder=tmp_path)
    np.testing.assert_array_equal(module(X), onnxla.load(linear())(X))
    assert onnxla.check(data, folder=tmp_path).ok
    assert "'w' not" not in str(module.summary())
    assert not onnxla.check(data).ok
