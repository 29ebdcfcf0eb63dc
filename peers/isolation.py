"""Runs a runtime in a process of its own, so that a crash or a hang is an answer like another."""

from __future__ import annotations

import atexit
import multiprocessing
import signal
from collections.abc import Mapping
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any

from onnxla.peers.protocol import NotSupported, Runtime


class RuntimeCrashed(Exception):
    """A runtime took its process down with it, or did not answer in time."""


class Isolated:
    """A runtime in a process of its own, which is started again when it ends.

    Args:
        runtime: What runs there. It is pickled, so its class must be importable.
        timeout: Seconds after which an answer is no longer waited for.
    """

    def __init__(self, runtime: Runtime, timeout: float = 60.0) -> None:
        self.name = runtime.name
        self.runtime = runtime
        self.timeout = timeout
        self._process: SpawnProcess | None = None
        self._connection: Connection | None = None

    def run(self, model: bytes, inputs: Mapping[str, Any]) -> list[Any]:
        """The outputs in graph order.

        Raises:
            RuntimeCrashed: The process ended, or did not answer in time.
        """
        try:
            if self._process is None or not self._process.is_alive():
                self._start()
            assert self._connection is not None
            self._connection.send((model, dict(inputs)))
            if not self._connection.poll(self.timeout):
                self.close()
                raise RuntimeCrashed(f"{self.name} did not answer in {self.timeout:g} s")
            kind, answer = self._connection.recv()
        except (EOFError, BrokenPipeError, ConnectionResetError):
            assert self._process is not None
            self._process.join(10)
            code = self._process.exitcode or 0
            how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            self.close()
            raise RuntimeCrashed(f"{self.name} took its process down: {how}") from None
        if kind == "outputs":
            return list(answer)
        raise (NotSupported if kind == "not supported" else RuntimeError)(answer)

    def close(self) -> None:
        """Ends the process."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
        if self._connection is not None:
            self._connection.close()
        self._process = self._connection = None

    def _start(self) -> None:
        self.close()
        context = multiprocessing.get_context("spawn")  # a fork of JAX's threads could lock up
        self._connection, theirs = context.Pipe()
        process = context.Process(target=serve, args=(theirs, self.runtime), daemon=True)
        process.start()
        self._process = process
        theirs.close()
        atexit.register(self.close)
        self._connection.recv()  # it is there: starting does not count as answering


def serve(connection: Connection, runtime: Runtime) -> None:
    """Answers until the other end is closed."""
    connection.send("ready")
    while True:
        try:
            model, inputs = connection.recv()
        except (EOFError, KeyboardInterrupt):
            return
        try:
            answer: tuple[str, Any] = ("outputs", runtime.run(model, inputs))
        except NotSupported as error:
            answer = ("not supported", str(error))
        except Exception as error:  # told as text: it may not be picklable
            answer = ("failed", f"{type(error).__name__}: {error}")
        try:
            connection.send(answer)
        except TypeError as error:  # something that cannot be pickled
            connection.send(("failed", f"an output is none that a case can have: {error}"))
