"""The examples of docs/generation.md, one after the other."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support.decoders import Peer, Sizes, gpt

PAGE = Path(__file__).parents[2] / "docs" / "generation.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)


def test_the_examples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    file = gpt(Sizes(longest=512))
    Path("decoder.onnx").write_bytes(file)
    names: dict[str, Any] = {}
    for example in EXAMPLES:
        exec(compile(example, str(PAGE), "exec"), names)
    expected, _ = Peer(file).greedy([5, 17, 3], 200)
    np.testing.assert_array_equal(names["longer"][0], expected)
    np.testing.assert_array_equal(names["short"][0], expected[:10])
    assert "past_key_values.1.value" in capsys.readouterr().out
