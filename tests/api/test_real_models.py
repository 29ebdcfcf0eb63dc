"""Real models end to end: outputs, gradients, fine-tuning, saving. Verified by ONNX Runtime."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import onnxla
from onnxla.peers.difference import Tolerance, difference
from onnxla.peers.onnx_runtime import OnnxRuntime
from support.lowering import edited
from support.real_models import ALIKE, FURTHER, LARGE, LISTED, RealModel, in_double_precision

MODELS = {**LISTED, **FURTHER}
THEIRS = OnnxRuntime(optimized=True, threads=1)


# `make test` takes this model through everything, and calls each other one once, but the largest.
SHOWN = "deepfilternet/erb_dec"
LARGEST = {f"light/{name}" for name in LARGE}


def grouped(name: str, *values: Any, more: bool, quickly: bool = False) -> Any:
    """A test's parameters, all of one model to be run by one worker, which loads it once."""
    marks = {"more": more, "quickly": quickly}
    chosen = [getattr(pytest.mark, mark) for mark, holds in marks.items() if holds]
    return pytest.param(name, *values, marks=[pytest.mark.xdist_group(name), *chosen])


NAMED = [
    grouped(name, more=name != SHOWN, quickly=model.quickly)
    for name, model in MODELS.items()
    if name not in ALIKE
]
SIZED = [
    grouped(name, size, more=name != SHOWN, quickly=model.quickly)
    for name, model in MODELS.items()
    for size in model.sizes
]
# As users compile them.
CALLED = [
    grouped(name, size, more=name in LARGEST or (name != SHOWN and size != model.sizes[0]))
    for name, model in MODELS.items()
    for size in model.sizes
]


@functools.lru_cache(maxsize=1)
def loaded(name: str) -> tuple[RealModel, bytes, onnxla.Module]:
    jax.clear_caches()  # no model uses another's programs, and those of large ones hold much memory
    model = MODELS[name]
    data = model.load()
    return model, data, onnxla.load(data)


@functools.lru_cache(maxsize=4)
def expected(name: str, size: int) -> list[np.ndarray]:
    model, data, _ = loaded(name)
    return THEIRS.run(data, model.feeds(size))


def assert_agree(ours: Any, theirs: list[np.ndarray]) -> None:
    ours = ours if isinstance(ours, tuple) else (ours,)
    found = difference(ours, theirs, Tolerance(relative=1e-3, scaled=1e-4, absolute=1e-10))
    assert found.ok, found


def split(
    module: onnxla.Module, feeds: Mapping[str, np.ndarray]
) -> tuple[dict[str, jax.Array], dict[str, np.ndarray]]:
    """Inputs to trace, and those that decide a shape, which a caller of `apply` must keep known."""
    static = set(module.program.parameters.static_inputs) | {"sr"}
    known = {name: value for name, value in feeds.items() if name in static}
    return {n: jnp.asarray(v) for n, v in feeds.items() if n not in known}, known


@pytest.mark.parametrize(("name", "size"), CALLED)
def test_call(name: str, size: int) -> None:
    model, _, module = loaded(name)
    assert_agree(tuple(module.run(model.feeds(size)).values()), expected(name, size))
    assert not module.program.data_dependent


@pytest.mark.parametrize(("name", "size"), SIZED)
def test_jit_apply(name: str, size: int) -> None:
    model, _, module = loaded(name)
    traced, known = split(module, model.feeds(size))
    apply = jax.jit(lambda params, inputs: module.apply(params, **inputs, **known))
    assert_agree(apply(module.params, traced), expected(name, size))


@pytest.mark.parametrize("name", NAMED)
def test_vmap(name: str) -> None:
    model, data, module = loaded(name)
    size = model.sizes[-1]
    feeds = [model.feeds(size, seed) for seed in (0, 1)]
    known = split(module, feeds[0])[1]
    stacked = jax.tree.map(lambda *xs: jnp.stack(xs), *(split(module, f)[0] for f in feeds))
    apply = jax.vmap(lambda p, inputs: module.apply(p, **inputs, **known), in_axes=(None, 0))
    outputs = jax.jit(apply)(module.params, stacked)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    for index, feed in enumerate(feeds):
        assert_agree(tuple(y[index] for y in outputs), THEIRS.run(data, {**feed, **known}))


# Loops compute again what the backward pass needs, so that one program tests both.
WAYS: dict[str, dict[str, bool]] = {
    "loops that compute again": {"roll": True, "remat": True},
    "no loops": {"roll": False},
    "as spelled out": {"recognize": False},
}
# A step small enough to meet no kink on the way, and large enough to be seen in double precision.
STEPS = (1e-8, 1e-7, 1e-9)


