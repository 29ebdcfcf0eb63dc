"""Where a run goes on: only with what it was, from what is intact, and one run at a time."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import onnxla
from onnxla.train.digests import digest_of, digest_of_optimizer
from support.small_models import header, make
from support.small_runs import MODULE, X, Y, same

RNG = np.random.default_rng(0)
OTHER = X[:, ::-1].copy()
fit = partial(onnxla.fit, MODULE, loss="cross_entropy", progress=False)


def pieces(x: np.ndarray = X, size: int = 4) -> list[Any]:
    return [(x[i : i + size], Y[i : i + size]) for i in range(0, len(x), size)]


class Loader:
    """Batches that can be iterated over again, in an order of each epoch's own."""

    def __init__(self, *epochs: list[Any]) -> None:
        self.epochs = iter(epochs)

    def __len__(self) -> int:
        return 3

    def __iter__(self) -> Iterator[Any]:
        return iter(next(self.epochs))


# Data


@pytest.mark.parametrize(
    ("before", "after"),
    [((X, Y), (OTHER, Y)), ((X, Y), (X, Y[::-1].copy())), (pieces(), pieces(OTHER))],
    ids=["inputs", "targets", "batches"],
)
def test_other_data_of_the_same_shapes_is_refused(before: Any, after: Any, tmp_path: Path) -> None:
    fit(before, epochs=1, optimizer=optax.sgd(0.1), checkpoint=tmp_path)
    with pytest.raises(onnxla.CheckpointError, match="the same shapes and other contents"):
        fit(after, epochs=2, optimizer=optax.sgd(0.1), checkpoint=tmp_path)
    fit(before, epochs=2, optimizer=optax.sgd(0.1), checkpoint=tmp_path)


def test_batches_that_are_drawn_again_are_compared(tmp_path: Path) -> None:
    sgd: dict[str, Any] = {"optimizer": optax.sgd(0.1), "checkpoint": tmp_path}
    fit(iter(pieces()), steps=2, **sgd)
    with pytest.raises(onnxla.CheckpointError, match="the first 2 batches of epoch 0 are not"):
        fit(iter([*pieces()[:1], *pieces(OTHER)[1:]]), steps=3, **sgd)
    with pytest.raises(onnxla.CheckpointError, match="has 1 batches, and the run had used 2 of"):
        fit(iter(pieces()[:1]), steps=3, **sgd)
    resumed = fit(iter(pieces()), steps=3, **sgd)
    same(resumed, fit(iter(pieces()), steps=3, optimizer=optax.sgd(0.1)))


def test_epochs_that_began_alike_begin_so_where_the_run_goes_on(tmp_path: Path) -> None:
    sgd: dict[str, Any] = {"optimizer": optax.sgd(0.1), "checkpoint": tmp_path}
    fit(Loader(pieces(), pieces()), epochs=2, **sgd)
    with pytest.raises(onnxla.CheckpointError, match="epoch 2 begins with another batch than all"):
        fit(Loader(pieces(OTHER)), epochs=3, **sgd)
    fit(Loader(pieces()), epochs=3, **sgd)


def test_a_loader_that_shuffles_goes_on_after_an_epoch(tmp_path: Path) -> None:
    sgd: dict[str, Any] = {"optimizer": optax.sgd(0.1), "checkpoint": tmp_path}
    fit(Loader(pieces()), epochs=1, **sgd)
    with pytest.warns(UserWarning, match="unless it is shuffled, it is not what the run was"):
        fit(Loader(pieces()[::-1]), epochs=2, **sgd)
    fit(Loader(pieces()[1:] + pieces()[:1]), epochs=3, **sgd)  # known to shuffle by now


def test_validation_losses_are_of_one_data_set(tmp_path: Path) -> None:
    options: dict[str, Any] = {"optimizer": optax.sgd(0.1), "checkpoint": tmp_path}
    fit((X, Y), epochs=1, validation=(X, Y), **options)
    with pytest.raises(onnxla.CheckpointError, match="run: the validation data has the same shape"):
        fit((X, Y), epochs=2, validation=(OTHER, Y), **options)
    fit((X, Y), epochs=2, **options)  # it may do without


