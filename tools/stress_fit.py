"""Kills `fit` at random moments and lets it go on: `python tools/stress_fit.py --kills 100`.

Each run trains a small model with a checkpoint every second step. It is killed (SIGKILL) again and
again, started anew, and at its end compared with a run that nobody killed: all losses, parameters
and statistics are the same bit for bit, or the script says what is not and exits with 1.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from onnx import helper, numpy_helper
from tqdm import tqdm

import onnxla

STEPS = 60
NEIGHBOUR = "notes.txt"  # a file of the user's in the checkpoints' folder


def write_model(path: Path) -> None:
    """A model with running statistics and Dropout, in a file."""
    rng = np.random.default_rng(0)
    shapes = {
        "w0": (4, 64),
        "scale": (64,),
        "bias": (64,),
        "mean": (64,),
        "var": (64,),
        "w1": (64, 3),
    }
    arrays = {
        name: np.abs(rng.standard_normal(shape)).astype(np.float32)
        for name, shape in shapes.items()
    }
    arrays["ratio"] = np.float32(0.2)
    nodes = [
        helper.make_node("MatMul", ["x", "w0"], ["h"]),
        helper.make_node("BatchNormalization", ["h", "scale", "bias", "mean", "var"], ["n"]),
        helper.make_node("Dropout", ["n", "ratio"], ["d"]),
        helper.make_node("MatMul", ["d", "w1"], ["z"]),
    ]
    graph = helper.make_graph(
        nodes,
        "live",
        [helper.make_tensor_value_info("x", 1, ["N", 4])],
        [helper.make_tensor_value_info("z", 1, ["N", 3])],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in arrays.items()],
    )
    opset = [helper.make_opsetid("", 21)]
    path.write_bytes(
        helper.make_model(graph, opset_imports=opset, ir_version=10).SerializeToString()
    )


def train(folder: Path, checkpoint: Path | None) -> dict[str, np.ndarray]:
    """The run, and the numbers that it ends with."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal((24, 4)).astype(np.float32)
    result = onnxla.fit(
        onnxla.load(folder / "model.onnx"),
        (x, np.arange(24) % 3),
        "cross_entropy",
        steps=STEPS,
        batch_size=8,
        learning_rate=0.01,
        checkpoint=checkpoint,
        checkpoint_every=2,
        progress=False,
    )
    numbers = {name: np.asarray(value) for name, value in result.module.params.items()}
    return {**numbers, "history": np.array(json.dumps(result.history.steps))}


def child(folder: Path) -> None:
    """Trains in this process, which may be killed, and tells when it begins and that it is done."""
    (folder / "checkpoints").mkdir(exist_ok=True)
    print("begins", flush=True)
    np.savez(folder / "done.npz", **train(folder, folder / "checkpoints"))
    print("done", flush=True)


def survive(folder: Path, seconds: float, seed: int) -> tuple[int, list[str]]:
    """One run to its end: how often it was killed, and what is wrong then."""
    generator, kills = random.Random(seed), 0
    while True:
        command = [sys.executable, __file__, "--child", str(folder)]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        time.sleep(generator.uniform(0, seconds))
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
        said, error = process.communicate()
        if "done" in said:
            return kills, []
        if process.returncode != -signal.SIGKILL:
            return kills, [f"exit code {process.returncode}: {error[-2000:]}"]
        kills += 1


def check(folder: Path, whole: dict[str, np.ndarray], files: dict[Path, bytes]) -> list[str]:
    """What of a run's end is not as it is without kills, or of the user's files as they were."""
    with np.load(folder / "done.npz") as found:
        wrong = [name for name in whole if found[name].tobytes() != whole[name].tobytes()]
    return wrong + [str(path) for path, content in files.items() if path.read_bytes() != content]


def one(number: int, whole: dict[str, np.ndarray], seconds: float) -> tuple[int, list[str]]:
    """A run in a folder of its own: how often it was killed, and what is wrong."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_model(folder / "model.onnx")
        (folder / "checkpoints").mkdir()
        neighbour = folder / "checkpoints" / NEIGHBOUR
        neighbour.write_text("mine")
        files = {path: path.read_bytes() for path in (folder / "model.onnx", neighbour)}
        kills, wrong = survive(folder, seconds, number)
        return kills, wrong or check(folder, whole, files)


def main(kills: int, workers: int, seed: int) -> int:
    """Runs until there were so many kills; tells what is wrong."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_model(folder / "model.onnx")
        train(folder, folder / "warm")  # compiled programs are kept, so this run is the slow one
        began = time.perf_counter()
        whole = train(folder, folder / "checkpoints")
        seconds = 2 * (time.perf_counter() - began)
    done, runs, wrong = 0, 0, []
    with ThreadPoolExecutor(workers) as pool, tqdm(total=kills, unit="kill") as bar:
        while done < kills:
            numbers = range(seed + runs, seed + runs + workers)
            for killed, problems in pool.map(lambda n: one(n, whole, seconds), numbers):
                runs += 1
                done += killed
                wrong += problems
                bar.update(killed)
    print(f"{runs} runs, killed {done} times: {len(wrong)} numbers or files are not as they were")
    print(*wrong, sep="\n")
    return bool(wrong)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child)
    else:
        sys.exit(main(options.kills, options.workers, options.seed))
