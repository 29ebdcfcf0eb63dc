"""A quantized model trained without leaving the quantized format.

The text direction classifier of the demo (8-bit weights and activations, by ONNX Runtime's static
quantizer, calibrated on clean and faint lines) learns to read faint print. What is measured: the
share of faint and of clean lines, with words and in fonts not trained on, that ONNX Runtime gets
right with the quantized file, before and after.

    python benchmarks/finetuning/quantized.py
"""

from __future__ import annotations

import logging
import tempfile
from functools import partial
from pathlib import Path

import jax
import numpy as np
import onnx
import onnxruntime
import optax
from onnxruntime import quantization as ort
from onnxruntime.quantization.shape_inference import quant_pre_process

import onnxla
from onnxla import demo
from onnxla.commands.downloads import fetch

STEPS, SAMPLES = 120, 512


class Calibration(ort.CalibrationDataReader):
    def __init__(self, name: str, batches: list[np.ndarray]) -> None:
        self.remaining = iter({name: batch} for batch in batches)

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.remaining, None)


def quantize(model: Path, path: Path, name: str, batches: list[np.ndarray]) -> None:
    """Writes the model with QuantizeLinear and DequantizeLinear around what is quantized."""
    prepared = path.with_name("prepared.onnx")
    quant_pre_process(model, prepared, skip_symbolic_shape=True)
    ort.quantize_static(prepared, path, Calibration(name, batches))


def train(module: onnxla.Module, logits: str, batch: demo.Callable[[], tuple]) -> onnxla.Module:
    weights, frozen = module.partition()
    optimizer = optax.adam(optax.warmup_cosine_decay_schedule(0, 1e-3, 15, STEPS))
    state = optimizer.init(weights)

    @jax.jit
    def step(weights, state, pictures, labels):  # type: ignore[no-untyped-def]
        def loss(weights):  # type: ignore[no-untyped-def]
            y, _ = module.apply_train({**weights, **frozen}, pictures, outputs=[logits])
            return optax.softmax_cross_entropy_with_integer_labels(y, labels).mean()

        value, slope = jax.value_and_grad(loss)(weights)
        updates, state = optimizer.update(slope, state, weights)
        return optax.apply_updates(weights, updates), state, value

    for index in range(STEPS):
        weights, state, value = step(weights, state, *batch())
        if index % 25 == 0 or index == STEPS - 1:
            print(f"step {index:3}: loss {value:.3f}", flush=True)
    return module.replace(weights)


def served(path: Path, pictures: np.ndarray, fused: bool = True) -> np.ndarray:
    """ONNX Runtime's probabilities; `fused`: of layers fused into integer arithmetic."""
    options, levels = onnxruntime.SessionOptions(), onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if fused else levels.ORT_ENABLE_BASIC
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    batches = np.split(pictures, len(pictures) // demo.BATCH)
    return np.concatenate([session.run(None, {name: batch})[0] for batch in batches])


def main() -> None:
    logging.disable(logging.WARNING)  # the quantizer's advice
    original = fetch(demo.MODEL)
    train_fonts, test_fonts = demo.load_fonts(demo.TRAIN_FONTS), demo.load_fonts(demo.TEST_FONTS)
    rng = np.random.default_rng(1)
    faint, labels = demo.lines(SAMPLES, demo.TEST_WORDS, test_fonts, rng)
    clean, clean_labels = demo.lines(SAMPLES, demo.TEST_WORDS, test_fonts, rng, degraded=False)
    batch = partial(demo.training_lines, train_fonts, np.random.default_rng(0))

    def report(word: str, path: Path) -> None:
        shares = [
            (served(path, x).argmax(1) == y).mean()
            for x, y in ((faint, labels), (clean, clean_labels))
        ]
        print(f"{word}: {shares[0]:.1%} right on faint lines, {shares[1]:.1%} on clean ones")

    with tempfile.TemporaryDirectory() as folder:
        quantized, tuned = Path(folder, "quantized.onnx"), Path(folder, "tuned.onnx")
        (name,) = onnxla.load(original).input_names
        quantize(original, quantized, name, [batch()[0] for _ in range(4)])
        report("float, as shipped    ", original)
        report("quantized            ", quantized)
        module = onnxla.load(quantized).quantization_aware()
        (softmax,) = (n for n in module.program.model.graph.nodes if n.op_type == "Softmax")
        trained = train(module, softmax.inputs[0], batch)
        trained.save(tuned)
        report("quantized and trained", tuned)
        ours = np.concatenate([trained(x) for x in np.split(faint[:128], 4)])
        exact, fused = (served(tuned, faint[:128], fused) for fused in (False, True))
        agree = (fused.argmax(1) == ours.argmax(1)).mean()
        print(
            f"ONNX Runtime's probabilities differ by {np.abs(exact - ours).max():.1e} at most; "
            f"with layers fused into integer arithmetic, {agree:.1%} of its answers are the same"
        )
        before, after = (onnx.load(path) for path in (quantized, tuned))
        kinds = [
            [(n.op_type, [*n.input], [*n.output]) for n in m.graph.node] for m in (before, after)
        ]
        types = [
            {t.name: (t.data_type, [*t.dims]) for t in m.graph.initializer} for m in (before, after)
        ]
        same = kinds[0] == kinds[1] and types[0] == types[1]
        print(
            f"{len(kinds[1])} nodes and {len(types[1])} initializers, the same: {same}; "
            f"{quantized.stat().st_size} and {tuned.stat().st_size} bytes"
        )


if __name__ == "__main__":
    main()
