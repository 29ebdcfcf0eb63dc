"""New heads and Dropout: nodes that are added to a model, in ONNX Runtime too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import onnxruntime
import pytest

import onnxla
from onnxla import ir
from support.small_models import header, linear, make

RNG = np.random.default_rng(0)
X = RNG.standard_normal((6, 3)).astype(np.float32)


def sequences(opset: int = 20, dtype: Any = np.float32) -> onnxla.Module:
    """[N, T, 3] to [N, T, 4] to [N, 4], with types stated for inputs alone."""
    name = {np.float32: "float", np.float16: "float16"}[dtype]
    text = f""" m ({name}[N, T, 3] x) => ({name}[N, 4] y) {{
        h = MatMul (x, w)
        p = Transpose <perm = [0, 2, 1]> (h)
        y = Flatten (p)
    }}"""
    return onnxla.load(make(header(opset) + text, w=RNG.standard_normal((3, 4)).astype(dtype)))


def run_saved(module: onnxla.Module, path: Path, inputs: dict[str, np.ndarray]) -> np.ndarray:
    module.save(path)
    onnx.checker.check_model(path, full_check=True)
    (output,) = onnxruntime.InferenceSession(path).run(None, inputs)
    np.testing.assert_allclose(output, module(**inputs), rtol=1e-3, atol=1e-3)
    np.testing.assert_array_equal(onnxla.load(path)(**inputs), module(**inputs))
    return output


def test_a_head_of_features(tmp_path: Path) -> None:
    base = onnxla.load(linear())
    module = base.replace_head("y", 5)
    assert module.output_names == ("head.logits",)
    assert module.roles == {**base.roles, "head.weight": "weight", "head.bias": "bias"}
    assert module.params["head.weight"].shape == (2, 5)
    assert not np.any(module.params["head.bias"])
    expected = np.asarray(base(X)) @ np.asarray(module.params["head.weight"])
    np.testing.assert_allclose(module(X), expected, rtol=1e-5, atol=1e-6)
    assert run_saved(module, tmp_path / "head.onnx", {"x": X}).shape == (6, 5)
    # What comes after the features is gone.
    assert set(base.replace_head("h", 5).params) == {"w", "head.weight", "head.bias"}


def test_a_head_reads_what_the_last_linear_layer_reads() -> None:
    model = make(
        header(18)
        + """ g (float[N, 3] x) => (float[N, 2] p, float[N, 4] h) {
        h = MatMul(x, w)
        r = Relu(h)
        y = Gemm(r, v, b)
        s = Identity(y)
        p = Softmax<axis=1>(s)
    }""",
        w=RNG.standard_normal((3, 4)).astype(np.float32),
        v=RNG.standard_normal((4, 2)).astype(np.float32),
        b=np.zeros(2, np.float32),
    )
    base = onnxla.load(model)
    assert base.replace_head(classes=5).fingerprint() == base.replace_head("r", 5).fingerprint()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("a = MatMul(x, w)\n r = Relu(x)\n b = MatMul(r, v)\n y = Add(a, b)", "read 'x', 'r'"),
        ("y = Relu(x)", "comes from no linear layer"),
    ],
)
def test_a_head_without_a_name_needs_one_last_layer(body: str, message: str) -> None:
    weights = {name: np.eye(3, dtype=np.float32) for name in "wv" if f"{name})" in body}
    text = f"{header(18)} g (float[N, 3] x) => (float[N, 3] y) {{ {body} }}"
    module = onnxla.load(make(text, **weights))
    with pytest.raises(ValueError, match=message):
        module.replace_head(classes=2)
    with pytest.raises(TypeError, match=r"replace_head\(classes=5\)"):
        module.replace_head("x")


def test_a_second_head_is_new_or_has_another_name() -> None:
    first = onnxla.load(linear()).replace_head("h", 4)
    trained = first.replace({"head.bias": np.ones(4, np.float32)})
    second = trained.replace_head("h", 3)
    assert second.params["head.weight"].shape == (2, 3)
    assert not trained.replace_head("h", 4).params["head.bias"].any()
    with pytest.raises(ValueError, match="give the new head another name, name="):
        trained.replace_head("head.logits", 3)
    assert trained.replace_head("head.logits", 3, name="new").params["head.bias"].all()


def test_a_head_trains_and_keeps_the_rest() -> None:
    module = onnxla.load(linear()).replace_head("h", 4)
    train, frozen = module.partition("head.*")
    assert set(train) == {"head.weight", "head.bias"}
    labels = (X[:, 0] > 0).astype(int) + 2 * (X[:, 1] > 0)

    def loss(p: Any) -> jax.Array:
        logits = module.apply({**p, **frozen}, X)
        return -jnp.mean(jax.nn.log_softmax(logits)[np.arange(6), labels])

    first, step = loss(train), jax.jit(jax.grad(loss))
    for _ in range(50):
        train = jax.tree.map(lambda p, g: p - 0.5 * g, train, step(train))
    assert loss(train) < 0.6 * first


@pytest.mark.parametrize("opset", [7, 11, 12, 13, 20])
@pytest.mark.parametrize("features", ["h", "y"])
def test_softmax_and_features_with_several_axes(opset: int, features: str, tmp_path: Path) -> None:
    module = sequences(opset).replace_head(features, 7, softmax=True, name="new")
    x = np.broadcast_to(X, (2, 6, 3)) if features == "h" else X[:2, None]
    output = run_saved(module, tmp_path / "new.onnx", {"x": np.ascontiguousarray(x)})
    assert output.shape == ((2, 6, 7) if features == "h" else (2, 7))
    assert module.output_names == ("new.probabilities",)
    np.testing.assert_allclose(output.sum(-1), 1, rtol=1e-5)


def test_the_head_has_the_dtype_of_the_features() -> None:
    module = sequences(dtype=np.float16).replace_head("h", 7)
    assert module.params["head.weight"].dtype == np.float16
    assert module(np.ones((2, 6, 3), np.float16)).dtype == np.float16


def test_the_weight_is_drawn_with_the_key() -> None:
    wide = make(header() + " m (float[N, 400] x) => (float[N, 400] y) { y = Relu (x) }")
    base = onnxla.load(wide)
    weight = np.asarray(base.replace_head("y", 200).params["head.weight"])
    assert weight.std() == pytest.approx(400**-0.5, rel=0.05)
    other = base.replace_head("y", 200, key=jax.random.key(1)).params["head.weight"]
    assert np.any(weight != np.asarray(other))


def test_the_number_of_features_where_it_depends_on_open_sizes() -> None:
    text = """ m (float[N, C, H, 2] x) => (float[N, M] y) {
        p = Conv (x, w)
        y = Flatten (p)
    }"""
    module = onnxla.load(make(header() + text, w=np.ones((4, 3, 3, 2), np.float32)))
    with pytest.raises(onnxla.UnsupportedError, match=r"size of 'y' cannot .*inputs=\{"):
        module.replace_head("y", 2)
    x = np.ones((1, 3, 5, 2), np.float32)
    assert module.replace_head("y", 2, inputs={"x": x}).params["head.weight"].shape == (12, 2)


def test_a_batched_module_stays_so() -> None:
    module = sequences().batched().replace_head("h", 5)
    assert module(np.ones((3, 2, 6, 3), np.float32)).shape == (3, 2, 6, 5)


def test_what_has_no_features() -> None:
    module = onnxla.load(
        make(header() + " m (float[N, 3] x) => (int64[2] s, float r) {"
             " s = Shape (x) r = ReduceSum <keepdims = 0> (x) }")
    )  # fmt: skip
    for name in ("s", "r"):
        with pytest.raises(ValueError, match=rf"'{name}' is .*, which holds no features"):
            module.replace_head(name, 2)
    with pytest.raises(ValueError, match="no value is named 'nothing'"):
        module.replace_head("nothing", 2)
    with pytest.raises(onnxla.UnsupportedError, match="a new head needs opset 7 or newer"):
        sequences(6).replace_head("h", 2)


@pytest.mark.parametrize("opset", [1, 6, 7, 10, 12, 13, 22])
def test_dropout_only_drops_in_training(opset: int, tmp_path: Path) -> None:
    text = " m (float[N, 100] x) => (float[N, 100] y) { h = Neg (x) y = Neg (h) }"
    base = onnxla.load(make(header(opset) + text))
    module = base.insert_dropout("h", 0.25)
    x = np.ones((50, 100), np.float32)
    np.testing.assert_array_equal(module(x), base(x))
    key = jax.random.key(0)
    dropped, updates = jax.jit(module.apply_train)(module.params, x, key=key)
    assert not updates
    assert np.unique(dropped).tolist() == [0, np.float32(1) / np.float32(0.75)]
    assert np.mean(np.asarray(dropped) == 0) == pytest.approx(0.25, abs=0.03)
    with pytest.raises(ValueError, match="pass key="):
        module.apply_train(module.params, x)
    if opset >= 7:
        np.testing.assert_array_equal(run_saved(module, tmp_path / "d.onnx", {"x": x}), x)


def test_all_that_read_the_value_read_the_dropped_one() -> None:
    text = """ m (float[N, 4] x, bool c) => (float[N, 4] y, float[N, 4] h) {
        h = Neg (x)
        y = If (c) <
            then_branch = a () => (float[N, 4] p) { p = Identity (h) },
            else_branch = b () => (float[N, 4] q) { q = Neg (h) }
        >
    }"""
    base = onnxla.load(make(header() + text))
    module = base.insert_dropout(["h"], 0.5)
    x, c = np.ones((8, 4), np.float32), np.asarray(True)
    (y, h, before), _ = module.apply_train(
        module.params, x, c, key=jax.random.key(1), outputs=["y", "h", "h.before_dropout"]
    )
    np.testing.assert_array_equal(y, h)
    np.testing.assert_array_equal(before, -x)
    assert set(np.unique(h)) == {-2, 0}
    # A value of the same name inside a subgraph is another one.
    assert len(ir.read(ir.write(module.to_ir())).graph.nodes) == 4


def test_several_dropouts_draw_independently_and_are_kept_once_each() -> None:
    text = " m (float[N, 100] x) => (float[N, 100] y) { a = Neg (x) b = Neg (x) y = Sub (a, b) }"
    module = onnxla.load(make(header() + text)).insert_dropout("[ab]")
    y, _ = module.apply_train(module.params, np.ones((9, 100), np.float32), key=jax.random.key(0))
    assert np.unique(y).tolist() == [-2, 0, 2]
    with pytest.raises(onnxla.ModelError, match="before_dropout"):
        module.insert_dropout("a")


def test_dropout_of_half_precision() -> None:
    module = sequences(dtype=np.float16).insert_dropout("h", 0.5)
    y, _ = module.apply_train(module.params, np.ones((2, 1, 3), np.float16), key=jax.random.key(0))
    assert y.dtype == np.float16


def test_dropout_errors() -> None:
    module = onnxla.load(linear())
    with pytest.raises(ValueError, match="no value that a node makes matches 'x'; there are h, y"):
        module.insert_dropout("x")
    with pytest.raises(ValueError, match="between 0 and 1, got 1"):
        module.insert_dropout("h", 1)


def test_surgery_and_adapters_compose(tmp_path: Path) -> None:
    module = onnxla.load(linear()).insert_dropout("h", 0.5).replace_head("h", 4).lora("w", rank=1)
    rank_one = {"w.lora_B": np.ones((1, 2), np.float32)}
    module = module.replace(rank_one)
    assert run_saved(module.merge(), tmp_path / "m.onnx", {"x": X}).shape == (6, 4)
    np.testing.assert_allclose(module.merge()(X), module(X), rtol=1e-5, atol=1e-5)
    a, _ = module.apply_train(module.params, X, key=jax.random.key(0))
    b, _ = module.apply_train(module.params, X, key=jax.random.key(1))
    assert np.any(np.asarray(a) != np.asarray(b))
