"""A runtime in C, as a program: its planted fault is found, nothing else, and broken adapters."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from onnxla.commands import main as cli
from onnxla.testing import CommandRuntime, fuzz

SOURCE = Path(__file__).parent / "tiny_runtime.c"
pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")


def built(folder: Path, *options: str) -> str:
    """The command of the runtime, compiled."""
    program = folder / "tiny_runtime"
    checks = ["-std=c99", "-O1", "-Wall", "-Wextra", "-Werror"]
    subprocess.run(["cc", *checks, *options, "-o", program, SOURCE], check=True)
    return f"{program} {{model}} {{inputs}} {{outputs}}"


def test_a_program_agrees(tmp_path: Path) -> None:
    runtime = CommandRuntime(built(tmp_path))
    assert runtime.name == "tiny_runtime"
    for op_type in ("Add", "Neg", "Relu"):
        result = fuzz(op_type, runtime, opset=14, dtypes=["float32"], specials=True, examples=30)
        assert result.counts == {"agreed": 30}, result.wrong
    result = fuzz("Abs", runtime, examples=5)
    assert result.counts == {"unsupported": 5}
    assert (
        "tiny_runtime: NotSupported: exit code 3; standard error: " in result.details["unsupported"]
    )


def test_a_fault_is_found_and_shrunk(tmp_path: Path) -> None:
    runtime = CommandRuntime(built(tmp_path, "-DFAULT"))
    for op_type in ("Neg", "Relu"):
        assert fuzz(op_type, runtime, opset=14, dtypes=["float32"], examples=10).ok
    result = fuzz("Add", runtime, opset=14, dtypes=["float32"], examples=60)
    assert result.wrong.startswith("disagreed: ")
    assert result.case is not None
    # Operands of different ranks, the simplest that there are.
    ranks = {operand.ndim for operand in result.case.operands}
    assert ranks == {1, 2}
    assert max(operand.size for operand in result.case.operands) <= 4


def test_a_broken_adapter_ends_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "adapter.py").write_text("import no_such_package\n")
    for runtime, message in (
        (f"{tmp_path}/adapter.py:Any", "adapter.py:Any does not start: ModuleNotFoundError"),
        (
            "ls {model} {inputs} {outputs}",
            "there is no output_0.pb or output_0.npy; standard error:",
        ),
        ("ls {model}", "it has no {inputs}, {outputs}"),
    ):
        assert cli.main(["fuzz", "Neg", "--runtime", runtime]) == 2
        assert message in capsys.readouterr().err
