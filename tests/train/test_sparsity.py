"""`fit(keep_zeros=)`: what a pruned model has at zero stays there, whatever the optimizer adds."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import optax
import pytest

import onnxla
from support.small_models import header, make

RNG = np.random.default_rng(0)
X = RNG.standard_normal((48, 4)).astype(np.float32)
LABELS = (X[:, 0] > 0).astype(np.int64)


def pruned(*shape: int) -> np.ndarray:
    weight = RNG.standard_normal(shape).astype(np.float32)
    weight[RNG.random(shape) < 0.5] = 0
    weight.flat[0] = -0.0
    return weight


MODEL = make(
    header()
    + """ m (float[N, 4] x) => (float[N, 3] z) {
        h = Gemm (x, w0, b0)
        r = Tanh (h)
        z = Gemm (r, w1, b1)
    }""",
    w0=pruned(4, 8),
    b0=np.zeros(8, np.float32),
    w1=pruned(8, 3),
    b1=np.zeros(3, np.float32),
)
fit = partial(onnxla.fit, loss="cross_entropy", progress=False, batch_size=12)
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "adamw": {"learning_rate": 0.05, "clip_norm": 1.0, "accumulate": 2},
    "decay": {"optimizer": optax.chain(optax.add_decayed_weights(0.1), optax.sgd(0.1, 0.9))},
    "noise": {"optimizer": optax.noisy_sgd(0.1, eta=1.0, key=0)},
}


def zeros_of(module: onnxla.Module) -> dict[str, np.ndarray]:
    return {name: np.asarray(value) == 0 for name, value in module.params.items()}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_zeros_stay_and_all_else_trains(optimizer: str) -> None:
    module = onnxla.load(MODEL)
    before, how = zeros_of(module), OPTIMIZERS[optimizer]
    plain = zeros_of(fit(module, (X, LABELS), **how, epochs=3).module)
    result = fit(module, (X, LABELS), **how, epochs=3, keep_zeros=True)
    after = zeros_of(result.module)
    for name in ("w0", "w1"):
        assert not plain[name].any()
        np.testing.assert_array_equal(after[name], before[name])
        assert np.signbit(np.asarray(result.module.params[name]).flat[0])  # still -0.0
    assert not after["b0"].all()
    assert not after["b1"].all()
    assert any("stay zero" in note for note in result.history.notes)


def test_names_and_patterns_choose() -> None:
    module = onnxla.load(MODEL)
    after = zeros_of(fit(module, (X, LABELS), keep_zeros=["*0"], epochs=3).module)
    before = zeros_of(module)
    np.testing.assert_array_equal(after["w0"], before["w0"])
    assert after["b0"].all()
    assert not after["w1"].any()


def test_a_run_goes_on_with_the_zeros_of_its_start(tmp_path: Path) -> None:
    module, data = onnxla.load(MODEL), (X, LABELS)
    run: dict[str, Any] = {"optimizer": optax.adam(0.05), "keep_zeros": True}
    whole = fit(module, data, **run, steps=8).module
    fit(module, data, **run, steps=5, checkpoint=tmp_path)
    further = fit(module, data, **run, steps=8, checkpoint=tmp_path).module
    for name, value in whole.params.items():
        np.testing.assert_array_equal(value, further.params[name])
    for other in (False, ["w1"]):
        with pytest.raises(onnxla.CheckpointError, match="keep_zeros"):
            fit(module, data, **{**run, "keep_zeros": other}, steps=9, checkpoint=tmp_path)


def test_what_cannot_stay_zero_is_told() -> None:
    module = onnxla.load(MODEL)
    with pytest.raises(ValueError, match=r"adapters, once merged, fill the zeros"):
        fit(module.lora("w0"), (X, LABELS), keep_zeros=True)
    with pytest.raises(ValueError, match=r"keep_zeros='w0' matches no parameter that trains"):
        fit(module, (X, LABELS), train="w1", keep_zeros="w0")
    with pytest.raises(ValueError, match=r"no parameter matches 'head'"):
        fit(module, (X, LABELS), keep_zeros="head")
