"""JAX's transformations of models compose, of real ones and of every kind of control flow."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree

import onnxla
from support.compiling import TWO_DEVICES
from support.real_models import FURTHER, LISTED
from support.small_models import header, make

pytestmark = pytest.mark.quickly

RNG = np.random.default_rng(0)


def f32(*shape: int) -> np.ndarray:
    return (RNG.standard_normal(shape) / 2).astype(np.float32)


# Small models: the text, the tensors, and the shape of `x`.
SMALL: dict[str, tuple[str, dict[str, np.ndarray], tuple[int, ...]]] = {
    "convolutions": (
        """ m (float[N, 2, 6, 6] x) => (float[N, 3] y) {
            a = Conv <pads = [1, 1, 1, 1]> (x, k, b)
            c = BatchNormalization (a, s, b, m, v)
            d = Gelu (c)
            e = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (d)
            f = GlobalAveragePool (e)
            y = Flatten (f)
        }""",
        {
            **{"k": f32(3, 2, 3, 3), "b": f32(3), "s": f32(3), "m": f32(3)},
            "v": np.abs(f32(3)) + 1,
        },
        (4, 2, 6, 6),
    ),
    "lstm": (
        """ m (float[4, N, 3] x) => (float[N, 5] y) {
            all, h, cell = LSTM <hidden_size = 5> (x, w, r, b)
            axes = Constant <value_ints = [0]> ()
            y = Squeeze (h, axes)
        }""",
        {"w": f32(1, 20, 3), "r": f32(1, 20, 5), "b": f32(1, 40)},
        (4, 2, 3),
    ),
    "gru": (
        """ m (float[4, N, 3] x) => (float[N, 5] y) {
            all, h = GRU <hidden_size = 5, linear_before_reset = 1> (x, w, r, b)
            axes = Constant <value_ints = [0]> ()
            y = Squeeze (h, axes)
        }""",
        {"w": f32(1, 15, 3), "r": f32(1, 15, 5), "b": f32(1, 30)},
        (4, 2, 3),
    ),
    "loop": (
        """ m (float[N, 3] x) => (float[N, 3] y) {
            n = Constant <value = int64 {3}> ()
            y = Loop (n, , x) <
                body = body (int64 i, bool c, float[N, 3] a) => (bool c, float[N, 3] d) {
                    h = MatMul (a, w)
                    d = Tanh (h)
                }
            >
        }""",
        {"w": f32(3, 3)},
        (2, 3),
    ),
    "scan": (
        """ m (float[5, 3] x) => (float[5, 3] y) {
            s, y = Scan <num_scan_inputs = 1, body = body (float[3] s, float[3] e)
                => (float[3] t, float[3] o) {
                    h = MatMul (s, w)
                    g = Add (h, e)
                    t = Tanh (g)
                    o = Mul (t, v)
                }
            > (start, x)
        }""",
        {"start": f32(3), "w": f32(3, 3), "v": f32(3)},
        (5, 3),
    ),
    "if": (
        """ m (float[N, 3] x) => (float[N, 3] y) {
            total = ReduceSum <keepdims = 0> (x)
            zero = Constant <value = float {0}> ()
            c = Greater (total, zero)
            y = If (c) <
                then_branch = then () => (float[N, 3] a) { h = MatMul (x, w) a = Tanh (h) },
                else_branch = else () => (float[N, 3] b) { h = MatMul (x, v) b = Sigmoid (h) }
            >
        }""",
        {"w": f32(3, 3), "v": f32(3, 3)},
        (2, 3),
    ),
}


@functools.cache
def small(name: str) -> tuple[onnxla.Module, np.ndarray]:
    text, tensors, shape = SMALL[name]
    return onnxla.load(make(header() + text, **tensors)), f32(*shape)


def real(name: str) -> tuple[onnxla.Module, list[dict[str, np.ndarray]]]:
    model = {**LISTED, **FURTHER}[name]
    return onnxla.load(model.load()), [model.feeds(1, seed) for seed in (0, 1, 2)]


def close(a: Any, b: Any, rtol: float = 1e-4) -> None:
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        scale = float(np.abs(np.asarray(y)).max(initial=0))
        np.testing.assert_allclose(x, y, rtol=rtol, atol=rtol * scale + 1e-7)


def flat_loss(name: str) -> tuple[Callable[[jax.Array], jax.Array], jax.Array]:
    """A small model's loss as a function of its learned weights as one vector, and the vector."""
    module, x = small(name)
    train, frozen = module.partition()
    start, unravel = ravel_pytree(train)

    def loss(vector: jax.Array) -> jax.Array:
        return jnp.mean(module.apply({**unravel(vector), **frozen}, x) ** 2)

    return loss, start


@pytest.mark.parametrize("name", [name for name in SMALL if name != "gru"])  # as lstm
def test_derivatives_agree_however_they_are_taken(name: str) -> None:
    loss, start = flat_loss(name)
    v = jnp.asarray(RNG.standard_normal(start.shape), start.dtype)
    gradient = jax.grad(loss)

    def first(p: jax.Array) -> dict[str, jax.Array]:
        value, linear = jax.linearize(loss, p)
        return {
            "jvp": jax.jvp(loss, (p,), (v,))[1],
            "linearize": linear(v),
            "vjp": jnp.vdot(jax.vjp(loss, p)[1](jnp.ones_like(value))[0], v),
            "checkpoint": jnp.vdot(jax.grad(jax.checkpoint(loss))(p), v),
        }

    def second(p: jax.Array) -> dict[str, jax.Array]:
        return {
            "forward over reverse": jax.jvp(gradient, (p,), (v,))[1],
            "reverse over reverse": jax.grad(lambda q: jnp.vdot(gradient(q), v))(p),
            "reverse over forward": jax.grad(lambda q: jax.jvp(loss, (q,), (v,))[1])(p),
        }

    for found in jax.jit(lambda p: (first(p), second(p)))(start):
        expected, *others = found.values()
        assert float(jnp.abs(expected).max()) > 0
        for other in others:
            close(other, expected, 1e-3)
    assert jax.eval_shape(loss, start).shape == ()


