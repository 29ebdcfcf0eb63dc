"""Loading models: time and peak memory, beside ONNX Runtime's session creation.

Each side runs in a process of its own, in turn, after the imports and once there is a device.
Memory is the growth of the process's peak resident set (Linux: VmHWM), in multiples of the file's
size.

    python benchmarks/load.py [--runs N] [FILE | NAME ...]

NAME: a model of `benchmarks/models.py`; all of them by default.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import onnx

from models import MODELS

SIDES = {
    "onnxla": (
        "import jax; from onnxla import load; jax.devices()",
        "load(path); jax.block_until_ready(kept.params)",
    ),
    "onnxruntime": ("import onnxruntime", "onnxruntime.InferenceSession(path)"),
}

PROCESS = r"""
import json, pathlib, re, sys, time
{imports}
path = sys.argv[1]
status = pathlib.Path("/proc/self/status")
# Not getrusage: its maximum is inherited from the process that started this one.
peak = lambda: int(re.search(r"VmHWM:\s+(\d+)", status.read_text())[1]) * 1024
before, start = peak(), time.perf_counter()
kept = {load}
print(json.dumps([time.perf_counter() - start, peak() - before]))
"""


def measure(side: str, path: Path) -> tuple[float, float]:
    """Seconds, and bytes."""
    imports, load = SIDES[side]
    code = PROCESS.format(imports=imports, load=load)
    result = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    seconds, memory = json.loads(result.stdout)
    return seconds, memory


def compare(path: Path, runs: int) -> None:
    """Prints a line of figures for a file."""
    size = path.stat().st_size
    figures: dict[str, list[tuple[float, float]]] = {side: [] for side in SIDES}
    for _ in range(runs):
        for side in SIDES:
            figures[side].append(measure(side, path))
    seconds = {side: [s for s, _ in pairs] for side, pairs in figures.items()}
    memory = statistics.median(m for _, m in figures["onnxla"])
    ours, peers = seconds.values()
    print(
        f"{path.parent.name + '/' + path.name:36} {size / 1e6:7.1f} MB"
        + "".join(f"  {statistics.median(s):.3f} s ({min(s):.3f})" for s in (ours, peers))
        + f"  {statistics.median(ours) / statistics.median(peers):5.2f} x"
        + f"  ({min(ours) / min(peers):.2f})  memory {memory / size:.2f} x the file",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("models", nargs="*", default=[*MODELS])
    parser.add_argument("--runs", type=int, default=15)
    arguments = parser.parse_args()
    print("file, its size, load and ONNX Runtime's session (median, and least), the ratio, memory")
    with tempfile.TemporaryDirectory() as folder:
        for model in arguments.models:
            path = Path(model)
            if model in MODELS:
                path = Path(folder) / f"{model}.onnx"
                onnx.save(MODELS[model](), path)
            compare(path, arguments.runs)


if __name__ == "__main__":
    main()
