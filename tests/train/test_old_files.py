"""Adapters and checkpoints are of one model, and those of earlier versions load."""

from __future__ import annotations

import importlib.util
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import onnxla
from support.small_models import header, make

TESTS = Path(__file__).resolve().parents[1]
OLD_FILES = TESTS / "support" / "old_files"
W = np.float32([[1, 2], [3, 4]])


def leaky(alpha: float, **metadata: str) -> onnxla.Module:
    text = f" m (float[N, 2] x) => (y) {{ h = MatMul (x, w) y = LeakyRelu <alpha = {alpha}> (h) }}"
    return onnxla.load(make(header() + text, w=W))


def test_adapters_are_of_one_model_attributes_included(tmp_path: Path) -> None:
    leaky(0.25).lora("w", rank=1).save_adapters(tmp_path / "a")
    assert set(leaky(0.25).load_adapters(tmp_path / "a").partition()[0]) == {
        "w.lora_A",
        "w.lora_B",
    }
    with pytest.raises(onnxla.ModelError, match="another model with the same weights: its opsets"):
        leaky(0.5).load_adapters(tmp_path / "a")


@pytest.mark.parametrize("first", ["lora", "dropout"])
def test_adapters_trained_with_dropout_fit_the_model_without(tmp_path: Path, first: str) -> None:
    base = leaky(0.25)
    if first == "lora":
        module = base.lora("w", rank=1).insert_dropout("h")
    else:
        module = base.insert_dropout("h").lora("w", rank=1)
    module = module.replace({"w.lora_B": np.ones((1, 2), np.float32)})
    module.save_adapters(tmp_path / "a")
    x = np.float32([[1, -1]])
    for other in (base, base.insert_dropout("*")):
        np.testing.assert_array_equal(other.load_adapters(tmp_path / "a")(x), module(x))


def test_adapters_of_a_format_to_come_are_refused(tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    leaky(0.25).lora("w", rank=1).save_adapters(tmp_path / "a")
    save_file(load_file(tmp_path / "a"), tmp_path / "a", {"format": "onnxla.lora.9"})
    with pytest.raises(
        onnxla.ModelError, match=r"format is 'onnxla.lora.9'; .* reads onnxla.lora.1,"
    ):
        leaky(0.25).load_adapters(tmp_path / "a")


def run(alpha: float, folder: Path, epochs: int) -> onnxla.FitResult:
    x = np.float32([[1, 2], [-1, 1]])
    return onnxla.fit(leaky(alpha), (x, x), "mse", epochs=epochs, checkpoint=folder, progress=False)


def test_a_checkpoint_is_of_one_model_attributes_included(tmp_path: Path) -> None:
    run(0.25, tmp_path, 1)
    with pytest.warns(
        UserWarning, match="was to have 1 steps, and now 2: from here on the learning"
    ):
        assert len(run(0.25, tmp_path, 2).history.loss) == 2
    with pytest.raises(onnxla.CheckpointError, match=r"of another run: model was \w{64}, is"):
        run(0.5, tmp_path, 3)


def test_a_checkpoint_of_a_format_to_come_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from onnxla.train import checkpoints

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "FORMAT", 4)
        run(0.25, tmp_path, 1)
    with pytest.raises(onnxla.CheckpointError, match=r"has format 4; this version .* up to 3"):
        run(0.25, tmp_path, 2)


# Files of earlier versions


def tool() -> Any:
    """The script that made the files, with the model, data and run that they are of."""
    path = TESTS.parent / "tools" / "make_old_files.py"
    spec = importlib.util.spec_from_file_location("make_old_files", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(params=sorted(path.name for path in OLD_FILES.iterdir()))
def old(request: pytest.FixtureRequest) -> Path:
    return OLD_FILES / request.param


def test_old_adapters_load(old: Path) -> None:
    base = onnxla.load(old / "model.onnx")
    module = base.load_adapters(old / "adapters.safetensors")
    x, _ = tool().old_data()
    np.testing.assert_allclose(module(x), np.load(old / "adapted.npy"), rtol=1e-5, atol=1e-6)
    assert not np.allclose(module(x), base(x), rtol=1e-5, atol=1e-6)
    with pytest.raises(onnxla.ModelError, match="trained beside other weights"):
        onnxla.load(base.replace({"v": base.params["v"] + 1}).to_ir()).load_adapters(
            old / "adapters.safetensors"
        )


def test_an_old_run_goes_on(old: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(old / "checkpoint.zip") as archive:
        archive.extractall(tmp_path)
    module = onnxla.load(old / "model.onnx")
    resumed = tool().old_run(module, 3, tmp_path / "checkpoint")
    whole = tool().old_run(module, 3, None)
    assert len(resumed.history.loss) == 6
    np.testing.assert_allclose(resumed.history.loss, whole.history.loss, rtol=1e-5)
    for name, value in whole.module.params.items():
        np.testing.assert_allclose(resumed.module.params[name], value, rtol=1e-5, atol=1e-6)
    again = tool().old_run(module, 4, tmp_path / "checkpoint")  # from a checkpoint of today
    assert len(again.history.loss) == 8


def test_an_old_run_of_another_model_does_not_go_on(old: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(old / "checkpoint.zip") as archive:
        archive.extractall(tmp_path)
    module = onnxla.load(old / "model.onnx")
    other = module.replace({"w": module.params["w"] + 1})
    with pytest.raises(onnxla.CheckpointError, match=r"of another run: model was \w{16}, is"):
        tool().old_run(other, 3, tmp_path / "checkpoint")