@pytest.mark.parametrize("name", ["loop", "if"])
def test_hessian_and_jacobians(name: str) -> None:
    loss, start = flat_loss(name)
    hessian = jax.jit(jax.hessian(loss))(start)
    close(hessian, hessian.T)
    close(jax.jit(jax.jacrev(jax.jacfwd(loss)))(start), hessian)
    step = 1e-2  # central differences of the gradient
    gradient = jax.jit(jax.grad(loss))
    e = jnp.zeros_like(start).at[1].set(step)
    numeric = (gradient(start + e) - gradient(start - e)) / (2 * step)
    np.testing.assert_allclose(hessian[1], numeric, rtol=0.05, atol=1e-3)


@pytest.mark.parametrize("name", SMALL)
def test_ten_steps_lower_the_loss_and_onnx_runtime_agrees(name: str, tmp_path: Path) -> None:
    module, x = small(name)
    train, frozen = module.partition()
    target = jnp.asarray(RNG.standard_normal(np.shape(module(x))), jnp.float32) / 2
    optimizer = optax.adam(0.02)

    def loss(train: dict[str, jax.Array]) -> jax.Array:
        return jnp.mean((module.apply({**train, **frozen}, x) - target) ** 2)

    @jax.jit
    def step(train: Any, state: Any) -> Any:
        value, gradient = jax.value_and_grad(loss)(train)
        updates, state = optimizer.update(gradient, state)
        return optax.apply_updates(train, updates), state, value

    state, losses = optimizer.init(train), []
    with jax.numpy_dtype_promotion("standard"):
        for _ in range(10):
            train, state, value = step(train, state)
            losses.append(float(value))
    assert losses[-1] < 0.95 * losses[0]
    assert all(np.asarray(train[k] != module.params[k]).any() for k in train) or name == "if"
    tuned = module.replace(train)
    tuned.save(tmp_path / "m.onnx", check={"x": x}, tolerance=1e-5)


# Real models


def test_per_example_gradients_equal_single_ones() -> None:
    module, feeds = real("openwakeword/timer")
    train, frozen = module.partition()
    (key,) = feeds[0]

    def loss(train: dict[str, jax.Array], x: jax.Array) -> jax.Array:
        return jnp.log(module.apply({**train, **frozen}, x).max())

    stacked = jnp.stack([f[key] for f in feeds])
    gradients = jax.jit(jax.vmap(jax.grad(loss), (None, 0)))(train, stacked)
    single = jax.jit(jax.grad(loss))
    for i, feed in enumerate(feeds):
        close(jax.tree.map(lambda g, i=i: g[i], gradients), single(train, feed[key]), 1e-3)


def test_second_derivatives_of_a_real_recurrent_network() -> None:
    module, feeds = real("silero_vad/half")
    name = "decoder.decoder.2.bias"

    def probability(bias: jax.Array) -> jax.Array:
        return module.apply({**module.params, name: bias}, **feeds[0])[0].sum()

    bias = module.params[name]
    p, slope, curvature = jax.jit(
        lambda b: (probability(b), jax.grad(probability)(b), jax.hessian(probability)(b))
    )(bias)
    # The bias goes into a sigmoid, so derivatives are p (1 - p) and p (1 - p) (1 - 2 p).
    np.testing.assert_allclose(slope[0], p * (1 - p), rtol=1e-4)
    np.testing.assert_allclose(curvature[0, 0], p * (1 - p) * (1 - 2 * p), rtol=1e-3)


def test_batched_where_the_batch_of_one_is_written_in() -> None:
    module, feeds = real("openwakeword/hey_jarvis")
    (key,) = feeds[0]
    stacked = np.stack([f[key] for f in feeds])
    batched = module.batched()
    outputs = batched.run({key: stacked})
    for i, feed in enumerate(feeds):
        close({k: v[i] for k, v in outputs.items()}, module.run(feed))
    gradient = jax.jit(jax.grad(lambda p: batched.apply(p, stacked).sum()))(batched.params)
    assert all(np.isfinite(np.asarray(g)).all() for g in gradient.values())


SHARDED = """
import sys
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
import onnxla
module = onnxla.load(sys.argv[1])
x = np.random.default_rng(0).standard_normal((8, 3)).astype(np.float32)
mesh = Mesh(np.array(jax.devices()), ("batch",))
split = jax.device_put(x, NamedSharding(mesh, PartitionSpec("batch")))
params = jax.device_put(module.params, NamedSharding(mesh, PartitionSpec()))
gradient = jax.jit(jax.grad(lambda p, x: (module.apply(p, x) ** 2).mean()))
found, expected = gradient(params, split), gradient(module.params, x)
for name in expected:
    np.testing.assert_allclose(found[name], expected[name], rtol=1e-5)
print(len(split.sharding.device_set), module.apply(params, split).sharding.spec[0])
"""


def test_data_parallel_on_two_devices(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    text = " m (float[N, 3] x) => (float[N, 2] y) { h = MatMul (x, w) y = Tanh (h) }"
    path.write_bytes(make(header() + text, w=f32(3, 2)))
    result = subprocess.run(
        [sys.executable, "-c", SHARDED, str(path)],
        env={**os.environ, **TWO_DEVICES},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.split() == ["2", "batch"]
