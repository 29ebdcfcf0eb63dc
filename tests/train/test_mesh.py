"""Training on a mesh of devices, and in several processes, is training on one device."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

import onnxla
from onnxla.train import loop
from onnxla.train.callbacks import Callbacks, Logger
from support.mesh_runs import MODEL, rows, run
from support.processes import TESTS, start, start_together, told

PROGRAM = str(TESTS / "support" / "mesh_runs.py")
EVERYWHERE = ("b", "mean", "scale", "shift", "var")  # parameters that no placement here splits


@pytest.fixture(scope="module")
def one() -> dict[str, Any]:
    """A run on one device, of six steps."""
    return run(steps=6)


def command(*runs: dict[str, Any]) -> list[str]:
    """The arguments of Python for some runs."""
    return [PROGRAM, *map(json.dumps, runs)]


def same(got: dict[str, Any], one: dict[str, Any]) -> None:
    """Asserts that a run was as far as it went that of one device."""
    steps = len(got["loss"])
    np.testing.assert_allclose(got["loss"], one["loss"][:steps], atol=1e-5)
    epochs = len(got["validation"]) - (steps < len(one["loss"]) and steps % 2)
    np.testing.assert_allclose(got["validation"][:epochs], one["validation"][:epochs], atol=1e-5)
    if steps == len(one["loss"]) and "evaluated" in one:
        assert got["evaluated"] == pytest.approx(one["evaluated"], abs=1e-5)
        np.testing.assert_allclose(got["predicted"], one["predicted"], atol=1e-4)


def split(got: dict[str, Any]) -> dict[str, str]:
    """How the parameters are split that are, of the result and of all parts of the state alike."""
    found: dict[str, str] = {}
    for path, spec in [*got["params"].items(), *got["state"].items()]:
        name = path.rpartition("['")[2].rstrip("']")
        if any(axis in spec for axis in ("data", "model")):
            assert found.setdefault(name, spec) == spec, path
        else:
            assert name in EVERYWHERE or name not in found, path
    parts = [path for path in got["state"] if path.endswith("['v']")]
    assert len(parts) == 4  # the parameter, two moments, and the average
    return found


FSDP = {"table": "P('data',)", "w": "P(None, 'data')", "v": "P('data',)"}
BY_RULE = {"table": "P('model',)", "w": "P(None, 'model')", "v": "P(None, 'model')"}


def test_on_four_devices(one: dict[str, Any], tmp_path: Path) -> None:
    """Losses, validation and predictions are those of one device, and so is a run that goes on."""
    folder = str(tmp_path / "fsdp")
    everywhere, fsdp, ruled, given, resumed = told(
        start(
            4,
            command(
                {"kind": "everywhere", "steps": 6},
                {"kind": "fsdp", "folder": folder},
                {"kind": "by rule", "axes": "Auto", "steps": 6},
                {"kind": "given", "steps": 2, "streams": True, "measured": False},
                {"kind": "by rule", "folder": folder, "steps": 5, "measured": False},
            ),
        )
    )
    for got, specs in (
        (everywhere, {}),
        (fsdp, FSDP),
        (ruled, BY_RULE),
        (given, FSDP),
        (resumed, BY_RULE),
    ):
        assert split(got) == specs
        assert got["compiled"] == 1
        assert got["axes"] == ("Auto" if got is ruled else "Explicit")
        if got is not given:
            same(got, one)
    assert "computed whole on each device" in everywhere["notes"][-1]  # of 38 samples the last 6
    same(given, run(steps=2, streams=True, measured=False))
    same(run(steps=6, folder=folder), one)


def test_in_two_processes(one: dict[str, Any], tmp_path: Path) -> None:
    """Each writes its part of a checkpoint, the first one the file, and one process goes on."""
    folder, file = tmp_path / "run", tmp_path / "tuned.onnx"
    runs = (
        {"kind": "fsdp", "folder": str(folder), "saves": str(file)},
        {"kind": "everywhere", "steps": 2, "streams": True, "measured": False},
    )
    batches = run(steps=2, streams=True, measured=False)
    results = [told(process) for process in start_together(2, 2, command(*runs))]
    for got, streamed in results:
        same(got, one)
        assert split(got) == FSDP
        assert got["compiled"] == 1
        same(streamed, batches)
    assert results[0] == results[1]
    parts = {path.name for path in folder.glob("4/state/ocdbt.process_*")}
    assert parts == {"ocdbt.process_0", "ocdbt.process_1"}
    saved = onnxla.evaluate(onnxla.load(file), rows(38, 76), "cross_entropy", "accuracy")
    assert saved == pytest.approx(results[0][0]["evaluated"], abs=1e-5)
    assert [path.name for path in tmp_path.glob("*.onnx*")] == [file.name]
    same(run(steps=6, folder=str(folder)), one)


@pytest.mark.more
def test_on_eight_devices(one: dict[str, Any]) -> None:
    cases = [{"kind": kind, "steps": 6} for kind in ("everywhere", "fsdp", "by rule")]
    whole = {"kind": "fsdp", "steps": 3, "size": 30, "measured": False}
    thirty = run(steps=3, size=30, measured=False)
    *results, undivided = told(start(8, command(*cases, whole)))
    for got, specs in zip(results, ({}, FSDP, BY_RULE), strict=True):
        same(got, one)
        assert split(got) == specs
    same(undivided, thirty)
    assert "8 devices do not divide them" in undivided["notes"][-1]


@pytest.mark.more
@pytest.mark.parametrize("processes", [1, 2])
def test_a_process_is_killed(one: dict[str, Any], tmp_path: Path, processes: int) -> None:
    """The others end, too, and any number of processes goes on from the last checkpoint."""
    folder = tmp_path / "run"
    settings = {"kind": "fsdp", "folder": str(folder), "steps": 6}
    killed = start_together(4, 1, command({**settings, "dies_at": 5}), missed_after=20)
    for process in killed:
        process.communicate(timeout=500)
    assert -9 in [process.returncode for process in killed]
    assert 0 not in [process.returncode for process in killed]
    assert "4" in {path.name for path in folder.iterdir()}
    assert "6" not in {path.name for path in folder.iterdir()}
    for process in start_together(processes, 2, command(settings)):
        (got,) = told(process)
        same(got, one)


@pytest.mark.more
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl-C"])
def test_one_of_two_processes_is_told_to_end(number: int, tmp_path: Path) -> None:
    """Both end after the same step, with a checkpoint, from which one process goes on."""
    folder = tmp_path / "run"
    settings = {"kind": "fsdp", "folder": str(folder), "steps": 400, "measured": False}
    ended = start_together(2, 1, command({**settings, "dies_at": 3, "dies_of": number}))
    said = []
    for process in ended:
        _, errors = process.communicate(timeout=300)
        assert process.returncode
        said += re.findall(r"Interrupted: stopped after step (\d+); its.*'(.*)'", errors)
    assert said == [said[0]] * 2
    step, where = said[0]
    assert where == str(folder)
    assert max(int(path.name) for path in folder.iterdir() if path.name.isdecimal()) == int(step)
    assert int(step) < 400
    resumed = run(steps=int(step) + 1, folder=str(folder), measured=False)
    assert len(resumed["loss"]) == int(step) + 1


@pytest.mark.more
def test_a_folder_that_is_locked_is_told_to_all(tmp_path: Path) -> None:
    from onnxla.train.checkpoints import lock

    lock(tmp_path)
    failed = start_together(2, 1, command({"kind": "everywhere", "folder": str(tmp_path)}))
    for process in failed:
        _, errors = process.communicate(timeout=300)
        assert "another run writes checkpoints" in errors


def mesh(*names: str) -> Any:
    """A mesh of one device."""
    return jax.make_mesh((1,) * len(names), names)


def fit(**options: Any) -> onnxla.FitResult:
    """A step."""
    settings = {"steps": 1, "progress": False, **options}
    return onnxla.fit(onnxla.load(MODEL), rows(0, 32), "cross_entropy", **settings)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"mesh": 2}, TypeError, r"mesh is a mesh, as jax.make_mesh\(.*, got 2"),
        ({"sharding": "fsdp"}, ValueError, "about a mesh of devices: pass mesh="),
        ({"sharding": {"w": P("model")}}, ValueError, r"has \['data'\], no axis 'model'"),
        ({"sharding": {"adapter": P()}}, ValueError, "no parameter has the role 'adapter'"),
        ({"sharding": {"head.*": P()}}, ValueError, r"no parameter matches 'head.\*'"),
        ({"sharding": "zero"}, ValueError, "'fsdp', or a dict of specs by pattern; got 'zero'"),
    ],
    ids=["no mesh", "without", "axis", "role", "pattern", "word"],
)
def test_what_does_not_fit(options: dict[str, Any], error: Any, message: str) -> None:
    if options != {"sharding": "fsdp"}:
        options = {"mesh": mesh("data"), **options}
    with pytest.raises(error, match=message):
        fit(**options)


def test_a_mesh_of_one_device() -> None:
    """The caller's mesh and parameters stay as they are, whatever mesh is set."""
    where = mesh("data", "model")
    with jax.set_mesh(where):
        result = fit(mesh=where, sharding="fsdp")
    assert result.history.loss == pytest.approx(fit().history.loss, abs=1e-6)
    assert result.module.params["w"].sharding.mesh == where
    assert result.module.params["b"].sharding.spec == P()


