"""Kills, interrupts and races saves at random moments, and counts what was lost: must be nothing.

    python tools/stress_saving.py [--kills N] [--interrupts N] [--pairs N] [--seed N]

Each trial has a folder of its own, with a model that is saved again and again, a backup of it that
shares its data file, and files that look like data. It is told what is wrong; the exit code is then
1. POSIX only.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np

from onnxla import ir
from onnxla.ir.superseded import trailer

SHAPES = ((3,), (64, 256), (256, 256), (2, 512, 64))
WHERE: tuple[bool | str, ...] = (False, True, "weights.bin")
ROUNDS = 4  # saves by each process of a pair


def model_of(version: int) -> ir.Model:
    """A model all of whose numbers are its version."""
    arrays = [np.full(shape, version, np.float32) for shape in SHAPES]
    tensors = tuple(ir.Tensor.of(f"w{i}", array) for i, array in enumerate(arrays))
    return ir.Model(ir.Graph((), initializers=tensors), {"": 20}, ir_version=9)


def version_of(path: Path) -> int:
    """The version of a model file. Raises: ValueError if parts of several are in it."""
    found = {number for t in ir.read(path).graph.initializers for number in np.unique(t.numpy())}
    if len(found) != 1:
        raise ValueError(f"'{path.name}' mixes the versions {sorted(found)}")
    return int(found.pop())


def start(path: Path, versions: range, where: bool | str, report: int) -> int:
    """A process that saves versions of a model; a byte goes to `report` at first and after each."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        os.write(report, b".")
        for version in versions:
            ir.save(model_of(version), path, external_data=where)
            os.write(report, b".")
        code = 0
    except KeyboardInterrupt:
        code = 130
    finally:
        os._exit(code)


def prepare(folder: Path, where: bool | str) -> tuple[Path, dict[Path, bytes]]:
    """A folder for a trial: the model, version 0, and the files that no save may touch."""
    path = folder / "model.onnx"
    ir.save(model_of(0), path, external_data=where)
    shutil.copy(path, folder / "model.onnx.bak")
    look = folder / "model.onnx.0123456789ab.data"
    forged = folder / "other.onnx.0123456789ab.data"
    look.write_bytes(b"numbers that somebody else wrote")
    forged.write_bytes(b"a neighbour's numbers" + trailer(look))
    (folder / "thesis.docx").write_bytes(b"years of work" + trailer(folder / "thesis.docx"))
    kept = [p for p in folder.iterdir() if p != path]
    return path, {p: p.read_bytes() for p in kept}


def faults(path: Path, versions: tuple[int, ...], kept: dict[Path, bytes]) -> Iterator[str]:
    """What was lost, or left behind after one more save."""
    try:
        if (found := version_of(path)) not in versions:
            yield f"the model is version {found}, not one of {versions}"
        ir.save(model_of(-1), path, external_data=True)
        if version_of(path) != -1 or version_of(path.with_suffix(".onnx.bak")) != 0:
            yield "the model, or its backup, is not what was saved"
    except Exception as error:
        yield f"{type(error).__name__}: {error}"
    for other, content in kept.items():
        if not other.exists() or other.read_bytes() != content:
            yield f"'{other.name}' was changed or removed"
    new = {p.name for p in path.parent.iterdir() if p not in kept and "weights" not in p.name}
    if len(new) != 2:  # the model and its data
        yield f"there are {sorted(new)}"


def stop_one(folder: Path, how: signal.Signals, rng: random.Random) -> list[str]:
    """What is wrong after a process was stopped while it saved one version after the other."""
    where = rng.choice(WHERE)
    path, kept = prepare(folder, where)
    reader, writer = os.pipe()
    child = start(path, range(1, 100), where, writer)
    os.close(writer)
    os.read(reader, 1)
    time.sleep(rng.uniform(0, 0.06))
    os.kill(child, how)
    os.waitpid(child, 0)
    with open(reader, "rb") as reports:
        done = len(reports.read())
    return list(faults(path, (done, done + 1), kept))


def race_two(folder: Path, rng: random.Random) -> list[str]:
    """What is wrong after two processes saved to one path at the same time."""
    where = rng.choice(WHERE)
    path, kept = prepare(folder, where)
    firsts = (100, 200)
    with open(os.devnull, "wb") as nowhere:
        children = [start(path, range(n, n + ROUNDS), where, nowhere.fileno()) for n in firsts]
    codes = [os.waitpid(child, 0)[1] for child in children]
    wrong = [f"the processes ended with {codes}"] if any(codes) else []
    return wrong + list(faults(path, tuple(n + ROUNDS - 1 for n in firsts), kept))


def main(argv: list[str] | None = None) -> int:
    """Runs all trials; 1 if something was lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, count in (("kills", 500), ("interrupts", 500), ("pairs", 20), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=count)
    arguments = parser.parse_args(argv)
    from tqdm import tqdm

    tqdm.monitor_interval = 0  # its thread would be there when a process forks
    warnings.simplefilter("ignore")  # of data under the user's own name, which stays
    signal.signal(signal.SIGINT, signal.default_int_handler)
    rng = random.Random(arguments.seed)
    trials: list[tuple[str, Callable[[Path], list[str]]]] = [
        *[("kill", lambda folder: stop_one(folder, signal.SIGKILL, rng))] * arguments.kills,
        *[("interrupt", lambda folder: stop_one(folder, signal.SIGINT, rng))]
        * arguments.interrupts,
        *[("pair", lambda folder: race_two(folder, rng))] * arguments.pairs,
    ]
    lost = 0
    with tempfile.TemporaryDirectory() as name, tqdm(trials, disable=None) as bar:
        for number, (kind, trial) in enumerate(bar):
            folder = Path(name, str(number))
            folder.mkdir()
            wrong = trial(folder)
            lost += bool(wrong)
            for text in wrong:
                bar.write(f"{kind} {number}: {text}", file=sys.stderr)
            with suppress(OSError):
                shutil.rmtree(folder)
    print(f"{len(trials)} trials, {lost} of which lost, mixed or left something")
    return int(lost > 0)


if __name__ == "__main__":
    sys.exit(main())
