"""Decoders with a cache, trained on whole sequences and saved with their cache."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
import pytest

import onnxla
from onnxla import losses
from support.decoders import (
    EXPORTED,
    Peer,
    further,
    gpt,
    grouped,
    llama,
    merged,
    precise,
    standard,
)

TOKENS = np.random.default_rng(0).integers(3, 61, (16, 12))


def data(module: onnxla.Module) -> dict[str, Any]:
    """The sequences, with what a decoder wants to know of them."""
    found = {
        "input_ids": TOKENS,
        "attention_mask": np.ones_like(TOKENS),
        "position_ids": np.broadcast_to(np.arange(12), TOKENS.shape),
        **further(module.input_names, len(TOKENS)),
    }
    return {name: value for name, value in found.items() if name in module.input_names}


def integers(tmp_path: Path) -> bytes:
    """A file with MatMulInteger, as ONNX Runtime's quantizer writes it."""
    from onnxruntime.quantization import quantize_dynamic

    whole, small = tmp_path / "whole.onnx", tmp_path / "small.onnx"
    whole.write_bytes(llama())
    quantize_dynamic(whole, small, op_types_to_quantize=["MatMul"])
    return small.read_bytes()


@pytest.mark.parametrize("build", [gpt, standard, grouped, merged])
def test_logits_are_those_of_the_first_pass(build: Callable[[], bytes]) -> None:
    """ONNX Runtime makes the same of an empty cache; without one, no input is left for it."""
    file = build()
    module = onnxla.load(file).without_past()
    assert {*module.input_names} <= {"input_ids", "attention_mask", "position_ids"}
    assert module.output_names == ("logits",)
    logits = module(data(module))[:1]
    peer = Peer(file)
    for size in (5, 12):
        _, rows = peer.greedy(TOKENS[0, :size], 1)
        np.testing.assert_allclose(logits[0, size - 1], rows[0], rtol=1e-4, atol=1e-4)


def test_the_loss_is_of_the_next_token() -> None:
    """Labels of -100 and the first one do not count, nor do samples of weight 0."""
    logits = np.random.default_rng(1).standard_normal((2, 5, 7)).astype(np.float32)
    labels = np.array([[1, 2, -100, 4, 5], [6, -100, -100, 3, 2]])
    each = optax.softmax_cross_entropy_with_integer_labels(logits[:, :-1], abs(labels[:, 1:]) % 7)
    counts = (labels[:, 1:] != -100).astype(np.float32)
    expected = float((each * counts).sum() / counts.sum())
    assert float(losses.causal_lm(logits, labels)) == pytest.approx(expected, rel=1e-5)
    first = float((each * counts)[0].sum() / counts[0].sum())
    for weights in (np.float32([1, 0]), np.float32([[1] * 5, [0] * 5])):
        assert float(losses.causal_lm(logits, labels, weights)) == pytest.approx(first, rel=1e-5)


@pytest.mark.parametrize(
    "name",
    [
        "builder-int4/llama",
        pytest.param("MatMulInteger", marks=pytest.mark.more),
        pytest.param("transformers/gpt2", marks=pytest.mark.more),
        pytest.param("builder-fp32/llama", marks=pytest.mark.more),
        pytest.param("optimum/whisper-decoder_model_merged", marks=pytest.mark.more),
    ],
)
def test_what_was_learned_is_said_with_the_cache(name: str, tmp_path: Path) -> None:
    """ONNX Runtime's loop makes the learned sequences of the saved file; LoRA, where quantized."""
    quantized = name in ("builder-int4/llama", "MatMulInteger")
    file = integers(tmp_path) if name == "MatMulInteger" else precise(EXPORTED / f"{name}.onnx")
    module = onnxla.load(file)
    module = module.lora("*", rank=16) if quantized else module
    part = module.without_past()
    result = onnxla.fit(
        part,
        (data(part), TOKENS),
        "causal_lm",
        epochs=40,
        batch_size=8,
        learning_rate=1e-2,
        progress=False,
    )
    assert result.history.loss[-1] < result.history.loss[0] / 4
    path = tmp_path / "tuned.onnx"
    module.paste(result.module).save(path)
    given = {name: value[:1] for name, value in further(part.input_names, len(TOKENS)).items()}
    said, _ = Peer(precise(path)).greedy(TOKENS[0, :4], 8, size=16, **given)
    assert (said == TOKENS[0, 4:]).mean() > 0.7
    own = onnxla.load(precise(path)).generate(
        TOKENS[0, :4], max_new_tokens=8, inputs=given, progress=False
    )
    if name != "MatMulInteger":  # where the tokens before, and what fills them up, decide on steps
        np.testing.assert_array_equal(own[0], said)
    assert (own[0] == TOKENS[0, 4:]).mean() > 0.7


def test_what_two_graphs_share_is_parted_in_both(tmp_path: Path) -> None:
    """Scales that were merged in a file of two graphs may differ in the saved file."""
    module = onnxla.load(EXPORTED / "optimum" / "t5-decoder_model_merged.onnx")
    norms = [name for name in module.params if name.endswith("layer_norm.weight")]
    assert len(norms) > 4
    scales = jax.random.split(jax.random.key(0), len(norms))
    changed = module.replace(
        {
            k: module.params[k] * (1 + jax.random.uniform(s))
            for k, s in zip(norms, scales, strict=True)
        }
    )
    changed.save(tmp_path / "changed.onnx")
    given = further(module.input_names, 1)
    expected, _ = Peer((tmp_path / "changed.onnx").read_bytes()).greedy([5, 9], 20, **given)
    made = changed.generate([5, 9], inputs=given, progress=False)
    np.testing.assert_array_equal(made[0], expected)
