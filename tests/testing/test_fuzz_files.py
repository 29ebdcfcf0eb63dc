"""Mutated files end in a result or a documented error; those that once did not are kept."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import onnx
import pytest

from onnxla.testing.malformed.mutation import mutate
from support.small_models import header, make

TOOL = Path(__file__).resolve().parents[2] / "tools" / "fuzz_files.py"
BROKEN = Path(__file__).parent / "broken_files"


def fuzz(folder: Path, *arguments: str) -> str:
    """What the tool says of files that it tries in limited processes."""
    command = [sys.executable, str(TOOL), str(folder), "--workers", "1", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("0 places fail\n")
    return done.stdout


@pytest.mark.parametrize(
    ("seed", "count"), [(1, 600), pytest.param(2, 4000, marks=pytest.mark.more)]
)
def test_mutated_files(seed: int, count: int, tmp_path: Path) -> None:
    assert f"{count:,} files of " in fuzz(tmp_path, "--seed", str(seed), "--files", str(count))


def test_files_that_once_failed(tmp_path: Path) -> None:
    count = 2 * len(list(BROKEN.glob("*.onnx")))
    assert f"\n{count:,} files of " in fuzz(tmp_path, "--again", str(BROKEN))


def test_a_failure_is_kept(tmp_path: Path) -> None:
    # The tool finds what is planted: a file at which reading ends in an error of another kind.
    code = f"""
import sys; sys.argv = ["fuzz", {str(tmp_path)!r}, "--again", {str(BROKEN)!r}, "--workers", "1"]
import runpy; runpy.run_path({str(TOOL)!r}, run_name="__main__")
"""
    planted = "import onnxla\nonnxla.check = lambda data: {}[0] if data else None\n"
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(planted)
    environment = {"PYTHONPATH": str(site), "PATH": "", "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 places fail" in done.stdout
    assert [path.suffix for path in sorted(tmp_path.glob("KeyError*"))] == [".onnx", ".txt"]


def test_mutation_is_decided_by_its_generator() -> None:
    model = make(header() + " m (float[N, 4] x) => (float[N, 4] y) { y = Relu (x) }")
    files = [mutate(model, random.Random(number), [model]) for number in range(300)]
    assert files == [mutate(model, random.Random(number), [model]) for number in range(300)]
    assert len({*files}) > 200
    valid = 0
    for data in files:
        try:
            onnx.checker.check_model(data)
        except (onnx.checker.ValidationError, RuntimeError, ValueError):
            continue
        valid += 1
    assert 30 < valid < 270
