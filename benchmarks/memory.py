"""The most memory of a process: loading a model and calling it once, beside ONNX Runtime; and
three training steps, beside eager PyTorch.

Figures are the growth of the process's peak resident set (Linux: VmHWM) after its imports, so
compiling counts. Steps are those of `training.py` (`jit`).
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import inference
import training
from load import in_process
from models import MODELS
from worker import Worker, serve

IMPORTS = "import inference, jax, numpy, onnxruntime, pathlib; jax.devices()"
CALL = "inference.{side}(pathlib.Path(path).read_bytes(), {{**numpy.load(path + '.npz')}})()"
SIDES = {"load": "onnxla", "start": "ONNX Runtime"}
STEPS = 3


def row(peer: str, ours: float, theirs: float) -> dict[str, float]:
    return {"bytes": ours, f"{peer} bytes": theirs, "ratio": ours / theirs}


def steps(python: str, script: str, *arguments: object) -> int:
    """Bytes that training steps take."""
    with Worker(python, script, *arguments) as worker:
        for _ in range(STEPS):
            worker()
        return worker.memory


def measure(runs: int = 15, torch_python: str = "") -> Iterator[dict[str, Any]]:
    """Two rows for each model; medians of `runs` / 5, which differ little."""
    few = range(max(1, runs // 5))
    with tempfile.TemporaryDirectory() as folder:
        for name in MODELS:
            path = Path(folder) / f"{name}.onnx"
            data, inputs, _ = inference.built(name)
            path.write_bytes(data)
            np.savez(f"{path}.npz", **inputs)
            pair = [
                statistics.median(in_process(IMPORTS, CALL.format(side=side), path)[1] for _ in few)
                for side in SIDES
            ]
            yield {"model": name, "what": "call", **row("ONNX Runtime", *pair)}
            case = {"model": name, "what": f"{STEPS} training steps"}
            ours = steps(sys.executable, "memory.py", name)
            if not torch_python:
                yield {**case, "bytes": ours}
                continue
            theirs = steps(torch_python, "torch_worker.py", name, *training.BATCHES[name])
            yield {**case, **row("PyTorch", ours, theirs)}


if __name__ == "__main__":  # our training steps, in a process of their own
    serve(lambda: training.make_run(sys.argv[1], "jit"))
