"""A runtime in C, as a program, agrees where it has no fault; broken adapters end the command.

The planted fault is found in `tests/project/test_testing_runtimes_docs.py`, as its page says.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from onnxla.commands import main as cli
from onnxla.testing import CommandRuntime, fuzz

SOURCE = Path(__file__).parent / "tiny_runtime.c"
pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")


def test_a_program_agrees(tmp_path: Path) -> None:
    program = tmp_path / "tiny_runtime"
    checks = ["-std=c99", "-O1", "-Wall", "-Wextra", "-Werror"]
    subprocess.run(["cc", *checks, "-o", program, SOURCE], check=True)
    runtime = CommandRuntime(f"{program} {{model}} {{inputs}} {{outputs}}")
    assert runtime.name == "tiny_runtime"
    for op_type in ("Add", "Neg", "Relu"):
        result = fuzz(op_type, runtime, opset=14, dtypes=["float32"], specials=True, examples=30)
        assert result.counts == {"agreed": 30}, result.findings
    result = fuzz("Abs", runtime, examples=5)
    assert result.counts == {"unsupported": 5}
    assert (
        "tiny_runtime: NotSupported: exit code 3; standard error: " in result.details["unsupported"]
    )


def test_a_broken_adapter_ends_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "adapter.py").write_text("import no_such_package\n")
    run = "run = lambda self, *_: time.sleep(60)"
    hanging = f"import time\nclass Hanging:\n    name = 'hanging'\n    {run}\n"
    (tmp_path / "hanging.py").write_text(hanging)
    for runtime, message in (
        (f"{tmp_path}/hanging.py:Hanging", "the runtime is broken, .* did not answer in 0.5 s"),
        (f"{tmp_path}/adapter.py:Any", "adapter.py:Any does not start: ModuleNotFoundError"),
        (
            "ls {model} {inputs} {outputs}",
            "there is no output_0.pb or output_0.npy; standard error:",
        ),
        ("ls {model}", r"it has no \{inputs\}, \{outputs\}"),
    ):
        assert cli.main(["fuzz", "Neg", "--timeout", "0.5", "--runtime", runtime]) == 2
        assert re.search(message, capsys.readouterr().err)
