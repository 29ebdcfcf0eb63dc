"""Validation: which data, how often, and which parameters are the best."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import optax
import pytest

import onnxla
from onnxla.train.batches import ArrayBatches, ArraySamples, DatasetSamples, as_batches
from onnxla.train.held_out import hold_out
from onnxla.train.history import History
from onnxla.train.monitor import Monitor, direction_of, find_monitor
from support.small_runs import MODULE, same_parameters

RNG = np.random.default_rng(0)
X = RNG.standard_normal((20, 4)).astype(np.float32)
Y = np.arange(20) % 3
SGD: dict[str, Any] = {"optimizer": optax.sgd(0.1), "progress": False, "batch_size": 4}
fit = partial(onnxla.fit, MODULE, loss="cross_entropy")


# A share of the data


class Dataset:
    """Samples that are read when they are needed; it notes which."""

    def __init__(self) -> None:
        self.read: list[int] = []

    def __len__(self) -> int:
        return len(X)

    def __getitem__(self, index: int) -> tuple[np.ndarray, Any]:
        self.read.append(index)
        return X[index], Y[index]


def parts(data: Any, share: float = 0.2, seed: int = 0) -> list[ArrayBatches]:
    """What trains, and what is held out."""
    return [*hold_out(as_batches(MODULE, data, 4, seed=seed), share)]


def rows(part: ArrayBatches) -> list[int]:
    assert isinstance(part.samples, ArraySamples | DatasetSamples)
    assert part.samples.rows is not None
    return part.samples.rows.tolist()


def test_a_share_is_held_out_at_random_and_no_sample_twice() -> None:
    train, held = parts((X, Y))
    assert len(held.samples) == 4
    assert sorted([*rows(train), *rows(held)]) == [*range(20)]
    for part in (train, held):
        inputs, labels = part.samples.take(np.arange(len(part.samples)))
        np.testing.assert_array_equal(inputs["x"], X[rows(part)])
        np.testing.assert_array_equal(labels, Y[rows(part)])
    assert rows(held) != [16, 17, 18, 19]
    assert rows(held) == rows(parts((X, Y))[1])
    assert rows(held) != rows(parts((X, Y), seed=1)[1])


FORMS: dict[str, Any] = {
    "tuple": lambda: (X, Y),
    "list": lambda: [X, Y],
    "inputs by name": lambda: ({"x": X}, Y),
    "lists": lambda: ((X,), Y.tolist()),
    "dict": lambda: {"x": X, "y": Y},
    "samples": lambda: [*zip(X, Y, strict=True)],
    "samples by name": lambda: [{"x": x, "y": y} for x, y in zip(X, Y, strict=True)],
    "dataset": Dataset,
}


@pytest.mark.parametrize("form", FORMS)
def test_fit_holds_out_a_share(form: str, tmp_path: Path) -> None:
    held = rows(parts((X, Y), seed=3)[1])
    options: dict[str, Any] = {"validation": 0.2, "seed": 3, "checkpoint": tmp_path, **SGD}
    result = fit(FORMS[form](), epochs=2, **options)
    assert len(result.history.loss) == 2 * 4
    measured = onnxla.evaluate(result.module, (X[held], Y[held]), "cross_entropy")["loss"]
    assert result.history.epochs["validation_loss"][-1] == pytest.approx(measured)
    resumed = fit(FORMS[form](), epochs=3, **options)
    same_parameters(resumed.module, fit((X, Y), epochs=3, validation=0.2, seed=3, **SGD).module)
    with pytest.raises(onnxla.CheckpointError, match="of another run"):
        fit(FORMS[form](), epochs=3, **{**options, "seed": 4})
    with pytest.raises(onnxla.CheckpointError, match="of another run"):
        fit(FORMS[form](), epochs=3, **{**options, "validation": 0.3})


def test_no_step_reads_what_is_held_out() -> None:
    data = Dataset()
    fit(data, epochs=3, validation=0.2, **SGD)
    counts = np.bincount(data.read, minlength=20)
    counts[0] -= 1  # to see whether it is a sample
    assert {*counts[rows(parts((X, Y))[1])]} == {3}  # once an epoch, to evaluate


def test_a_share_of_arrays_is_no_copy_and_known_by_its_contents() -> None:
    for part in parts((X, Y), 0.5):
        assert isinstance(part.samples, ArraySamples)
        assert part.samples.inputs["x"] is X
        copied = as_batches(MODULE, tuple(part.samples.take(np.arange(10))), 4)
        assert part.describe() == copied.describe()
    ragged = [list(range(n)) for n in range(1, 11)]
    for part in parts({"x": ragged, "y": Y[:10]}, 0.3):
        chosen = {"x": [ragged[row] for row in rows(part)], "y": Y[rows(part)]}
        assert part.describe() == as_batches(MODULE, chosen, 4).describe()


def pieces() -> Any:
    return [(X[:10], Y[:10]), (X[10:], Y[10:])]


class Loader:
    """Batches of a dataset, as a loader of PyTorch."""

    dataset = Dataset()

    def __iter__(self) -> Any:
        return iter(pieces())


@pytest.mark.parametrize(
    ("data", "share", "error", "message"),
    [
        ((X, Y), 1.5, ValueError, "a share of it between 0 and 1, got 1.5"),
        ((X, Y), 0.0, ValueError, "a share of it between 0 and 1, got 0.0"),
        (pieces(), 0.5, TypeError, "the data, list of 2, gives batches in an order of its own"),
        (iter(pieces()), 0.5, TypeError, "pass arrays or a dataset with a length; or validation"),
        (Loader(), 0.5, TypeError, r"or its \.dataset instead of it; or validation data of its"),
        ((X, Y[1:]), 0.5, ValueError, "inputs and targets need one number of samples"),
        ((X[:1], Y[:1]), 0.5, ValueError, "at least 2 samples, got 1"),
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
    same_parameters(result.module, first.module if direction == "max" else last.module)


def test_patience_counts_validations(tmp_path: Path) -> None:
    options: dict[str, Any] = {**SCORED, "optimizer": optax.sgd(-0.05), "batch_size": 4}
    result = onnxla.fit(MODULE, (X, Y), epochs=9, patience=3, validate_every=2, **options)
    assert [step for step, _ in result.history.evaluations("validation_loss")] == [2, 4, 5, 6]
    assert len(result.history.loss) == 6
    assert "stopped after 6 steps: the lowest validation_loss was at step 2" in str(result.history)
    same_parameters(result.module, onnxla.fit(MODULE, (X, Y), steps=2, **options).module)
    patient: dict[str, Any] = {"epochs": 9, "patience": 3, "validate_every": 2, **options}
    for _ in range(2):  # the second finds the first at its end
        saved = onnxla.fit(MODULE, (X, Y), checkpoint=tmp_path, **patient)
        assert saved.history == result.history
        same_parameters(saved.module, result.module)


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
    same_parameters(resumed.module, whole.module)
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
        ({"min_delta": -1.0}, "min_delta is a number of at least 0"),
        ({"validate_every": 0}, "validate_every is a whole number of at least 1"),
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
