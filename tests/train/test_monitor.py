"""Validation: which data, how often, and which parameters are the best."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import optax
import pytest

import onnxla
from onnxla.train.held_out import hold_out
from onnxla.train.history import History
from onnxla.train.monitor import Monitor, direction_of, find_monitor
from support.small_models import header, make

RNG = np.random.default_rng(0)
X = RNG.standard_normal((20, 4)).astype(np.float32)
Y = np.arange(20) % 3
MODULE = onnxla.load(
    make(
        header() + " m (float[N, 4] x) => (float[N, 3] z) { z = Gemm (x, w, b) }",
        w=RNG.standard_normal((4, 3)).astype(np.float32),
        b=np.zeros(3, np.float32),
    )
)
SGD: dict[str, Any] = {"optimizer": optax.sgd(0.1), "progress": False, "batch_size": 4}
fit = partial(onnxla.fit, MODULE, loss="cross_entropy")


def same(a: onnxla.Module, b: onnxla.Module) -> None:
    for name, value in a.params.items():
        np.testing.assert_array_equal(value, b.params[name], name)


# A share of the data


def test_a_share_is_held_out_at_random_and_no_sample_twice() -> None:
    data = {"x": np.arange(20), "y": [*range(20)]}
    train, held = hold_out(data, 0.2, seed=0)
    assert len(held["x"]) == 4
    assert sorted([*train["x"], *held["x"]]) == [*range(20)]
    for part in (train, held):
        np.testing.assert_array_equal(part["x"], part["y"])
    assert [*held["x"]] != [16, 17, 18, 19]
    again = hold_out(data, 0.2, seed=0)[1]["x"]
    other = hold_out(data, 0.2, seed=1)[1]["x"]
    np.testing.assert_array_equal(held["x"], again)
    assert [*held["x"]] != [*other]


@pytest.mark.parametrize("form", [(X, Y), ({"x": X}, Y), ((X,), Y.tolist()), {"x": X, "y": Y}])
def test_fit_holds_out_a_share(form: Any) -> None:
    _, (x, y) = hold_out((X, Y), 0.2, seed=3)
    result = fit(form, epochs=2, validation=0.2, seed=3, **SGD)
    assert len(result.history.loss) == 2 * 4
    measured = onnxla.evaluate(result.module, (x, y), "cross_entropy")["loss"]
    assert result.history.epochs["validation_loss"][-1] == pytest.approx(measured)


@pytest.mark.parametrize(
    ("data", "share", "error", "message"),
    [
        ((X, Y), 1.5, ValueError, "a share between 0 and 1; got 1.5"),
        ((X, Y), 0.0, ValueError, "a share between 0 and 1; got 0.0"),
        ([(X, Y)], 0.5, TypeError, "validation=0.5 splits arrays, and the data is list"),
        ((X, Y[1:]), 0.5, ValueError, "arrays of one number of samples, at least 2; got 19, 20"),
        ((X[:1], Y[:1]), 0.5, ValueError, "at least 2; got 1"),
    ],
)
def test_what_cannot_be_split(data: Any, share: float, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        fit(data, validation=share, **SGD)


# Validation by steps


def test_validation_by_steps_measures_the_parameters_of_these_steps() -> None:
    options: dict[str, Any] = {**SGD, "validation": (X, Y), "metrics": "accuracy"}
    history = fit((X, Y), epochs=2, validate_every=2, **options).history
    assert history.validations["step"] == [2, 4, 6, 8]  # the tenth step ends an epoch
    assert history.epochs["step"] == [5, 10]
    for step, loss in history.evaluations("validation_loss"):
        if step < 5:
            module = fit((X, Y), steps=step, **SGD).module
            measured = onnxla.evaluate(module, (X, Y), "cross_entropy", "accuracy")
            assert measured["loss"] == pytest.approx(loss, rel=1e-6)
    assert [step for step, _ in history.evaluations("accuracy")] == [2, 4, 5, 6, 8, 10]
    plain = fit((X, Y), epochs=2, **options).history
    assert plain.steps == history.steps
    assert plain.epochs == history.epochs


# The best


def score(outputs: Any, targets: Any) -> Any:
    """A loss that SGD with a negative rate makes worse, or better with a positive one."""
    return outputs[:, 0].mean()


SCORED: dict[str, Any] = {"loss": score, "batch_size": 20, "progress": False, "validation": (X, Y)}


@pytest.mark.parametrize("name", ["score_metric", "validation_loss"])
@pytest.mark.parametrize("direction", ["min", "max"])
def test_the_best_is_the_lowest_or_the_highest(name: str, direction: str) -> None:
    def score_metric(outputs: Any, targets: Any) -> Any:
        return score(outputs, targets)

    options: dict[str, Any] = {**SCORED, "optimizer": optax.sgd(0.05), "metrics": [score_metric]}
    result = onnxla.fit(MODULE, (X, Y), epochs=4, monitor=(name, direction), **options)
    first = onnxla.fit(MODULE, (X, Y), epochs=1, **options)
    last = onnxla.fit(MODULE, (X, Y), epochs=4, **options)
    same(result.module, first.module if direction == "max" else last.module)


def test_patience_counts_validations(tmp_path: Path) -> None:
    options: dict[str, Any] = {**SCORED, "optimizer": optax.sgd(-0.05), "batch_size": 4}
    result = onnxla.fit(MODULE, (X, Y), epochs=9, patience=3, validate_every=2, **options)
    assert [step for step, _ in result.history.evaluations("validation_loss")] == [2, 4, 5, 6]
    assert len(result.history.loss) == 6
    assert "stopped after 6 steps: the lowest validation_loss was at step 2" in str(result.history)
    same(result.module, onnxla.fit(MODULE, (X, Y), steps=2, **options).module)
    patient: dict[str, Any] = {"epochs": 9, "patience": 3, "validate_every": 2, **options}
    for _ in range(2):  # the second finds the first at its end
        saved = onnxla.fit(MODULE, (X, Y), checkpoint=tmp_path, **patient)
        assert saved.history == result.history
        same(saved.module, result.module)


def test_a_gain_below_min_delta_is_none() -> None:
    options: dict[str, Any] = {**SCORED, "optimizer": optax.sgd(1e-3), "epochs": 9}
    losses = onnxla.fit(MODULE, (X, Y), **options).history.epochs["validation_loss"]
    assert losses == sorted(losses, reverse=True)
    gain = losses[0] - losses[1]
    stopped = onnxla.fit(MODULE, (X, Y), patience=2, min_delta=1.5 * gain, **options)
    assert len(stopped.history.loss) == 9  # two steps are enough of a gain
    stopped = onnxla.fit(MODULE, (X, Y), patience=2, min_delta=10 * gain, **options)
    assert len(stopped.history.loss) == 3


def test_the_best_of_a_history() -> None:
    history = History(
        epochs={"step": [2, 4], "a": [3.0, float("nan")]},
        validations={"step": [1, 3, 5], "a": [3.5, 1.0, 1.0]},
    )
    assert history.evaluations("a")[:3] == [(1, 3.5), (2, 3.0), (3, 1.0)]
    assert Monitor("a").best(history) == (3, 1.0)
    assert Monitor("a").waited(history) == 2
    assert Monitor("a", highest=True).best(history) == (1, 3.5)
    assert Monitor("a", min_delta=2.6).best(history) == (1, 3.5)
    assert Monitor("b").best(history) is None
    assert Monitor("b").waited(history) == 0


def test_the_best_checkpoint_is_kept_and_the_run_goes_on_from_the_last(tmp_path: Path) -> None:
    options: dict[str, Any] = {
        **SCORED,
        "optimizer": optax.sgd(-0.05),
        "batch_size": 4,
        "validate_every": 2,
        "monitor": ("validation_loss", "min"),
    }
    whole = onnxla.fit(MODULE, (X, Y), epochs=4, **options)
    onnxla.fit(MODULE, (X, Y), epochs=2, checkpoint=tmp_path, **options)
    resumed = onnxla.fit(MODULE, (X, Y), epochs=4, checkpoint=tmp_path, **options)
    assert resumed.history == whole.history
    same(resumed.module, whole.module)
    assert sorted(int(path.name) for path in tmp_path.iterdir()) == [2, 16, 18, 20]


@pytest.mark.parametrize(
    ("name", "direction"),
    [
        *(
            (name, "min")
            for name in ("validation_loss", "perplexity", "mae", "mse", "cross_entropy")
        ),
        *((name, "max") for name in ("accuracy", "f1", "auc", "recall", "iou", "top_5_accuracy")),
    ],
)
def test_directions(name: str, direction: str) -> None:
    assert direction_of(name) == direction


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"monitor": "acuracy", "metrics": "accuracy"}, "did you mean 'accuracy'"),
        ({"monitor": "quality", "metrics": [lambda y, t: 1.0]}, "no number of the validation is"),
        ({"monitor": ("accuracy", "up"), "metrics": "accuracy"}, "is 'min' or 'max', got 'up'"),
        ({"min_delta": -1.0}, "min_delta is at least 0"),
        ({"validate_every": 0}, "validate_every is at least 1"),
        ({"monitor": "loss", "validation": None}, "pass validation="),
        ({"validate_every": 2, "validation": None}, "pass validation="),
    ],
)
def test_wrong_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit((X, Y), **{"validation": (X, Y), **options, **SGD})


def test_a_number_of_unknown_direction_asks_for_one() -> None:
    with pytest.raises(ValueError, match=r"'quality' is good is not known: pass monitor=\('q"):
        find_monitor("quality", [], 0.0)


def test_what_a_loss_returns_besides_can_be_monitored() -> None:
    def loss(outputs: Any, targets: Any) -> Any:
        return score(outputs, targets), {"largest": outputs.max()}

    options: dict[str, Any] = {**SCORED, "loss": loss, "optimizer": optax.sgd(0.05), "epochs": 2}
    assert onnxla.fit(MODULE, (X, Y), monitor=("largest", "min"), **options).history.loss
    with pytest.raises(ValueError, match="no number of the validation is named 'largst'; did you"):
        onnxla.fit(MODULE, (X, Y), monitor=("largst", "min"), **options)