def test_processes_need_a_mesh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(ValueError, match="there are 2 processes, and no mesh: pass mesh="):
        fit()
    with pytest.raises(ValueError, match=r"no device of the processes \[1\]"):
        fit(mesh=mesh("data"))


def test_ctrl_c_is_told_to_all_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a SIGTERM, of which JAX tells all; without its service it interrupts at once."""
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(loop, "are_told_to_end", lambda step: step == 5)
    monkeypatch.setattr(os, "kill", lambda *arguments: sent.append(arguments))
    with loop.interrupts() as asked:
        signal.raise_signal(signal.SIGINT)
        assert [step for step in range(9) if asked(step)] == [5]
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert sent == [(os.getpid(), signal.SIGTERM)]
    monkeypatch.setattr(loop, "can_end_together", lambda: False)
    with pytest.raises(KeyboardInterrupt), loop.interrupts():
        signal.raise_signal(signal.SIGINT)
    assert len(sent) == 1


def test_the_first_process_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loggers write once; other callbacks are called in each process, and may stop the run."""
    seen: list[str] = []

    class Log(Logger):
        def step(self, step: int, logs: Any) -> None:
            seen.append("logger")

    def own(step: int, logs: Any) -> bool:
        seen.append("own")
        return True

    for number in (0, 1):
        monkeypatch.setattr(jax, "process_index", lambda number=number: number)
        assert Callbacks([Log(), own]).tell("step", 1, {})
    assert seen == ["logger", "own", "own"]