@pytest.mark.parametrize("name", NAMED)
def test_gradient_of_all_parameters(name: str) -> None:
    """Against central differences along random directions, in double precision; all ways to XLA.

    Exported weights sit on kinks: a dead channel is exactly zero where Relu bends. So the point is
    moved off them first, by a thousandth of each parameter's size.
    """
    model, data, _ = loaded(name)
    with jax.enable_x64(True):
        module = onnxla.load(in_double_precision(onnxla.ir.read(data)))
        feeds = {
            k: v.astype(np.float64) if v.dtype == np.float32 else v
            for k, v in model.feeds(model.sizes[0]).items()
        }
        traced, known = split(module, feeds)
        rng = np.random.default_rng(0)
        weights = [rng.standard_normal(y.shape) for y in expected(name, model.sizes[0])]

        def scalar(module: onnxla.Module, params: Mapping[str, jax.Array]) -> jax.Array:
            outputs = module.apply(params, **traced, **known)
            outputs = outputs if isinstance(outputs, tuple) else (outputs,)
            return sum(jnp.vdot(w, y) for w, y in zip(weights, outputs, strict=True))

        def gradient_of(module: onnxla.Module) -> dict[str, jax.Array]:
            return jax.jit(jax.grad(functools.partial(scalar, module)))(module.params)

        def moved(
            point: Mapping[str, jax.Array], direction: Mapping[str, jax.Array], step: float
        ) -> dict[str, jax.Array]:
            return {k: p + step * direction[k].astype(p.dtype) for k, p in point.items()}

        sizes = {k: size_of(p, module.roles[k]) for k, p in module.params.items()}

        def random_direction() -> dict[str, np.ndarray]:
            return {
                k: rng.standard_normal(module.params[k].shape, np.float32) * size
                for k, size in sizes.items()
            }

        value = jax.jit(
            lambda point, direction, step: scalar(module, moved(point, direction, step))
        )
        point = jax.jit(moved, donate_argnums=0)(module.params, random_direction(), 1e-3)
        module = module.replace(point)
        gradient = gradient_of(module)
        for _ in range(3):
            direction = random_direction()
            slope = sum(
                float(jnp.vdot(gradient[k], direction[k].astype(np.float64))) for k in direction
            )
            errors = []
            for step in STEPS:
                above, below = (float(value(point, direction, s)) for s in (step, -step))
                numeric = (above - below) / (2 * step)
                errors.append(abs(slope - numeric) / abs(numeric))
                if errors[-1] <= 1e-4:
                    break
            assert errors[-1] <= 1e-4, errors
        for way, options in WAYS.items():
            if (other := edited(module, **options)) is not None:
                got = gradient_of(other)
                for key, want in gradient.items():
                    near = 1e-9 * float(jnp.abs(want).max(initial=0))
                    np.testing.assert_allclose(got[key], want, 1e-6, near, err_msg=(way, key))


def size_of(value: jax.Array, role: str) -> np.ndarray:
    """By how much to change a parameter: by its own scale; infinite elements stay."""
    value = np.asarray(value, np.float32)
    if role == "running_statistic":  # a variance may be almost zero, and must not become negative
        return np.abs(value)
    finite = np.isfinite(value)
    scale = np.sqrt(np.mean(np.square(value), where=finite)) if finite.any() else np.float32(0)
    return scale if finite.all() else np.where(finite, scale, np.float32(0))


@pytest.mark.parametrize("name", NAMED)
def test_adam_lowers_a_loss_and_the_saved_file_agrees(name: str, tmp_path: Path) -> None:
    model, _, module = loaded(name)
    feeds = model.feeds(model.sizes[0])
    traced, known = split(module, feeds)
    train, frozen = module.partition(*model.train)
    start = [np.asarray(y) for y in module.run(feeds).values()]
    scales = [max(float(np.sqrt(np.mean(np.square(y)))), 0.05) for y in start]
    rng = np.random.default_rng(0)
    noise = [rng.standard_normal(y.shape).astype(y.dtype) for y in start]
    targets = [y + s * n for y, s, n in zip(start, scales, noise, strict=True)]

    optimizer = optax.adam(model.rate)

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def step(train: Any, state: Any) -> Any:
        def loss(train: Any) -> jax.Array:
            outputs = module.apply({**train, **frozen}, **traced, **known)
            outputs = outputs if isinstance(outputs, tuple) else (outputs,)
            return sum(
                jnp.mean(((y - t) / s) ** 2)
                for y, t, s in zip(outputs, targets, scales, strict=True)
            )

        value, gradient = jax.value_and_grad(loss)(train)
        updates, state = optimizer.update(gradient, state, train)
        return optax.apply_updates(train, updates), state, value

    train = jax.tree.map(jnp.copy, train)  # the steps take its memory, which is the module's
    state, losses = optimizer.init(train), []
    with jax.numpy_dtype_promotion("standard"):  # optax promotes step counts
        for _ in range(10):
            train, state, value = step(train, state)
            losses.append(float(value))
    assert losses[-1] < losses[0]

    tuned = module.replace(train)
    path = tmp_path / "tuned.onnx"
    tuned.save(path)
    ours = tuple(tuned.run(feeds).values())
    assert_agree(ours, THEIRS.run_file(path, feeds))
    again = onnxla.load(path)
    for key, value in tuned.params.items():
        np.testing.assert_array_equal(np.asarray(value), np.asarray(again.params[key]))