# Optimizers

Options = dict[str, Any]


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (
            {"optimizer": optax.sgd(0.1, momentum=0.9)},
            {"optimizer": optax.sgd(0.1, momentum=0.8)},
            "the optimizer computes another update",
        ),
        (
            {"optimizer": optax.adam(optax.linear_schedule(0.1, 0, 9))},
            {"optimizer": optax.adam(optax.linear_schedule(0.1, 0, 8))},
            "the optimizer computes another update",
        ),
        (
            {"optimizer": optax.inject_hyperparams(optax.sgd)(learning_rate=0.1)},
            {"optimizer": optax.inject_hyperparams(optax.sgd)(learning_rate=0.2)},
            "the optimizer computes another update",
        ),
        (
            {"optimizer": optax.sgd(optax.join_schedules([lambda _: table(1.0)[0]], []))},
            {"optimizer": optax.sgd(optax.join_schedules([lambda _: table(2.0)[0]], []))},
            "the optimizer computes another update",
        ),
        (
            {"learning_rate": optax.constant_schedule(0.1)},
            {"learning_rate": optax.constant_schedule(0.2)},
            "the optimizer computes another update",
        ),
        ({"learning_rate": 0.1}, {"learning_rate": 0.2}, r"learning_rate was 0.1, is 0.2\."),
        ({"clip_norm": 1}, {"clip_norm": 2}, r"clip_norm was 1, is 2\."),
    ],
)
def test_another_optimizer_is_refused(
    before: Options, after: Options, message: str, tmp_path: Path
) -> None:
    fit((X, Y), steps=2, checkpoint=tmp_path, **before)
    with pytest.raises(onnxla.CheckpointError, match=f"of another run: {message}"):
        fit((X, Y), steps=2, checkpoint=tmp_path, **after)
    fit((X, Y), steps=2, checkpoint=tmp_path, **before)


def table(first: float) -> Any:
    """Learning rates that are a constant of the program, not a number in its text."""
    return jnp.asarray(np.float32([first, 2, 3, 4]))


def test_a_schedule_of_more_steps_is_told(tmp_path: Path) -> None:
    fit((X, Y), epochs=1, checkpoint=tmp_path)
    with pytest.warns(UserWarning, match="was to have 1 steps, and now 3: from here on"):
        longer = fit((X, Y), epochs=3, checkpoint=tmp_path)
    assert "and now 3" in longer.history.notes[-1]
    with pytest.raises(onnxla.CheckpointError, match=r"learning_rate was absent, is 0\.5"):
        fit((X, Y), epochs=4, learning_rate=0.5, checkpoint=tmp_path)


