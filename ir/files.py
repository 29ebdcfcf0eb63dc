"""Files that stay where they are: mapped into memory, and read only where something is used."""

from __future__ import annotations

import mmap
import os
import stat
from pathlib import Path

import numpy as np

from onnxla.ir.errors import ModelError


class MappedFile:
    """A regular file in memory, as far as it is used.

    It stays the same file even if its path is replaced meanwhile, so a model can be saved over the
    file that it was read from.

    Attributes:
        view: All of the file. Call `check` before touching it.
        links: How many hard links it has.
    """

    def __init__(self, path: str | os.PathLike[str], flags: int = 0) -> None:
        """Map `path`, opened with `flags` beside the usual ones.

        Raises:
            OSError: It cannot be opened.
            ModelError: It is not a regular file.
        """
        self.path = Path(path)
        # O_NONBLOCK: opening a pipe would wait for a writer before we could see that it is a pipe.
        flags |= os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
        descriptor = os.open(self.path, flags | getattr(os, "O_CLOEXEC", 0))
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise ModelError(f"'{self.path}' is not a regular file")
            self.links = status.st_nlink
            self.size = status.st_size
            self._map = (  # an empty file cannot be mapped
                mmap.mmap(descriptor, self.size, access=mmap.ACCESS_READ) if self.size else None
            )
        finally:
            os.close(descriptor)
        self.view = memoryview(self._map or b"")

    def release(self, part: memoryview) -> None:
        """Gives memory back into which a part of `view` was read; it can be read again."""
        if self._map is None or not hasattr(self._map, "madvise"):
            return
        first, start = (np.frombuffer(view, np.uint8).ctypes.data for view in (self.view, part))
        begin = -(-(start - first) // mmap.PAGESIZE) * mmap.PAGESIZE
        length = start - first + len(part) - begin
        if length >= mmap.PAGESIZE:
            self._map.madvise(mmap.MADV_DONTNEED, begin, length)

    def check(self) -> None:
        """Raise ModelError if the file has shrunk: touching a lost page would kill the process."""
        if self._map is not None and self._map.size() < self.size:
            raise ModelError(
                f"'{self.path}' has shrunk from {self.size} to {self._map.size()} bytes"
            )
