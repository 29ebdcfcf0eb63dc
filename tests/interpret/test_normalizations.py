"""Normalizations that a graph spells out: recognized, and the same in values and gradients."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import onnxla
from onnxla.interpret.normalizations import Normalization
from onnxla.interpret.rules.budget import equations
from onnxla.testing import OnnxRuntime
from support.small_models import header, make

pytestmark = pytest.mark.quickly

CENTERED = "m = ReduceMean (x, axes) c = Sub (x, m)"
VARIANCE = "q = Pow (c, two) v = ReduceMean (q, axes) e = Add (v, eps) s = Sqrt (e)"
SCALED = "z = Mul (n, g) y = Add (z, g)"
# What ends with n, the normalized values.
FORMS = {
    "quotient": f"{CENTERED} {VARIANCE} n = Div (c, s)",
    "square by a product": f"{CENTERED} q = Mul (c, c) v = ReduceMean (q, axes) e = Add (eps, v)"
    " s = Sqrt (e) n = Div (c, s)",
    "two differences": f"{CENTERED} {VARIANCE} d = Sub (x, m) n = Div (d, s)",
    "reciprocal": f"{CENTERED} {VARIANCE} r = Reciprocal (s) n = Mul (r, c)",
    "one over": f"{CENTERED} {VARIANCE} r = Div (one, s) n = Mul (c, r)",
    "root mean square": f"c = Identity (x) {VARIANCE} r = Div (one, s) n = Mul (c, r)",
    "root mean square of a difference": f"c = Sub (x, h) {VARIANCE} n = Div (c, s)",
    "another mean taken off": f"m = ReduceMean (h, axes) c = Sub (x, m) {VARIANCE} n = Div (c, s)",
    "several axes": f"{CENTERED} {VARIANCE} n = Div (c, s)",
}
# Those that look alike and mean something else, or cannot be told.
OTHERS = {
    "another exponent": (f"{CENTERED} {VARIANCE} n = Div (c, s)", {"two": np.float32(4)}),
    "other axes": (
        f"{CENTERED} q = Mul (c, c) v = ReduceMean (q, first) e = Add (v, eps) s = Sqrt (e)"
        " n = Div (c, s)",
        {"first": np.array([1])},
    ),
    "an epsilon for each feature": (
        f"{CENTERED} {VARIANCE} n = Div (c, s)",
        {"eps": np.array([1, 2, 3, 4], np.float32)},
    ),
    "axes that are dropped": (
        """m = ReduceMean <keepdims = 0> (x, axes) k = Unsqueeze (m, axes) c = Sub (x, k)
           q = Mul (c, c) v = ReduceMean <keepdims = 0> (q, axes) e = Add (v, eps) s = Sqrt (e)
           l = Unsqueeze (s, axes) n = Div (c, l)""",
        {},
    ),
    "squares of something else": (
        f"{CENTERED} q = Mul (x, x) v = ReduceMean (q, axes) e = Add (v, eps) s = Sqrt (e)"
        " n = Div (c, s)",
        {},
    ),
}


def model(form: str, outputs: str = "", **tensors: Any) -> bytes:
    given = {
        "axes": np.array([-1]),
        "two": np.float32(2),
        "eps": np.float32(1e-3),
        "one": np.float32(1),
        "g": np.array([0.5, 1, 2, 3], np.float32),
        "h": np.array([0.5, -1, 0, 3], np.float32),
    } | tensors
    text = f" m (float[B, 3, 4] x) => (float[B, 3, 4] y{outputs}) {{ {form} {SCALED} }}"
    used = {name: np.asarray(value) for name, value in given.items() if name in text}
    return make(header() + text, **used)


def check(file: bytes, recognized: bool) -> None:
    module = onnxla.load(file)
    plain = onnxla.Module(module.params, replace(module.program, recognize=False))
    found = [n for n in module.program.lowered(None).nodes if isinstance(n, Normalization)]
    assert bool(found) >= recognized
    x = np.random.default_rng(0).normal(1, 2, (2, 3, 4)).astype(np.float32)
    names = [str(p) for p in primitives(module, x)]
    assert ("slope" in names) == recognized
    # ONNX Runtime's own fusion takes any exponent for 2.
    (want, *_) = OnnxRuntime(optimized=False).run(file, {"x": x})
    for each in (module, plain):
        np.testing.assert_allclose(each.run({"x": x})["y"], want, rtol=1e-4, atol=1e-5)

    def gradient(each: onnxla.Module) -> Any:
        def loss(params: Any, x: Any) -> Any:
            return jnp.sum(jnp.sin(jax.tree.leaves(each.apply(params, x))[0]))

        return jax.grad(loss, (0, 1))(each.params, x)

    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-3, atol=1e-4)  # noqa: E731
    jax.tree.map(close, gradient(module), gradient(plain))


def primitives(module: onnxla.Module, x: np.ndarray) -> list[Any]:
    def loss(x: Any) -> Any:
        return jnp.sum(jax.tree.leaves(module.apply(module.params, x))[0])

    return [e.primitive for e in equations(jax.make_jaxpr(jax.grad(loss))(x).jaxpr)]


@pytest.mark.parametrize("name", FORMS)
def test_normalizations_are_recognized(name: str) -> None:
    axes = {"axes": np.array([2, -2])} if name == "several axes" else {}
    check(model(FORMS[name], **axes), recognized=True)


@pytest.mark.parametrize("name", OTHERS)
def test_what_looks_alike_is_what_it_is(name: str) -> None:
    form, tensors = OTHERS[name]
    check(model(form, **tensors), recognized=False)


def test_intermediate_values_stay() -> None:
    file = model(FORMS["quotient"], ", float[B, 3, 1] s, float[B, 3, 4] c")
    check(file, recognized=True)
    module = onnxla.load(file)
    x = np.random.default_rng(0).normal(1, 2, (2, 3, 4)).astype(np.float32)
    want = OnnxRuntime(optimized=False).run(file, {"x": x})
    for got, expected in zip(module(x), want, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
    got = module.apply(module.params, x, outputs=["v", "n"])
    np.testing.assert_allclose(got[0], x.var(-1, keepdims=True), rtol=1e-5)


def test_axes_as_an_attribute() -> None:
    form = """m = ReduceMean <axes = [-1]> (x) c = Sub (x, m) q = Pow (c, two)
              v = ReduceMean <axes = [-1]> (q) e = Add (v, eps) s = Sqrt (e) n = Div (c, s)"""
    text = header(13) + f" m (float[B, 3, 4] x) => (float[B, 3, 4] y) {{ {form} {SCALED} }}"
    tensors = {"two": np.float32(2), "eps": np.float32(1e-3), "g": np.ones(4, np.float32)}
    file = make(text, **{k: np.asarray(v) for k, v in tensors.items()})
    check(file, recognized=True)


@pytest.mark.parametrize("axis", [3, -4])
def test_an_axis_that_there_is_not_is_an_error(axis: int) -> None:
    module = onnxla.load(model(FORMS["quotient"], axes=np.array([axis])))
    with pytest.raises((onnxla.ModelError, ValueError), match="axis"):
        module(np.ones((2, 3, 4), np.float32))


def test_in_double_precision() -> None:
    module = onnxla.load(model(FORMS["quotient"])).astype("float64")
    x = np.random.default_rng(0).normal(1, 2, (2, 3, 4))
    n = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + np.float32(1e-3))
    g = np.array([0.5, 1, 2, 3])
    np.testing.assert_allclose(module(x), n * g + g, rtol=1e-12)


def test_the_file_keeps_its_nodes() -> None:
    module = onnxla.load(model(FORMS["quotient"]))
    assert [node.op_type for node in module.to_ir().graph.nodes][-3:] == ["Div", "Mul", "Add"]
