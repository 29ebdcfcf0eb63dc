"""Zeros that no framework trains: a second bias, and the vector of PyTorch's padding index."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest

import onnxla
from support.small_models import header, make

RNG = np.random.default_rng(0)
UNITS = 3


def f32(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def embedding(producer: str, zeros: tuple[int, ...]) -> onnxla.Module:
    """[N, 4] tokens of six to [N, 4, 2]."""
    vectors = f32(6, 2)
    vectors[[*zeros]] = 0
    text = " m (int64[N, 4] x) => (float[N, 4, 2] y) { y = Gather (e, x) }"
    return onnxla.load(make(header(20, producer) + text, e=vectors))


def recurrent(op_type: str, gates: int, second: float, producer: str = "tf2onnx") -> onnxla.Module:
    """A network both ways, whose second biases are all one number."""
    first = f32(2, gates * UNITS)
    biases = np.concatenate([first, np.full_like(first, second)], 1)
    text = f""" m (float[4, N, 2] x) => (float[S, 2, N, 3] y) {{
        y = {op_type} <hidden_size = {UNITS}, direction = "bidirectional"> (x, w, r, b)
    }}"""
    weights = {"w": f32(2, gates * UNITS, 2), "r": f32(2, gates * UNITS, UNITS), "b": biases}
    return onnxla.load(make(header(20, producer) + text, **weights))


def gradient(module: onnxla.Module, x: Any, name: str) -> np.ndarray:
    """Of the sum of cubes."""

    def loss(params: Any) -> jax.Array:
        y, _ = module.apply_train(params, x)
        return (y**3 + y).sum()

    return np.asarray(jax.jit(jax.grad(loss))(module.params)[name])


TOKENS = np.arange(24).reshape(6, 4) % 6


def test_the_vector_of_the_padding_index_has_no_gradient() -> None:
    module = embedding("pytorch", (2,))
    got = gradient(module, TOKENS, "e")
    assert not got[2].any()
    assert got[[0, 1, 3, 4, 5]].all()
    (note,) = (n for n in onnxla.check(module.program.model).notes if "filled in" in n)
    assert "vector 2" in note
    assert "'e'" in note
    assert note in str(module.summary())


@pytest.mark.parametrize(
    ("producer", "zeros"),
    [("pytorch", ()), ("pytorch", (1, 2)), ("tf2onnx", (2,))],
    ids=["none", "several", "another framework"],
)
def test_other_vectors_train(producer: str, zeros: tuple[int, ...]) -> None:
    module = embedding(producer, zeros)
    assert gradient(module, TOKENS, "e").all()
    assert not any("filled in" in note for note in onnxla.check(module.program.model).notes)


def test_a_tied_head_trains_the_vector_of_the_padding_index() -> None:
    vectors = f32(6, 2)
    vectors[2] = 0
    text = """ m (int64[N, 4] x) => (float[N, 4, 6] y) {
        h = Gather (e, x) t = Transpose (e) y = MatMul (h, t)
    }"""
    module = onnxla.load(make(header(20, "pytorch") + text, e=vectors))
    h = vectors[TOKENS]

    def loss(params: Any) -> jax.Array:
        return module.apply_train(params, TOKENS)[0][..., 2].sum()

    got = np.asarray(jax.grad(loss)(module.params)["e"])
    # Logit 2 is h @ e[2]: what the other vectors get by it is e[2], and so zero.
    np.testing.assert_allclose(got[2], h.sum((0, 1)), rtol=1e-5)


def test_a_vector_that_is_given_another_value_trains() -> None:
    module = embedding("pytorch", (2,))
    module = module.replace({"e": f32(6, 2)})
    assert gradient(module, TOKENS, "e").all()


@pytest.mark.parametrize(("op_type", "gates"), [("LSTM", 4), ("GRU", 3), ("RNN", 1)])
def test_a_second_bias_that_was_filled_in_has_no_gradient(op_type: str, gates: int) -> None:
    x = f32(4, 5, 2)
    got = gradient(recurrent(op_type, gates, 0), x, "b")
    first, second = np.split(got, 2, axis=1)
    assert first.all()
    assert not second.any()
    for module in (recurrent(op_type, gates, 0.5), recurrent(op_type, gates, 0, "pytorch")):
        assert gradient(module, x, "b").all()


def test_fit_keeps_padding() -> None:
    module = embedding("pytorch", (2,))
    data = TOKENS, f32(6, 4, 2)
    result = onnxla.fit(module, data, "mse", steps=3, progress=False)
    trained = np.asarray(result.module.params["e"])
    assert not trained[2].any()
    assert (trained != np.asarray(module.params["e"])).any()
    assert any("filled in" in note for note in result.history.notes)
