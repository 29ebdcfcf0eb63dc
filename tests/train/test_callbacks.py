"""Callbacks: when they are told what, how they stop a run, and the loggers among them."""

from __future__ import annotations

import csv
import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import optax
import pytest

import onnxla
from onnxla.train.loggers import find_writer
from support.small_runs import MODULE, X, Y, same

fit = partial(onnxla.fit, MODULE, (X, Y), "cross_entropy", batch_size=4, progress=False)


class Recorder:
    """A callback that notes what it was told."""

    def __init__(self, stop: Any = None) -> None:
        self.told: list[Any] = []
        self.stop = stop

    def note(self, *event: Any) -> bool:
        self.told.append(event)
        return bool(event[:2] == self.stop)

    def start(self, run: Any) -> None:
        self.note("start", run.step, run.epoch, run.total)

    def step(self, step: int, logs: dict[str, float]) -> bool:
        return self.note("step", step, logs)

    def validation(self, step: int, logs: dict[str, float]) -> bool:
        return self.note("validation", step, logs)

    def epoch(self, epoch: int, logs: dict[str, float]) -> bool:
        return self.note("epoch", epoch, logs)

    def checkpoint(self, step: int, path: Path) -> None:
        assert (path / "state").is_dir()
        self.note("checkpoint", step)

    def end(self, result: onnxla.FitResult) -> None:
        self.note("end", len(result.history.loss))

    @property
    def names(self) -> list[Any]:
        return [event[:2] for event in self.told]


def test_what_is_told_when(tmp_path: Path) -> None:
    recorder = Recorder()
    result = fit(
        epochs=2,
        callbacks=[recorder],
        validation=(X, Y),
        validate_every=2,
        metrics="accuracy",
        checkpoint=tmp_path,
    )
    assert recorder.told[0] == ("start", 0, 0, 6)
    assert recorder.names[1:] == [
        *(("step", 1), ("step", 2), ("validation", 2), ("checkpoint", 2)),
        *(("step", 3), ("epoch", 0), ("checkpoint", 3)),
        *(("step", 4), ("validation", 4), ("checkpoint", 4)),
        *(("step", 5), ("step", 6), ("validation", 6), ("checkpoint", 6)),
        *(("epoch", 1), ("checkpoint", 6), ("end", 6)),
    ]
    logs = [event[2] for event in recorder.told if event[0] == "step"]
    assert [log["loss"] for log in logs] == result.history.loss
    assert [log["samples_per_second"] for log in logs] == result.history.speed
    assert logs[0].keys() == {"loss", "gradient_norm", "learning_rate", "samples_per_second"}
    epochs = [event[2] for event in recorder.told if event[0] == "epoch"]
    assert {k: [e[k] for e in epochs] for k in epochs[0]} == result.history.epochs
    (within,) = {tuple(event[2]) for event in recorder.told if event[0] == "validation"}
    assert within == ("validation_loss", "accuracy")


def test_a_function_is_told_of_steps_alone() -> None:
    seen: list[tuple[int, float]] = []
    result = fit(epochs=1, callbacks=lambda step, logs: seen.append((step, logs["loss"])))
    assert seen == list(enumerate(result.history.loss, 1))


@pytest.mark.parametrize("save", [False, True])
@pytest.mark.parametrize(
    ("stop", "steps"),
    [
        (("step", 1), 2),  # the step after it had begun
        (("step", 3), 3),  # the last of an epoch: none had
        (("step", 4), 5),
        (("validation", 4), 4),
        (("epoch", 0), 3),
    ],
)
def test_one_stops_the_run_at_a_step_that_checkpoints_do_not_move(
    stop: Any, steps: int, save: bool, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"epochs": 5, "validation": (X, Y), "validate_every": 4}
    if save:
        options |= {"checkpoint": tmp_path, "checkpoint_every": 1}
    result = fit(callbacks=Recorder(stop), **options)
    assert len(result.history.loss) == steps
    assert result.history.epochs["step"][-1] == steps
    assert f"stopped after {steps} steps, as a callback asked for it" in result.history.notes


def test_a_run_that_goes_on_says_from_where(tmp_path: Path) -> None:
    first = Recorder(("step", 4))
    sgd: dict[str, Any] = {"optimizer": optax.sgd(0.1), "epochs": 3}
    fit(callbacks=first, checkpoint=tmp_path, **sgd)
    second = Recorder()
    resumed = fit(callbacks=second, checkpoint=tmp_path, **sgd)
    assert second.told[0] == ("start", 5, 1, 9)
    assert second.names[1] == ("step", 6)
    whole = fit(**sgd)
    assert resumed.history == whole.history
    same(resumed, whole)


@pytest.mark.parametrize("event", ["start", "step", "epoch", "end"])
def test_an_error_of_a_callback_has_the_result(event: str) -> None:
    def fail(*_: Any) -> None:
        raise ZeroDivisionError(event)

    callback, others = Recorder(), Recorder()
    setattr(callback, event, fail)
    with pytest.raises(ZeroDivisionError, match=event) as caught:
        fit(epochs=2, callbacks=[others, callback])
    done = {"start": 0, "step": 1, "epoch": 3, "end": 6}[event]
    assert len(caught.value.result.history.loss) == done  # type: ignore[attr-defined]
    assert (others.told[-1] == ("end", done)) == (event != "start")


@pytest.mark.parametrize("given", [3, [None], Recorder, [object()]])
def test_what_is_no_callback(given: Any) -> None:
    with pytest.raises(TypeError, match="callbacks are functions of"):
        fit(callbacks=given)


def test_callbacks_cannot_change_the_history() -> None:
    result = fit(epochs=1, callbacks=lambda step, logs: logs.clear())
    assert len(result.history.loss) == 3


