"""Adapters beside weights that model-local functions use."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

import onnxla
from onnxla import ir
from support.small_models import make

X = np.random.default_rng(3).standard_normal((4, 6)).astype(np.float32)

MODELS = {
    "one of two calls": """<ir_version: 9, opset_import: ["": 20, "l": 1]>
        m (float[N, 6] x) => (float[N, 6] y) {
            a = l.layer <slope = 0.3> (x, w, b)
            y = l.layer (a, v, b)
        }
        <domain: "l", opset_import: ["": 20]> layer <slope: float = 0.1> (x, w, b) => (y) {
            h = MatMul (x, w)
            s = Add (h, b)
            y = LeakyRelu <alpha: float = @slope> (s)
        }""",
    "nested": """<ir_version: 9, opset_import: ["": 20, "l": 1]>
        m (float[N, 6] x) => (float[N, 6] y) {
            a = l.block (x, w, b)
            y = l.layer (a, v, b)
        }
        <domain: "l", opset_import: ["": 20, "l": 1]> block (x, w, b) => (y) {
            h = l.layer (x, w, b)
            y = Tanh (h)
        }
        <domain: "l", opset_import: ["": 20]> layer (x, w, b) => (y) {
            h = MatMul (x, w)
            y = Add (h, b)
        }""",
    "with a subgraph": """<ir_version: 9, opset_import: ["": 20, "l": 1]>
        m (float[N, 6] x) => (float[N, 6] y) { y = l.layer (x, w) }
        <domain: "l", opset_import: ["": 20]> layer (x, w) => (y) {
            s = ReduceSum <keepdims = 0> (x)
            h = MatMul (x, w)
            zero = Constant <value = float {0}> ()
            c = Greater (s, zero)
            y = If (c) <
                then_branch = t () => (p) { q = MatMul (h, w) p = Neg (q) },
                else_branch = e () => (r) { r = MatMul (h, w) }
            >
        }""",
    "one constant for two calls": """<ir_version: 9, opset_import: ["": 20, "l": 1]>
        m (float[N, 6] x) => (float[N, 6] y) { a = l.layer (x) y = l.layer (a) }
        <domain: "l", opset_import: ["": 20]> layer (x) => (y) {
            w = Constant <value = float[6, 6] {WEIGHT}> ()
            y = MatMul (x, w)
        }""",
    "an output that is an input": """<ir_version: 9, opset_import: ["": 20, "l": 1]>
        m (float[N, 6] x) => (float[N, 6] y, float[N, 6] z) { y, z = l.layer (x, w) }
        <domain: "l", opset_import: ["": 20]> layer (x, w) => (y, x) { y = MatMul (x, w) }""",
}


def model(name: str) -> bytes:
    rng = np.random.default_rng(0)
    w, v = (rng.standard_normal((6, 6)).astype(np.float32) / 2 for _ in "wv")
    text = MODELS[name]
    if "WEIGHT" in text:
        return make(text.replace("WEIGHT", ", ".join(map(str, w.ravel()))))
    tensors = {"w": w, "v": v, "b": w[0]}
    return make(text, **{name: value for name, value in tensors.items() if f" {name}" in text})


def trained(module: onnxla.Module) -> onnxla.Module:
    rng = np.random.default_rng(1)
    return module.replace(
        {
            name: (rng.standard_normal(value.shape) / 4).astype(value.dtype)
            for name, value in module.partition()[0].items()
        }
    )


@pytest.mark.parametrize("name", MODELS)
def test_calls_are_written_out_for_adapters_and_are_calls_again(name: str, tmp_path: Path) -> None:
    base = onnxla.load(model(name))
    module = base.lora("w", rank=2, alpha=3)
    expected = base.run({"x": X})
    for one, other in zip(module.run({"x": X}).values(), expected.values(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)
    assert ir.write(module.to_ir()) == model(name)
    module = trained(module)
    y = np.asarray(module.run({"x": X})["y"])
    assert np.abs(y - expected["y"]).max() > 0.1

    merged = onnx.load_from_string(ir.write(module.to_ir()))
    before = onnx.load_from_string(model(name))
    assert list(merged.graph.node) == list(before.graph.node)
    kept = ir.write(module.to_ir(merge=False))
    onnx.checker.check_model(kept)
    for saved in (kept, ir.write(module.to_ir())):
        np.testing.assert_allclose(onnxla.load(saved).run({"x": X})["y"], y, rtol=1e-4, atol=1e-4)
        if name == "an output that is an input":  # which ONNX Runtime does not read
            continue
        found = onnxruntime.InferenceSession(saved).run(["y"], {"x": X})[0]
        np.testing.assert_allclose(found, y, rtol=1e-4, atol=1e-4)
    for form in ("onnxla", "peft"):
        module.save_adapters(tmp_path / form, form=form)  # type: ignore[arg-type]
        again = base.load_adapters(tmp_path / form)
        np.testing.assert_allclose(again.run({"x": X})["y"], y, rtol=1e-6)
        assert ir.write(again.to_ir()) == ir.write(module.to_ir())


def test_calls_that_no_adapter_needs_stay_and_edits_inside_are_kept() -> None:
    base = onnxla.load(model("one of two calls"))
    module = trained(base.lora("w", rank=1))
    kinds = [node.op_type for node in module.program.model.graph.nodes]
    assert kinds.count("layer") == 1
    assert kinds[:2] == ["MatMul", "MatMul"]
    dropped = module.insert_dropout("a/s").merge()
    assert "layer" in [n.op_type for n in dropped.program.model.graph.nodes]
    assert "Dropout" in [n.op_type for n in dropped.program.model.graph.nodes]
    np.testing.assert_allclose(dropped(X), module(X), rtol=1e-4, atol=1e-5)
    part = module.cut(outputs=["a/h"])
    np.testing.assert_allclose(part.merge()(X), part(X), rtol=1e-4, atol=1e-5)
