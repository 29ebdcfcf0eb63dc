"""Live against frozen batch statistics: a real classifier with 35 BatchNormalizations, other data.

RapidOCR's text direction classifier saw clean print in pixels from -1 to 1. Here it meets two
shifts: clean print in pixels from 0 to 255, as a camera gives them, and the demo's faint, blurred,
noisy print. It is trained with the running statistics that the file has, with live ones, and with
nothing but live statistics. The figure is the accuracy on lines with other words in other fonts.
Needs Pillow, matplotlib and optax; fetches the model.

    python benchmarks/finetuning/batch_statistics.py [STEPS] [SEED]
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import optax

import onnxla
from onnxla.commands.demo import (
    BATCH,
    MODEL,
    TEST_FONTS,
    TEST_WORDS,
    TRAIN_FONTS,
    TRAIN_WORDS,
    lines,
    load_fonts,
    predict,
)
from onnxla.commands.downloads import fetch


def draw(
    count: int, words: str, fonts: Any, rng: np.random.Generator, faint: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Faint lines with pixels from -1 to 1, or clean ones with pixels from 0 to 255; and labels."""
    pictures, labels = lines(count, words, fonts, rng, degraded=faint)
    return (pictures if faint else (pictures + 1) * np.float32(127.5)), labels


def main(steps: int, seed: int) -> None:
    module = onnxla.load(fetch(MODEL))
    fonts, others = load_fonts(TRAIN_FONTS), load_fonts(TEST_FONTS)
    # The demo's: without the slow start, first steps can kill the small model's few channels.
    adamw = optax.adamw(optax.warmup_cosine_decay_schedule(0, 2e-3, max(1, steps // 10), steps))
    ways: dict[str, dict[str, Any] | None] = {
        "as shipped": None,
        "frozen statistics": {"optimizer": adamw, "freeze_statistics": True},
        "live statistics": {"optimizer": adamw},
        "statistics alone": {"optimizer": optax.set_to_zero()},
    }
    print(f"accuracy on {16 * BATCH} lines after {steps} steps on batches of {BATCH}")
    for shift, faint in (("pixels from 0 to 255", False), ("faint print", True)):
        rng = np.random.default_rng(seed)
        test, labels = draw(16 * BATCH, TEST_WORDS, others, rng, faint)
        batches = [draw(BATCH, TRAIN_WORDS, fonts, rng, faint) for _ in range(steps)]
        for name, options in ways.items():
            tuned = module
            if options is not None:
                tuned = onnxla.fit(module, batches, "cross_entropy", **options).module
            right = predict(tuned, test).argmax(1) == labels
            print(f"{shift:22} {name:18} {right.mean():.3f}", flush=True)


if __name__ == "__main__":
    given = [int(argument) for argument in sys.argv[1:]]
    main(*(given + [30, 0][len(given) :]))
