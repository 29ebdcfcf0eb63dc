"""The README's examples do what they say."""

from __future__ import annotations

import re
from pathlib import Path

import jax
import numpy as np
import onnxruntime
import pytest

from small_models import linear

README = (Path(__file__).resolve().parent.parent / "README.md").read_text()


def test_the_ten_lines_train_and_save_a_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = re.search(r"## Ten lines\n\n```python\n(.*?)```", README, re.DOTALL)[1]
    assert len(code.partition("\n\n")[2].splitlines()) == 10
    monkeypatch.chdir(tmp_path)
    Path("model.onnx").write_bytes(linear())
    rng = np.random.default_rng(0)
    x = rng.standard_normal((64, 3)).astype(np.float32)
    labels = (x[:, 0] > 0).astype(np.int32)
    names = {"batches": [(x, labels)] * 50}
    with jax.numpy_dtype_promotion("standard"):  # optax promotes step counts
        exec(code, names)

    def loss(path: str) -> float:
        (logits,) = onnxruntime.InferenceSession(path).run(None, {"x": x})
        correct = logits[np.arange(len(x)), labels]
        return float(np.mean(np.log(np.exp(logits).sum(1)) - correct))

    assert loss("tuned.onnx") < 0.98 * loss("model.onnx")
