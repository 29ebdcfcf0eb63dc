"""Loads, checks and runs mutated files in limited processes, and keeps what goes wrong.

    python tools/fuzz_files.py FOLDER [--files N] [--seed N] [--workers N] [--seeds FOLDER ...]
    python tools/fuzz_files.py FOLDER --again FOLDER     the files of a folder, as they are

A file may load, or end in a documented error; all else is a failure: another error, a crash, more
than 20 seconds but for XLA's, or more than 1 GiB. Of those that fail in one place, the smallest is
kept in FOLDER as `<what>.onnx`, with a traceback beside it. The same seed gives the same files, and
a run that was stopped goes on. Kept files that are mended go to `tests/testing/broken_files`.
"""

from __future__ import annotations

import argparse
import collections
import faulthandler
import json
import multiprocessing
import random
import re
import resource
import sys
import time
import traceback
import warnings
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

SECONDS = 20.0
BYTES = 2**30
ADDRESSES = 24 * 2**30  # of a worker; XLA reserves many that it never uses
LIFETIME = 2_000  # files of a worker, so that its memory tells of the file at hand
FULL = 16  # one in so many is compiled and run, the others are traced
LARGEST = 100_000  # bytes of a seed
ROOMS = Path(__file__).resolve().parents[1]


def use(data: bytes, full: bool) -> str:
    """Does with a file what a user would. Returns how far it came, or the documented error."""
    import jax

    import onnxla
    from onnxla.inputs import random_inputs

    onnxla.check(data)
    try:
        module = onnxla.load(data)
        str(module), str(module.summary())
    except onnxla.OnnxlaError as error:
        return type(error).__name__
    try:
        inputs = random_inputs(module.program.inputs)
        full = full or any(leaf.dtype.hasobject for leaf in jax.tree.leaves(inputs))
        if full:
            module.run(inputs)
        else:  # without outputs that are text, which JAX does not have
            jax.eval_shape(lambda *args: numbers(module.apply(*args)), module.params, inputs)
    except onnxla.OnnxlaError as error:
        return f"{type(error).__name__} when run"
    except (TypeError, ValueError) as error:
        if frames(error)[-1].filename == str(ROOMS / "api" / "inputs.py"):
            return "an input that cannot be drawn"
        if getattr(error, "__notes__", []):  # on the node whose operands do not fit each other
            return f"{type(error).__name__} at a node"
        raise
    return "runs" if full else "traces"


def numbers(values: Any) -> list[Any]:
    """The arrays in a tree of values that are no text."""
    import jax

    return [leaf for leaf in jax.tree.leaves(values) if not leaf.dtype.hasobject]


def frames(error: BaseException) -> list[traceback.FrameSummary]:
    """The frames of an error that are onnxla's."""
    every = traceback.extract_tb(error.__traceback__)
    return [f for f in every if f.filename.startswith(str(ROOMS)) and "/.venv/" not in f.filename]


def judge(data: bytes, full: bool) -> tuple[str, str]:
    """What came of a file: a short text, and a traceback if it is a failure."""
    try:
        before = reset_peak()
        came = use(data, full)
        grown = peak() - before
        return (f"memory after {came}", f"{grown:,} bytes") if grown > BYTES else (came, "")
    except Exception as error:
        last = frames(error)[-1]
        place = f"{Path(last.filename).relative_to(ROOMS)} {last.name}"
        return f"{type(error).__name__} in {place}", traceback.format_exc()


def reset_peak() -> int:
    """Bytes of memory now, from which on the peak counts."""
    with suppress(OSError), open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    return peak()


def peak() -> int:
    """The most bytes of memory that this process had."""
    with suppress(OSError):
        match = re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())
        if match:
            return 1024 * int(match[1])
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def serve(connection: Connection, log: str) -> None:
    """A worker: answers what came of each file, until it hangs, crashes or nobody asks."""
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES, ADDRESSES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with open(log, "w") as file, suppress(EOFError, KeyboardInterrupt):
        faulthandler.enable(file)
        use(b"", True)
        connection.send(None)
        while True:
            data, full = connection.recv()
            faulthandler.dump_traceback_later(SECONDS, exit=True, file=file)
            came = judge(data, full)
            faulthandler.cancel_dump_traceback_later()
            connection.send(came)


class Worker:
    """A process that tries files one after the other.

    Attributes:
        number: Of the file that it has.
        data: The file.
    """

    def __init__(self, log: Path) -> None:
        context = multiprocessing.get_context("spawn")
        self.log = log
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, str(log)), daemon=True)
        self.process.start()
        theirs.close()
        self.connection.recv()
        self.tried, self.number, self.data = 0, -1, b""

    def give(self, number: int, data: bytes) -> None:
        """Hands it a file."""
        self.number, self.data = number, data
        self.tried += 1
        self.connection.send((data, number % FULL == 0))

    def answer(self) -> tuple[str, str]:
        """What came of the file; of a process that ended, where it was."""
        try:
            return tuple(self.connection.recv())  # type: ignore[return-value]
        except (EOFError, OSError):
            self.process.join()
        said = self.log.read_text()
        compiling = "compile_and_load" in said
        what = "XLA compiles" if compiling else "hang" if "Timeout" in said else "crash"
        lines = re.findall(r'File "([^"]+)", line \d+ in (.+)', said)
        ours = [
            f"{Path(f).relative_to(ROOMS)} {name}" for f, name in lines if f.startswith(str(ROOMS))
        ]
        return f"{what} in {ours[0] if ours else 'the interpreter'}", said

    def close(self) -> None:
        """Ends it."""
        self.process.kill()
        self.process.join()
        self.connection.close()


