"""Folders in which files are opened whose names come from an untrusted model."""

from __future__ import annotations

import os
from pathlib import Path, PurePath

from onnxla.ir.files import READ_FLAGS, Descriptor


class Folder:
    """A folder that stays the same one, even if its path is given to another.

    Where the system can, names are opened relative to a handle of the folder, one part after
    another, and no part may be a link: a folder that is put in place of another between check and
    use leads nowhere. On other systems, such as Windows, the path is resolved again once the file
    is open, and must lead to this file.

    Attributes:
        real: Its path without links.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Opens the folder. Raises: OSError if there is none."""
        self.real = Path(os.path.realpath(path, strict=True))
        self._handle = Descriptor(os.open(path, folder_flags())) if has_handles() else None

    def open(self, name: PurePath, *, follow: bool = False) -> int:
        """A descriptor of the file with a relative name, which may itself be a link to `follow`.

        Raises:
            OSError: There is none, or a part of the name is a link.
        """
        *folders, last = name.parts or (".",)
        if self._handle is None:
            return open_resolved(self.real / name, follow)
        handle = self._handle
        for part in folders:
            flags = folder_flags() | os.O_NOFOLLOW
            handle = Descriptor(os.open(part, flags, dir_fd=handle.number))
        flags = READ_FLAGS if follow else READ_FLAGS | os.O_NOFOLLOW
        return os.open(last, flags, dir_fd=handle.number)


def has_handles() -> bool:
    """Whether this system opens files relative to a handle of a folder, and can refuse links."""
    return os.open in os.supports_dir_fd and hasattr(os, "O_NOFOLLOW")


def folder_flags() -> int:
    """How a handle of a folder is opened: if possible without the right to list it."""
    return os.O_DIRECTORY | getattr(os, "O_PATH", os.O_RDONLY)


def open_resolved(path: Path, follow: bool) -> int:
    """A descriptor of a file whose path has no links, as far as two looks at it can tell.

    Raises:
        OSError: There is no such file, or a link has been put into its path.
    """
    descriptor = os.open(path, READ_FLAGS)
    real = os.path.realpath(path)
    same = os.path.samestat(os.fstat(descriptor), os.lstat(real))
    if same and (follow or Path(real) == path):
        return descriptor
    os.close(descriptor)
    raise OSError(0, "a link has been put into its path", str(path))
