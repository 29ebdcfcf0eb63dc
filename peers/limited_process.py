"""A process whose memory is limited, and of which is kept what it writes to standard error."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from typing import Any

KEPT = 4096  # bytes of standard error


class LimitedProcess:
    """A process in a session of its own. What it prints goes to its standard error.

    Args:
        words: The command.
        memory: How many MiB of addresses it may have, where the system limits them.
        **options: Of `subprocess.Popen`, as `stdin`.
    """

    def __init__(self, words: Sequence[str], memory: int | None = None, **options: Any) -> None:
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115  closed by `kill`
        if memory is not None:
            words = ["sh", "-c", f'ulimit -v {1024 * memory} && exec "$0" "$@"', *words]
        options = {"stdout": self.errors, "stderr": self.errors, **options}
        try:
            self.process = subprocess.Popen(words, start_new_session=True, **options)
        except OSError:
            self.errors.close()
            raise

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self.process.poll() is None

    def forget_errors(self) -> None:
        """Drops what it wrote to standard error until now; it goes on at the beginning."""
        self.errors.seek(0)
        self.errors.truncate()

    def told(self) -> str:
        """The end of what it wrote to standard error, after a comma; empty if it wrote nothing."""
        size = os.fstat(self.errors.fileno()).st_size
        data = os.pread(self.errors.fileno(), KEPT, max(0, size - KEPT))
        text = data.decode(errors="replace").strip("\0\n ")
        return f"; standard error: {'... ' if size > KEPT else ''}{text}" if text else ""

    def how_it_ended(self) -> str:
        """The signal or the exit code that it ended with, when it is about to end."""
        try:
            code = self.process.wait(10)
        except subprocess.TimeoutExpired:
            return "it closed its connection"
        try:
            return signal.Signals(-code).name if code < 0 else f"exit code {code}"
        except ValueError:  # one of those without a name
            return f"signal {-code}"

    def kill(self) -> None:
        """Ends it, and what it has started."""
        if self.running:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.errors.close()
