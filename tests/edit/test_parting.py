"""Tensors that an exporter merged: each layer has its own statistics, files stay as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np
import onnx
import pytest
from onnx import helper

import onnxla
from onnxla import ir
from onnxla.parameters.roles import analyze
from onnxla.parameters.statistics import layers as layers_of_nodes
from support.small_models import graph, make

X = np.random.default_rng(0).normal([3, -1], [2, 5], (64, 2)).astype(np.float32)
ONES, ZEROS = np.ones(2, np.float32), np.zeros(2, np.float32)
MERGED = {"ones": ONES, "zeros": ZEROS}
DISTINCT = {"s": ONES, "b": ZEROS, "m": ZEROS, "v": ONES}


def norm(x: str, y: str, tensors: str) -> str:
    return f" {y} = BatchNormalization ({x}, {tensors})"


def twice(tensors: str, again: str = "") -> str:
    return norm("x", "h", tensors) + norm("h", "y", again or tensors)


FUNCTION = '<domain: "local", opset_import: ["": 17]> f '
CONSTANTS = " o = Constant <value = float[2] {1, 1}> () z = Constant <value = float[2] {0, 0}> ()"
CASES: dict[str, tuple[str, str, dict[str, np.ndarray], int]] = {
    # What the graph is: nodes, functions, tensors, and how many statistics it has.
    "one layer": (norm("x", "y", "ones, zeros, zeros, ones"), "", MERGED, 2),
    "two layers": (twice("ones, zeros, zeros, ones"), "", MERGED, 4),
    "one layer, twice": (twice("s, b, m, v"), "", DISTINCT, 2),
    "layers with scales of their own": (
        twice("s, b, m, v", "s2, b2, m, v"),
        "",
        {**DISTINCT, "s2": ONES + 1, "b2": ZEROS + 1},
        4,
    ),
    "Identities with the names": (
        "b = Identity (zeros) m = Identity (zeros) v = Identity (ones)"
        + norm("x", "y", "ones, b, m, v"),
        "",
        MERGED,
        2,
    ),
    "calls of a function that merges nothing": (
        "h = local.f (x, s, b, m, v) y = local.f (h, s, b, m, v)",
        FUNCTION + "(x, s, b, m, v) => (y) {" + norm("x", "y", "s, b, m, v") + " }",
        DISTINCT,
        2,
    ),
    "calls of a function with merged tensors": (
        "h = local.f (x, ones, zeros, zeros, ones) y = local.f (h, ones, zeros, zeros, ones)",
        FUNCTION + "(x, s, b, m, v) => (y) {" + norm("x", "y", "s, b, m, v") + " }",
        MERGED,
        4,
    ),
    "constants in a function": (
        "y = local.f (x)",
        FUNCTION + "(x) => (y) {" + CONSTANTS + norm("x", "y", "o, z, z, o") + " }",
        {},
        2,
    ),
    "a branch": (
        "c = Constant <value = bool {1}> () y = If (c) <then_branch = a () => (float[N, 2] p) {"
        + norm("x", "p", "ones, zeros, zeros, ones")
        + "}, else_branch = e () => (float[N, 2] q) { q = Identity (x) }>",
        "",
        MERGED,
        2,
    ),
}


def model(body: str, functions: str = "", **tensors: np.ndarray) -> bytes:
    text = '<ir_version: 10, opset_import: ["": 17, "local": 1]>'
    return make(f"{text} m (float[N, 2] x) => (float[N, 2] y) {{ {body} }} {functions}", **tensors)


def statistics_of(module: onnxla.Module) -> set[str]:
    return {name for name, role in module.roles.items() if role == "running_statistic"}


@pytest.mark.parametrize("what", CASES)
def test_each_layer_has_statistics_of_its_own(what: str, tmp_path: Path) -> None:
    body, functions, tensors, count = CASES[what]
    content = model(body, functions, **tensors)
    module = onnxla.load(content)
    # Nothing has changed: the file stays as it is, byte for byte.
    assert ir.write(module.to_ir()) == content
    assert len(statistics_of(module)) == count
    _, updates = module.apply_train(module.params, X)
    assert {*updates} == statistics_of(module)
    trained = module.replace(updates)
    for name in {*module.params} - {*updates}:
        np.testing.assert_array_equal(trained.params[name], module.params[name])
    y = np.asarray(trained(X))
    trained.save(tmp_path / "trained.onnx", check={"x": X})
    again = onnxla.load(tmp_path / "trained.onnx")
    np.testing.assert_array_equal(again(X), y)
    # It goes on as if it had not been saved.
    once, twice = (m.apply_train(m.params, X)[1] for m in (trained, again))
    assert sorted(v.tolist() for v in map(np.asarray, once.values())) == sorted(
        v.tolist() for v in map(np.asarray, twice.values())
    )


def test_statistics_that_do_not_change_are_not_written(tmp_path: Path) -> None:
    module = onnxla.load(model(*CASES["two layers"][:2], **MERGED))
    first, second = (
        {n: u for n, u in module.apply_train(module.params, X)[1].items() if n.startswith(layer)}
        for layer in ("h.", "y.")
    )
    assert len(first) == len(second) == 2
    module.replace(first).save(tmp_path / "tuned.onnx")
    names = {t.name for t in ir.read(tmp_path / "tuned.onnx").graph.initializers}
    assert names == {"ones", "zeros", *first}


MERGED_AGAIN, DISTINCT_AGAIN = twice("ones, zeros, zeros, ones"), twice("s, b, m, v")


@pytest.mark.parametrize(
    ("body", "names", "count"),
    [
        (DISTINCT_AGAIN, ("/bn1/BatchNormalization", "/bn2/BatchNormalization"), 4),
        (DISTINCT_AGAIN, ("/bn/BatchNormalization", "/bn_1/BatchNormalization"), 2),
        (DISTINCT_AGAIN, ("model/bn/Fused", "model/bn_1/Fused"), 2),
        (MERGED_AGAIN, ("/bn/BatchNormalization", "/bn/BatchNormalization_1"), 2),
        (MERGED_AGAIN, ("/bn/BatchNormalization", "/bn_1/BatchNormalization"), 4),
    ],
)
def test_names_of_modules_tell_layers(body: str, names: tuple[str, str], count: int) -> None:
    proto = onnx.load_from_string(model(body, **MERGED, **DISTINCT))
    for node, name in zip(proto.graph.node, names, strict=True):
        node.name = name
    module = onnxla.load(proto)
    assert len(module.apply_train(module.params, X)[1]) == count


def test_metadata_of_modules_tell_layers() -> None:
    proto = onnx.load_from_string(model(MERGED_AGAIN, **MERGED))
    for node in proto.graph.node:
        entry = node.metadata_props.add()
        entry.key, entry.value = "pkg.torch.onnx.name_scopes", "['', 'body', 'body.bn', 'bn']"
    module = onnxla.load(proto)
    _, updates = module.apply_train(module.params, X)
    assert {*updates} == {"body.bn.running_mean", "body.bn.running_var"}
    mean = 0.1 * X.mean(0)
    np.testing.assert_allclose(updates["body.bn.running_mean"], 0.9 * mean, rtol=1e-4)


def test_what_a_function_merges_is_told() -> None:
    function = FUNCTION + "(x, o, z) => (y) {" + norm("x", "y", "o, z, z, o") + " }"
    module = onnxla.load(model("y = local.f (x, ones, zeros)", function, **MERGED))
    with pytest.raises(onnxla.UnsupportedError, match="one that is something else too"):
        module.apply_train(module.params, X)


# Tensors that several layers read


def layers(names: tuple[str, str] = ("", ""), w2: str = "w") -> onnx.ModelProto:
    text = f"""<ir_version: 10, opset_import: ["": 17]> m (float[N, 2] x) => (float[N, 2] y) {{
        a = MatMul (x, w) h = Add (a, b) c = MatMul (h, {w2}) y = Add (c, b)
    }}"""
    proto = onnx.load_from_string(make(text, w=np.float32([[1, 2], [3, 4]]), b=ONES))
    for node, name in zip(proto.graph.node[::2], names, strict=True):
        node.name = name
    return proto


def test_shared_tensors_are_told_and_parted(tmp_path: Path) -> None:
    proto = layers()
    noted = [note for note in onnxla.check(proto).notes if "layers read" in note]
    assert len(noted) == 2
    assert "module.untie('w')" in noted[0]
    module = onnxla.load(proto)
    parted = module.untie("w")
    assert len(parted.params) == len(module.params) + 1
    np.testing.assert_array_equal(parted(X), module(X))
    (new,) = {*parted.params} - {*module.params}
    assert module.untie().partition()[0].keys() > parted.partition()[0].keys()

    def loss(params: Any) -> Any:
        return (parted.apply(params, X) ** 2).mean()

    slopes = jax.grad(loss)(parted.params)
    assert np.abs(slopes["w"] - slopes[new]).max() > 0.1
    trained = parted.replace({k: p - 0.01 * slopes[k] for k, p in parted.params.items()})
    trained.save(tmp_path / "trained.onnx", check={"x": X})
    np.testing.assert_array_equal(onnxla.load(tmp_path / "trained.onnx")(X), trained(X))
    with pytest.raises(ValueError, match="no shared tensor matches 'none'"):
        module.untie("none")


def test_the_second_use_of_a_module_is_no_other_layer() -> None:
    proto = layers(("/fc/MatMul", "/fc_1/MatMul"))
    assert not [n for n in onnxla.check(proto).notes if "layers read 'w'" in n]
    assert "w" not in {*onnxla.load(proto).params} - {*onnxla.load(proto).untie("b").params}


def test_an_embedding_stays_tied_to_the_head() -> None:
    text = """<ir_version: 10, opset_import: ["": 17]> m (int64[N] x) => (float[N, 8] y) {
        e = Gather (table, x) t = Transpose (table) y = MatMul (e, t)
    }"""
    table = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)
    module = onnxla.load(make(text, table=table))
    assert {*module.untie().params} == {"table"}
    assert not [note for note in onnxla.check(make(text, table=table)).notes if "read" in note]
    assert len(module.untie("table").params) == 2


def test_calls_within_calls_do_not_multiply_layers() -> None:
    body = '<domain: "local", opset_import: ["": 17, "local": 1]>'
    functions = [f"{body} f0 (x, o, z) => (y) {{ {norm('x', 'y', 'o, z, z, o')} }}"]
    for i in range(12):
        calls = f"h = local.f{i} (x, o, z) y = local.f{i} (h, o, z)"
        functions.append(f"{body} f{i + 1} (x, o, z) => (y) {{ {calls} }}")
    content = model("y = local.f12 (x, ones, zeros)", " ".join(functions), **MERGED)
    analysis = analyze(ir.read(content))
    assert len(layers_of_nodes(analysis, analysis.model.graph.nodes)) == 1


# What an exporter lets on of what it merged


def merged_norms(named: bool = True, ones: np.ndarray = ONES) -> onnx.ModelProto:
    """Two normalizations of modules `a` and `b` that read one scale and one bias.

    Either an Identity gives the second one's names, or metadata say which modules and parameters
    there were.
    """
    tensors = {"a.weight": ones, "a.bias": ZEROS, "w": np.float32([[1, 2], [3, 4]])}
    second = ["b.weight", "b.bias"] if named else ["a.weight", "a.bias"]
    copied = ("weight", "bias") if named else ()
    nodes = [
        *(helper.make_node("Identity", [f"a.{part}"], [f"b.{part}"]) for part in copied),
        helper.make_node("LayerNormalization", ["x", "a.weight", "a.bias"], ["h"]),
        helper.make_node("MatMul", ["h", "w"], ["g"]),
        helper.make_node("LayerNormalization", ["g", *second], ["y"]),
    ]
    proto = onnx.load_from_string(graph(nodes, {"x": (1, ["N", 2])}, ["y"], 17, tensors))
    proto.producer_name = "pytorch"
    if not named:
        for node, module in zip(proto.graph.node, ("a", "fc", "b"), strict=True):
            set_metadata(node, "pkg.torch.onnx.name_scopes", f"['', '{module}', 'call']")
        listed = (*tensors, "b.weight", "b.bias")
        signature = "\n".join(f"p_{i}: PARAMETER target='{n}'" for i, n in enumerate(listed))
        set_metadata(
            proto.graph, "pkg.torch.export.ExportedProgram.graph_signature", f"\n{signature}"
        )
    return proto


def set_metadata(proto: Any, key: str, value: str) -> None:
    entry = proto.metadata_props.add()
    entry.key, entry.value = key, value


@pytest.mark.parametrize("named", [True, False])
def test_equal_scales_of_new_layers_train_apart(named: bool, tmp_path: Path) -> None:
    proto = merged_norms(named)
    module = onnxla.load(proto)
    assert {*module.params} == {"a.weight", "a.bias", "b.weight", "b.bias", "w"}
    assert module.roles["b.weight"] == "scale"
    assert module.roles["b.bias"] == "bias"
    (note,) = (n for n in onnxla.check(proto).notes if "merged scales and biases" in n)
    assert "'b.weight', 'b.bias'" in note
    module.save(tmp_path / "same.onnx")
    assert (tmp_path / "same.onnx").read_bytes() == proto.SerializeToString()

    def loss(params: Any) -> Any:
        return ((module.apply(params, X) - np.float32([1, 3])) ** 2).mean()

    slopes = jax.grad(loss)(module.params)
    assert np.abs(slopes["a.weight"] - slopes["b.weight"]).max() > 0.01
    trained = module.replace({k: p - 0.1 * slopes[k] for k, p in module.params.items()})
    trained.save(tmp_path / "trained.onnx", check={"x": X})
    again = onnxla.load(tmp_path / "trained.onnx")
    assert {*again.params} == {*module.params}
    np.testing.assert_array_equal(again(X), trained(X))


def test_scales_that_are_no_new_layers_stay_tied() -> None:
    module = onnxla.load(merged_norms(ones=np.float32([1, 2])))
    assert {*module.params} == {"a.weight", "a.bias", "b.bias", "w"}


@pytest.mark.parametrize("transposed", [True, False])
def test_a_copied_head_is_tied_again(transposed: bool, tmp_path: Path) -> None:
    table = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)
    head = "MatMul (e, copy)" if transposed else "Gemm <transB = 1> (e, copy)"
    text = f"""<ir_version: 10, opset_import: ["": 17]> m (int64[N] x) => (float[N, 8] y) {{
        e = Gather (table, x) y = {head}
    }}"""
    content = make(text, table=table, copy=table.T.copy() if transposed else table)
    assert [n for n in onnxla.check(content).notes if "module.tie('copy')" in n]
    module = onnxla.load(content)
    tied = module.tie()
    assert {*tied.params} == {"table"}
    x = np.arange(8)
    np.testing.assert_allclose(tied(x), module(x), rtol=1e-5, atol=1e-6)
    apart = jax.grad(lambda p: (module.apply(p, x) ** 2).sum())(module.params)
    together = jax.grad(lambda p: (tied.apply(p, x) ** 2).sum())(tied.params)
    copy = apart["copy"].T if transposed else apart["copy"]
    np.testing.assert_allclose(together["table"], apart["table"] + copy, rtol=1e-5, atol=1e-5)
    tied.save(tmp_path / "tied.onnx", check={"x": x})
    assert {*onnxla.load(tmp_path / "tied.onnx").params} == {"table"}
    with pytest.raises(ValueError, match="nothing to tie"):
        tied.tie()
    with pytest.raises(ValueError, match="no copied weight matches 'head'"):
        module.tie("head")


def test_edits_that_leave_identities_out_keep_what_they_gave(tmp_path: Path) -> None:
    proto = merged_norms()
    module = onnxla.load(proto)
    head = module.replace_head("y", classes=3)
    for number, edited in enumerate((head, module.cut(outputs=["y"]), module.cut(["h"], ["y"]))):
        path = tmp_path / f"{number}.onnx"
        edited.save(path)
        (name,) = edited.input_names
        (got,), (expected,) = (m.run({name: X}).values() for m in (onnxla.load(path), edited))
        np.testing.assert_array_equal(got, expected)
    changed = head.replace({"b.bias": ZEROS + 1})
    changed.save(tmp_path / "changed.onnx", check={"x": X})


def test_ones_that_stand_for_no_scale_do_not_train() -> None:
    """An exporter may merge a layer's scale with the ones of a layer that has none."""
    text = """<ir_version: 10, opset_import: ["": 17]> m (float[N, 2] x) => (float[N, 2] y) {
        h = BatchNormalization (x, s, b, m, v) y = BatchNormalization (h, s, b, m2, v2)
    }"""
    tensors = {
        "s": ONES,
        "b": ZEROS,
        "m": ZEROS + 1,
        "v": ONES + 1,
        "m2": ZEROS + 2,
        "v2": ONES + 3,
    }
    proto = onnx.load_from_string(make(text, **tensors))
    names = {"s": "a.weight", "b": "a.bias"}
    for tensor in proto.graph.initializer:
        tensor.name = names.get(tensor.name, tensor.name)
    for node, module in zip(proto.graph.node, ("a", "plain"), strict=True):
        node.input[1:3] = names.values()
        set_metadata(node, "pkg.torch.onnx.name_scopes", f"['', '{module}', 'call']")
    signature = "".join(f"\np: PARAMETER target='{name}'" for name in names.values())
    set_metadata(proto.graph, "pkg.torch.export.ExportedProgram.graph_signature", signature)
    module = onnxla.load(proto)
    assert {*module.partition()[0]} == {*names.values()}
    slopes = jax.grad(lambda p: (module.apply_train(p, X)[0] * X).sum())(module.params)
    # The second one takes away what the first one does.
    assert np.abs(slopes["a.weight"]).max() < 0.1
    assert np.abs(slopes["plain.scale"]).max() > 1


def test_a_weight_that_is_divided_by_its_length_is_of_one_layer() -> None:
    text = """<ir_version: 10, opset_import: ["": 17]> m (float[N, 2] x) => (float[N, 2] y) {
        n = ReduceL2 <axes = [0]> (w) d = Div (w, n) s = Shape (w) y = MatMul (x, d)
    }"""
    content = make(text, w=np.float32([[1, 2], [3, 4]]))
    assert not [note for note in onnxla.check(content).notes if "layers read" in note]
    assert {*onnxla.load(content).untie().params} == {"w"}
