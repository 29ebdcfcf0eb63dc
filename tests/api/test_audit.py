"""`audit`: what is unusual or dangerous in a file, told without running it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import onnxla
from support.small_models import graph, header, linear, make

pytestmark = pytest.mark.quickly

X = {"x": (1, [2])}


def severities(source: Any) -> dict[str, str]:
    """The gravest severity of each kind that an audit tells of."""
    return {each.kind: each.severity for each in onnxla.audit(source).remarks[::-1]}


def with_data_at(location: str, **others: str) -> bytes:
    """A model whose weight is said to be in another file."""
    model = onnx.load_from_string(linear())
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in {"location": location, **others}.items():
        tensor.external_data.add(key=key, value=value)
    return model.SerializeToString()


def node(op_type: str, inputs: list[str], *, opset: int = 20, **attributes: Any) -> bytes:
    """A model of one node; inputs beside `x` are constants, given by their number."""
    constants = {name: np.array(int(name), np.int64) for name in inputs if name.isdigit()}
    made = helper.make_node(op_type, inputs, ["y"], **attributes)
    return graph([made], X, ["y"], opset, constants)


def changed(change: Callable[[onnx.ModelProto], None]) -> bytes:
    """A good model, changed."""
    model = onnx.load_from_string(linear())
    change(model)
    return model.SerializeToString()


def functions(count: int, calls: int) -> bytes:
    """Functions that call the next one several times each."""
    bodies = [
        f"<domain: 'f', opset_import: ['' : 20, 'f' : 1]> F{i} (a) => (b) {{"
        + "".join(f"t{j} = f.F{i + 1} ({f't{j - 1}' if j else 'a'})" for j in range(calls))
        + f"b = Neg (t{calls - 1}) }}"
        for i in range(count)
    ]
    last = f"<domain: 'f', opset_import: ['' : 20]> F{count} (a) => (b) {{ b = Neg (a) }}"
    text = header().replace("]>", ", 'f' : 1]>") + "g (float[2] x) => (float[2] y) { y = f.F0 (x) }"
    return make("\n".join((text, *bodies, last)).replace("'", '"'))


def loop(op_type: str) -> bytes:
    """A loop without a number of steps, which goes on as an operator says of its condition."""
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node(op_type, ["c"], ["d"]), helper.make_node("Neg", ["s"], ["t"])],
        "body",
        [value("i", 7, []), value("c", 9, []), value("s", 1, [2])],
        [value("d", 9, []), value("t", 1, [2])],
    )
    return graph([helper.make_node("Loop", ["", "", "x"], ["y"], body=body)], X, ["y"])


def text_in(field: str, text: str) -> bytes:
    """A model with a text somewhere."""

    def change(model: onnx.ModelProto) -> None:
        if field == "metadata":
            model.metadata_props.add(key="note", value=text)
        else:
            setattr(model.graph.node[0], field, text)

    return changed(change)


def payload(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(5000), "unused"))


def shadow(model: onnx.ModelProto) -> None:
    body = [helper.make_node("Neg", ["a"], ["b"])]
    imports = [helper.make_opsetid("", 20)]
    model.functions.append(helper.make_function("", "MatMul", ["a"], ["b"], body, imports))


def newer(model: onnx.ModelProto) -> None:
    model.ir_version = 99


CASES: dict[str, tuple[bytes, str, str]] = {
    "absolute": (with_data_at("/etc/passwd"), "external-data", "danger"),
    "upwards": (with_data_at("a/../../b"), "external-data", "danger"),
    "windows": (with_data_at("C:\\b"), "external-data", "danger"),
    "not UTF-8": (
        with_data_at("w___", k___="x").replace(b"w___", b"w\xff\xff_").replace(b"k___", b"k\xff__"),
        "external-keys",
        "warning",
    ),
    "keys": (with_data_at("w", __class__="x"), "external-keys", "warning"),
    "expand": (node("Expand", ["x", "1099511627776"]), "size", "danger"),
    "one hot": (node("OneHot", ["x", "1099511627776", "x"]), "size", "danger"),
    "pads": (node("MaxPool", ["x"], kernel_shape=[2, 2], pads=[2**40] * 4), "size", "danger"),
    "pattern": (node("RegexFullMatch", ["x"], pattern="(a+)+b"), "pattern", "warning"),
    "plain pattern": (node("RegexFullMatch", ["x"], pattern="a+b"), "pattern", "info"),
    "image": (node("ImageDecoder", ["x"]), "image", "warning"),
    "unknown operator": (node("Evil", ["x"], domain="evil"), "unknown-operator", "warning"),
    "random": (node("RandomNormalLike", ["x"]), "random", "info"),
    "many functions": (functions(40, 2), "functions", "danger"),
    "few functions": (functions(2, 2), "functions", "info"),
    "shadow": (changed(shadow), "shadowing", "danger"),
    "endless": (loop("Identity"), "loop", "danger"),
    "perhaps endless": (loop("Not"), "loop", "warning"),
    "unused": (changed(payload), "unused-data", "warning"),
    "unknown field": (linear() + b"\xfa\x3f\x90\x4e" + b"A" * 10000, "unknown-fields", "warning"),
    "replaced": (b"\x12\x90\x4e" + b"A" * 10000 + b"\x12\1a" + linear(), "overwritten", "warning"),
    "training": (changed(lambda m: m.training_info.add()), "training-info", "warning"),
    "version": (changed(newer), "version", "warning"),
    "escapes": (text_in("name", "\x1b[2J"), "control-characters", "danger"),
    "lines": (text_in("name", "a\nerror: b"), "control-characters", "danger"),
    "order": (text_in("name", "a\u202eb"), "reordered-text", "danger"),
    "long": (text_in("name", "n" * 5000), "long-text", "warning"),
    "code": (text_in("metadata", "import os; os.system('x')"), "metadata", "warning"),
    "address": (text_in("doc_string", "see https://example.org"), "metadata", "info"),
    "path": (text_in("metadata", "/home/somebody/model"), "metadata", "info"),
    "garbage": (b"\xff" * 100, "unreadable", "danger"),
    "text": (b"hello", "unreadable", "danger"),
    "messages": (
        b"\x08\x0a\x3a\x80\x92\xf4\x01" + b"\x0a\x00" * 2_000_000,
        "unreadable",
        "danger",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_strange_is_told(name: str) -> None:
    source, kind, severity = CASES[name]
    assert severities(source).get(kind) == severity


def test_nothing_is_told_of_a_good_model() -> None:
    found = onnxla.audit(linear())
    assert not found.remarks
    assert found.severity is None
    assert str(found) == "the model: nothing unusual"


def test_lines_are_no_fault_in_documentation() -> None:
    assert not severities(text_in("doc_string", "two\n\tlines"))


def test_external_data_is_looked_at_and_not_read(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"

    def found(location: str) -> str:
        path.write_bytes(with_data_at(location))
        return severities(path)["external-data"]

    assert found("missing") == "warning"
    (tmp_path / "data").write_bytes(b"\0" * 24)
    assert found("data") == "info"
    os.link(tmp_path / "data", tmp_path / "hard")
    assert found("hard") == "warning"
    (tmp_path / "link").symlink_to("/etc/passwd")
    assert found("link") == "danger"
    os.mkfifo(tmp_path / "pipe")
    assert found("pipe") == "danger"
    (tmp_path / "other.onnx").write_bytes(with_data_at("data"))
    path.write_bytes(with_data_at("data"))
    assert "'other.onnx' names it, too" in str(onnxla.audit(path))


def test_a_flood_of_harmless_remarks_hides_no_danger() -> None:
    def flood(model: onnx.ModelProto) -> None:
        for i in range(1000):
            model.metadata_props.add(key=f"k{i}", value="/home/x")
        model.metadata_props.add(key="last", value="\x1b[2J")

    found = onnxla.audit(changed(flood))
    assert found.remarks[0].kind == "control-characters"
    assert len(found.remarks) < 30
    assert "and more of this kind" in str(found)


def test_json_and_page_and_text_print_nothing_that_a_terminal_acts_on() -> None:
    found = onnxla.audit(text_in("name", "\x1b[2J<script>"))
    document = json.loads(found.json())
    assert document["format"] == 1
    assert document["severity"] == "danger"
    assert {"severity", "kind", "where", "text"} == {*document["remarks"][0]}
    for text in (found.json(), str(found), found._repr_html_()):
        assert "\x1b" not in text
    assert "<script>" not in found._repr_html_()


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        onnxla.audit(tmp_path / "none.onnx")
    with pytest.raises(onnxla.ModelError, match="is not a regular file"):
        onnxla.audit(tmp_path)


def test_check_of_a_file_that_is_not_there_is_a_finding(tmp_path: Path) -> None:
    assert onnxla.check("none.onnx").errors == ("'none.onnx': No such file or directory",)
    assert "is not a regular file" in onnxla.check(tmp_path).errors[0]
    assert "not an ONNX model" in onnxla.check(b"\xff" * 100).errors[0]


def test_a_module_is_checked_as_it_is_saved() -> None:
    module = onnxla.load(linear())
    assert onnxla.check(module).notes == onnxla.check(linear()).notes
