"""Runs a runtime in a process of its own, so that a crash or a hang is an answer like another."""

from __future__ import annotations

import atexit
import pickle
import re
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from multiprocessing import spawn
from pathlib import Path
from typing import Any

from onnxla.peers import worker
from onnxla.peers.limited_process import LimitedProcess
from onnxla.peers.protocol import NotSupported, Runtime, RuntimeFailed

# Seconds that a process may take to start: large frameworks take long on a busy machine.
STARTING = 300.0


class RuntimeCrashed(Exception):
    """A runtime took its process down with it, or did not answer in time.

    For example:

        error = onnxla.testing.RuntimeCrashed("its process ended with signal 11")
    """


class RuntimeNotStarted(RuntimeCrashed):
    """The process of a runtime does not start, or does not find the runtime."""


class Isolated:
    """A runtime in a process of its own, which is started again when it ends.

    What it writes to standard error while it runs a case is told with the error that it ends in.

    For example:

        runtime = onnxla.testing.Isolated(onnxla.testing.Reference(), timeout=20)
        case = onnxla.testing.example("Neg", 13, x)
        (y,) = runtime.run(case.model, case.inputs)
        runtime.close()

    Args:
        runtime: What runs there. An object is pickled, so its class must be importable. A text
            names an object or a class that is found there: `FILE.py:NAME` or `MODULE:NAME`;
            `FILE.py:NAME:OPTION` calls the class with that text.
        timeout: Seconds after which an answer is no longer waited for.
        memory: How many MiB of addresses it may have, where the system limits them.
        python: The interpreter that finds what a text names; by default this one. It needs numpy,
            and `ml_dtypes` for arrays of the narrow types.
    """

    def __init__(
        self,
        runtime: Runtime | str,
        timeout: float = 60.0,
        memory: int | None = None,
        python: str | None = None,
    ) -> None:
        self.runtime = runtime
        self.timeout = timeout
        self.memory = memory
        self.python = python or sys.executable
        # Of a text the name that the object has for itself, once it is there.
        self.name = Path(runtime).name if isinstance(runtime, str) else runtime.name
        self._process: LimitedProcess | None = None
        self._socket: socket.socket | None = None
        self._differentiates = False
        self.version: str | None = None  # known once it is started

    def run(self, model: bytes, inputs: Mapping[str, Any]) -> list[Any]:
        """The outputs in graph order.

        Raises:
            NotSupported: The runtime says so, or raises NotImplementedError.
            RuntimeCrashed: The process ended, or did not answer in time.
            RuntimeNotStarted: It did not start.
            RuntimeFailed: The runtime raised an error. A note has its traceback.
        """
        return self._call("run", model, dict(inputs))

    def vjp(self, model: bytes, inputs: Mapping[str, Any], cotangents: Sequence[Any]) -> list[Any]:
        """The gradients by the floating inputs, in order; see `onnxla.testing.gradients`.

        Raises:
            NotSupported: The runtime says so, or has no `vjp`. Else as `run`.
        """
        self.start()
        if not self._differentiates:
            raise NotSupported(f"{self.name} has no `vjp`")
        return self._call("vjp", model, dict(inputs), list(cotangents))

    def _call(self, method: str, *arguments: Any) -> list[Any]:
        """What a method of the runtime gives. Raises as `run` does."""
        self.start()
        assert self._process is not None
        self._process.forget_errors()
        kind, *answer = self._ask([method, *arguments], self.timeout)
        if kind == "outputs":
            return list(answer[0])
        if kind == "not supported":
            raise NotSupported(answer[0])
        error = RuntimeFailed(answer[0] + self._process.told())
        error.add_note(answer[1])
        raise error

    def start(self) -> None:
        """Starts the process, unless it runs.

        Raises:
            RuntimeNotStarted: It does not start, or does not find the runtime.
        """
        if self._process is not None and self._process.running:
            return
        self.close()
        target = target_of(self.runtime)
        ours, theirs = socket.socketpair()
        with theirs:
            words = [self.python, worker.__file__]
            try:
                process = LimitedProcess(words, self.memory, stdin=theirs, stdout=theirs)
            except OSError as error:
                ours.close()
                raise RuntimeNotStarted(f"{self.python} does not start: {error}") from None
        self._process, self._socket = process, ours
        atexit.register(self.close)
        try:
            kind, text, *more = self._ask(target, STARTING)
        except RuntimeCrashed as error:
            raise RuntimeNotStarted(str(error)) from None
        if kind != "ready":
            self.close()
            failure = RuntimeNotStarted(f"{self.name} does not start: {text}")
            failure.add_note("".join(more))
            raise failure
        self.name, (self._differentiates, self.version) = text, more

    def close(self) -> None:
        """Ends the process."""
        atexit.unregister(self.close)
        if self._socket is not None:
            self._socket.close()
        if self._process is not None:
            self._process.kill()
        self._process = self._socket = None

    def _ask(self, question: Any, timeout: float) -> list[Any]:
        """What the process answers. Raises: RuntimeCrashed, after which there is none."""
        assert self._process is not None
        assert self._socket is not None
        try:
            end = time.monotonic() + timeout
            self._socket.settimeout(timeout)
            self._socket.sendall(worker.pack(question))
            (length,) = worker.LENGTH.unpack(receive(self._socket, worker.LENGTH.size, end))
            answer = receive(self._socket, length, end)
        except TimeoutError:
            text = f"{self.name} did not answer in {timeout:g} s{self._process.told()}"
        except (EOFError, ConnectionError):
            how = self._process.how_it_ended()
            text = f"{self.name} took its process down: {how}{self._process.told()}"
        else:
            return list(worker.unpack(answer))
        self.close()
        raise RuntimeCrashed(text)


def receive(source: socket.socket, size: int, end: float) -> bytes:
    """As many bytes. Raises: EOFError if the other side is closed, TimeoutError at a time."""
    data = bytearray()
    while len(data) < size:
        source.settimeout(max(end - time.monotonic(), 1e-3))
        part = source.recv(min(size - len(data), 1 << 20))
        if not part:
            raise EOFError
        data += part
    return bytes(data)


def target_of(runtime: Runtime | str) -> dict[str, Any]:
    """How the worker finds a runtime.

    Raises:
        ValueError: A text names none.
    """
    if isinstance(runtime, str):
        found = re.fullmatch(r"(.+\.py|[\w.]+):(\w+)(?::(.+))?", runtime)
        if found is None:
            raise ValueError(f"'{runtime}' is not FILE.py:NAME or MODULE:NAME")
        module, name, option = found.groups()
        module = str(Path(module).absolute()) if module.endswith(".py") else module
        return {"module": module, "name": name, "option": option}
    main = spawn.get_preparation_data("runtime")
    main.pop("authkey", None)  # is not pickled, and nothing here needs it
    pickled = pickle.dumps(runtime)
    if b"__main__" not in pickled:  # the program need not be run once more, and may be no file
        for key in ("init_main_from_path", "init_main_from_name"):
            main.pop(key, None)
    return {"main": pickle.dumps(main), "pickled": pickled}
