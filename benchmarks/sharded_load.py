"""Loading a large file onto several devices, its parameters in parts: seconds and peak memory.

The devices are four of one process on the CPU. Each way of loading has a process of its own, and
then computes once with all parameters.

    python benchmarks/sharded_load.py [MEGABYTES] [FOLDER]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from large import chain
from load import in_process
from onnxla import ir

IMPORTS = """
import os
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=4"
import jax, numpy as np, onnxla
from jax.sharding import PartitionSpec as P
mesh = jax.make_mesh((4,), ("data",))
def used(module):
    return module, jax.block_until_ready(module(np.ones((2, 4096), np.float32)))
"""
WAYS = {
    "one device": "used(onnxla.load(path))",
    "one device, then split": "used(onnxla.load(path).with_sharding(mesh, 'fsdp'))",
    "rows": "used(onnxla.load(path, mesh=mesh, sharding='fsdp'))",
    "columns": "used(onnxla.load(path, mesh=mesh, sharding={'weight': P(None, 'data')}))",
}


def main(megabytes: int, folder: Path) -> None:
    path = folder / "large.onnx"
    ir.save(chain(-(-megabytes // 64)), path)
    size = sum(file.stat().st_size for file in folder.iterdir())
    print(f"{size / 2**30:.2f} GiB")
    for way, work in WAYS.items():
        seconds, memory = in_process(IMPORTS, work, path)
        print(f"{way}: {seconds:.1f} s, {memory / size:.2f} times the file", flush=True)


if __name__ == "__main__":
    megabytes = int(sys.argv[1]) if len(sys.argv) > 1 else 1024
    with tempfile.TemporaryDirectory(dir=sys.argv[2] if len(sys.argv) > 2 else None) as name:
        main(megabytes, Path(name))