def test_a_run_that_has_ended_is_its_result(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = fit((X, Y), epochs=3, checkpoint=tmp_path)
    for epochs in (3, 2):  # a warning would be an error
        after = fit((X, Y), epochs=epochs, checkpoint=tmp_path, progress=True)
        assert after.history == before.history
        same(after, before)
        said = f"nothing is trained: the run in '{tmp_path}' ended at step 3"
        assert said in capsys.readouterr().err


# Of a learning rate of more steps.
@pytest.mark.filterwarnings("ignore:the run was to have:UserWarning")
def test_metrics_may_come_and_go(tmp_path: Path) -> None:
    run = partial(fit, (X, Y), validation=(X, Y), checkpoint=tmp_path, learning_rate=0.1)
    run(epochs=1)
    run(epochs=2, metrics="accuracy")
    history = run(epochs=3).history
    rows = history.epochs
    assert [*rows] == ["step", "loss", "validation_loss", "accuracy"]
    assert np.isfinite(rows["accuracy"]).tolist() == [False, True, False]
    for note in (
        "validations have 'accuracy' from step 1 on; rows without it have nan",
        "validations do not have 'accuracy' from step 2 on; rows without it have nan",
    ):
        assert note in history.notes


def test_other_versions_cannot_be_compared(tmp_path: Path, monkeypatch: Any) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("onnxla.train.description.versions", lambda: {"jax": "0.1", "optax": "0.1"})
        fit((X, Y), epochs=1, optimizer=optax.sgd(0.1), checkpoint=tmp_path)
    with pytest.warns(UserWarning, match="optax 0.1: whether optimizer and loss are the same"):
        fit((X, Y), epochs=2, optimizer=optax.sgd(0.2), checkpoint=tmp_path)


DIGEST = """
import jax, numpy as np, optax
from onnxla.train.digests import digest_of_optimizer
params = {name: np.ones(3, np.float32) for name in ("b", "a")}
rate = optax.warmup_cosine_decay_schedule(0.1, 1.0, 2, 9)
lion = optax.lion(rate, mask={"a": True, "b": False})
optimizer = optax.MultiSteps(optax.chain(optax.clip_by_global_norm(1.0), lion), 2)
print(digest_of_optimizer(optimizer, params))
"""


def test_an_optimizer_has_one_digest_in_all_processes() -> None:
    found = set()
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run(
            [sys.executable, "-c", DIGEST],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        found.add(done.stdout)
    assert len(found) == 1


def test_digests_of_arrays() -> None:
    a = np.arange(6, dtype=np.float32)
    different = [
        a,
        a.reshape(2, 3),
        a.reshape(2, 3).T,
        a.astype(np.float64),
        a + 1,
        {"x": a},
        {"y": a},
        np.float32(3),
        np.array(["ab", "c"], object),
        np.array(["a", "bc"], object),
        jnp.asarray(a).astype(jnp.bfloat16),
        np.zeros((0, 3), np.float32),
    ]
    assert len({digest_of(tree) for tree in different}) == len(different)
    assert digest_of(a.reshape(2, 3).T) == digest_of(a.reshape(2, 3).T.copy())
    params = {"w": jnp.ones(2)}
    assert digest_of_optimizer(optax.sgd(0.1), params) != digest_of_optimizer(
        optax.sgd(0.1, momentum=0.5), params
    )


# Damage


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 16
    path.write_bytes(data)


def empty(path: Path) -> None:
    path.write_bytes(b"")


# What tensorstore had begun to read when orbax's event loop ended.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("damage", [flip, empty, Path.unlink])
def test_a_damaged_checkpoint_costs_only_the_steps_after_the_one_before(
    damage: Callable[[Path], None], tmp_path: Path
) -> None:
    options: Options = {"epochs": 3, "batch_size": 4, "optimizer": optax.sgd(0.1, momentum=0.9)}
    whole = fit((X, Y), **options)
    fit((X, Y), checkpoint=tmp_path, **{**options, "epochs": 2})
    kept = {path: path.read_bytes() for path in files(tmp_path / "6")}
    told = 0
    for victim in kept:
        for path, content in kept.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        damage(victim)
        with pytest.MonkeyPatch.context() as patch:
            seen: list[str] = []
            patch.setattr("warnings.warn", lambda text, *_, seen=seen, **__: seen.append(str(text)))
            resumed = fit((X, Y), checkpoint=tmp_path, **options)
        same(resumed, whole)  # some of the files do not matter
        if seen:
            told += 1
            assert "the checkpoint of step 6 in" in seen[0]
            assert "is damaged" in seen[0]
            assert "the run goes on from step 3" in seen[0]
            assert seen == [note for note in resumed.history.notes if "damaged" in note]
            assert any(path.name.startswith("6.damaged") for path in tmp_path.iterdir())
        for path in tmp_path.iterdir():
            if path.name not in ("3", "6"):
                shutil.rmtree(path)
    assert told >= 3


def test_without_an_intact_checkpoint_nothing_is_touched(tmp_path: Path) -> None:
    fit((X, Y), epochs=2, optimizer=optax.sgd(0.1), checkpoint=tmp_path)
    for path in files(tmp_path):
        empty(path)
    before = files(tmp_path)
    with pytest.raises(onnxla.CheckpointError, match=r"step 2 .* step 1 .*; no other is intact"):
        fit((X, Y), epochs=3, optimizer=optax.sgd(0.1), checkpoint=tmp_path)
    assert files(tmp_path) == before


def test_the_best_epoch_needs_its_checkpoint_only_for_patience(tmp_path: Path) -> None:
    options: Options = {"optimizer": optax.sgd(100.0), "validation": (X, Y)}
    first = fit((X, Y), epochs=3, patience=9, checkpoint=tmp_path, **options)
    best = int(first.history.epochs["step"][first.history.best_epoch()])
    assert best < 3
    for path in files(tmp_path / str(best)):
        empty(path)
    with pytest.raises(onnxla.CheckpointError, match=r"best validation, of step .* without pat"):
        fit((X, Y), epochs=4, patience=9, checkpoint=tmp_path, **options)
    assert len(fit((X, Y), epochs=4, checkpoint=tmp_path, **options).history.loss) == 4


# One run at a time


def test_a_second_run_into_a_folder_is_refused(tmp_path: Path) -> None:
    sgd: Options = {"optimizer": optax.sgd(0.1), "checkpoint": tmp_path}

    def meanwhile() -> Iterator[Any]:
        yield pieces()[0]
        yield pieces()[1]
        with pytest.raises(onnxla.CheckpointError, match="another run writes checkpoints to"):
            fit(pieces(), epochs=1, **sgd)
        yield pieces()[2]

    first = fit(meanwhile(), steps=3, checkpoint_every=1, **sgd)
    same(first, fit(pieces(), steps=3, optimizer=optax.sgd(0.1)))
    assert sorted(os.listdir(tmp_path)) == ["1", "2", "3"]
    fit(iter([*pieces(), *pieces()]), steps=4, **sgd)  # nothing is locked any more


def test_a_folder_that_cannot_be_one(tmp_path: Path) -> None:
    path = tmp_path / "taken"
    path.write_text("a thesis")
    with pytest.raises(onnxla.CheckpointError, match=r"cannot be written to .*taken' .File exists"):
        fit(pieces(), epochs=1, checkpoint=path)
    assert path.read_text() == "a thesis"


# Killed, with all that a run may have around its steps

EVERYTHING = """
import json, os, signal, sys
import numpy as np, optax
import onnxla

folder, at, options = sys.argv[1], int(sys.argv[2]), eval(sys.argv[3])
rng = np.random.default_rng(0)
x = rng.standard_normal((20, 4)).astype(np.float32)

def kill(step, logs):
    if step == at:
        os.kill(os.getpid(), signal.SIGKILL)

log = onnxla.loggers.JSONL(folder + "/log.jsonl")
checkpoint = {"checkpoint": folder + "/checkpoints", "checkpoint_every": 3} if at else {}
result = onnxla.fit(
    onnxla.load(folder + "/m.onnx"), (x, np.arange(20) % 3), "cross_entropy", epochs=4,
    batch_size=4, validation=0.2, progress=False, callbacks=[log, kill], **checkpoint, **options
)
np.savez(folder + "/done.npz", **result.module.params)
history = {**result.history.to_dict(), "speed": None}
print(json.dumps(history, sort_keys=True))
"""
AROUND = {
    "average": "dict(weight_average=0.9, validate_every=2, monitor='accuracy', metrics='accuracy')",
    "schedule": "dict(optimizer='lion', schedule='linear', learning_rate=0.01, accumulate=2)",
    "plateau": "dict(optimizer=optax.chain(optax.adam(0.01), optax.contrib.reduce_on_plateau("
    "factor=0.5, patience=1)), validate_every=3, weight_average=0.5, patience=9)",
    "lbfgs": "dict(optimizer='lbfgs', validate_every=5, patience=20, min_delta=0.01)",
}


@pytest.mark.one_in(2)
@pytest.mark.parametrize("around", AROUND)
def test_a_killed_run_goes_on_bit_for_bit_with_all_around_it(around: str, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(
        make(
            header()
            + """ m (float[N, 4] x) => (float[N, 3] z) {
                n = BatchNormalization (x, s, c, m, v)
                ratio = Constant <value_float = 0.2> ()
                d = Dropout (n, ratio)
                z = MatMul (d, w)
            }""",
            **{name: np.ones(4, np.float32) for name in ("s", "v")},
            **{name: np.zeros(4, np.float32) for name in ("c", "m")},
            w=RNG.standard_normal((4, 3)).astype(np.float32),
        )
    )

    def run(at: int, code: int) -> tuple[str, list[Any], dict[str, np.ndarray]]:
        command = [sys.executable, "-c", EVERYTHING, str(tmp_path), str(at), AROUND[around]]
        environment = {**os.environ, "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stderr
        if code:
            return "", [], {}
        log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
        log = [{k: v for k, v in row.items() if k != "samples_per_second"} for row in log]
        with np.load(tmp_path / "done.npz") as arrays:
            return done.stdout, log, dict(arrays)

    whole = run(0, 0)
    run(8, -signal.SIGKILL)
    run(11, -signal.SIGKILL)
    resumed = run(99, 0)
    assert resumed[0] == whole[0]
    assert resumed[1] == whole[1]
    assert {k: v.tobytes() for k, v in resumed[2].items()} == {
        k: v.tobytes() for k, v in whole[2].items()
    }


def test_what_is_averaged_and_monitored_stays_in_a_run(tmp_path: Path) -> None:
    options: Options = {"checkpoint": tmp_path, "validation": (X, Y), "metrics": "accuracy"}
    average: Options = {"weight_average": 0.9, "monitor": "accuracy", "schedule": "constant"}
    fit((X, Y), epochs=1, **average, **options)
    for changed, message in (
        ({"weight_average": 0.8}, r"weight_average was 0\.9, is 0\.8"),
        ({"monitor": None}, "monitor was highest accuracy, is absent"),
        ({"schedule": "linear"}, "schedule was constant, is linear"),
    ):
        with pytest.raises(onnxla.CheckpointError, match=message):
            fit((X, Y), epochs=1, **{**average, **changed}, **options)


@pytest.mark.more
def test_runs_that_are_killed_again_and_again_end_as_if_nobody_had() -> None:
    tool = Path(__file__).parents[2] / "tools" / "stress_fit.py"
    done = subprocess.run(
        [sys.executable, tool, "--kills", "4"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def squared(scale: float) -> Callable[[Any, Any], Any]:
    return lambda y, _: scale * (y**2).mean()


def test_a_loss_is_known_by_what_it_computes(tmp_path: Path) -> None:
    options: Options = {"optimizer": optax.sgd(0.1), "checkpoint": tmp_path}
    onnxla.fit(MODULE, (X, Y), squared(1.0), epochs=1, progress=False, **options)
    with pytest.raises(onnxla.CheckpointError, match="the loss has the same name and computes som"):
        onnxla.fit(MODULE, (X, Y), squared(2.0), epochs=2, progress=False, **options)
    onnxla.fit(MODULE, (X, Y), squared(1.0), epochs=2, progress=False, **options)


def test_a_checkpoint_is_of_the_step_that_it_is_named_after(tmp_path: Path) -> None:
    options: Options = {"optimizer": optax.sgd(0.1), "checkpoint": tmp_path}
    fit((X, Y), epochs=2, **options)
    shutil.rmtree(tmp_path / "2")
    shutil.copytree(tmp_path / "1", tmp_path / "2")
    with pytest.warns(UserWarning, match=r"it is a copy of that of step 1; it is kept as"):
        assert len(fit((X, Y), epochs=2, **options).history.loss) == 2
