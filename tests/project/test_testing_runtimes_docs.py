"""docs/testing_runtimes.md: its programs are written to files, and its commands are run."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxla.commands import main as cli
from onnxla.commands.grammar import parser
from onnxla.peers.isolation import Isolated
from onnxla.peers.runtimes import THIRD_PARTY, find_runtime
from onnxla.testing import compare, example

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "testing_runtimes.md").read_text()
OTHER = "/path/to/python"
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
# Files in a block of their own, which begins with their name.
FILES = {
    found[1]: text
    for _, text in BLOCKS
    if (found := re.match(r"(?:#|//) (\w+\.\w+)\n", text)) is not None
}
COMMANDS = [
    text.splitlines()
    for language, text in BLOCKS
    if not language and re.match(r"onnxla|cc|rustc", text)
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the programs, and the repository's tests."""
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(commands: list[str]) -> int:
    """Runs the commands of a block; the last one's exit code."""
    code = 0
    for command in commands:
        words = [sys.executable if word == OTHER else word for word in shlex.split(command)]
        if words[0] == "onnxla":
            code = cli.main(words[1:])
        else:
            subprocess.run(words, check=True)
    return code


def blocks(text: str) -> list[list[str]]:
    """The blocks of commands that have a text."""
    found = [block for block in COMMANDS if any(text in command for command in block)]
    assert found
    return found


def needs(program: str) -> None:
    """Skips where a program is not installed."""
    if shutil.which(program) is None:
        pytest.skip(f"there is no {program}")


def test_every_command_is_known() -> None:
    for command in (command for block in COMMANDS for command in block):
        if (words := shlex.split(command))[0] == "onnxla":
            parser().parse_args(words[1:])
    told = (
        "training.py",
        "adapter.py:Mine",
        "tiny_runtime",
        "main.rs",
        "node runtime.mjs",
        "openvino",
    )
    assert sorted(map(str, COMMANDS)) == sorted({str(b) for text in told for b in blocks(text)})


def test_an_adapter(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (commands,) = blocks("adapter.py:Mine")
    assert len(commands) == 2
    assert run(commands) == 0
    told = capsys.readouterr().out
    agree = r"^mine against .*: 40 cases of 2 operators, seed 0: all agree"
    assert len(re.findall(agree, told, re.MULTILINE)) == 2


def test_an_adapter_in_a_test(folder: Path) -> None:
    (code,) = (text for _, text in BLOCKS if "import Isolated" in text)
    names: dict[str, Any] = {}
    exec(code.replace(OTHER, sys.executable), names)
    assert compare(example("Neg", 13, np.float32([1])), names["runtime"]).kind == "agreed"
    names["runtime"].close()


def test_gradients(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (commands,) = blocks("training.py")
    assert run(commands) == 0
    told = capsys.readouterr().out
    assert "training against gradients: 20 cases of 1 operator, seed 0: all agree" in told
    source = folder / "training.py"
    source.write_text(source.read_text().replace("(1 - np.tanh(x) ** 2)", "(1 - np.tanh(x))"))
    assert run(commands) == 1


def test_c(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    needs("cc")
    right, wrong = blocks("tiny_runtime")
    assert run(right) == 0
    assert re.match(r"tiny_runtime against .*: 60 cases", capsys.readouterr().out)
    assert run(wrong) == 1
    (shown,) = (text for _, text in BLOCKS if text.startswith("Add-14 disagreed"))
    # Which of the simplest cases is found may differ with the version of Hypothesis.
    found, case = shown.split("Case(")
    assert f"{found}Case({case.partition(',')[0]}" in capsys.readouterr().out


NEGATION = """inputs.into_iter().next().ok_or("no input".to_string()).map(|x| {
        vec![Tensor { data: x.data.iter().map(|v| -v).collect(), ..x }]
    })"""


def test_rust(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    needs("rustc")
    (commands,) = blocks("main.rs")
    run(commands)
    assert "standard error: any operator, so far" in capsys.readouterr().out
    # With a runtime of one operator in its place, tensors are read and written as they should be.
    source = folder / "main.rs"
    text = source.read_text().replace("_inputs", "inputs")
    absent = 'Err("any operator, so far".into())'
    assert absent in text
    source.write_text(text.replace(absent, NEGATION))
    assert run(commands) == 0
    assert re.search(r"\n  Neg +1\d", capsys.readouterr().out)  # most of the cases agree


STAND_IN = """
const ort = {
  env: { wasm: {} },
  Tensor: class { constructor(type, data, dims) { Object.assign(this, { type, data, dims }); } },
  InferenceSession: { create: async () => ({ run: async (feeds) => {
    const { type, data, dims } = Object.values(feeds)[0];
    return { y0: { type, data: data.map((x) => -x), dims } };
  } }) },
};
"""


def test_javascript(folder: Path) -> None:
    needs("node")
    script = folder / "runtime.mjs"
    line = 'import * as ort from "onnxruntime-web";\n'
    text = script.read_text()
    assert line in text
    # Its reading and writing is what is tested: what is imported may not be installed.
    script.write_text(text.replace(line, STAND_IN))
    ((command,),) = blocks("node runtime.mjs")
    runtime = find_runtime(shlex.split(command)[-1])
    for x in (np.float32([[1, -2, 0.5]]), np.array(3.0), np.array([2**40, -1]), np.zeros((0, 2))):
        outcome = compare(example("Neg", 13, x), runtime)
        assert outcome.kind == "agreed", outcome
    refused = compare(example("Neg", 13, np.array([1], np.int8)), runtime)
    assert refused.kind == "unsupported"
    assert "inputs of int8" in refused.detail


@pytest.mark.parametrize("name", THIRD_PARTY)
def test_the_shipped_adapters_are_named(name: str) -> None:
    assert re.search(rf"^\| `{name}` \|", PAGE, re.MULTILINE)
    found = find_runtime(name, python=sys.executable)
    assert isinstance(found, Isolated)
    assert (ROOT / "peers" / "third_party" / f"{name}.py").is_file()
