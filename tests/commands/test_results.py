"""A trained model that cannot be saved as asked for is kept under another name."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
import pytest

import onnxla
from onnxla.commands.results import save_result
from support.small_models import BIAS, linear


def trained() -> onnxla.Module:
    return onnxla.load(linear()).replace({"b": BIAS + 1})


def is_trained(path: Path) -> bool:
    return np.array_equal(np.asarray(onnxla.load(path).params["b"]), BIAS + 1)


@pytest.mark.parametrize("error", [onnxla.OnnxlaError, KeyboardInterrupt, MemoryError, ImportError])
def test_a_check_that_ends_in_any_error(
    tmp_path: Path,
    error: type[BaseException],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def failing(*_: object) -> None:
        raise error

    monkeypatch.setattr("onnxla.peers.saved_file.check_saved_file", failing)
    for name in ("m.unchecked.onnx", "m.unchecked.1.onnx"):
        with pytest.raises(error):
            save_result(trained(), tmp_path / "m.onnx", True)
        assert f"kept, unchecked, as '{tmp_path / name}'" in capsys.readouterr().err
        assert is_trained(tmp_path / name)
    assert not (tmp_path / "m.onnx").exists()


def test_a_folder_that_is_gone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(FileNotFoundError):
        save_result(trained(), tmp_path / "gone" / "m.onnx", False)
    assert f"'{tmp_path / 'm.unchecked.onnx'}'" in capsys.readouterr().err
    assert is_trained(tmp_path / "m.unchecked.onnx")


def test_no_place_at_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        save_result(trained(), tmp_path / "m.onnx", False)
    assert "could not be kept anywhere" in capsys.readouterr().err
    assert not os.listdir(tmp_path)
