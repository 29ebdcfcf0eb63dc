"""Loading a large model: time and peak memory, beside ONNX Runtime's session creation.

Each side runs in a process of its own, in turn; figures are medians. Memory is the growth of the
process's peak resident set (Linux: VmHWM) over what it was after the imports, in multiples of the
file's size.

    python benchmarks/load.py [MEGABYTES] [RUNS]
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

READY = "jax.block_until_ready(onnxla.load(path))"
SIDES = {
    "onnxla.load": ("import onnxla, jax; jax.devices()", READY),
    "onnxla.ir.read": ("import onnxla", "onnxla.ir.read(path)"),
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


def write_model(path: Path, megabytes: int) -> None:
    """A chain of matrix products with weights of 16 MiB each."""
    import onnx
    from onnx import helper, numpy_helper

    rng = np.random.default_rng(0)
    count, n = max(1, megabytes // 16), 2048
    weights = [
        numpy_helper.from_array(rng.standard_normal((n, n), np.float32), f"w{i}")
        for i in range(count)
    ]
    nodes = [helper.make_node("MatMul", [f"x{i}", f"w{i}"], [f"x{i + 1}"]) for i in range(count)]
    ends = [helper.make_tensor_value_info(name, 1, ["N", n]) for name in ("x0", f"x{count}")]
    graph = helper.make_graph(nodes, "chain", ends[:1], ends[1:], weights)
    opsets = [helper.make_opsetid("", 20)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), path)


def measure(side: str, path: Path) -> tuple[float, float]:
    imports, load = SIDES[side]
    code = PROCESS.format(imports=imports, load=load)
    result = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    seconds, memory = json.loads(result.stdout)
    return seconds, memory


def main(megabytes: int = 500, runs: int = 5) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.onnx"
        write_model(path, megabytes)
        size = path.stat().st_size
        figures: dict[str, list[tuple[float, float]]] = {side: [] for side in SIDES}
        for _ in range(runs):
            for side in SIDES:
                figures[side].append(measure(side, path))
    print(f"{size / 1e6:.0f} MB, median of {runs} runs")
    peer = statistics.median(seconds for seconds, _ in figures["onnxruntime"])
    for side, pairs in figures.items():
        seconds = statistics.median(s for s, _ in pairs)
        memory = statistics.median(m for _, m in pairs)
        print(
            f"{side:16} {seconds:6.2f} s ({seconds / peer:.2f} x onnxruntime), "
            f"peak memory {memory / size:.2f} x the file"
        )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
