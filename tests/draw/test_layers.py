"""Tables of layers and values: what they say, what they find by name, and how they look."""

from __future__ import annotations

import gc
import re
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, load_from_string, numpy_helper

import onnxla
from support.browser import in_page, needs_browser
from support.small_models import graph, header, make

FILES = Path(__file__).parents[1] / "exporters" / "files"


@pytest.fixture(scope="module")
def vit() -> onnxla.Module:
    return onnxla.load(FILES / "torch-export" / "vit.onnx")


def blocks(count: int) -> onnxla.Module:
    """So many equal layers, `net/layer.0` and so on, and a head."""
    nodes, x = [helper.make_node("Relu", ["x"], ["first"], name="/net/first")], "first"
    for i in range(count):
        for operator, inputs in (("MatMul", ["w"]), ("Add", ["b"]), ("Tanh", []), ("Neg", [])):
            y = f"{operator}{i}"
            name = f"/net/layer.{i}/{operator}"
            nodes.append(helper.make_node(operator, [x, *inputs], [y], name=name))
            x = y
    nodes.append(helper.make_node("Identity", [x], ["y"]))
    weights = {"w": np.eye(8, dtype=np.float32), "b": np.zeros(8, np.float32)}
    inputs = {"x": (TensorProto.FLOAT, ["N", 8])}
    return onnxla.load(graph(nodes, inputs, ["y"], tensors=weights))


@pytest.fixture(scope="module")
def deep() -> onnxla.Module:
    return blocks(12)


def test_a_layer_says_what_it_is(deep: onnxla.Module) -> None:
    first = deep.layers["/net/layer.0/MatMul"]
    assert (first.operator, first.value, first.parameters) == ("MatMul", "MatMul0", ("w",))
    assert first.inputs == ("first",)  # the weight is a parameter
    assert (first.output, first.elements) == ("float32 N\u00d78", 64)
    assert first.share == pytest.approx(1 / 12)
    assert len(deep.layers) == 50
    assert deep.layers[-1].name == "y"  # a node without a name
    assert str(deep.layers[-2:]).startswith("2 of layers")


def test_repeated_blocks_are_folded(deep: onnxla.Module) -> None:
    (run,) = [line for line in str(deep.layers).splitlines() if "…" in line]
    assert "layer.0 … layer.11" in run
    assert "48 nodes" in run
    assert "72" in run  # shared by all of them
    assert "100.0%" in run


def test_layers_by_pattern(deep: onnxla.Module) -> None:
    assert [layer.value for layer in deep.layers("*layer.3/*")] == [
        "MatMul3",
        "Add3",
        "Tanh3",
        "Neg3",
    ]
    assert len(deep.layers("MatMul", "b")) == 24  # by the operator, and by a parameter
    with pytest.raises(ValueError, match=r"no layer is named .*; did you mean '/net/layer.0/MatM"):
        deep.layers("/net/layer.0/MatMu")
    with pytest.raises(KeyError, match="did you mean"):
        deep.layers["/net/layer.0/MatMu"]


def test_values_by_name(deep: onnxla.Module) -> None:
    values = deep.values
    assert list(values)[:3] == ["x", "first", "MatMul0"]
    assert values["x"].made_by == "input"
    assert values["x"].readers == ("Relu /net/first",)
    assert values["y"].readers == ("output",)
    assert values["Tanh4"].type == "float32 N\u00d78"
    assert [*values("Tanh*")] == [f"Tanh{i}" for i in range(12)]
    assert [*values("* /net/layer.1/*")] == ["MatMul1", "Add1", "Tanh1", "Neg1"]  # by the maker
    with pytest.raises(ValueError, match="did you mean 'Tanh0'"):
        values("Tanh_0")
    with pytest.raises(KeyError, match="did you mean 'Tanh0'"):
        values["Tanh_0"]
    assert "... 11 more: values('*part*')" in str(values)


def test_constants_are_no_values() -> None:
    """Those in nodes are left out as initializers are: some exporters put every weight there."""
    weight = helper.make_node(
        "Constant", [], ["w"], value=numpy_helper.from_array(np.eye(2, dtype=np.float32))
    )
    nodes = [weight, helper.make_node("MatMul", ["x", "w"], ["y"])]
    module = onnxla.load(graph(nodes, {"x": (TensorProto.FLOAT, ["N", 2])}, ["y"]))
    assert [*module.values] == ["x", "y"]


