"""Loading models: time and peak memory, beside ONNX Runtime's session creation.

Each side runs in a process of its own, in turn, after the imports and once there is a device.
Memory is the growth of the process's peak resident set (Linux: VmHWM), beside the file's size.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx

from models import MODELS
from timing import beside
from worker import BENCHMARKS

SIDES = {
    "onnxla": (
        "import jax; from onnxla import load; jax.devices()",
        "load(path); jax.block_until_ready(kept.params)",
    ),
    "ONNX Runtime": ("import onnxruntime", "onnxruntime.InferenceSession(path)"),
}

PROCESS = r"""
import json, sys, time
sys.path.append(sys.argv[2])
from worker import peak
{imports}
path = sys.argv[1]
before, start = peak(), time.perf_counter()
kept = {work}
print(json.dumps([time.perf_counter() - start, peak() - before]))
"""


def in_process(imports: str, work: str, path: Path) -> tuple[float, int]:
    """Seconds and bytes that work with a file takes, in a process of its own."""
    code = PROCESS.format(imports=imports, work=work)
    command = [sys.executable, "-c", code, str(path), str(BENCHMARKS)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds, memory = json.loads(done.stdout)
    return seconds, memory


def measure(runs: int = 15) -> Iterator[dict[str, Any]]:
    """A row for each model."""
    with tempfile.TemporaryDirectory() as folder:
        for name, make in MODELS.items():
            path = Path(folder) / f"{name}.onnx"
            onnx.save(make(), path)
            pairs = [[in_process(*side, path) for side in SIDES.values()] for _ in range(runs)]
            ours, theirs = zip(*pairs, strict=True)
            yield {
                "model": name,
                "file bytes": path.stat().st_size,
                **beside("ONNX Runtime", [s for s, _ in ours], [s for s, _ in theirs]),
                "bytes": statistics.median(b for _, b in ours),
                "ONNX Runtime bytes": statistics.median(b for _, b in theirs),
            }
