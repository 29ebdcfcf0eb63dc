"""Files that stay where they are, and are read where something is used.

They are read, not mapped: a mapped file that somebody shortens kills the process that looks at it,
and one that somebody writes to changes numbers that are in use.
"""

from __future__ import annotations

import functools
import hashlib
import os
import stat
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np

from onnxla.ir.errors import ModelError

# O_NONBLOCK: opening a pipe would wait for a writer before we could see that it is a pipe.
READ_FLAGS = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
TICK = 0.01  # seconds; two changes of a file within a tick of the clock have the same time
ALIGNMENT = 64  # bytes; XLA's for the CPU
WINDOW = 64 * 1024  # bytes in memory where data is gone through; whole elements of every width
SEEKING = threading.Lock()  # where there is no `preadv`


class Descriptor:
    """A file or folder that is open, until nobody holds it any more."""

    def __init__(self, number: int) -> None:
        self.number = number
        weakref.finalize(self, os.close, number)


class OpenFile:
    """A regular file that is read part by part, and must not change meanwhile.

    It stays the same file even if its path is replaced, so a model can be saved over the file that
    it was read from.

    Attributes:
        path: Where it was.
        status: Its size, owner and number of links when it was opened.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        opener: Callable[[], int] | None = None,
        *,
        keep: bool = True,
    ) -> None:
        """Opens `path`, by `opener` if there is one; again at each reading, unless it is to `keep`.

        Raises:
            OSError: It cannot be opened.
            ModelError: It is not a regular file.
        """
        self.path = Path(path)
        self._open = opener or functools.partial(os.open, self.path, READ_FLAGS)
        descriptor = Descriptor(self._open())
        self._kept = descriptor if keep else None
        self.status = os.fstat(descriptor.number)
        self._identity = identity(self.status)
        if not stat.S_ISREG(self.status.st_mode):
            raise ModelError(f"'{self.path}' is not a regular file")
        if abs(time.time() - self.status.st_mtime) < TICK:
            time.sleep(TICK)  # or we could not tell the next change from the last

    @property
    def content(self) -> FilePart:
        """All of it."""
        return FilePart(self, 0, self.status.st_size)

    @functools.cached_property
    def sha1(self) -> str:
        """The SHA-1 digest of the content, in hexadecimal digits."""
        digest = hashlib.sha1(usedforsecurity=False)
        for part in windows(self.content):
            digest.update(part)
        return digest.hexdigest()

    def read(self, start: int, size: int) -> memoryview:
        """Some bytes, in memory of their own. Raises: ModelError if it has changed."""
        done = 0
        try:
            descriptor = self._kept or Descriptor(self._open())
            self._check(descriptor)
            array = new_memory(size)
            while done < size:
                count = read_at(descriptor.number, array.data[done:], start + done)
                if not count:
                    raise OSError(0, "it has been shortened while it was read")
                done += count
            self._check(descriptor)
        except OSError as error:
            raise ModelError(f"'{self.path}': {error.strerror}") from error
        except MemoryError as error:
            raise ModelError(f"'{self.path}': no memory for {size} bytes") from error
        array.flags.writeable = False
        return array.data

    def _check(self, descriptor: Descriptor) -> None:
        now = os.fstat(descriptor.number)
        if identity(now) != self._identity:
            raise ModelError(
                f"'{self.path}' has changed since the model was read: it has {now.st_size} bytes,"
                f" and had {self.status.st_size}; load the model again"
            )


def new_memory(size: int) -> np.ndarray:
    """`size` bytes at a place where JAX's devices on the CPU can keep them without a copy."""
    memory = np.empty(size + ALIGNMENT - 1, np.uint8)
    address: int = memory.__array_interface__["data"][0]
    start = -address % ALIGNMENT
    return memory[start : start + size]


@dataclass(frozen=True)
class FilePart:
    """The bytes of a file from `start` to `end`, which stay there."""

    file: OpenFile
    start: int
    end: int

    def __len__(self) -> int:
        return self.end - self.start

    def __getitem__(self, part: slice) -> FilePart:
        start, end, _ = part.indices(len(self))
        return FilePart(self.file, self.start + start, self.start + max(start, end))


Bytes: TypeAlias = bytes | memoryview | FilePart


def content(data: Bytes) -> bytes | memoryview:
    """Bytes, in memory. Raises: ModelError if the file that they are in has changed."""
    return data.file.read(data.start, len(data)) if isinstance(data, FilePart) else data


def windows(data: Bytes) -> Iterator[bytes | memoryview]:
    """Bytes from front to back, some at a time."""
    for start in range(0, len(data), 3 * WINDOW):
        yield content(data[start : start + 3 * WINDOW])


def identity(status: os.stat_result) -> tuple[int, ...]:
    """What stays as long as nobody writes to a file."""
    return status.st_size, status.st_mtime_ns, status.st_ino, status.st_dev


def read_at(descriptor: int, buffer: memoryview, place: int) -> int:
    """How many bytes of a file, from a place on, were read into a buffer; 0 at its end."""
    if hasattr(os, "preadv"):
        return os.preadv(descriptor, [buffer], place)
    with SEEKING:
        os.lseek(descriptor, place, os.SEEK_SET)
        data = os.read(descriptor, len(buffer))
    buffer[: len(data)] = data
    return len(data)