class Record:
    """What came of all files so far, in a folder: a run that was stopped goes on from it.

    Attributes:
        done: How many files were tried.
        counts: How many of them came to what.
    """

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self.folder, self.path, self.settings = folder, folder / "record.json", settings
        self.done, self.counts = 0, collections.Counter[str]()
        self.failures: dict[str, int] = {}
        if self.path.exists():
            saved = json.loads(self.path.read_text())
            if saved["settings"] != settings:
                sys.exit(f"'{folder}' has a run with {saved['settings']}, this one has {settings}")
            self.done, self.failures = saved["done"], saved["failures"]
            self.counts.update(saved["counts"])

    def add(self, came: str, detail: str, data: bytes) -> bool:
        """Counts a file. Returns whether it fails in a new place."""
        self.counts[came] += 1
        if not detail:
            return False
        name = re.sub(r"[^\w.]+", "-", came)
        new = came not in self.failures
        if new or len(data) < self.failures[came]:
            self.failures[came] = len(data)
            (self.folder / f"{name}.onnx").write_bytes(data)
            (self.folder / f"{name}.txt").write_text(detail)
        return new

    def save(self, done: int) -> None:
        """Writes it down."""
        self.done = done
        state = {"done": done, "counts": self.counts, "failures": self.failures}
        draft = self.path.with_suffix(".new")
        draft.write_text(json.dumps({"settings": self.settings, **state}, indent=1))
        draft.replace(self.path)


def find_seeds(folders: list[Path]) -> list[bytes]:
    """Small models: of folders, of ONNX's backend suite, and uses that onnxla's strategies draw."""
    from onnx.backend.test.loader import load_model_tests

    from onnxla.ops import rows
    from onnxla.testing import cases
    from onnxla.testing.fuzzing import draw_examples

    found: list[bytes] = []
    for folder in folders:
        found += [path.read_bytes() for path in sorted(folder.rglob("*.onnx"))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tests = [test for kind in ("node", "simple") for test in load_model_tests(kind=kind)]
    found += [test.model.SerializeToString() for test in tests if test.model]
    for domain, name in sorted({(operator.domain, operator.name) for _, operator in rows()}):
        with suppress(Exception):  # no strategy
            draw_examples(
                cases(name, domain=domain), lambda case: found.append(case.model), 2, seed=0
            )
    return sorted({data for data in found if len(data) <= LARGEST})


def mutants(seeds: list[bytes], seed: int, numbers: range) -> Iterator[tuple[int, bytes]]:
    """Numbered files, each of them decided by its number."""
    from onnxla.testing.malformed.mutation import mutate

    for number in numbers:
        rng = random.Random(f"{seed} {number}")
        yield number, mutate(seeds[rng.randrange(len(seeds))], rng, seeds)


def fuzz(options: argparse.Namespace) -> int:
    """Tries files until there were so many; 1 if one failed."""
    from tqdm import tqdm

    options.folder.mkdir(parents=True, exist_ok=True)
    if options.again is None:
        seeds = find_seeds(options.seeds)
        record = Record(options.folder, {"seed": options.seed, "seeds": len(seeds)})
        files = mutants(seeds, options.seed, range(record.done, options.files))
    else:
        seeds = [path.read_bytes() for path in sorted(options.again.glob("*.onnx"))]
        record = Record(options.folder, {"again": str(options.again)})
        files = ((FULL * n + once, data) for n, data in enumerate(seeds) for once in (0, 1))
        options.files = 2 * len(seeds)
    logs = [options.folder / f"worker-{n}.log" for n in range(options.workers)]
    workers: dict[Connection, Worker] = {}
    began = last = time.monotonic()
    with tqdm(total=options.files, initial=record.done, unit="file", disable=None) as bar:
        for log in logs:
            employ(Worker(log), workers, files)
        while workers:
            for connection in wait([*workers]):
                worker = workers.pop(connection)  # type: ignore[call-overload]
                came, detail = worker.answer()
                if record.add(came, detail, worker.data):
                    bar.write(f"{worker.number}: {came}")
                bar.update()
                if detail or worker.tried >= LIFETIME:
                    worker.close()
                    worker = Worker(worker.log)
                employ(worker, workers, files)
            if time.monotonic() > last + 5 or not workers:
                last = time.monotonic()
                record.save(min((w.number for w in workers.values()), default=options.files))
    for came, count in record.counts.most_common():
        print(f"{count:9,}  {came}")
    minutes = (time.monotonic() - began) / 60
    failures = sum(not came.startswith("XLA compiles") for came in record.failures)
    print(f"{options.files:,} files of {len(seeds):,} seeds, {minutes:.1f} minutes")
    print(f"{failures} places fail")
    return int(failures > 0)


def employ(
    worker: Worker, workers: dict[Connection, Worker], files: Iterator[tuple[int, bytes]]
) -> None:
    """Hands a worker the next file, or sends it home."""
    for number, data in files:
        worker.give(number, data)
        workers[worker.connection] = worker
        return
    worker.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=multiprocessing.cpu_count())
    parser.add_argument("--seeds", type=Path, nargs="*", default=[], help="folders with models")
    parser.add_argument("--again", type=Path, help="a folder whose files are tried as they are")
    sys.exit(fuzz(parser.parse_args()))
