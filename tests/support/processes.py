"""Programs with several CPU devices, in one process or in several that JAX makes one of."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from support.compiling import devices

TESTS = Path(__file__).parents[1]


def start(count: int, arguments: Sequence[str], **environment: str) -> subprocess.Popen[str]:
    """Python with some arguments, in a process with so many devices."""
    return subprocess.Popen(
        [sys.executable, *arguments],
        env={**os.environ, **devices(count), "PYTHONPATH": str(TESTS), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )


def start_together(
    processes: int, count: int, arguments: Sequence[str], missed_after: int = 100
) -> list[subprocess.Popen[str]]:
    """Python with some arguments, in processes that `join` makes one of.

    Args:
        processes: How many.
        count: Devices of each.
        arguments: Python's.
        missed_after: Seconds after which JAX takes a process that is silent for dead.
    """
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    known = {"COORDINATOR": address, "PROCESSES": str(processes), "MISSED": str(missed_after)}
    return [start(count, arguments, **known, PROCESS=str(i)) for i in range(processes)]


def told(process: subprocess.Popen[str]) -> list[Any]:
    """What a program prints to its end, a JSON list or object a line.

    Threads of Gloo print as well, and into each other's lines.
    """
    output, errors = process.communicate(timeout=500)
    assert process.returncode == 0, errors[-3000:]
    lines = output.replace("[Gloo]", "Gloo").splitlines()
    return [json.loads(line) for line in lines if line[:1] in ("[", "{")]


def join() -> int:
    """Makes one of the processes that were started together, and tells this one's number."""
    import jax

    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    number = int(os.environ.get("PROCESS", 0))
    if "COORDINATOR" in os.environ:
        address, count = os.environ["COORDINATOR"], int(os.environ["PROCESSES"])
        silent = int(os.environ["MISSED"])
        jax.distributed.initialize(address, count, number, heartbeat_timeout_seconds=silent)
    return number
