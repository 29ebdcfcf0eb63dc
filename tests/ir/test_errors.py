"""What a notebook shows of an error: the reader's lines, and the sentence that matters."""

from __future__ import annotations

import io
from contextlib import redirect_stderr, redirect_stdout

import pytest
from IPython.core.interactiveshell import InteractiveShell

CELL = """
def mine():
    return onnxla.load(b"no model")

mine()
"""


def shown() -> str:
    """What IPython shows of a cell that fails."""
    shell = InteractiveShell()
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(out):
        shell.run_cell("import onnxla")
        shell.run_cell(CELL)
    return out.getvalue()


def test_a_notebook_folds_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ONNXLA_TRACEBACK", raising=False)
    text = shown()
    assert 'return onnxla.load(b"no model")' in text
    assert "frames within onnxla and JAX" in text
    assert "module.py" not in text
    *_, message, hint = text.rstrip().splitlines()
    assert "ModelError: " in message
    assert "ONNXLA_TRACEBACK" in hint
    monkeypatch.setenv("ONNXLA_TRACEBACK", "1")
    assert "module.py" in shown()
