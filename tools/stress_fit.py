"""Kills `fit` at random moments and lets it go on: `python tools/stress_fit.py --kills 100`.

Each run trains a small model on a dataset of weighed samples whose lengths differ, with all that
`fit` may have around its steps: a checkpoint every second one, validation by steps, a plateau,
early stopping, averages of weights, callbacks. It is killed (SIGKILL) again and again, started
anew, and at its end compared with a run that nobody killed: history, parameters, statistics and log
are the same bit for bit, or the script says what is not and exits with 1.
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
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from onnx import helper, numpy_helper
from tqdm import tqdm

import onnxla

WORDS, CLASSES = 12, 3
NEIGHBOUR = "notes.txt"  # a file of the user's in the checkpoints' folder


def write_model(path: Path) -> None:
    """A tagger of tokens with running statistics and Dropout, in a file."""
    rng = np.random.default_rng(0)
    shapes = {
        "table": (WORDS, 16),
        "scale": (16,),
        "bias": (16,),
        "mean": (16,),
        "var": (16,),
        "w": (16, CLASSES),
    }
    arrays = {
        name: np.abs(rng.standard_normal(shape)).astype(np.float32)
        for name, shape in shapes.items()
    }
    arrays["ratio"], arrays["last"] = np.float32(0.2), np.array([2])
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["e"]),
        helper.make_node("Transpose", ["e"], ["t"], perm=[0, 2, 1]),
        helper.make_node("BatchNormalization", ["t", "scale", "bias", "mean", "var"], ["n"]),
        helper.make_node("Transpose", ["n"], ["r"], perm=[0, 2, 1]),
        helper.make_node("Cast", ["mask"], ["f"], to=1),
        helper.make_node("Unsqueeze", ["f", "last"], ["u"]),
        helper.make_node("Mul", ["r", "u"], ["m"]),
        helper.make_node("Dropout", ["m", "ratio"], ["d"]),
        helper.make_node("MatMul", ["d", "w"], ["z"]),
    ]
    inputs = [helper.make_tensor_value_info(name, 7, ["N", "seq"]) for name in ("ids", "mask")]
    graph = helper.make_graph(
        nodes,
        "live",
        inputs,
        [helper.make_tensor_value_info("z", 1, ["N", "seq", CLASSES])],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in arrays.items()],
    )
    opset = [helper.make_opsetid("", 21)]
    path.write_bytes(
        helper.make_model(graph, opset_imports=opset, ir_version=10).SerializeToString()
    )


class Sentences:
    """A dataset that makes a sample when it is asked for one."""

    def __len__(self) -> int:
        return 40

    def __getitem__(self, index: int) -> tuple[dict[str, np.ndarray], np.ndarray, np.float32]:
        rng = np.random.default_rng(index)
        ids = rng.integers(1, WORDS, rng.integers(2, 16))
        return {"ids": ids, "mask": np.ones_like(ids)}, ids % CLASSES, np.float32(rng.uniform())


class Announcer:
    """A callback that says when a process begins its run, and when its first step is done."""

    def start(self, run: Any) -> None:
        """Says from where it goes on."""
        self.first = 0.0
        print(f"goes on from step {run.step}", flush=True)

    def step(self, step: int, logs: Any) -> None:
        """Says it of the first step that it sees: programs are compiled by then."""
        if not self.first:
            self.first = time.perf_counter()
            print(f"done with step {step}", flush=True)


def train(folder: Path, checkpoint: Path, announcer: Announcer) -> dict[str, np.ndarray]:
    """The run, and the numbers that it ends with."""
    log = folder / f"log_of_{checkpoint.name}.jsonl"
    result = onnxla.fit(
        onnxla.load(folder / "model.onnx"),
        Sentences(),
        "cross_entropy",
        epochs=30,
        batch_size=8,
        bucket={"seq": 8},
        learning_rate=0.01,
        schedule=onnxla.Plateau(factor=0.5, patience=2),
        weight_average=0.9,
        validation=0.2,
        validate_every=3,
        metrics="accuracy",
        monitor="accuracy",
        min_delta=1.0,  # which nothing reaches: the first validation is the best
        patience=10,
        callbacks=[announcer, onnxla.loggers.JSONL(log)],
        checkpoint=checkpoint,
        checkpoint_every=2,
        progress=False,
    )
    assert "the highest accuracy was at step 3" in result.history.notes[-1]
    assert result.history.steps["learning_rate"][-1] < 0.01 / 15
    numbers = {name: np.asarray(value) for name, value in result.module.params.items()}
    history = {**result.history.to_dict(), "speed": None}
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    logged = [{k: v for k, v in row.items() if k != "samples_per_second"} for row in rows]
    return {**numbers, "history": np.array(json.dumps(history)), "log": np.array(str(logged))}


def child(folder: Path) -> None:
    """Trains in this process, which may be killed, and tells when it begins and that it is done."""
    (folder / "checkpoints").mkdir(exist_ok=True)
    print("begins", flush=True)
    np.savez(folder / "done.npz", **train(folder, folder / "checkpoints", Announcer()))
    print("ended", flush=True)


def survive(folder: Path, seconds: float, seed: int, most: int) -> tuple[int, list[str]]:
    """One run to its end: how often it was killed, and what is wrong then.

    Args:
        folder: Where it is.
        seconds: It is killed within these, once it has begun, goes on, or has done a step.
        seed: Decides when.
        most: How often.
    """
    generator, kills = random.Random(seed), 0
    while True:
        command = [sys.executable, __file__, "--child", str(folder)]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        assert process.stderr is not None
        for _ in range(generator.choice((1, 2, 3, 3, 3))):
            process.stdout.readline()
        if kills < most:
            time.sleep(generator.uniform(0, seconds))
        if kills < most and process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
        said, error = process.communicate()
        if "ended" in said:
            return kills, []
        if process.returncode != -signal.SIGKILL:
            return kills, [f"exit code {process.returncode}: {error[-2000:]}"]
        kills += 1


def check(folder: Path, whole: dict[str, np.ndarray], files: dict[Path, bytes]) -> list[str]:
    """What of a run's end is not as it is without kills, or of the user's files as they were."""
    with np.load(folder / "done.npz") as found:
        wrong = [name for name in whole if found[name].tobytes() != whole[name].tobytes()]
    return wrong + [str(path) for path, content in files.items() if path.read_bytes() != content]


def one(
    number: int, whole: dict[str, np.ndarray], seconds: float, most: int
) -> tuple[int, list[str]]:
    """A run in a folder of its own: how often it was killed, and what is wrong."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_model(folder / "model.onnx")
        (folder / "checkpoints").mkdir()
        neighbour = folder / "checkpoints" / NEIGHBOUR
        neighbour.write_text("mine")
        files = {path: path.read_bytes() for path in (folder / "model.onnx", neighbour)}
        kills, wrong = survive(folder, seconds, number, most)
        return kills, wrong or check(folder, whole, files)


def main(kills: int, workers: int, seed: int) -> int:
    """Runs until there were so many kills; tells what is wrong."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_model(folder / "model.onnx")
        announcer = Announcer()
        train(folder, folder / "warm", announcer)  # compiled programs are kept, so this is slow
        whole = train(folder, folder / "checkpoints", announcer)
        seconds = time.perf_counter() - announcer.first
    done, runs, wrong = 0, 0, []
    with ThreadPoolExecutor(workers) as pool, tqdm(total=kills, unit="kill") as bar:
        while done < kills:
            numbers = range(seed + runs, seed + runs + workers)
            each = partial(one, whole=whole, seconds=seconds, most=-(-(kills - done) // workers))
            for killed, problems in pool.map(each, numbers):
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
