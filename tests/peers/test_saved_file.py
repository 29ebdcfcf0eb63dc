"""The check of a saved file by ONNX Runtime: what it refuses, and what it only tells."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

import onnxla
from onnxla.testing.known_faults.saturation import saturates
from support.small_models import graph, header, make

RNG = np.random.default_rng(0)
X = RNG.standard_normal((4, 32)).astype(np.float32)
FACTORS = np.full((32, 4), 127, np.int8)


def quantized() -> bytes:
    """Two quantized layers and a Softmax, which ONNX Runtime fuses: its outputs are steps off."""
    scales = {"sx": np.float32(0.031), "sw": np.float32(0.0017), "sy": np.float32(1 / 256)}
    weights = {f"w{i}": RNG.integers(-127, 128, (32, 32)).astype(np.int8) for i in range(2)}
    text = " m (float[N, 32] x) => (float[N, 32] y) { h0 = Identity (x)"
    for i in range(2):
        text += f""" q{i} = QuantizeLinear (h{i}, sx, middle)
            d{i} = DequantizeLinear (q{i}, sx, middle) v{i} = DequantizeLinear (w{i}, sw)
            m{i} = MatMul (d{i}, v{i}) p{i} = QuantizeLinear (m{i}, sx, middle)
            h{i + 1} = DequantizeLinear (p{i}, sx, middle)"""
    text += (
        " s = Softmax (h2) t = QuantizeLinear (s, sy, zero) y = DequantizeLinear (t, sy, zero) }"
    )
    return make(header(17) + text, **scales, middle=np.uint8(128), zero=np.uint8(0), **weights)


def one(op_type: str, inputs: dict[str, Any], tensors: Any = None, **attributes: Any) -> bytes:
    names = [*inputs, *(tensors or {})]
    node = helper.make_node(op_type, names, ["y"], **attributes)
    return graph([node], inputs, ["y"], 17, tensors)


FLOAT, UINT8, INT8, INT64 = 1, 2, 3, 7
BYTES = (UINT8, [4, 32])
FULL = np.full((4, 32), 255, np.uint8)
UNCHANGED = {
    "random numbers": (one("RandomNormalLike", {"x": (FLOAT, [9])}), True, ""),
    "seeded numbers": (one("RandomUniformLike", {"x": (FLOAT, [9])}, seed=1.0), True, ""),
    "no elements": (one("Exp", {"x": (FLOAT, [0, 2])}), True, ""),
    "no numbers": (one("Log", {"x": (FLOAT, [9])}), True, ""),
    "a random index that there is not": (
        graph([helper.make_node("Gather", ["w", "i"], ["y"])], {"i": (INT64, [9])}, ["y"],
              17, {"w": np.zeros((1, 2), np.float32)}),
        True,
        "could not be compared.*Gather",
    ),
    "an input without a shape": (one("Exp", {"x": (FLOAT, None)}), True, "could not be compared"),
    "sums that saturate": (
        one("MatMulInteger", {"x": BYTES}, {"w": FACTORS}), (FULL,), "saturate at 16 bits",
    ),
    "sums that saturate whatever is asked for": (
        one("MatMulInteger", {"x": BYTES, "w": (INT8, [32, 4])}), (FULL, FACTORS), "as it was read",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", UNCHANGED)
def test_what_is_as_it_was_read_is_saved(name: str, tmp_path: Path) -> None:
    data, inputs, warning = UNCHANGED[name]
    warns = warning and ("saturate" not in name or saturates())
    with pytest.warns(match=warning) if warns else contextlib.nullcontext():
        onnxla.load(data).save(tmp_path / "m.onnx", check=inputs)
    assert (tmp_path / "m.onnx").read_bytes() == data


def test_a_warning_is_of_the_line_that_saves(tmp_path: Path) -> None:
    data, inputs, _ = UNCHANGED["an input without a shape"]
    with pytest.warns() as warned:
        onnxla.load(data).save(tmp_path / "m.onnx", check=inputs)
    assert [each.filename for each in warned] == [__file__]


@pytest.mark.parametrize("change", [0, 0.001])
def test_what_graph_optimizations_change_is_told(change: float, tmp_path: Path) -> None:
    module = onnxla.load(quantized())
    module = module.replace({"sw": module.params["sw"] * (1 + change)})
    module.save(tmp_path / "m.onnx")
    theirs = onnxruntime.InferenceSession(tmp_path / "m.onnx").run(None, {"x": X})[0]
    gap = np.abs(theirs - np.asarray(module(X))).max()
    assert gap > 1e-3 * np.abs(theirs).max(), "nothing to tell"
    with pytest.warns(match=rf"'y'.* differs by {gap:.3g}, .*ORT_DISABLE_ALL it agrees") as warned:
        module.save(tmp_path / "m.onnx", check=(X,))
    assert [each.filename for each in warned] == [__file__]


def test_a_changed_model_that_is_written_wrong_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = onnxla.load(quantized())
    wrong = module.replace({"sw": module.params["sw"] * 2})._with_values()
    monkeypatch.setattr(onnxla.Module, "to_ir", lambda self, **_: wrong)
    with pytest.raises(onnxla.OnnxlaError, match=r"'y' .*Nothing was replaced"):
        module.save(tmp_path / "m.onnx", check=(X,))
    assert not (tmp_path / "m.onnx").exists()


@pytest.mark.parametrize(("step", "refused"), [(1, False), (2, True)])
def test_quantized_integers_may_be_a_step_off(
    step: int, refused: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = " m (uint8[4] x) => (uint8[4] y) { y = Max (x, b) }"
    module, other = (
        onnxla.load(make(header() + text, b=np.full(4, number, np.uint8)))
        for number in (100, 100 + step)
    )
    wrong = replace(other.to_ir(), producer="another")  # not as it was read
    monkeypatch.setattr(onnxla.Module, "to_ir", lambda self, **_: wrong)
    with pytest.raises(onnxla.OnnxlaError) if refused else contextlib.nullcontext():
        module.save(tmp_path / "m.onnx", check=(np.zeros(4, np.uint8),))


def test_a_file_for_one_processor_says_so(tmp_path: Path) -> None:
    weight = np.ones((32, 3, 3, 3), np.float32)
    text = " m (float[1, 3, 8, 8] x) => (float[1, 32, 6, 6] y) { c = Conv (x, w) y = Relu (c) }"
    path, levels = tmp_path / "m.onnx", onnxruntime.GraphOptimizationLevel
    path.write_bytes(make(header(17) + text, w=weight))
    x = np.ones((1, 3, 8, 8), np.float32)
    expected = onnxla.load(path)(x)
    for level in (levels.ORT_ENABLE_EXTENDED, levels.ORT_ENABLE_ALL):
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.graph_optimization_level = level
        options.optimized_model_filepath = str(tmp_path / f"{level.name}.onnx")
        onnxruntime.InferenceSession(path, options)
    np.testing.assert_allclose(onnxla.load(tmp_path / "ORT_ENABLE_EXTENDED.onnx")(x), expected)
    blocked = tmp_path / "ORT_ENABLE_ALL.onnx"
    domains = {node.domain for node in onnx.load(blocked).graph.node}
    if "com.microsoft.nchwc" not in domains:
        pytest.skip("no blocks on this processor")
    with pytest.raises(onnxla.UnsupportedError, match=r"for one kind.*ORT_ENABLE_EXTENDED"):
        onnxla.load(blocked)
    assert "ORT_ENABLE_EXTENDED" in onnxla.check(blocked).unsupported[0]
