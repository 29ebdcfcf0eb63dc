"""From a file's bytes to the first result, beside ONNX Runtime's session and first run; and from a
loaded model to the first training step, which has no peer.

Nothing is kept from one run to the next. The step is that of `training.py` (`jit`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import inference
import training
from models import MODELS
from timing import alone, beside, in_turn, once, seconds


def measure(runs: int = 15) -> Iterator[dict[str, Any]]:
    """Two rows for each model; the second of `runs` / 5."""
    for name in MODELS:
        case = inference.built(name)[:2]
        ours, theirs = (
            once(lambda side=side, case=case: side(*case)())
            for side in (inference.load, inference.start)
        )
        yield {
            "model": name,
            "first": "call",
            **beside("ONNX Runtime", *in_turn(runs, ours, theirs)),
        }

        def step(name: str = name) -> float:
            case = training.example(name)
            return seconds(lambda: training.runner(case, training.jitted(case)))

        few = in_turn(max(1, runs // 5), step)
        yield {"model": name, "first": "training step", **alone(*few)}
