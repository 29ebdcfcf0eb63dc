"""The examples of docs/drawing.md, one after the other."""

from __future__ import annotations

import re
from pathlib import Path

import jax
import numpy as np
import pytest

import onnxla
from support.small_models import linear

PAGE = Path(__file__).parents[2] / "docs" / "drawing.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)


def test_the_examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    module = onnxla.load(linear())
    names = {"module": module, "onnxla": onnxla, "jax": jax, "x": np.ones((2, 3), np.float32)}
    for example in EXAMPLES:
        exec(example, names)
    assert len(EXAMPLES) == 5
    assert (tmp_path / "graph.html").is_file()
    assert names["head"].output_names == ("head.logits",)
    assert names["part"].output_names == ("h",)
    assert [*names["train"]] == ["w"]


def test_the_page_names_every_overlay() -> None:
    from onnxla.draw.figures import KINDS

    assert all(f'"{kind}"' in PAGE.read_text() for kind in KINDS)
