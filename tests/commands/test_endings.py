"""How the program ends: exit codes, Ctrl-C, pipes, faults of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import onnx
import pytest

from onnxla.commands import info
from onnxla.commands.main import main
from onnxla.testing.fuzzing import Fuzzed
from onnxla.testing.reports.report import FuzzReport
from support.small_models import linear

# Presses Ctrl-C when a module is imported.
INTERRUPTED = """
import os, signal, sys
class Presses:
    def find_spec(self, name, *rest):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)
# Children of a process that ignores the signal, as some runners do, would ignore it too.
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, Presses())
from onnxla.commands.main import main
sys.exit(main(["info", "none.onnx"]))
"""


@pytest.mark.parametrize("module", ["onnxla.commands.grammar", "jax", "onnxla.ops.table"])
def test_ctrl_c_while_modules_are_imported(module: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED.format(module=module)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 130
    assert done.stderr == "onnxla: interrupted\n"


def test_ctrl_c_in_a_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def press(*arguments: object) -> None:
        raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(info.ir, "read", press)
    try:
        assert main(["info", "m.onnx"]) == 130
        assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL  # once more ends it at once
    finally:
        signal.signal(signal.SIGINT, before)
    assert capsys.readouterr().err == "onnxla: interrupted\n"


def test_nobody_reads_what_is_printed(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(linear())
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "onnxla.commands.main", "info", "m.onnx"],
        cwd=tmp_path,
        stdout=writing,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writing)
    assert done.returncode == 141
    assert done.stderr == b""


@pytest.mark.parametrize("asked", [False, True])
def test_a_fault_of_our_own(
    asked: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*arguments: object) -> None:
        raise RuntimeError("a \x1b[2J fault")

    monkeypatch.setattr(info.ir, "read", fail)
    assert main(["info", "m.onnx", *(["--traceback"] * asked)]) == 70
    error = capsys.readouterr().err
    assert "onnxla: RuntimeError: a \\x1b[2J fault\nThis is a fault of onnxla." in error
    assert ("Traceback" in error) is asked


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["run", "m", "--seed", "-1"], "argument --seed: must be at least 0, got '-1'"),
        (["run", "m", "--seed", "x"], "argument --seed: takes a whole number, got 'x'"),
        (["fuzz", "--opset", "-1"], "argument --opset: must be at least 1, got '-1'"),
        (["fuzz", "-n", "0"], "must be at least 1, got '0'"),
        (["fuzz", "-n", "9" * 5000], "takes a whole number, got '999"),
        (["compare", "m", "--rtol", "nan"], "argument --rtol: takes a number, got 'nan'"),
        (
            ["finetune", "m", "--learning-rate", "-1"],
            "argument --learning-rate: must be above 0 and finite, got '-1'",
        ),
        (["finetune", "m", "--epochs", "0"], "argument --epochs: must be at least 1, got '0'"),
    ],
)
def test_numbers_are_checked_by_the_grammar(
    command: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(command)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["run", "{}/m.onnx", "--random", "--size", "N=" + "1" + "0" * 14], "--size 'N=1"),
        (["run", "{}/m.onnx", "--random", "--size", "Q=2"], "no dimension is named 'Q'"),
        (["run", "{}/m.onnx", "--size", "N=2"], "pass --random"),
        (["run", "{}/m.onnx", "--random", "--output", "{}"], "is a folder"),
        (["run", "{}/m.onnx", "--random", "--output", "{}/none/y.npz"], "there is no folder"),
        (["info", "{}"], "is not a regular file"),
        (["info", "{}/none.onnx"], "none.onnx': No such file or directory"),
        (["audit", "{}/none.onnx"], "none.onnx': No such file or directory"),
        (["fuzz", "Nope"], "no operator is named 'Nope'"),
        (["fuzz", "Gelu", "--opset", "5"], "'Gelu' has no schema version up to opset 5"),
        (["fuzz", "Gelu", "--dtype", "nope"], "--dtype takes a dtype such as float32, got 'nope'"),
        (["fuzz", "Gelu", "--runtime", "nope"], "no runtime is named 'nope'"),
        (["fuzz", "Gelu", "--report", "{}/none/r.html"], "--report"),
        (["fuzz", "Gelu", "--save", "{}/m.onnx"], "--save takes a folder"),
    ],
)
def test_mistakes_name_the_option_and_quote_the_value(
    command: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "m.onnx").write_bytes(linear())
    assert main([word.format(tmp_path) for word in command]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


@pytest.mark.parametrize("command", ["info", "run", "audit"])
def test_names_do_nothing_to_a_terminal(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = onnx.load_from_string(linear())
    model.graph.name = model.producer_name = "\x1b[2J"
    model.graph.node[-1].output[0] = model.graph.output[0].name = "y\x1b[2J\u202e"
    onnx.save(model, tmp_path / "m.onnx")
    main([command, str(tmp_path / "m.onnx"), *(["--random"] * (command == "run"))])
    printed = "".join(capsys.readouterr())
    assert "y\\x1b[2J\\u202e" in printed
    assert not {"\x1b", "\u202e"} & {*printed}


def test_codes_of_audit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "m.onnx"
    for content, code in (
        (linear(), 0),
        (linear() + b"\xfa\x3f\x90\x4e" + b"A" * 10000, 1),
        (b"hello", 3),
    ):
        path.write_bytes(content)
        assert main(["audit", str(path)]) == code
        assert main(["audit", str(path), "--json"]) == code


def test_cases_that_nobody_compared_do_not_agree() -> None:
    skipped = Fuzzed("Abs", counts=Counter({"unsupported": 5}))
    agreed = Fuzzed("Neg", counts=Counter({"agreed": 5}))
    nothing = FuzzReport("a", ("b",), [skipped])
    assert "no case could be compared" in nothing.title
    assert not nothing.ok
    assert (
        "all agree, but 1 that no case could compare"
        in FuzzReport("a", ("b",), [skipped, agreed]).title
    )
    assert FuzzReport("a", ("b",), [skipped, agreed]).ok
    assert FuzzReport("a", ("b",), [agreed]).title.endswith("all agree")
