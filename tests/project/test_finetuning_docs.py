"""The examples of docs/finetuning.md, one after the other."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import onnx
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


def tagger() -> bytes:
    rng = np.random.default_rng(0)
    text = """ m (int64[N, seq] ids, int64[N, seq] attention_mask) => (float[N, seq, 9] z) {
        e = Gather (w, ids) m = Cast <to = 1> (attention_mask) k = Unsqueeze (m, last)
        h = Mul (e, k) z = MatMul (h, v)
    }"""
    tables = {"w": rng.normal(size=(9, 8)), "v": rng.normal(size=(8, 9))}
    tensors = {name: value.astype(np.float32) for name, value in tables.items()}
    return make(header() + text, **tensors, last=np.array([-1]))


def test_the_examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    mpl.use("agg")
    Path("model.onnx").write_bytes(classifier())
    Path("tagger.onnx").write_bytes(tagger())
    onnx.checker.check_model("tagger.onnx")
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
