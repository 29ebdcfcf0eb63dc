"""Kernels in the order of XLA's convolution: calls are the same, whatever parameters they get."""

from __future__ import annotations

import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import onnxla
from support.small_models import header, make

RNG = np.random.default_rng(0)


def convolutions() -> bytes:
    text = """ m (float[N, 3, 6, 6] x) => (float[N, 4, 6, 6] y) {
        a = Conv <pads = [1, 1, 1, 1]> (x, w, b)
        c = Conv <pads = [1, 1, 1, 1], group = 2> (a, g)
        d = Conv (c, p)
        e = Mul (d, s)
        y = Conv <pads = [1, 1, 1, 1]> (e, v)
    }"""
    shapes = {"w": (4, 3, 3, 3), "b": (4,), "g": (4, 2, 3, 3), "p": (4, 4, 1, 1), "v": (4, 4, 3, 3)}
    tensors = {name: RNG.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    return make(header() + text, **tensors, s=np.ones(1, np.float32))


def test_which_kernels_are_stored() -> None:
    module = onnxla.load(convolutions())
    assert module.program.kernels == ["w", "v"]


def test_calls_follow_the_parameters() -> None:
    module = onnxla.load(convolutions())
    x = RNG.normal(size=(2, 3, 6, 6)).astype(np.float32)

    def expected(each: onnxla.Module) -> jax.Array:
        return each.apply(each.params, x)

    for each in (
        module,
        module,
        module.replace({"w": module.params["w"] * 2}),
        module,
        pickle.loads(pickle.dumps(module)),
    ):
        np.testing.assert_allclose(each(x), expected(each), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(each(x=x), expected(each), rtol=1e-4, atol=1e-5)
    module.params["v"] = module.params["v"] + 1
    np.testing.assert_allclose(module(x), expected(module), rtol=1e-4, atol=1e-4)


def test_calls_in_a_trace() -> None:
    module = onnxla.load(convolutions())
    x = RNG.normal(size=(2, 3, 6, 6)).astype(np.float32)
    plain = module(x)

    @jax.jit
    def traced(params: dict[str, jax.Array], x: jax.Array) -> jax.Array:
        return jnp.asarray(onnxla.Module(params, module.program)(x))

    np.testing.assert_allclose(traced(module.params, x), plain, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(module(x), plain)
    gradient = jax.grad(lambda params: traced(params, x).sum())(module.params)
    want = jax.grad(lambda params: module.apply(params, x).sum())(module.params)
    for name, value in want.items():
        np.testing.assert_allclose(gradient[name], value, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
def test_other_precisions(dtype: str) -> None:
    module = onnxla.load(convolutions()).astype(dtype)
    x = RNG.normal(size=(2, 3, 6, 6)).astype(np.float32)
    want = module.apply(module.params, module.check_inputs({"x": x})["x"])
    want = np.asarray(want, np.float64)
    tolerance = 1e-10 if dtype == "float64" else 0.1
    scaled = (1e-10 if dtype == "float64" else 0.01) * np.abs(want).max()
    for _ in range(3):
        y = module(x)
        assert y.dtype == dtype
        np.testing.assert_allclose(np.asarray(y, np.float64), want, tolerance, scaled)