def test_names_are_completed(deep: onnxla.Module) -> None:
    from IPython.core.completer import provisionalcompleter
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell.instance()
    shell.user_ns["module"] = deep
    for line, expected in (
        ('module.values["Tanh1', {"Tanh1", "Tanh10", "Tanh11"}),
        ('module.layers["/net/layer.3/T', {"/net/layer.3/Tanh"}),
        ('module.params["', {"w", "b"}),
    ):
        with provisionalcompleter():
            found = {each.text.strip('"]') for each in shell.Completer.completions(line, len(line))}
        assert expected <= found, line


def test_a_table_is_made_once_and_goes_with_its_model() -> None:
    module = blocks(1)
    assert module.layers is module.layers
    changed = module.replace({"w": 2 * module.params["w"]})
    assert changed.layers is module.layers  # the same graph
    program = weakref.ref(module.program)
    del module, changed
    gc.collect()
    assert program() is None


def test_a_summary_has_the_layers_of_small_models(deep: onnxla.Module) -> None:
    assert "layer.0 … layer.11" in str(deep.summary())
    page = deep._repr_html_()
    assert "<summary>parameters (2)</summary>" in page
    assert "<td>float32[8, 8]</td>" in page.replace(" style='text-align:left'", "")
    many = blocks(80)
    assert "layers (" not in str(many.summary())


