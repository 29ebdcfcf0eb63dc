"""A process that runs something whenever it is asked to, for sides that cannot share one.

The protocol: the worker writes a line when it is ready; for each line that it then reads, it does
one run and answers with a line of two numbers, the seconds and the most bytes of memory that it has
had since it was started, beyond those after its imports. Needs Python's own library alone.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

BENCHMARKS = Path(__file__).parent
# OpenMP's threads would spin while they wait: for each other, which takes several times as long
# where something else runs on a core, and after a run, in the other side's time.
PASSIVE = {"OMP_WAIT_POLICY": "PASSIVE"}


def peak() -> int:
    """The most bytes that this process had in memory (Linux), without those of its parent."""
    return int(re.findall(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[0]) * 1024


def serve(make: Callable[[], Callable[[], Any]]) -> None:
    """Answers until its input ends; `make` is called after the imports."""
    before = peak()
    run = make()
    print("ready", flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        run()
        print(time.perf_counter() - start, peak() - before, flush=True)


class Worker:
    """A process that serves, as a context; calling it does one run and returns its seconds."""

    def __init__(self, python: str, script: str, *arguments: object) -> None:
        command = [python, str(BENCHMARKS / script), *map(str, arguments)]
        pipe = subprocess.PIPE
        environment = {**os.environ, **PASSIVE}
        self.process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, text=True, env=environment
        )
        self.memory = 0
        if self.line() != "ready":
            raise RuntimeError(f"{script} {' '.join(command[2:])} did not start")

    def line(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def __call__(self) -> float:
        assert self.process.stdin
        self.process.stdin.write("run\n")
        self.process.stdin.flush()
        seconds, memory = self.line().split()
        self.memory = int(memory)
        return float(seconds)

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.communicate()
