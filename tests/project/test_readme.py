"""The README's examples do what they say."""

from __future__ import annotations

import re
from pathlib import Path

import jax
import numpy as np
import onnxruntime
import pytest

import onnxla
from support.small_models import linear

README = (Path(__file__).resolve().parents[2] / "README.md").read_text()


BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("own_loop", [False, True], ids=["fit", "own loop"])
def test_the_examples_train_and_save_a_model(
    own_loop: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("model.onnx").write_bytes(linear())
    rng = np.random.default_rng(0)
    x = rng.standard_normal((320, 3)).astype(np.float32)
    labels = (x[:, 0] > 0).astype(np.int32)
    given = {"x": x, "labels": labels, "x_test": x[:50], "labels_test": labels[:50]}
    if own_loop:
        given = {"module": onnxla.load("model.onnx"), "batches": [(x, labels)] * 50}
    else:
        assert len(BLOCKS[0].splitlines()) == 10
    with jax.numpy_dtype_promotion("standard"):  # optax promotes step counts
        exec(BLOCKS[own_loop], given)

    def loss(path: str) -> float:
        (logits,) = onnxruntime.InferenceSession(path).run(None, {"x": x})
        correct = logits[np.arange(len(x)), labels]
        return float(np.mean(np.log(np.exp(logits).sum(1)) - correct))

    assert loss("tuned.onnx") < (0.98 if own_loop else 1) * loss("model.onnx")
