"""Training in float64, which JAX would make float32: of files that have it, and by `astype`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import optax
import pytest

import onnxla
from support.small_models import header, linear, make

RNG = np.random.default_rng(0)
X, T = RNG.standard_normal((24, 3)), RNG.standard_normal((24, 2))
THIRD = np.float64(1 / 3)
DOUBLE = make(
    header()
    + """ m (double[N, 3] x) => (double[N, 2] y) {
        n = BatchNormalization (x, s, b0, m, v)
        h = MatMul (n, w)
        k = Add (h, kept)
        y = Add (k, b)
    }""",
    s=np.full(3, THIRD),
    b0=np.full(3, THIRD),
    m=np.full(3, THIRD),
    v=np.full(3, THIRD),
    w=RNG.standard_normal((3, 2)) * THIRD,
    kept=np.full((1, 2), THIRD),
    b=np.full(2, THIRD),
)

fit = partial(onnxla.fit, loss="mse", progress=False, batch_size=8)


def test_a_file_in_double_precision_is_trained_in_it(tmp_path: Path) -> None:
    module = onnxla.load(DOUBLE)
    result = fit(module, (X, T), train=["w", "b"], epochs=2, clip_norm=1.0, accumulate=2)
    result.module.save(tmp_path / "tuned.onnx", check=True)
    before, after = module.params, onnxla.load(tmp_path / "tuned.onnx").params
    for name, value in after.items():
        assert value.dtype == np.float64
        same = np.asarray(value).tobytes() == np.asarray(before[name]).tobytes()
        assert same == (name not in ("w", "b"))
    assert not np.array_equal(np.float32(after["w"]), after["w"])  # more than float32 has


def test_a_step_is_exact(tmp_path: Path) -> None:
    module = onnxla.load(linear()).astype("float64")
    w, b = (np.asarray(module.params[name]) for name in "wb")
    steps: dict[str, Any] = {"optimizer": optax.sgd(0.1), "batch_size": 24, "shuffle": False}
    result = fit(module, (X, T), **steps, epochs=3, validation=(X, T))
    for _ in range(3):
        error = (X @ w + b - T) * 2 / T.size
        w, b = w - 0.1 * X.T @ error, b - 0.1 * error.sum(0)
    np.testing.assert_allclose(np.asarray(result.module.params["w"]), w, 1e-13)
    loss = np.square(X @ w + b - T).mean()
    assert onnxla.evaluate(result.module, (X, T), "mse")["loss"] == pytest.approx(loss, rel=1e-13)
    assert result.history.epochs["validation_loss"][-1] == pytest.approx(loss, rel=1e-13)
    result.module.save(tmp_path / "tuned.onnx", check=True)
    saved = onnxla.load(tmp_path / "tuned.onnx").params["w"]
    np.testing.assert_array_equal(saved, w.astype(np.float32))


def test_a_run_in_double_precision_goes_on_bit_for_bit(tmp_path: Path) -> None:
    module = onnxla.load(DOUBLE)
    run: dict[str, Any] = {"optimizer": optax.adam(0.01), "seed": 1}
    whole = fit(module, (X, T), **run, steps=6).module
    fit(module, (X, T), **run, steps=4, checkpoint=tmp_path)
    further = fit(module, (X, T), **run, steps=6, checkpoint=tmp_path).module
    for name, value in further.params.items():
        assert value.dtype == np.float64
        np.testing.assert_array_equal(value, np.asarray(whole.params[name]))