# Loggers


def rows_of(path: Path) -> list[dict[str, Any]]:
    """What a log says, without what the clock says."""
    if path.suffix == ".csv":
        with path.open() as file:
            found = [
                {k: float(v) if v else None for k, v in row.items()} for row in csv.DictReader(file)
            ]
    else:
        found = [json.loads(line) for line in path.read_text().splitlines()]
    rows = [{k: v for k, v in row.items() if v is not None} for row in found]
    assert all(row.pop("samples_per_second", 1) > 0 for row in rows)
    return rows


@pytest.fixture(params=["log.jsonl", "log.csv"])
def logger(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    kind = onnxla.loggers.JSONL if request.param == "log.jsonl" else onnxla.loggers.CSV
    return kind(tmp_path / "logs" / request.param)


OPTIONS: dict[str, Any] = {
    "epochs": 3,
    "validation": (X, Y),
    "validate_every": 2,
    "metrics": "accuracy",
}


def test_a_log_has_all_numbers(logger: Any) -> None:
    history = fit(callbacks=[logger], **OPTIONS).history
    rows = rows_of(logger.path)
    steps = [row for row in rows if "gradient_norm" in row]
    assert [row["step"] for row in steps] == [*range(1, 10)]
    assert {k: [row[k] for row in steps] for k in history.steps} == history.steps
    epochs = [row for row in rows if "epoch" in row]
    assert [row.pop("epoch") for row in epochs] == [0, 1, 2]
    assert {k: [row[k] for row in epochs] for k in epochs[0]} == history.epochs
    within = [row for row in rows if row not in steps and row not in epochs]
    assert [row["step"] for row in within] == [2, 4, 6, 8]


@pytest.mark.parametrize("torn", [False, True])
def test_a_run_that_goes_on_takes_out_of_its_log_what_it_does_again(
    logger: Any, torn: bool, tmp_path: Path
) -> None:
    fit(callbacks=[logger], **OPTIONS)
    whole = rows_of(logger.path)

    def fail(step: int, logs: Any) -> None:
        if step == 5:
            raise ZeroDivisionError

    again: dict[str, Any] = {**OPTIONS, "checkpoint": tmp_path / "checkpoints"}
    with pytest.raises(ZeroDivisionError):
        fit(callbacks=[logger, fail], **again)
    assert rows_of(logger.path)[-1]["step"] == 5  # and the last checkpoint is of step 4
    if torn:
        text = logger.path.read_text()
        logger.path.write_text(text[:-3])
    fit(callbacks=[logger], **again)
    assert rows_of(logger.path) == whole


def test_a_new_run_begins_its_log_anew(logger: Any) -> None:
    fit(callbacks=[logger], **OPTIONS)
    fit(callbacks=[logger], **{**OPTIONS, "epochs": 1, "metrics": ()})
    assert len(rows_of(logger.path)) == 5
    assert "accuracy" not in logger.path.read_text()


@pytest.mark.parametrize(("name", "package"), [("TensorBoard", "tensorboardX"), ("WandB", "wandb")])
def test_a_package_that_is_missing_is_named(
    name: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for each in ("tensorboardX", "tensorboard", "wandb"):
        monkeypatch.setitem(sys.modules, each, None)
    with pytest.raises(ImportError, match=f"pip install {package}"):
        getattr(onnxla.loggers, name)(*(["logs"] if name == "TensorBoard" else []))


@pytest.mark.parametrize("writer", ["tensorboardX", "tensorboard"])
def test_tensorboard(writer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip(writer)
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    if writer == "tensorboard":
        monkeypatch.setitem(sys.modules, "tensorboardX", None)

    def fail(step: int, logs: Any) -> None:
        if step == 5:
            raise ZeroDivisionError

    again: dict[str, Any] = {**OPTIONS, "checkpoint": tmp_path / "checkpoints"}
    with pytest.raises(ZeroDivisionError):
        fit(callbacks=[onnxla.loggers.TensorBoard(tmp_path / "logs"), fail], **again)
    history = fit(callbacks=[onnxla.loggers.TensorBoard(tmp_path / "logs")], **again).history
    read = accumulators.EventAccumulator(str(tmp_path / "logs"))
    read.Reload()
    losses = read.Scalars("loss")
    assert [event.step for event in losses] == [*range(1, 10)]
    np.testing.assert_allclose([event.value for event in losses], history.loss, rtol=1e-6)
    accuracy = {event.step: event.value for event in read.Scalars("accuracy")}
    assert accuracy == pytest.approx(dict(history.evaluations("accuracy")))
    assert len(read.Scalars("epoch_loss")) == 3


def test_runs_of_one_second_have_event_files_of_their_own(tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    opened = []
    for step in (None, 6, 10):
        find_writer()(str(tmp_path), step).close()
        opened += [path for path in tmp_path.iterdir() if path not in opened]
    assert opened == sorted(tmp_path.iterdir())
    assert len(opened) == 3


def test_wandb(tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    logger = onnxla.loggers.WandB(mode="offline", dir=str(tmp_path), project="test")
    shown: list[Any] = []

    class Watch:
        def epoch(self, epoch: int, logs: dict[str, float]) -> None:
            # It takes a step's numbers in when the next step has some.
            shown.append((logger.run.summary.get("epoch"), logger.run.summary.get("epoch_loss")))

    history = fit(callbacks=[logger, Watch()], **OPTIONS).history
    assert shown == [(None, None), (0, history.epochs["loss"][0]), (1, history.epochs["loss"][1])]
    assert logger.run.config["loss"] == "cross_entropy"
    assert list((tmp_path / "wandb").glob("offline-run-*/*.wandb"))
