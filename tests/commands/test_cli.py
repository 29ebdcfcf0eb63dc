"""The command line: output, exit codes, and no traceback for a user's mistake."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import onnx
import pytest

import onnxla
from onnxla.commands.main import main
from support.small_models import BIAS, WEIGHT, graph, linear, make

X = np.arange(6, dtype=np.float32).reshape(2, 3)
Y = X @ WEIGHT + BIAS


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "linear.onnx").write_bytes(linear())
    np.save(tmp_path / "x.npy", X)
    np.savez(tmp_path / "x.npz", x=X)
    return tmp_path


def test_info(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(folder / "linear.onnx")]) == 0
    text = capsys.readouterr().out
    for expected in ("float32[N, 3]", "ai.onnx 20", "weight", "MatMul"):
        assert expected in text


def test_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(folder / "linear.onnx")
    assert main(["info", file, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["inputs"] == {"x": "float32[N, 3]"}
    assert [each["operator"] for each in found["layers"]] == ["MatMul", "Add"]
    assert {each["name"]: each["role"] for each in found["parameters"]} == {
        "w": "weight",
        "b": "bias",
    }
    assert main(["run", file, "--input", str(folder / "x.npy"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["y"] == {
        "dtype": "float32",
        "shape": [*Y.shape],
        "values": Y.astype(np.float32).tolist(),
    }
    assert main(["compare", file, "--json"]) == 0
    compared = json.loads(capsys.readouterr().out)
    assert compared["ok"]
    assert [each["value"] for each in compared["values"]] == ["h", "y"]


def test_json_has_no_numbers_that_are_not_finite(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(folder / "odd.npy", np.array([[np.inf, 0, 0], [np.nan, 0, 0]], np.float32))
    command = ["run", str(folder / "linear.onnx"), "--input", str(folder / "odd.npy"), "--json"]
    assert main(command) == 0
    text = capsys.readouterr().out
    assert {"inf", "-inf", "nan"} & {*map(str, np.ravel(json.loads(text)["y"]["values"]))}
    assert "NaN" not in text
    assert "Infinity" not in text


def test_tables_fit_a_terminal(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "30")
    for command in ("info", "audit", "compare"):
        assert main([command, str(folder / "linear.onnx")]) == 0
        lines = re.sub(r"\x1b\[\d*m", "", capsys.readouterr().out).splitlines()
        assert not [x for x in lines if len(x.rstrip()) > 30 and not x.startswith("note: ")]
        assert len(lines) > 1


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completion(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert "finetune" in script
    assert "--class-weight" in script


def test_info_lists_what_is_unsupported(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    node = onnx.helper.make_node("Strange", ["x"], ["y"], domain="my.domain")
    built = onnx.load_from_string(graph([node], {"x": (1, [2])}, ["y"]))
    built.opset_import.append(onnx.helper.make_opsetid("my.domain", 1))
    onnx.save(built, folder / "strange.onnx")
    assert main(["info", str(folder / "strange.onnx")]) == 1
    assert "my.domain.Strange of opset 1" in capsys.readouterr().out
    assert main(["run", str(folder / "strange.onnx"), "--random"]) == 2
    assert "my.domain.Strange of opset 1" in capsys.readouterr().err


@pytest.mark.parametrize("given", ["x.npy", "x={}/x.npy", "x.npz"])
def test_run_reads_and_writes_arrays(
    folder: Path, capsys: pytest.CaptureFixture[str], given: str
) -> None:
    given = given.format(folder) if "=" in given else str(folder / given)
    output = folder / "y.npz"
    command = ["run", str(folder / "linear.onnx"), "--input", given, "--output", str(output)]
    assert main(command) == 0
    np.testing.assert_allclose(np.load(output)["y"], Y, rtol=1e-6)
    assert "y: float32[2, 2]" in capsys.readouterr().out
    assert main([*command[:-1], str(folder / "y.npy")]) == 0
    np.testing.assert_allclose(np.load(folder / "y.npy"), Y, rtol=1e-6)


def test_run_on_random_inputs_of_a_size(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(folder / "linear.onnx"), "--random", "--size", "N=5"]) == 0
    assert "y: float32[5, 2]" in capsys.readouterr().out


def test_compare(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(folder / "linear.onnx")
    assert main(["compare", file]) == 0
    assert "all 2 values agree with onnxruntime" in capsys.readouterr().out
    assert main(["compare", file, "--input", str(folder / "x.npy"), "--against", "reference"]) == 0
    assert main(["compare", file, "--rtol", "-1"]) == 2
    assert "rtol is a number of at least 0, got -1.0" in capsys.readouterr().err
    module = onnxla.load(file)
    module.replace({"b": module.params["b"] + np.float32(1)}).save(folder / "trained.onnx")
    assert main(["compare", file, "--against", str(folder / "trained.onnx")]) == 1
    assert "the first is 'y', made by Add -> y" in capsys.readouterr().out
    assert main(["compare", file, "--against", "onnxruntim"]) == 2
    assert "there is no file 'onnxruntim'; no runtime is named" in capsys.readouterr().err
    # The reference takes the softmax over one axis where older opsets say several.
    several = folder / "several.onnx"
    text = "g (float[2,2,2] x) => (float[2,2,2] y) { h = Abs (x) y = Softmax <axis = 1> (h) }"
    several.write_bytes(make(f'<ir_version: 7, opset_import: ["" : 11]> {text}'))
    assert main(["compare", str(several), "--against", "reference"]) == 1
    assert "the first is 'y', made by Softmax -> y" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["info", "{}/missing.onnx"], "missing.onnx"),
        (["info", "{}/x.npy"], "x.npy"),
        (["run", "{}/linear.onnx"], "missing inputs: x"),
        (["run", "{}/linear.onnx", "--input", "{}/none.npy"], "there is no file"),
        (["run", "{}/linear.onnx", "--input", "{}/linear.onnx"], "is no .npy or .npz file"),
        (["run", "{}/linear.onnx", "--input", "z={}/x.npy"], "no input is named 'z'"),
        (["run", "{}/linear.onnx", "--random", "--size", "N"], "--size takes NAME=N, got 'N'"),
        (
            ["run", "{}/linear.onnx", "--input", "{}/x.npy", "--input", "{}/x.npy"],
            "no input left to feed",
        ),
    ],
)
def test_mistakes_are_one_message_and_exit_code_2(
    folder: Path, capsys: pytest.CaptureFixture[str], command: list[str], message: str
) -> None:
    assert main([word.format(folder) for word in command]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ([], ["info"], ["run"], ["compare"], ["demo"]):
        with pytest.raises(SystemExit) as stopped:
            main([*command, "--help"])
        assert stopped.value.code == 0
    assert "fine-tune a real pre-trained model" in capsys.readouterr().out
