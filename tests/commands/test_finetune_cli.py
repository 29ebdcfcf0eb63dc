"""`onnxla finetune`: what it prints and writes, exit codes, and stopping and going on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

import onnxla
from onnxla.commands.main import main
from onnxla.train.checkpoints import CheckpointError, Checkpoints
from support.small_models import BIAS, WEIGHT, header, make

RNG = np.random.default_rng(0)
X = RNG.standard_normal((64, 3)).astype(np.float32)
LABELS = (X[:, 0] > 0).astype(np.int64)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    classifier = make(
        header()
        + """ classifier (float[N, 3] x) => (float[N, 2] p) {
            h = MatMul (x, w)
            z = Add (h, b)
            p = Softmax (z)
        }""",
        w=-WEIGHT,
        b=BIAS,
    )
    (tmp_path / "model.onnx").write_bytes(classifier)
    np.savez(tmp_path / "train.npz", x=X, target=LABELS)
    np.savez(tmp_path / "val.npz", x=X[:20], target=LABELS[:20])
    np.savez(tmp_path / "none.npz", x=X)
    np.savez(tmp_path / "floats.npz", x=X, target=LABELS.astype(np.float32))
    np.save(tmp_path / "x.npy", X)
    return tmp_path


def command(folder: Path, *more: str, data: str = "train.npz", loss: str = "cross_entropy") -> list:
    given = ["--data", f"{folder}/{data}", "--loss", loss, "--out", f"{folder}/tuned.onnx"]
    return ["finetune", f"{folder}/model.onnx", *given, "--quiet", *more]


def test_trains_and_saves(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = ["--validation", f"{folder}/val.npz", "--epochs", "20", "--learning-rate", "0.1"]
    assert main(command(folder, *more, "--plot", f"{folder}/curve.png", "--freeze", "b")) == 0
    lines = capsys.readouterr().out.splitlines()
    before, after = (
        dict(pair.split() for pair in line.split(": ")[1].split(", "))
        for line in lines
        if line.startswith(("before: ", "after: "))
    )
    assert float(after["loss"]) < 0.5 * float(before["loss"])
    assert float(after["accuracy"]) > max(0.8, float(before["accuracy"]))
    assert f"saved {folder}/tuned.onnx; ONNX Runtime's outputs agree" in lines
    assert (folder / "curve.png").read_bytes().startswith(b"\x89PNG")
    (p,) = onnxruntime.InferenceSession(folder / "tuned.onnx").run(None, {"x": X[:20]})
    assert np.mean(p.argmax(1) == LABELS[:20]) == pytest.approx(float(after["accuracy"]))
    weights = onnxla.load(folder / "tuned.onnx").params
    np.testing.assert_array_equal(weights["b"], BIAS)
    assert not np.array_equal(weights["w"], -WEIGHT)


def test_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = ["--epochs", "20", "--learning-rate", "0.1"]
    assert main(command(folder, *more, "--json", "--plot", f"{folder}/curve.png")) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["out"] == f"{folder}/tuned.onnx"
    assert told["agrees"] is True
    assert told["after"]["loss"] < 0.5 * told["before"]["loss"]
    assert 0 <= told["after"]["accuracy"] <= 1
    assert len(told["history"]["epochs"]["loss"]) == 20


def test_losses_of_one_output_and_one_target(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(folder, "--steps", "2", loss="focal")) == 0
    assert "after: accuracy" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(command(folder, loss="triplet"))
    assert "invalid choice: 'triplet'" in capsys.readouterr().err


def test_low_rank_updates_leave_the_files_structure(folder: Path) -> None:
    more = ["--lora", "1", "--steps", "4", "--learning-rate", "0.1", "--bfloat16"]
    assert main(command(folder, *more)) == 0
    tuned, original = (onnx.load(folder / name) for name in ("tuned.onnx", "model.onnx"))
    assert tuned.graph.node == original.graph.node
    change = np.asarray(onnxla.load(folder / "tuned.onnx").params["w"]) + WEIGHT
    assert np.linalg.matrix_rank(change, tol=1e-5) == 1


def test_a_pruned_model_stays_pruned(folder: Path) -> None:
    module = onnxla.load(folder / "model.onnx")
    module.replace({"w": np.float32([[0, 1], [1, 0], [0, 0]])}).save(folder / "model.onnx")
    for option, expected in (["--keep-zeros"], 4), ([], 0):
        more = ["--force", "--steps", "4", "--learning-rate", "0.1"]
        assert main(command(folder, *option, *more)) == 0
        assert (np.asarray(onnxla.load(folder / "tuned.onnx").params["w"]) == 0).sum() == expected


def test_options_are_those_of_fit(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logs = folder / "logs" / "run.jsonl"
    more = [
        *("--validation", "0.25", "--metrics", "accuracy", "--metrics", "f1"),
        *("--validate-every", "2", "--monitor", "accuracy", "--patience", "9"),
        *("--min-delta", "0.01", "--optimizer", "sgd", "--learning-rate", "0.5"),
        *("--schedule", "plateau", "--warmup", "0.2", "--weight-average", "0.5"),
        *("--class-weight", "0=1,1=2.5", "--logger", "csv", "--logger", f"jsonl={logs}"),
        *("--epochs", "5", "--batch-size", "16", "--seed", "3"),
    ]
    assert main(command(folder, *more)) == 0
    result = onnxla.fit(
        onnxla.load(folder / "model.onnx"),
        (X, LABELS),
        "cross_entropy",
        validation=0.25,
        metrics=["accuracy", "f1"],
        validate_every=2,
        monitor="accuracy",
        patience=9,
        min_delta=0.01,
        optimizer="sgd",
        learning_rate=0.5,
        schedule="plateau",
        warmup=0.2,
        weight_average=0.5,
        class_weight={0: 1.0, 1: 2.5},
        epochs=5,
        batch_size=16,
        seed=3,
        progress=False,
    )
    tuned = onnxla.load(folder / "tuned.onnx").params
    for name, value in result.module.params.items():
        np.testing.assert_array_equal(tuned[name], value)
    rows = [json.loads(line) for line in logs.read_text().splitlines()]
    assert [row["loss"] for row in rows if "gradient_norm" in row] == result.history.loss
    assert (folder / "tuned.csv").read_text().startswith("step,epoch,")
    _, best = max(result.history.evaluations("accuracy"), key=lambda pair: pair[1])
    after = capsys.readouterr().out.splitlines()[-1]
    assert f"accuracy {best:.6g}" in after  # of the samples that were held out
    assert ", f1 " in after


def test_balanced_classes_and_matrices(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rare = LABELS * (np.arange(64) % 8 == 0)
    np.savez(folder / "train.npz", x=X, target=rare)
    more = ["--steps", "4", "--learning-rate", "0.1", "--metrics", "confusion_matrix"]
    assert main(command(folder, *more, "--class-weight", "balanced")) == 0
    module = onnxla.load(folder / "model.onnx")
    options = {"steps": 4, "learning_rate": 0.1, "class_weight": "balanced", "progress": False}
    expected = onnxla.fit(module, (X, rare), "cross_entropy", **options).module
    tuned = onnxla.load(folder / "tuned.onnx")
    np.testing.assert_array_equal(tuned.params["w"], expected.params["w"])
    matrix = onnxla.evaluate(tuned, (X, rare), metrics="confusion_matrix")["confusion_matrix"]
    assert f"confusion_matrix {matrix.tolist()}" in capsys.readouterr().out.splitlines()[-1]


def test_lengths_are_padded_to_multiples(folder: Path) -> None:
    text = """ m (float[N, seq, 3] x) => (float[N, seq, 2] z) { z = MatMul (x, w) }"""
    (folder / "model.onnx").write_bytes(make(header() + text, w=WEIGHT))
    x, y = RNG.standard_normal((8, 5, 3)), RNG.standard_normal((8, 5, 2))
    np.savez(folder / "train.npz", x=x.astype(np.float32), target=y.astype(np.float32))
    found = []
    for bucket in ([], ["--bucket", "seq=8"]):
        assert main(command(folder, "--force", "--steps", "3", *bucket, loss="mse")) == 0
        found.append(onnxla.load(folder / "tuned.onnx").params["w"])
    np.testing.assert_allclose(*found, rtol=1e-5)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--validation", "1.5"], "must be between 0 and 1, got '1.5'"),
        (["--class-weight", "even"], "takes a whole number, got 'even'"),
        (["--class-weight", "0=much"], "takes a number, got 'much'"),
        (["--bucket", "16"], "takes NAME=N, got '16'"),
        (["--bucket", "seq=0"], "must be at least 1, got '0'"),
        (["--logger", "wandb"], "is one of csv, jsonl, tensorboard, got 'wandb'"),
        (["--schedule", "cosin"], "invalid choice: 'cosin'"),
        (["--metrics", "acuracy"], "invalid choice: 'acuracy'"),
        (["--learning-rate", "-1"], "must be above 0 and finite, got '-1'"),
    ],
)
def test_words_that_are_none_of_an_option(
    folder: Path, capsys: pytest.CaptureFixture[str], more: list[str], message: str
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(command(folder, *more))
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert f"argument {more[0]}: {message}" in error
    assert error.startswith("onnxla: ")
    assert error.endswith("; see onnxla finetune --help\n")
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("more", "data", "loss", "message"),
    [
        (["--resume"], "train.npz", "cross_entropy", "pass --checkpoint"),
        (["--patience", "2"], "train.npz", "cross_entropy", "--patience is about validation data"),
        (["--optimizer", "adm"], "train.npz", "cross_entropy", "did you mean 'adam'"),
        ([], "missing.npz", "cross_entropy", "there is no file"),
        ([], "x.npy", "cross_entropy", "holds one array; an .npz file has them by name"),
        ([], "none.npz", "cross_entropy", "has the arrays x; the model takes x, and the loss one"),
        ([], "floats.npz", "cross_entropy", "labels are integers"),
        ([], "floats.npz", "mse", r"targets have shape [32], the outputs [32, 2]"),
        (["--train", "head.*"], "train.npz", "cross_entropy", "no parameter matches 'head.*'"),
        (["--freeze", "*"], "train.npz", "cross_entropy", "no parameter trains"),
        (["--plot", "nowhere/a.png"], "train.npz", "cross_entropy", "there is no folder 'nowhere'"),
    ],
)
def test_mistakes_are_one_message_and_exit_code_2(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    more: list[str],
    data: str,
    loss: str,
    message: str,
) -> None:
    assert main(command(folder, *more, data=data, loss=loss)) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("onnxla: ")
    assert "Traceback" not in error
    assert not (folder / "tuned.onnx").exists()


@pytest.mark.parametrize("option", ["--out", "--plot"])
def test_where_it_goes_is_checked_before_training(
    folder: Path, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "taken").mkdir()
    for target in ("taken", "m" * 250):
        assert main(command(folder, option, f"{folder}/{target}")) == 2
        out, error = capsys.readouterr()
        assert target in error
        assert "before" not in out
    assert not (folder / "tuned.onnx").exists()


def test_no_file_is_replaced_unasked(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, files = folder / "tuned.onnx", [folder / "model.onnx", folder / "train.npz"]
    before = [path.read_bytes() for path in files]
    for path in files:
        (folder / "link.onnx").unlink(missing_ok=True)
        (folder / "link.onnx").symlink_to(path)
        for same in (path, folder / "link.onnx"):
            assert main(command(folder, "--out", str(same), "--force")) == 2
            assert f"--out '{same}' is what the run reads" in capsys.readouterr().err
    out.write_bytes(b"mine")
    assert main(command(folder)) == 2
    assert "tuned.onnx' is there already: name another file, or pass --force" in (
        capsys.readouterr().err
    )
    assert [path.read_bytes() for path in (*files, out)] == [*before, b"mine"]
    assert main(command(folder, "--force")) == 0
    assert onnxla.load(out).input_names == ("x",)


def test_a_log_may_be_in_a_new_folder(folder: Path) -> None:
    assert main(command(folder, "--logger", f"csv={folder}/a/b/run.csv")) == 0
    assert (folder / "a/b/run.csv").read_text().startswith("step,epoch,")


def test_a_model_that_onnx_runtime_does_not_run_is_kept(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (
        header()
        + """ classifier (float[N, 3] x) => (float[N, 2] p) {
        n = Cast <to = 16> (x)
        h = MatMul (n, w)
        z = Cast <to = 1> (h)
        p = Softmax (z)
    }"""
    )
    model = onnx.load_from_string(make(text))
    model.graph.initializer.append(
        helper.make_tensor("w", onnx.TensorProto.BFLOAT16, (3, 2), WEIGHT.ravel())
    )
    onnx.save(model, folder / "model.onnx")
    assert main(command(folder, "--steps", "2", "--learning-rate", "1")) == 2
    error = capsys.readouterr().err
    assert f"the trained model is kept, unchecked, as '{folder}/tuned.unchecked.onnx'" in error
    assert "Traceback" not in error
    assert not (folder / "tuned.onnx").exists()
    trained, shipped = (
        onnxla.load(folder / name).params["w"] for name in ("tuned.unchecked.onnx", "model.onnx")
    )
    assert not np.array_equal(trained, shipped)


def test_what_a_checkpoint_could_not_hold_is_kept(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise CheckpointError("No space left on device")

    monkeypatch.setattr(Checkpoints, "save", full)
    assert main(command(folder, "--checkpoint", f"{folder}/checkpoints")) == 2
    error = capsys.readouterr().err
    assert "No space left on device" in error
    assert f"kept, unchecked, as '{folder}/tuned.unchecked.onnx'" in error
    assert onnxla.load(folder / "tuned.unchecked.onnx")


# It goes on to another number of epochs, as it is told.
@pytest.mark.filterwarnings("ignore:the run was to have:UserWarning")
def test_ctrl_c_saves_and_resume_goes_on(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoints = folder / "checkpoints"
    more = ["--epochs", "200000", "--checkpoint", str(checkpoints), "--checkpoint-every", "50"]
    # Children of a process that ignores the signal, as some runners do, would ignore it too.
    script = (
        "import signal, sys; from onnxla.commands.main import main;"
        "signal.signal(signal.SIGINT, signal.default_int_handler); sys.exit(main())"
    )
    run = subprocess.Popen(
        [sys.executable, "-c", script, *command(folder, *more)],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not (checkpoints / "50").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    run.send_signal(signal.SIGINT)
    _, error = run.communicate(timeout=60)
    assert run.returncode == 130
    assert "the same command with --resume goes on from there" in error
    assert "Traceback" not in error
    assert main(command(folder, *more)) == 2
    assert "resume from the last, or choose another folder" in capsys.readouterr().err
    reached = max(int(name) for name in os.listdir(checkpoints) if name.isdigit())
    assert f"stopped after step {reached}; its checkpoint is in" in error
    more[1] = str(reached // 2 + 1)
    assert main(command(folder, *more, "--resume")) == 0
    assert f"{2 * (reached // 2 + 1)} steps, loss" in capsys.readouterr().out
    assert (folder / "tuned.onnx").exists()


def test_help_names_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["finetune", "--help"])
    assert stopped.value.code == 0
    text = capsys.readouterr().out
    assert "--freeze-statistics GLOB" in text
    assert "validation and the best parameters:" in text
    assert "None" not in text
