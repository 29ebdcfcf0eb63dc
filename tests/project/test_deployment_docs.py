"""The examples of docs/deployment.md, one after the other."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import onnxla
from support.small_models import linear

PAGE = Path(__file__).parents[2] / "docs" / "deployment.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)


def test_the_examples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("model.onnx").write_bytes(linear())
    names: dict[str, Any] = {}
    for example in EXAMPLES:
        exec(compile(example, str(PAGE), "exec"), names)
    np.testing.assert_allclose(names["y"], names["module"](np.ones((8, 3), np.float32)), 1e-6)
    said = re.search(r"# (Exported\(.*)", "".join(EXAMPLES))
    assert said is not None
    assert capsys.readouterr().out.strip() == said[1]
    np.testing.assert_allclose(names["gradient"]["w"], np.full((3, 2), 8))
    assert onnxla.load_exported("fixed.stablehlo").inputs["x"].shape == (16, 3)
    shapes = {p.stem: str(onnxla.load_exported(p).inputs["x"].shape) for p in Path().glob("*.st*")}
    assert shapes["even"] == "(2*half, 3)"
    assert shapes["whole"] == "(rows, 3)"
