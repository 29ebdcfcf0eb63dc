"""Training semantics: statistics of the batch, running statistics, and values dropped at random."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnxruntime
import pytest

import onnxla
from support.small_models import header, make

RNG = np.random.default_rng(0)
X = RNG.normal(3, 2, (8, 4, 5, 6)).astype(np.float32)
PARAMS = {
    "scale": np.float32([1, 2, 0.5, 3]),
    "bias": np.float32([0, 1, -1, 2]),
    "mean": np.float32([1, 2, 3, 4]),
    "var": np.float32([1, 4, 2, 3]),
}
BODY = """ m (float[N, 4, H, W] x) => (float[N, 4, H, W] y) {
    y = BatchNormalization <epsilon = 0.001, momentum = 0.8 %s> (x, scale, bias, mean, var)
}"""


def normalizing(opset: int = 15, attributes: str = "") -> onnxla.Module:
    return onnxla.load(make(header(opset) + BODY % attributes, **PARAMS))


@pytest.mark.parametrize(
    ("opset", "attributes"),
    [(15, ""), (14, ", training_mode = 0"), (9, ""), (7, ""), (6, ", is_test = 1")],
)
def test_batch_statistics_and_the_next_running_ones(opset: int, attributes: str) -> None:
    module = normalizing(opset, attributes)
    mean, var = X.mean((0, 2, 3)), X.var((0, 2, 3))
    normalized = (X - mean[:, None, None]) / np.sqrt(var + 0.001)[:, None, None]
    expected = normalized * PARAMS["scale"][:, None, None] + PARAMS["bias"][:, None, None]
    for apply in (module.apply_train, jax.jit(module.apply_train)):
        y, updates = apply(module.params, X)
        np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)
        assert set(updates) == {"mean", "var"}
        # ONNX keeps the fraction `momentum` of the old ones; the variance is the population's.
        np.testing.assert_allclose(updates["mean"], 0.8 * PARAMS["mean"] + 0.2 * mean, rtol=1e-5)
        np.testing.assert_allclose(updates["var"], 0.8 * PARAMS["var"] + 0.2 * var, rtol=1e-5)
        assert updates["mean"].dtype == np.float32
    inference = module.apply(module.params, X)
    assert np.abs(np.asarray(inference) - expected).max() > 0.1


@pytest.mark.parametrize("batched", [False, True])
def test_a_file_of_pytorch_has_its_unbiased_variances(batched: bool) -> None:
    text = BODY % ""
    if batched:
        text = text.replace("[N,", "[1,")
    module = onnxla.load(make(header(15, "pytorch") + text, **PARAMS))
    x, module = (X[:, None], module.batched()) if batched else (X, module)
    y, updates = module.apply_train(module.params, x)
    var, unbiased = X.var((0, 2, 3)), X.var((0, 2, 3), ddof=1)
    np.testing.assert_allclose(updates["var"], 0.8 * PARAMS["var"] + 0.2 * unbiased, rtol=1e-6)
    normalized = (X - X.mean((0, 2, 3), keepdims=True)) / np.sqrt(var + 0.001)[:, None, None]
    expected = normalized * PARAMS["scale"][:, None, None] + PARAMS["bias"][:, None, None]
    np.testing.assert_allclose(y.reshape(X.shape), expected, rtol=1e-4, atol=1e-4)


def test_the_gradient_is_that_of_the_batchs_statistics() -> None:
    module = normalizing()

    def loss(params: dict[str, jax.Array], x: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        y, updates = module.apply_train(params, x)
        return (y**3).sum(), updates

    (_, updates), gradient = jax.value_and_grad(loss, has_aux=True)(module.params, X)
    assert set(updates) == {"mean", "var"}
    assert float(jnp.abs(gradient["mean"]).max()) == 0  # not used
    assert float(jnp.abs(gradient["scale"]).min()) > 0
    # Outputs do not change if the whole batch is shifted.
    slope = jax.grad(lambda x: loss(module.params, x)[0])(jnp.asarray(X))
    np.testing.assert_allclose(slope.sum((0, 2, 3)), 0, atol=0.05)


def test_running_statistics_are_saved(tmp_path: Path) -> None:
    module = normalizing()
    params = module.params
    step = jax.jit(module.apply_train)
    for _ in range(40):
        params = {**params, **step(params, X)[1]}
    np.testing.assert_allclose(params["mean"], X.mean((0, 2, 3)), rtol=1e-3)
    path = tmp_path / "live.onnx"
    module.replace(params).save(path)
    (y,) = onnxruntime.InferenceSession(path).run(None, {"x": X})
    np.testing.assert_allclose(y, module.apply_train(params, X)[0], rtol=1e-2, atol=1e-2)


def test_a_function_and_a_branch() -> None:
    text = """<ir_version: 9, opset_import: ["": 15, "local": 1]>
    m (float[N, 4] x, bool c) => (float[N, 4] y) {
        h = local.norm (x, scale, bias, mean, var)
        y = If (c) <
            then_branch = a () => (float[N, 4] p) {
                p = BatchNormalization (h, scale, bias, mean2, var2)
            },
            else_branch = b () => (float[N, 4] q) { q = Identity (h) }
        >
    }
    <domain: "local", opset_import: ["": 15]>
    norm (x, s, b, m, v) => (y) { y = BatchNormalization (x, s, b, m, v) }"""
    second = {"mean2": PARAMS["mean"], "var2": PARAMS["var"]}
    module = onnxla.load(make(text, **PARAMS, **second))
    x = X[:, :, 0, 0]
    for c in (True, False):
        known = module.apply_train(module.params, x, np.asarray(c))[1]
        traced = jax.jit(module.apply_train)(module.params, x, c)[1]
        assert set(known) == {"mean", "var", *(second if c else ())}
        assert set(traced) == {"mean", "var", *second}
        for name, value in {**second, **known}.items():  # of a branch that is not taken, the old
            np.testing.assert_allclose(traced[name], value, rtol=1e-6)
    frozen = partial(module.apply_train, freeze_statistics="var2")
    assert set(jax.jit(frozen)(module.params, x, True)[1]) == {"mean", "var"}


def test_statistics_are_found_through_functions_and_identities() -> None:
    """Each call of a function updates, or leaves, the statistics that it is given."""
    text = """<ir_version: 8, opset_import: ["": 15, "local": 1]>
    m (float[N, 4] x) => (float[N, 4] y) {
        same = Identity (mean)
        h = local.outer (x, scale, bias, same, var)
        y = local.norm (h, scale, bias, mean2, var2)
    }
    <domain: "local", opset_import: ["": 15, "local": 1]>
    outer (x, v, m, b, a) => (y) { c = Identity (b) y = local.norm (x, v, m, c, a) }
    <domain: "local", opset_import: ["": 15]>
    norm (x, s, b, m, v) => (y) { y = BatchNormalization <momentum = 0.8> (x, s, b, m, v) }"""
    second = {"mean2": PARAMS["mean"] + 1, "var2": PARAMS["var"] + 1}
    module = onnxla.load(make(text, **PARAMS, **second))
    x = X[:, :, 0, 0]
    y, updates = module.apply_train(module.params, x)
    assert set(updates) == {"mean", "var", "mean2", "var2"}
    np.testing.assert_allclose(updates["mean"], 0.8 * PARAMS["mean"] + 0.2 * x.mean(0), rtol=1e-5)
    # What the first makes has the mean `bias`.
    expected = 0.8 * second["mean2"] + 0.2 * PARAMS["bias"]
    np.testing.assert_allclose(updates["mean2"], expected, rtol=1e-4, atol=1e-4)
    kept, updates = module.apply_train(module.params, x, freeze_statistics="mean2")
    assert set(updates) == {"mean", "var"}
    assert np.abs(np.asarray(kept) - np.asarray(y)).max() > 0.1


@pytest.mark.parametrize(
    "nodes",
    [
        "a = local.same (mean) y = BatchNormalization (x, scale, bias, a, var)",
        "a = local.same (mean) b = local.same (var) y = BatchNormalization (x, scale, bias, a, b)",
        "a = Transpose (mean) y = BatchNormalization (x, scale, bias, a, var)",
    ],
)
def test_statistics_are_found_through_what_a_function_returns(nodes: str) -> None:
    text = f"""<ir_version: 8, opset_import: ["": 15, "local": 1]>
    m (float[N, 4] x) => (float[N, 4] y) {{ {nodes} }}
    <domain: "local", opset_import: ["": 15]>
    same (x) => (y) {{ y = Identity (x) }}"""
    module = onnxla.load(make(text, **PARAMS))
    _, updates = module.apply_train(module.params, X[:, :, 0, 0])
    assert set(updates) == {"mean", "var"}


def test_statistics_that_are_constants_within_a_function() -> None:
    text = """<ir_version: 8, opset_import: ["": 15, "local": 1]>
    m (float[N, 4] x) => (float[N, 4] y) {
        a, b = local.statistics ()
        y = BatchNormalization (x, scale, bias, a, b)
    }
    <domain: "local", opset_import: ["": 15]>
    statistics () => (a, b) {
        a = Constant <value = float[4] {0, 0, 0, 0}> ()
        b = Constant <value = float[4] {1, 1, 1, 1}> ()
    }"""
    module = onnxla.load(make(text, scale=PARAMS["scale"], bias=PARAMS["bias"]))
    _, updates = module.apply_train(module.params, X[:, :, 0, 0])
    assert set(updates) == {"a", "b"}


def test_a_statistic_that_is_given_as_an_input_is_not_updated() -> None:
    text = """<ir_version: 8, opset_import: ["": 15]>
    m (float[N, 4] x, float[4] mean) => (float[N, 4] y) {
        y = BatchNormalization (x, scale, bias, mean, var)
    }"""
    module = onnxla.load(make(text, **PARAMS))
    x = X[:, :, 0, 0]
    assert set(module.apply_train(module.params, x)[1]) == {"mean", "var"}
    fixed = module.specialize(mean=np.full(4, 100, np.float32))
    assert set(fixed.apply_train(module.params, x)[1]) == {"var"}
    given = {"x": x, "mean": np.zeros(4, np.float32)}
    assert set(module.apply_train(module.params, given)[1]) == {"var"}


DROPPING = [
    (22, "ratio = Constant <value_float = 0.25> () y = Dropout (x, ratio)"),
    (12, "ratio = Constant <value_float = 0.25> () y, mask = Dropout (x, ratio)"),
    (10, "y = Dropout <ratio = 0.25> (x)"),
    (7, "y = Dropout <ratio = 0.25> (x)"),
    (6, "y = Dropout <ratio = 0.25, is_test = 1> (x)"),
]


@pytest.mark.parametrize(("opset", "body"), DROPPING)
def test_values_are_dropped_in_training_only(opset: int, body: str) -> None:
    module = onnxla.load(
        make(header(opset) + f" m (float[N, 100] x) => (float[N, 100] y) {{ {body} }}")
    )
    x, key = np.ones((50, 100), np.float32), jax.random.key(0)
    np.testing.assert_array_equal(module(x), x)
    y, updates = jax.jit(module.apply_train)(module.params, x, key=key)
    assert not updates
    assert np.unique(np.asarray(y)).tolist() == [0, np.float32(1) / np.float32(0.75)]
    assert np.mean(np.asarray(y) == 0) == pytest.approx(0.25, abs=0.03)
    np.testing.assert_array_equal(y, module.apply_train(module.params, x, key=key)[0])
    other, _ = module.apply_train(module.params, x, key=jax.random.key(1))
    assert (np.asarray(other) != np.asarray(y)).any()
    with pytest.raises(ValueError, match="pass key="):
        module.apply_train(module.params, x)


@pytest.mark.parametrize("axes", [0, 1, 2, 3])
def test_the_elements_of_a_batched_module_are_one_batch(axes: int) -> None:
    """A model of batch 1 trains as the same one with a batch, whatever its spatial axes."""
    sizes = (2, 3, 2)[:axes]
    shape = ", ".join(map(str, (4, *sizes)))
    one, whole = (
        onnxla.load(
            make(
                f"""<ir_version: 8, opset_import: ["": 15]>
                m (float[{batch}, {shape}] x) => (float[{batch}, {shape}] y) {{
                    y = BatchNormalization (x, scale, bias, mean, var)
                }}""",
                **PARAMS,
            )
        )
        for batch in ("1", "N")
    )
    x = np.random.default_rng(0).normal(2, 3, (6, 4, *sizes)).astype(np.float32)
    expected, updates = whole.apply_train(whole.params, x)
    y, found = one.batched().apply_train(one.params, x[:, None])
    np.testing.assert_allclose(np.asarray(y)[:, 0], expected, rtol=1e-5, atol=1e-5)
    assert set(found) == {"mean", "var"}
    for name, value in updates.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-5)

    def loss(params: Any, module: onnxla.Module, x: Any) -> Any:
        return (module.apply_train(params, x)[0] ** 3).sum()

    slopes = jax.grad(loss)(one.params, one.batched(), x[:, None])
    for name, value in jax.grad(loss)(whole.params, whole, x).items():
        np.testing.assert_allclose(slopes[name], value, rtol=1e-3, atol=1e-3)


SUBGRAPHS = {
    "a loop": """n = Constant <value = int64 {3}> () t = Constant <value = bool {1}> ()
        y = Loop (n, t, x) <body = b (int64 i, bool c, float[N, 4] h) => (bool d, float[N, 4] k) {
            d = Identity (c) k = BatchNormalization <momentum = 0.8> (h, scale, bias, mean, var)
        }>""",
    "a loop that hands the statistics in": """n = Constant <value = int64 {3}> ()
        t = Constant <value = bool {1}> ()
        y, m, v = Loop (n, t, x, mean, var) <body = b
            (int64 i, bool c, float[N, 4] h, float[4] m0, float[4] v0)
            => (bool d, float[N, 4] k, float[4] m0, float[4] v1) {
            d = Identity (c) v1 = Identity (v0)
            k = BatchNormalization <momentum = 0.8> (h, scale, bias, m0, v0)
        }>""",
    "a scan": """xs = Concat <axis = 0> (x0, x0, x0)
        y, ys = Scan <num_scan_inputs = 1, body = b
            (float[N, 4] h, float[M] e) => (float[N, 4] k, float[N, 4] l) {
            k = BatchNormalization <momentum = 0.8> (h, scale, bias, mean, var) l = Neg (h)
        }> (x, xs)""",
    "one after the other": """a = BatchNormalization <momentum = 0.8> (x, scale, bias, mean, var)
        b = BatchNormalization <momentum = 0.8> (a, scale, bias, mean, var)
        y = BatchNormalization <momentum = 0.8> (b, scale, bias, mean, var)""",
}


@pytest.mark.parametrize("nodes", SUBGRAPHS.values(), ids=SUBGRAPHS)
def test_a_layer_that_is_applied_again_updates_its_statistics_again(nodes: str) -> None:
    axis = "axis = Constant <value = int64[1] {0}> () x0 = Unsqueeze (first, axis)"
    text = f"""<ir_version: 8, opset_import: ["": 15]>
    m (float[N, 4] x, float[4] first) => (float[N, 4] y) {{ {axis} {nodes} }}"""
    module, x = onnxla.load(make(text, **PARAMS)), X[:, :, 0, 0]
    y, updates = jax.jit(module.apply_train)(module.params, x, x[0])
    assert set(updates) == {"mean", "var"}
    h, mean, var = x, PARAMS["mean"], PARAMS["var"]
    for _ in range(3):
        mean, var = 0.8 * mean + 0.2 * h.mean(0), 0.8 * var + 0.2 * h.var(0)
        centred = (h - h.mean(0)) / np.sqrt(h.var(0) + 1e-5)
        h = centred * PARAMS["scale"] + PARAMS["bias"]
    np.testing.assert_allclose(y, h, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(updates["mean"], mean, rtol=1e-4)
    np.testing.assert_allclose(updates["var"], var, rtol=1e-4)
    assert not module.apply_train(module.params, x, x[0], freeze_statistics=True)[1]


def test_a_statistic_that_is_computed_is_told() -> None:
    text = """<ir_version: 8, opset_import: ["": 15]>
    m (float[N, 4] x) => (float[N, 4] y) {
        double = Add (var, var) y = BatchNormalization (x, scale, bias, mean, double)
    }"""
    module, x = onnxla.load(make(text, **PARAMS)), X[:, :, 0, 0]
    with pytest.raises(onnxla.UnsupportedError, match="the running statistic 'double' of Batch"):
        module.apply_train(module.params, x)
    y, updates = module.apply_train(module.params, x, freeze_statistics=True)
    assert not updates
    np.testing.assert_allclose(y, module(x), rtol=1e-6)


def test_a_layer_that_keeps_no_statistics_trains_without_next_ones() -> None:
    """As `track_running_stats=False` is exported: the graph computes those of the batch."""
    body = """ m (float[N, 4, H, W] x) => (float[N, 4, H, W] y) {
        m = ReduceMean <axes = [0, 2, 3], keepdims = 0> (x)
        k = ReduceMean <axes = [0, 2, 3], keepdims = 1> (x)
        c = Sub (x, k) d = Mul (c, c)
        v = ReduceMean <axes = [0, 2, 3], keepdims = 0> (d)
        y = BatchNormalization <epsilon = 0.001> (x, scale, bias, m, v)
    }"""
    arrays = {name: PARAMS[name] for name in ("scale", "bias")}
    module = onnxla.load(make(header(15) + body, **arrays))
    y, updates = module.apply_train(module.params, X)
    assert not updates
    np.testing.assert_allclose(y, normalizing().apply_train(PARAMS, X)[0], rtol=1e-4, atol=1e-4)
