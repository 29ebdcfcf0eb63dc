"""The public API of `Module`."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import onnxruntime
import pytest

import onnxla
from onnxla.peers.onnx_runtime import OnnxRuntime
from support.small_models import BIAS, WEIGHT, graph, header, linear, make

X = np.arange(12, dtype=np.float32).reshape(4, 3)
Y = X @ WEIGHT + BIAS


@pytest.fixture
def module() -> onnxla.Module:
    return onnxla.load(linear())


def test_load_takes_path_bytes_file_and_proto(tmp_path: Path) -> None:
    path = tmp_path / "linear.onnx"
    path.write_bytes(linear())
    with path.open("rb") as file:
        sources = [path, str(path), linear(), file, onnx.load_from_string(linear())]
        for source in sources:
            np.testing.assert_allclose(onnxla.load(source)(X), Y, rtol=1e-6)


def test_call_by_position_name_and_run(module: onnxla.Module) -> None:
    np.testing.assert_allclose(module(X), Y, rtol=1e-6)
    np.testing.assert_allclose(module(x=X), Y, rtol=1e-6)
    outputs = module.run({"x": X})
    assert list(outputs) == ["y"]
    np.testing.assert_allclose(outputs["y"], Y, rtol=1e-6)


def test_apply_is_pure_and_differentiable(module: onnxla.Module) -> None:
    gradient = jax.grad(lambda p: module.apply(p, X).sum())(module.params)
    np.testing.assert_allclose(gradient["w"], np.repeat(X.sum(0)[:, None], 2, 1))
    np.testing.assert_allclose(gradient["b"], [4, 4])
    by_input = jax.jit(jax.grad(lambda x: module.apply(module.params, x).sum()))(X)
    np.testing.assert_allclose(by_input, np.tile(WEIGHT.sum(1), (4, 1)), rtol=1e-5)


def test_large_integer_constants_are_no_tracers_of_the_first_jit() -> None:
    table = np.arange(2000, dtype=np.int64).reshape(1000, 2)
    text = " m (int64[N] x) => (int64[N, 2] y) { y = Gather (t, x) }"
    for transform in (jax.jit, jax.vmap):
        module = onnxla.load(make(header() + text, t=table))
        x = np.array([[3, 999]])
        y = transform(lambda x, m=module: m.apply(m.params, x.reshape(-1)))(x)
        np.testing.assert_array_equal(np.asarray(y).reshape(2, 2), table[x[0]])
        np.testing.assert_array_equal(module(x[0]), table[x[0]])


def test_apply_returns_intermediate_values(module: onnxla.Module) -> None:
    h, y = module.apply(module.params, X, outputs=["h", "y"])
    np.testing.assert_allclose(h, X @ WEIGHT, rtol=1e-6)
    np.testing.assert_allclose(y, Y, rtol=1e-6)
    with pytest.raises(ValueError, match="no value is named 'nothing'"):
        module.apply(module.params, X, outputs=["nothing"])


def test_module_is_a_pytree_of_its_parameters(module: onnxla.Module) -> None:
    assert len(jax.tree.leaves(module)) == 2
    gradient = jax.grad(lambda m: m(X).sum())(module)
    assert isinstance(gradient, onnxla.Module)
    np.testing.assert_allclose(gradient.params["b"], [4, 4])
    halved = jax.tree.map(lambda p: p / 2, module)
    np.testing.assert_allclose(halved(X), Y / 2, rtol=1e-6)


def test_transformations_compose(module: onnxla.Module) -> None:
    per_example = jax.vmap(
        jax.grad(lambda p, x: module.apply(p, x[None]).sum()), in_axes=(None, 0)
    )(module.params, X)
    assert per_example["w"].shape == (4, 3, 2)
    np.testing.assert_allclose(per_example["w"].sum(0), np.repeat(X.sum(0)[:, None], 2, 1))


@pytest.mark.parametrize("x64", [False, True])
def test_dtypes_are_exact_under_any_ambient_setting(x64: bool) -> None:
    doubled = make(
        header()
        + """ m (int64[N] i, double[N] d) => (int64[N] j, double[N] e) {
            j = Add (i, i)
            e = Add (d, c)
        }""",
        c=np.array([1e-12]),
    )
    with jax.enable_x64(x64):
        module = onnxla.load(doubled)
        inputs = np.array([2**40]), np.array([1.0])
        for outputs in (
            module(*inputs),
            module.apply(module.params, *inputs),
            jax.jit(module.apply)(module.params, *inputs),
        )[: 3 if x64 else 2]:
            j, e = outputs
            assert j.dtype == np.int64
            assert int(j[0]) == 2**41
            assert e.dtype == np.float64
            assert float(e[0]) == 1.0 + 1e-12


def test_integer_inputs_of_a_narrower_ambient_setting_are_widened() -> None:
    module = onnxla.load(make(header() + " m (int64[N] i) => (int64[N] j) { j = Add (i, i) }"))
    assert module(jnp.array([1, 2], jnp.int32)).dtype == np.int64


@pytest.mark.parametrize(
    ("inputs", "error", "message"),
    [
        ((), TypeError, "missing inputs: x"),
        ((X, X), TypeError, r"takes 1 inputs \(x\), got 2"),
        ((X.astype(np.int64),), TypeError, "input 'x' takes float32, got int64"),
        ((X[0],), ValueError, r"input 'x' takes shape \[N, 3\], got \[3\]"),
        ((X[:, :2],), ValueError, r"input 'x' takes shape \[N, 3\], got \[4, 2\]"),
    ],
)
def test_wrong_inputs(
    module: onnxla.Module, inputs: tuple, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        module(*inputs)


def test_wrong_names(module: onnxla.Module) -> None:
    with pytest.raises(TypeError, match="no input is named 'z'; there are x"):
        module(z=X)
    with pytest.raises(TypeError, match="input 'x' is given twice"):
        module(X, x=X)
    with pytest.raises(TypeError, match=r"params lacks \['b'\]"):
        module.apply({"w": module.params["w"]}, X)
    with pytest.raises(TypeError, match=r"no parameters \['q'\]"):
        module.apply({**module.params, "q": BIAS}, X)


def test_a_new_shape_retraces_and_parameters_are_not_copied(module: onnxla.Module) -> None:
    before = {name: value.unsafe_buffer_pointer() for name, value in module.params.items()}
    for rows in (4, 2, 4, 2):
        np.testing.assert_allclose(module(X[:rows]), Y[:rows], rtol=1e-6)
    assert len(module.program.programs) == 2
    after = {name: value.unsafe_buffer_pointer() for name, value in module.params.items()}
    assert before == after


def test_partition_by_role_pattern_and_name(module: onnxla.Module) -> None:
    assert dict(module.roles) == {"w": "weight", "b": "bias"}
    train, frozen = module.partition()
    assert (set(train), set(frozen)) == ({"w", "b"}, set())
    assert set(module.partition(roles=["bias"])[0]) == {"b"}
    assert set(module.partition("w*")[0]) == {"w"}
    with pytest.raises(ValueError, match="no parameter matches 'head"):
        module.partition("head.*")


def test_exporters_constants_do_not_train() -> None:
    module = onnxla.load(
        make(
            header()
            + """ m (float[N, 3] x) => (float[N, 2] y) {
                scaled = Mul (x, factor)
                masked = Add (scaled, table)
                wt = Transpose <perm = [1, 0]> (w)
                y = MatMul (masked, wt)
            }""",
            factor=np.float32(0.125),
            table=np.zeros((1, 3), np.float32) + np.eye(1, 3, dtype=np.float32),
            w=np.ascontiguousarray(WEIGHT.T),
        )
    )
    assert module.roles["factor"] == "constant"
    assert module.roles["w"] == "weight"


def test_replace_checks_names_and_shapes(module: onnxla.Module) -> None:
    with pytest.raises(ValueError, match="no parameter is named 'q'"):
        module.replace({"q": BIAS})
    with pytest.raises(ValueError, match=r"parameter 'b' has shape \(2,\), not \(3,\)"):
        module.replace({"b": np.zeros(3, np.float32)})
    np.testing.assert_allclose(module.replace({"b": BIAS + 1})(X), Y + 1, rtol=1e-6)


def test_save_changes_only_what_changed(module: onnxla.Module, tmp_path: Path) -> None:
    path = tmp_path / "same.onnx"
    module.save(path)
    assert onnx.load(path) == onnx.load_from_string(linear())
    module.replace({"b": BIAS + 1}).save(path)
    expected = onnx.load_from_string(linear())
    got = onnx.load(path)
    assert got.graph.initializer[0] == expected.graph.initializer[0]
    assert got.graph.node == expected.graph.node
    session = onnxruntime.InferenceSession(path)
    np.testing.assert_allclose(session.run(None, {"x": X})[0], Y + 1, rtol=1e-6)
    assert [file.name for file in tmp_path.iterdir()] == ["same.onnx"]


RESHAPE = (
    header()
    + """ m (float[N, 3] x, int64[2] shape) => (float[A, B] y) {
    twice = Add (shape, shape)
    z = Add (x, b)
    y = Reshape (z, twice)
}"""
)


def test_an_input_that_decides_a_shape() -> None:
    module = onnxla.load(make(RESHAPE, b=np.ones(3, np.float32)))
    for shape in ([1, 3], [3, 1], [1, 3]):
        assert module(X, np.array(shape)).shape == (2 * shape[0], 2 * shape[1])
    assert not module.program.data_dependent
    assert module.program.static == {"shape"}


def test_apply_names_what_must_be_known() -> None:
    module = onnxla.load(make(RESHAPE, b=np.ones(3, np.float32)))
    with pytest.raises(onnxla.StaticOperandError) as caught:
        jax.jit(module.apply)(module.params, X, np.array([1, 3]))
    for text in ("'shape' ('twice') of Reshape -> y", "graph inputs 'shape'", "specialize(shape="):
        assert text in str(caught.value)
    assert any("float32[4, 3]" in note for note in caught.value.__notes__)
    known = jax.jit(lambda p, x: module.apply(p, x, np.array([1, 3])))(module.params, X)
    assert known.shape == (2, 6)


def test_specialize() -> None:
    module = onnxla.load(make(RESHAPE, b=np.ones(3, np.float32))).specialize(shape=[3, 1])
    assert module.input_names == ("x",)
    np.testing.assert_array_equal(jax.jit(module.apply)(module.params, X), (X + 1).reshape(6, 2))
    with pytest.raises(TypeError, match="no input is named 'nothing'"):
        module.specialize(nothing=1)


def test_cut_is_a_model_of_its_own(module: onnxla.Module, tmp_path: Path) -> None:
    head = module.cut(outputs=["h"])
    assert set(head.params) == {"w"}
    np.testing.assert_allclose(head(X), X @ WEIGHT, rtol=1e-6)
    tail = module.cut(inputs=["h"])
    assert tail.input_names == ("h",)
    np.testing.assert_allclose(tail(np.zeros((1, 2), np.float32)), BIAS[None])
    head.save(tmp_path / "head.onnx")
    np.testing.assert_allclose(onnxla.load(tmp_path / "head.onnx")(X), X @ WEIGHT, rtol=1e-6)
    with pytest.raises(ValueError, match="no value is named 'nothing'"):
        module.cut(outputs=["nothing"])


def test_batched_maps_over_a_leading_axis() -> None:
    single = onnxla.load(
        make(header() + " m (float[1, 3] x) => (float[1, 3] y) { y = Add (x, b) }", b=X[0])
    )
    with pytest.raises(ValueError, match=r"use module.free_batch\(\), .* or module.batched\(\)"):
        single(X)
    np.testing.assert_allclose(single.batched()(X[:, None]), (X + X[0])[:, None])
    for text in (repr(single.batched()), str(single.batched().summary())):
        assert "batched: each input and output has a further axis, the first" in text


def test_a_failing_node_is_named() -> None:
    module = onnxla.load(
        graph(
            [onnx.helper.make_node("Add", ["x", "b"], ["y"], name="adder")],
            {"x": (1, None)},
            ["y"],
            tensors={"b": np.ones(3, np.float32)},
        )
    )
    with pytest.raises(Exception) as caught:  # noqa: PT011 - whatever JAX raises
        module(np.ones(2, np.float32))
    note = "\n".join(caught.value.__notes__)
    assert "Add 'adder' -> y" in note
    assert "x: float32[2]" in note
    assert "b: float32[3]" in note


def test_unsupported_operators_are_all_named_at_once() -> None:
    nodes = [
        onnx.helper.make_node("First", ["x"], ["h"], domain="my.domain"),
        onnx.helper.make_node("Second", ["h"], ["y"], domain="my.domain", name="two"),
    ]
    built = onnx.load_from_string(graph(nodes, {"x": (1, [2])}, ["y"]))
    built.opset_import.append(onnx.helper.make_opsetid("my.domain", 3))
    module = onnxla.load(built)
    with pytest.raises(onnxla.UnsupportedError) as caught:
        module(np.ones(2, np.float32))
    assert "my.domain.First of opset 3" in str(caught.value)
    assert "my.domain.Second of opset 3 (1 node: my.domain.Second 'two' -> y)" in str(caught.value)
    assert len(onnxla.check(built).unsupported) == 2


def test_anybody_can_register_an_operator() -> None:
    @onnxla.op("Triple", since=(1,), domain="tests.domain")
    def triple(x: jax.Array, *, bias: float = 0.0) -> jax.Array:
        return 3 * x + bias

    node = onnx.helper.make_node("Triple", ["x"], ["y"], domain="tests.domain", bias=1.0)
    built = onnx.load_from_string(graph([node], {"x": (1, [2])}, ["y"]))
    built.opset_import.append(onnx.helper.make_opsetid("tests.domain", 1))
    np.testing.assert_allclose(onnxla.load(built)(np.ones(2, np.float32)), [4, 4])


def test_summary_and_repr(module: onnxla.Module) -> None:
    text = str(module.summary())
    for expected in ("float32[N, 3]", "weight", "MatMul", "ai.onnx 20"):
        assert expected in text
    assert "<table>" in module.summary()._repr_html_()
    assert repr(module) == "Module(x: float32[N, 3]) -> (y), 8 parameters in 2 tensors"


def test_compare_names_the_first_node_that_differs(module: onnxla.Module) -> None:
    assert onnxla.compare(module).ok
    assert onnxla.compare(module, {"x": X}, "reference").ok

    def shifted(model: bytes, inputs: dict) -> list:
        h, y = OnnxRuntime().run(model, inputs)
        return [h, y + np.float32(1)]

    comparison = onnxla.compare(module, {"x": X}, shifted)
    assert not comparison.ok
    assert comparison.first.name == "y"
    assert "Add -> y" in str(comparison)
    assert comparison.first.absolute == pytest.approx(1, rel=1e-4)


def test_compare_of_adapters_is_of_what_is_saved(
    module: onnxla.Module,
) -> None:
    adapted = module.lora("w", rank=1)
    trained = {k: v + 0.5 if k.startswith("w.lora") else v for k, v in adapted.params.items()}
    assert onnxla.compare(adapted.replace(trained), {"x": X}).ok


def test_tolerances_may_be_numbers_of_numpy(module: onnxla.Module) -> None:
    assert onnxla.compare(module, {"x": X}, "reference", rtol=np.float32(1e-3), atol=0).ok


@pytest.mark.parametrize(
    ("against", "options", "text"),
    [
        (3, {}, "against is the name of a runtime, a module, or a function .* got int"),
        (lambda model, inputs: None, {}, "a list of the graph's 2 values, got NoneType"),
        (lambda model, inputs: [1], {}, "a list of the graph's 2 values, got 1"),
        ("reference", {"rtol": -1}, "rtol is a number of at least 0, got -1"),
        ("reference", {"atol": "a"}, "atol is a number of at least 0, got 'a'"),
    ],
    ids=["number", "nothing", "few", "negative", "text"],
)
def test_compare_with_what_is_no_runtime(
    module: onnxla.Module, against: Any, options: dict[str, Any], text: str
) -> None:
    with pytest.raises((TypeError, ValueError), match=text):
        onnxla.compare(module, {"x": X}, against, **options)


def test_compare_with_another_module(module: onnxla.Module) -> None:
    same = onnxla.compare(module, {"x": X}, module.lora("w", rank=1))
    assert same.ok
    assert [each.name for each in same.differences] == ["h", "y"]
    trained = module.replace({"b": module.params["b"] + np.float32(0.5)})
    comparison = onnxla.compare(module, {"x": X}, trained)
    assert comparison.first.name == "y"
    assert comparison.first.absolute == pytest.approx(0.5, rel=1e-4)
    assert "1 of 2 values differ from the other module" in str(comparison)
    rough = onnxla.compare(module, {"x": X}, module.astype("bfloat16"))
    assert 1e-5 < max(each.absolute for each in rough.differences) < 0.1
    assert not any(each.reason for each in rough.differences)
    other = onnxla.load(make(header() + "g (float[N, 3] x) => (float[N, 3] z) { z = Neg (x) }"))
    with pytest.raises(ValueError, match="no value in common"):
        onnxla.compare(module, {"x": X}, other)


def test_compare_of_what_is_mapped_over_a_batch(module: onnxla.Module) -> None:
    with pytest.raises(ValueError, match=r"before batched\(\), or with free_batch\(\)"):
        onnxla.compare(module.batched(), {"x": X[None]})
    assert onnxla.compare(module.batched(), {"x": X[None]}, module.batched()).ok


def test_import_is_light() -> None:
    code = "import onnxla, sys; print({'onnx','onnxruntime','optax','matplotlib'} & {*sys.modules})"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "set()"


def test_a_parameter_with_brackets_in_its_name_can_be_named() -> None:
    weights = {"layer[0]": np.ones(3, np.float32), "head": np.ones(3, np.float32)}
    nodes = [
        onnx.helper.make_node("Mul", ["x", "layer[0]"], ["a"]),
        onnx.helper.make_node("Mul", ["a", "head"], ["y"]),
    ]
    module = onnxla.load(graph(nodes, {"x": (1, [None, 3])}, ["y"], tensors=weights))
    assert set(module.partition("layer[0]")[0]) == {"layer[0]"}


def test_a_module_is_pickled_and_copied_before_and_after_a_call() -> None:
    text = (
        header()
        + """ m (float[N, 3] x) => (float[N, 2] y) {
        t = Tanh (x)
        m = ReduceMax <keepdims = 1> (t, axis)
        d = Sub (t, m)
        y = MatMul (d, w)
    }"""
    )
    module = onnxla.load(make(text, w=WEIGHT, axis=np.array([1])))
    pickled = pickle.dumps(module)
    expected = np.asarray(module(X))
    for same in (pickle.loads(pickled), pickle.loads(pickle.dumps(module)), copy.deepcopy(module)):
        np.testing.assert_array_equal(np.asarray(same(X)), expected)


def test_a_traced_shape_after_a_call_with_a_known_one() -> None:
    text = " m (float[A, B] x, int64[2] shape) => (float[C, D] y) { y = Reshape (x, shape) }"
    module = onnxla.load(make(header() + text))
    shape = np.array([6, 2])
    assert module(X, shape).shape == (6, 2)
    with pytest.raises(onnxla.StaticOperandError, match="'shape'"):
        jax.jit(lambda x, shape: module(x, shape))(X, shape)
