"""A call of a loaded model on a batch of one, beside ONNX Runtime with its default options.

Both sides are in one process, take numpy arrays and return all outputs. The models are those of
`benchmarks/models.py`, with random weights, and the real ones of the tests.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

import onnxla
from models import LENGTHS, MODELS, TRANSFORMERS, feeds
from timing import beside, in_turn, warm

sys.path.append(str(Path(__file__).parents[1] / "tests"))

GOALS = {True: 1.0, False: 1.2}  # of the ratio: transformers, and convolutional networks

Case = tuple[bytes, dict[str, np.ndarray], float | None]
"""A file, inputs and a goal."""


def built(name: str) -> Case:
    model = MODELS[name]()
    inputs = feeds(model, 1, LENGTHS.get(name))
    return model.SerializeToString(), inputs, GOALS[name in TRANSFORMERS]


def real(name: str, model: Any) -> Case:
    return model.load(), model.feeds(model.sizes[0]), GOALS[False] if "light/" in name else None


def cases() -> Iterator[tuple[str, Callable[[], Case]]]:
    """Models by name, made when they are asked for."""
    from support.real_models import FURTHER, LISTED

    yield from ((name, lambda name=name: built(name)) for name in MODELS)
    for name, model in (LISTED | FURTHER).items():
        yield name, lambda name=name, model=model: real(name, model)


def load(data: bytes, inputs: Mapping[str, np.ndarray]) -> Callable[[], Any]:
    """A call of onnxla."""
    module = onnxla.load(data)
    return lambda: jax.block_until_ready(module(inputs))


def start(data: bytes, inputs: Mapping[str, np.ndarray]) -> Callable[[], Any]:
    """A call of ONNX Runtime."""
    import onnxruntime

    onnxruntime.set_default_logger_severity(3)  # errors
    session = onnxruntime.InferenceSession(data)
    return lambda: session.run(None, inputs)


def measure(runs: int = 15) -> Iterator[dict[str, Any]]:
    """A row for each model."""
    for name, make in cases():
        try:
            data, inputs, goal = make()
            ours, theirs = load(data, inputs), start(data, inputs)
            ours()
        except (ImportError, onnxla.OnnxlaError) as error:
            yield {"model": name, "note": f"{type(error).__name__}: {error}"}
            continue
        row = beside("ONNX Runtime", *in_turn(runs, warm(ours), warm(theirs)))
        yield {"model": name, **row, **({"goal": goal} if goal else {})}
