"""A model larger than the 2 GiB that one file can hold: written, loaded, changed and saved again.

Each saved file is compared with ONNX Runtime's outputs before it replaces the one before. Needs
three times the model's size in memory, and twice on disk.

    python benchmarks/large.py [MEGABYTES] [FOLDER]
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import onnxla
from onnxla import ir

SIDE = 4096  # rows and columns of a weight: 64 MiB


def chain(count: int) -> ir.Model:
    """Products with `count` weights, each of which is made when it is written."""

    def weight(index: int) -> np.ndarray:
        rng = np.random.default_rng(index)
        return rng.standard_normal((SIDE, SIDE), np.float32) / np.float32(np.sqrt(SIDE))

    float32 = np.dtype(np.float32)
    tensors = tuple(
        ir.Tensor(f"w{i}", float32, (SIDE, SIDE), lambda i=i: weight(i)) for i in range(count)
    )
    nodes = tuple(ir.Node("MatMul", (f"x{i}", f"w{i}"), (f"x{i + 1}",)) for i in range(count))
    kind = ir.TensorType(float32, ("N", SIDE))
    ends = [(ir.ValueInfo(name, kind),) for name in ("x0", f"x{count}")]
    return ir.Model(ir.Graph(nodes, *ends, tensors), {"": 20}, ir_version=9)


def timed(what: str, action: Callable[[], object]) -> object:
    start = time.perf_counter()
    result = action()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{what}: {time.perf_counter() - start:.1f} s; peak memory so far {peak:.1f} GiB")
    return result


def main(megabytes: int, folder: Path) -> None:
    path = folder / "large.onnx"
    model = chain(-(-megabytes // 64))
    timed("write", lambda: ir.save(model, path))
    module = timed("load", lambda: onnxla.load(path))
    assert isinstance(module, onnxla.Module)
    x = np.random.default_rng(0).standard_normal((2, SIDE), np.float32)
    tuned = module.replace({"w0": module.params["w0"] * 2})
    timed("save over itself, checked", lambda: tuned.save(path, check={"x0": x}))
    sizes = {file.name: f"{file.stat().st_size / 2**20:.1f} MiB" for file in folder.iterdir()}
    print(sizes)
    try:
        tuned.save(path, external_data=False)
    except onnxla.ModelError as error:
        print(f"in one file: {error}")
    assert {file.name for file in folder.iterdir()} == set(sizes)


if __name__ == "__main__":
    size = int(sys.argv[1]) if len(sys.argv) > 1 else 2304
    with tempfile.TemporaryDirectory(dir=sys.argv[2] if len(sys.argv) > 2 else None) as name:
        main(size, Path(name))
