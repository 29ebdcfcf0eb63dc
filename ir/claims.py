"""Names that a running save has for itself, so that saves at the same time never meet.

A save writes into a temporary file of its own, whose name has a random token, and which it keeps
locked: whoever can lock such a file knows that its save was killed.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # Windows, which neither removes nor renames a file that somebody has open
    fcntl = None  # type: ignore[assignment]

TOKEN = "[0-9a-f]{12}"
# Of temporary files: nobody else names a file so, and those that were left are removed.
ENDING = ".onnxla.tmp"


@dataclass(frozen=True)
class Claim:
    """What a running save has for itself.

    Attributes:
        target: The file that is saved.
        token: What no other save has.
        file: The temporary file, open and locked.
    """

    target: Path
    token: str
    file: BinaryIO

    @property
    def temporary(self) -> Path:
        """Where a file is written; there is none of this name once it is in its place."""
        return temporary_path(self.target, self.token)

    @property
    def data(self) -> Path:
        """A name for its external data."""
        return self.target.with_name(f"{self.target.name}.{self.token}.data")

    def put(
        self,
        path: Path,
        contents: Iterable[bytes | memoryview],
        check: Callable[[Path], None] | None = None,
    ) -> None:
        """Writes a file, and puts it at `path` once it is on disk and checked."""
        self.file.writelines(contents)
        self.file.flush()
        os.fsync(self.file.fileno())
        if fcntl is None:
            self.file.close()
        if check is not None:
            check(self.temporary)
        os.replace(self.temporary, path)


@contextmanager
def claim(target: Path) -> Iterator[Claim]:
    """A claim for as long as a save runs; what killed saves of `target` left is removed.

    Raises:
        OSError: `target` is a folder or a device, or its folder is missing or cannot be written.
    """
    require_file(target)
    remove_abandoned(target)
    claimed = make_claim(target)
    try:
        copy_mode(target, claimed.temporary)
        yield claimed
    finally:
        claimed.file.close()
        claimed.temporary.unlink(missing_ok=True)


def make_claim(target: Path) -> Claim:
    """A claim whose temporary file is there, and locked where the file system has locks."""
    while True:
        token = secrets.token_hex(6)
        claimed = Claim(target, token, temporary_path(target, token).open("xb"))
        try:
            lock(claimed.file)
            ours = claimed.temporary.exists()
        except BlockingIOError:  # another save takes it for one that was left
            ours = False
        except OSError:  # no locks here
            ours = True
        if ours and not os.path.lexists(claimed.data):
            return claimed
        claimed.file.close()
        claimed.temporary.unlink(missing_ok=True)


def lock(file: BinaryIO) -> None:
    """Locks a file until it is closed.

    Raises:
        BlockingIOError: It is locked.
        OSError: The file system has no locks.
    """
    if fcntl is not None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def temporary_path(target: Path, token: str) -> Path:
    """The temporary file of a save."""
    return target.with_name(f".{target.name}.{token}{ENDING}")


def remove_abandoned(target: Path) -> None:
    """Removes the temporary files that saves of `target` left when they were killed."""
    pattern = re.compile(re.escape(f".{target.name}.") + TOKEN + re.escape(ENDING))
    for path in regular_files(target.parent):
        if pattern.fullmatch(path.name):
            with suppress(OSError):  # its save runs
                if fcntl is None:
                    path.unlink()
                    continue
                with open(path, "rb") as file:
                    lock(file)
                    path.unlink()


def regular_files(folder: Path) -> list[Path]:
    """The files in a folder, without links."""
    return [path for path in folder.iterdir() if path.is_file() and not path.is_symlink()]


def reserve(path: Path) -> Path:
    """An empty file that was not there: `path`, with a number before its suffix if it is taken."""
    name, number = path, 0
    while True:
        try:
            open(name, "xb").close()
            return name
        except FileExistsError:
            number += 1
            name = path.with_name(f"{path.stem}.{number}{path.suffix}")


def check_target(path: str | os.PathLike[str]) -> None:
    """Checks that a file can be put at `path`, before work is done that would then be lost.

    Raises:
        OSError: It is a folder or a device, or its folder is missing or cannot be written.
    """
    path = Path(path)
    try:
        with claim(path):
            pass
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def require_file(path: Path) -> None:
    """Raises OSError if there is something else than a file at `path`."""
    if path.is_dir():
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "Not a regular file", str(path))


def copy_mode(old: Path, new: Path) -> None:
    """Gives a file the permissions of another one, if that exists."""
    with suppress(FileNotFoundError):
        os.chmod(new, old.stat().st_mode & 0o777)
