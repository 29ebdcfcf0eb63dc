"""The examples of docs/finetuning.md, one after the other."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest

from support.small_models import header, make

PAGE = Path(__file__).parents[2] / "docs" / "finetuning.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
# What an example may need that is not among the packages for development.
OPTIONAL = {
    "pandas": ("pandas",),
    "sklearn": ("sklearn",),
    "loggers import TensorBoard": ("wandb", "tensorboardX"),
}


def classifier() -> bytes:
    rng = np.random.default_rng(0)
    text = " m (float[N, 4] x) => (float[N, 3] z) { z = Gemm (x, w, b) }"
    weights = rng.normal(size=(4, 3)).astype(np.float32)
    return make(header() + text, w=weights, b=np.zeros(3, np.float32))


def test_the_examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    mpl.use("agg")
    Path("model.onnx").write_bytes(classifier())
    names: dict[str, Any] = {}
    ran = 0
    for example in EXAMPLES:
        lacking = [
            package
            for text, packages in OPTIONAL.items()
            if text in example
            for package in packages
            if find_spec(package) is None
        ]
        lines = example.splitlines()
        if "pandas" in lacking:  # whose lines are a few of an example
            lines = [line for line in lines if "pd" not in line and "frame" not in line]
        elif lacking:
            continue
        exec(compile("\n".join(lines), str(PAGE), "exec"), names)
        ran += 1
    assert ran >= len(EXAMPLES) - len(OPTIONAL)
    assert (tmp_path / "run.jsonl").is_file()
