"""Repeated blocks in `fit`: their parameters are one array where the optimizer cannot tell."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
import pytest

import onnxla
from onnxla.interpret.rolling.stacks import Stacks
from onnxla.train.stacking import cannot_tell
from support.small_models import header, make

N = 5
RNG = np.random.default_rng(0)
X = RNG.normal(size=(16, 4)).astype(np.float32)
Y = np.tanh(X @ RNG.normal(size=(4, 4))).astype(np.float32)


def layers(roll: bool | None) -> onnxla.Module:
    lines = " ".join(
        f"""n{i} = LayerNormalization (x{i}, g{i}) a{i} = MatMul (n{i}, w{i})
            b{i} = Add (a{i}, c{i}) t{i} = Tanh (b{i}) x{i + 1} = Add (x{i}, t{i})"""
        for i in range(N)
    )
    rng = np.random.default_rng(1)
    shapes = {"g": (4,), "w": (4, 4), "c": (4,)}
    tensors = {
        f"{name}{i}": rng.normal(0, 0.5, shape).astype(np.float32)
        for name, shape in shapes.items()
        for i in range(N)
    }
    text = f"{header()} m (float[B, 4] x0) => (float[B, 4] x{N}) {{ {lines} }}"
    return onnxla.load(make(text, **tensors), roll=roll)


def run(roll: bool, **options: Any) -> onnxla.FitResult:
    settings = {"steps": 6, "batch_size": 8, "progress": False, **options}
    return onnxla.fit(layers(roll), (X, Y), "mse", **settings)


def by_axes(params: Any) -> Any:
    """A mask as people write it: biases and scales do not decay."""
    return jax.tree.map(lambda x: x.ndim > 1, params)


def named(params: Any) -> Any:
    return {name: "slow" if name.startswith("w") else "fast" for name in params}


OPTIMIZERS: dict[str, tuple[Callable[[], Any], bool]] = {
    "sgd": (lambda: optax.sgd(0.1, momentum=0.9), True),
    "adam with a schedule": (lambda: optax.adam(optax.cosine_decay_schedule(0.1, 6)), True),
    "adamw": (lambda: optax.adamw(0.01), True),
    "lion": (lambda: optax.lion(0.01), True),
    "several steps": (lambda: optax.MultiSteps(optax.adam(0.01), 2), True),
    "adamw with a mask": (lambda: optax.adamw(0.1, weight_decay=0.5, mask=by_axes), False),
    "clipped": (lambda: optax.chain(optax.clip_by_global_norm(0.1), optax.sgd(0.1)), False),
    "lamb": (lambda: optax.lamb(0.1), False),
    "adafactor": (lambda: optax.adafactor(0.1), False),
    "labels": (
        lambda: optax.partition({"slow": optax.sgd(0.1), "fast": optax.sgd(0.2)}, named),
        False,
    ),
    "by axes": (
        lambda: optax.stateless(
            lambda updates, params: jax.tree.map(lambda u: -0.1 * u * u.ndim, updates)
        ),
        False,
    ),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_runs_are_those_without_loops(name: str) -> None:
    make_optimizer, cannot = OPTIMIZERS[name]
    module = layers(roll=True)
    params = module.partition()[0]
    assert cannot_tell(make_optimizer(), params, module.program.stacks()) == cannot
    same(run(True, optimizer=make_optimizer()), run(False, optimizer=make_optimizer()))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"clip_norm": 0.05},
        {"accumulate": 2},
        {"remat": True},
        {"train": ["w*", "c3"]},
        {"freeze": "g2"},
        {"keep_zeros": True},
        {"validation": (X, Y), "epochs": 3, "steps": None, "patience": 1},
        {"compute_dtype": "bfloat16"},
    ],
    ids=lambda options: " ".join(options) or "default",
)
def test_options(options: dict[str, Any]) -> None:
    tolerance = 1e-2 if "compute_dtype" in options else 1e-5
    same(
        run(True, learning_rate=0.01, **options),
        run(False, learning_rate=0.01, **options),
        tolerance,
    )


def same(got: onnxla.FitResult, want: onnxla.FitResult, tolerance: float = 1e-5) -> None:
    np.testing.assert_allclose(got.history.loss, want.history.loss, rtol=tolerance)
    assert [*got.module.params] == [*want.module.params]
    for name, value in want.module.params.items():
        close = {"rtol": 10 * tolerance, "atol": 10 * tolerance}
        np.testing.assert_allclose(got.module.params[name], value, **close, err_msg=name)


def test_a_step_has_one_array_for_all_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    stacked = Stacks.stacked
    monkeypatch.setattr(
        Stacks, "stacked", lambda self, tree: seen.append(stacked(self, tree)) or seen[-1]
    )
    run(True)
    assert sorted(seen[0]) == ["c0 and 4 more", "g0 and 4 more", "w0 and 4 more"]


def test_adapters_train_beside_joined_weights() -> None:
    def tuned(roll: bool) -> onnxla.FitResult:
        module = layers(roll).lora(rank=1, key=jax.random.key(0))
        return onnxla.fit(module, (X, Y), "mse", steps=6, learning_rate=0.05, progress=False)

    same(tuned(True), tuned(False))


@pytest.mark.parametrize("name", ["default", "sgd", "labels"])
def test_a_stopped_run_goes_on_bit_for_bit(tmp_path: Path, name: str) -> None:
    options = {} if name == "default" else {"optimizer": OPTIMIZERS[name][0]()}
    whole = run(True, **options)
    run(True, checkpoint=tmp_path, checkpoint_every=3, **options)
    for step in tmp_path.iterdir():
        if step.name == "6":
            for path in sorted(step.rglob("*"), reverse=True):
                path.unlink() if path.is_file() else path.rmdir()
            step.rmdir()
    again = run(True, checkpoint=tmp_path, checkpoint_every=3, **options)
    assert again.history.loss == whole.history.loss
    for name, value in whole.module.params.items():
        assert np.array_equal(value, again.module.params[name])


def test_a_run_does_not_go_on_with_other_loops(tmp_path: Path) -> None:
    run(True, checkpoint=tmp_path)
    with pytest.raises(onnxla.CheckpointError, match=r"other loops.*load\(..., roll=\)"):
        run(False, checkpoint=tmp_path)