def test_of_many_lines_the_first_and_last_are_shown() -> None:
    """In a text and in a page, with a line that says how many others there are."""
    nodes, x = [], "x"
    for i in range(3100):
        operator = ("Relu", "Neg", "Abs", "Tanh")[(i * i + i // 7) % 4]
        nodes.append(helper.make_node(operator, [x], [x := f"v{i}"], name=f"n{i}"))
    module = onnxla.load(graph(nodes, {"x": (TensorProto.FLOAT, ["N", 8])}, [x]))
    for table, few, some in ((module.values, 40, 300), (module.layers("*"), 100, 600)):
        text, page = str(table), table._repr_html_()
        assert len(text.splitlines()) == few + 3  # title, header, and how many are left out
        assert f"... {len(table) - few:,} more: " in text
        assert f"... {len(table) - some:,} more: " in page
        assert all("n3099" in each and "n1500" not in each for each in (text, page))
        assert len(page) < 100_000
    assert "more: " not in str(module.values("v30?0"))
    page = module.layers._repr_html_()  # most is folded: some is left out in several places
    left = [int(n.replace(",", "")) for n in re.findall(r"\.\.\. ([\d,]+) more: ", page)]
    assert len(left) > 1
    rows = page.count('class="row"') - len(left)
    blocks = len({*re.findall(r"block \d+<", page)})
    assert 600 <= rows <= 620
    assert sum(left) + rows >= 3100 + blocks
    assert len(page) < 100_000


def test_names_of_a_file_are_text() -> None:
    evil = "<img src=x onerror=alert(1)>"
    model = graph(
        [helper.make_node("Neg", ["x"], [evil], name=f"/{evil}/\x1b[31m")],
        {"x": (TensorProto.FLOAT, [2])},
        [evil],
    )
    module = onnxla.load(model)
    pages = (module._repr_html_(), module.layers._repr_html_(), module.values._repr_html_())
    assert not any("<img" in page for page in pages)
    assert not any("\x1b" in text for text in (str(module.layers), str(module.values), *pages))


MEASURE = """
document.querySelectorAll('details').forEach((each) => { each.open = true; });
await wait(50);
const boxes = [...document.querySelectorAll('.onnxla .row')].map((e) => e.getBoundingClientRect());
const cut = [...document.querySelectorAll('.onnxla .row span')].filter(
  (e) => e.scrollWidth > e.clientWidth + 1).length;
const over = boxes.filter((a, i) => i && a.top < boxes[i - 1].bottom - 1).length;
return { wide: document.documentElement.scrollWidth, rows: boxes.length, cut, over };
"""


@needs_browser
@pytest.mark.parametrize("width", [400, 1200])
def test_the_page_of_a_module(width: int, vit: onnxla.Module, tmp_path: Path) -> None:
    page = f"<!doctype html><html><body>{vit._repr_html_()}</body></html>"
    found: dict[str, Any] = in_page(tmp_path, page, MEASURE, width=width)
    assert found["wide"] <= width
    assert found["rows"] > len(vit.layers)
    assert not found["over"]
    assert not found["cut"]


@pytest.mark.parametrize("batch", ["N", None])
def test_the_batch_has_its_name_where_the_file_states_no_shapes(batch: str | None) -> None:
    nodes = [
        helper.make_node("Reshape", ["x", "rows"], ["r"]),
        helper.make_node("Relu", ["r"], ["h"]),
        helper.make_node("ReduceSum", ["h"], ["y"], keepdims=0),
    ]
    inputs = {"x": (TensorProto.FLOAT, [batch, 4, 3])}
    module = onnxla.load(graph(nodes, inputs, ["y"], tensors={"rows": np.int64([-1, 3])}))
    name = batch or "?"
    shapes = [layer.output for layer in module.layers]
    assert shapes == [f"float32 4\u00b7{name}\u00d73", f"float32 4\u00b7{name}\u00d73", "float32"]


def test_sizes_without_names_are_told_as_the_shape_that_was_taken() -> None:
    pool = helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[2, 2])
    module = onnxla.load(graph([pool], {"x": (TensorProto.FLOAT, [None, 3, None, None])}, ["y"]))
    _, title = str(module.layers).split("\n")[0].split("shapes for x = ")
    n, channels, height, width = map(int, title.removesuffix(")").split("\u00d7"))
    assert (n > 0, channels) == (True, 3)
    assert module.values["y"].type == f"float32 ?\u00d73\u00d7{height - 1}\u00d7{width - 1}"


def test_values_are_without_constants_and_with_what_subgraphs_read() -> None:
    halves = {
        f"{name}_branch": helper.make_graph(
            [helper.make_node("Add", ["x", "one"], ["z"])],
            name,
            [],
            [helper.make_tensor_value_info("z", TensorProto.FLOAT, [2])],
        )
        for name in ("then", "else")
    }
    nodes = [
        helper.make_node("Constant", [], ["one"], value_float=1.0),
        helper.make_node("If", ["c"], ["y"], name="choice", **halves),
    ]
    inputs = {"x": (TensorProto.FLOAT, [2]), "c": (TensorProto.BOOL, [])}
    values = onnxla.load(graph(nodes, inputs, ["y"])).values
    assert [*values] == ["x", "c", "y"]
    assert values["x"].readers == values["c"].readers == ("If choice",)


def test_names_that_are_patterns_too() -> None:
    text = header() + " g (float[2] x) => (float[2] y) { a = Relu (x) y = Neg (a) }"
    model = load_from_string(make(text))
    model.graph.node[0].name, model.graph.node[0].output[0] = "n[1]", "a[0]"
    model.graph.node[1].input[0] = "a[0]"
    module = onnxla.load(model)
    assert [*module.values("a[0]")] == ["a[0]"]
    assert [layer.name for layer in module.layers("n[1]").all] == ["n[1]"]
    assert module.layers() is module.layers
    assert module.values() is module.values


def test_values_that_functions_make_have_types() -> None:
    """A name within a function says nothing of the same name outside."""
    text = """<ir_version: 9, opset_import: ["" : 20, "own" : 1]>
        g (float[2] x) => (int64[1] r) {
            h = own.f (x)
            y = own.f (h)
            r = Shape (y)
        }
        <domain: "own", opset_import: ["" : 20]> f (a) => (r) { r = Relu (a) }"""
    found = onnxla.load(make(text)).values
    types = {name: value.type for name, value in found.items()}
    assert types == {"x": "float32 2", "h": "float32 2", "y": "float32 2", "r": "int64 1"}


@pytest.mark.parametrize("pattern", [3, None, b"x"])
def test_a_pattern_is_text(pattern: Any, deep: onnxla.Module) -> None:
    for table in (deep.layers, deep.values):
        with pytest.raises(TypeError, match="patterns is names, one after the other, got "):
            table(pattern)


def test_a_folded_line_has_the_type_of_what_is_read() -> None:
    info = helper.make_tensor_value_info
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["goes"]),
            helper.make_node("Neg", ["v"], ["next"]),
            helper.make_node("Cast", ["v"], ["each"], to=TensorProto.INT32),
        ],
        "body",
        [info("i", 7, []), info("go", 9, []), info("v", 1, [2])],
        [info("goes", 9, []), info("next", 1, [2]), info("each", 6, [2])],
    )
    loop = helper.make_node("Loop", ["n", "", "x"], ["last", "unread"], body=body, name="loop")
    nodes = [loop, helper.make_node("Relu", ["last"], ["y"])]
    module = onnxla.load(graph(nodes, {"x": (1, [2])}, ["y"], tensors={"n": np.array(3)}))
    folded = next(row for row in module.layers.rows if row.rows)
    assert folded.output == "float32 2"
