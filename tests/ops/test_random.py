"""Operators that draw random numbers: their distributions, and where the randomness comes from."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import onnxla
from onnxla.ops.activation import dropout, dropout_6, dropout_7, dropout_10
from onnxla.ops.random import (
    bernoulli,
    multinomial,
    random_normal,
    random_normal_like,
    random_uniform,
    random_uniform_like,
)

KEY = jax.random.key(0)
ONES = np.ones((100, 100), np.float32)


def moments(x: Any) -> tuple[float, float]:
    return float(np.mean(x)), float(np.std(x))


@pytest.mark.parametrize("number", [1, 10, 11, 16])
def test_normal_and_uniform(number: int) -> None:
    with jax.enable_x64(True):
        x = random_normal(shape=(100, 100), dtype=number, mean=2.0, scale=3.0, key=KEY)
        y = random_uniform(shape=(100, 100), dtype=number, low=-1.0, high=3.0, key=KEY)
        z = random_normal_like(y, key=KEY)
        w = random_uniform_like(np.zeros((100, 100), np.int8), dtype=number, key=KEY)
    assert x.dtype == y.dtype == z.dtype == w.dtype
    assert moments(np.asarray(x, np.float64)) == pytest.approx((2, 3), abs=0.1)
    assert moments(np.asarray(y, np.float64)) == pytest.approx((1, 4 / 12**0.5), abs=0.1)
    assert moments(np.asarray(z, np.float64)) == pytest.approx((0, 1), abs=0.1)
    assert moments(np.asarray(w, np.float64)) == pytest.approx((0.5, 12**-0.5), abs=0.1)


def test_bernoulli() -> None:
    x = bernoulli(ONES * np.float32([0.25] * 50 + [0.75] * 50), dtype=TensorProto.INT32, key=KEY)
    assert x.dtype == np.int32
    assert np.unique(x).tolist() == [0, 1]
    assert float(x[:, :50].mean()) == pytest.approx(0.25, abs=0.02)
    assert float(x[:, 50:].mean()) == pytest.approx(0.75, abs=0.02)


def test_multinomial() -> None:
    x = np.log(np.float32([[1, 2, 5], [5, 2, 1]]))
    with jax.enable_x64(True):  # as the interpreter calls it
        drawn = np.asarray(multinomial(x, sample_size=5000, dtype=TensorProto.INT32, key=KEY))
    assert drawn.dtype == np.int32
    shares = [np.bincount(row, minlength=3) / 5000 for row in drawn]
    np.testing.assert_allclose(shares, np.exp(x) / 8, atol=0.03)


def test_dropout_keeps_the_mean() -> None:
    y, mask = dropout(ONES, np.asarray(0.2), key=KEY, train=True)
    np.testing.assert_allclose(np.unique(y), [0, 1.25])
    assert (np.asarray(mask) == (np.asarray(y) != 0)).all()
    assert float(y.mean()) == pytest.approx(1, abs=0.02)


def test_dropout_trains_when_told_so() -> None:
    assert dropout(ONES, None, np.asarray(False))[0] is ONES
    assert dropout_10(ONES)[0] is ONES
    assert dropout_6(ONES, is_test=1)[0] is ONES
    trained = [
        dropout(ONES, None, np.asarray(True), key=KEY),
        dropout(ONES, key=KEY, train=True),
        dropout_10(ONES, key=KEY, train=True),
        dropout_7(ONES, key=KEY, train=True),
        dropout_6(ONES, key=KEY),
    ]
    assert [mask.dtype.kind for _, mask in trained] == ["b", "b", "b", "f", "f"]
    for y, _ in trained:
        assert float((y == 0).mean()) == pytest.approx(0.5, abs=0.03)


def test_dropout_in_a_narrow_float() -> None:
    y, _ = dropout(ONES.astype(np.float16), np.asarray(0.5, np.float16), key=KEY, train=True)
    assert y.dtype == np.float16


def test_a_key_or_a_seed_decides() -> None:
    shape = (3,)
    seeded = random_normal(shape=shape, seed=1.5)
    np.testing.assert_array_equal(seeded, random_normal(shape=shape, seed=1.5))
    assert (seeded != random_normal(shape=shape, seed=2.5)).any()
    np.testing.assert_array_equal(
        random_normal(shape=shape, seed=1.5, key=KEY), random_normal(shape=shape, key=KEY)
    )
    with pytest.raises(ValueError, match=r"pass key=jax\.random\.key"):
        random_normal(shape=shape)


def test_nodes_draw_independently() -> None:
    nodes = [helper.make_node("RandomUniform", [], [name], shape=[4]) for name in "ab"]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [4]) for name in "ab"]
    graph = helper.make_graph(nodes, "g", [], outputs)
    module = onnxla.load(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)]))
    a, b = module(key=KEY)
    assert (np.asarray(a) != np.asarray(b)).all()
    np.testing.assert_array_equal(a, module(key=KEY)[0])
    with pytest.raises(ValueError, match="pass key="):
        module()


def test_steps_of_a_loop_draw_independently() -> None:
    text = """<ir_version: 9, opset_import: ["": 20]>
    m (int64 n) => (float[N, 4] rows) {
        rows = Loop (n, ) <
            body = step (int64 i, bool go) => (bool go_on, float[4] row) {
                go_on = Identity (go)
                row = RandomUniform <shape = [4]> ()
            }
        >
    }"""
    module = onnxla.load(onnx.parser.parse_model(text))
    rows = np.asarray(module(np.asarray(3), key=KEY))
    assert len(np.unique(rows)) == 12


@pytest.mark.parametrize("node", ["RandomNormal", "RandomUniform", "Bernoulli", "Multinomial"])
def test_double_precision_in_a_callers_jit(node: str) -> None:
    """The caller may compile where 64-bit types are disabled, as is JAX's default."""
    attributes = "<dtype = 11, shape = [500]>" if node.startswith("Random") else ""
    operands = "(p)" if node in ("Bernoulli", "Multinomial") else "()"
    kind = "int32[2, 1]" if node == "Multinomial" else "double[N]"
    module = onnxla.load(
        onnx.parser.parse_model(
            f"""<ir_version: 9, opset_import: ["": 20]>
            m (double[A, B] p) => ({kind} y) {{ y = {node} {attributes} {operands} }}"""
        )
    )
    p = np.full((2, 300), 0.25)
    y = jax.jit(lambda key: module.apply(module.params, p, key=key))(KEY)
    np.testing.assert_array_equal(y, module(p, key=KEY))
    if node.startswith("Random"):
        assert y.dtype == np.float64
        assert len(np.unique(np.asarray(y))) == 500
        exact = np.asarray(y, np.float64)
        assert (exact != exact.astype(np.float32)).any()
