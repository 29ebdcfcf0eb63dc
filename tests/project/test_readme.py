"""The README's examples do what they say."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

import onnxla
from support.decoders import Sizes, gpt
from support.small_models import graph, header, linear, make

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


def network(batch: int | str = "batch") -> bytes:
    """A network with the names that the README's examples have."""
    rng = np.random.default_rng(0)
    weights = {
        "encoder/attn/weight": rng.standard_normal((3, 4)).astype(np.float32),
        "head.weight": rng.standard_normal((4, 2)).astype(np.float32),
        "head.bias": np.zeros(2, np.float32),
        **dict.fromkeys(("scale", "variance"), np.ones(4, np.float32)),
        **dict.fromkeys(("shift", "mean"), np.zeros(4, np.float32)),
    }
    nodes = [
        helper.make_node("MatMul", ["x", "encoder/attn/weight"], ["projected"]),
        helper.make_node(
            "BatchNormalization", ["projected", "scale", "shift", "mean", "variance"], ["normal"]
        ),
        helper.make_node("Relu", ["normal"], ["/layer4/Relu_output_0"]),
        helper.make_node("Sigmoid", ["/layer4/Relu_output_0"], ["features"]),
        helper.make_node("Gemm", ["features", "head.weight", "head.bias"], ["y"]),
    ]
    inputs = {"x": (onnx.TensorProto.FLOAT, [batch, 3])}
    return graph(nodes, inputs, ["y"], 17, weights)


def of_a_rate() -> bytes:
    """A model with an input that decides a shape."""
    return make(
        header() + " m (float[N] x, int64 sr) => (float[N] y) { s = Cast <to = 1> (sr)"
        " y = Mul (x, s) }"
    )


def quantized() -> bytes:
    """A linear layer of integers."""
    text = " m (float[N, 3] x) => (float[N, 2] y) { v = DequantizeLinear (w, s) y = MatMul (x, v) }"
    return make(header() + text, w=np.int8([[1, -2], [3, 4], [5, 6]]), s=np.float32(0.1))


# What a line of the README is about, where any network would not do.
MODELS: dict[str, Callable[[], onnxla.Module]] = {
    "specialize": lambda: onnxla.load(of_a_rate()),
    "batched": lambda: onnxla.load(network(1)),
    "free_batch": lambda: onnxla.load(network(1)),
    "save_adapters": lambda: onnxla.load(network()).lora("*/attn/*"),
    "quantization_aware": lambda: onnxla.load(quantized()),
}


def test_what_else_a_module_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("model.onnx").write_bytes(network())
    (block,) = (block for block in BLOCKS if "module.run(" in block)
    x = np.random.default_rng(0).standard_normal((8, 3)).astype(np.float32)
    names = {"onnxla": onnxla, "x": x, "key": jax.random.key(0)}
    for line in filter(None, block.splitlines()):
        special = (make for name, make in MODELS.items() if f"module.{name}(" in line)
        names["module"] = next(special, lambda: onnxla.load("model.onnx"))()
        names["params"] = names["module"].params
        exec(line, names)
    assert names["ys"]["y"].shape == (8, 2)
    assert Path("model.stablehlo").exists()


def test_a_decoder_makes_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("decoder.onnx").write_bytes(gpt(Sizes(longest=128)))
    (block,) = (block for block in BLOCKS if ".generate(" in block)
    names = {"onnxla": onnxla, "ids": np.int32([[3, 1, 4]])}
    exec(block, names)
    assert len(names["tokens"][0]) > 3
