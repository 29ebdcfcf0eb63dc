"""Compiled programs that are kept on disk, so that the next process does not compile them again.

JAX keeps and finds them, by what is compiled, for which device and by which version; here is only
said where. What is found there runs as code, so it must be a folder that nobody else writes to.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any, Literal

import jax

SECONDS = 1.0  # that a compilation takes for JAX to keep its program, where nobody sets another


def keep_programs(where: Literal[True] | str | os.PathLike[str]) -> None:
    """From now on JAX keeps what this process compiles, and finds what others have kept.

    JAX has one such folder for a process. One that is set already, in the environment or by
    `jax.config`, is used as it is. Otherwise it is set, and programs are kept that take less than
    a second to compile, too.

    Args:
        where: A folder; True for onnxla's in the user's cache folder.

    Raises:
        ValueError: JAX keeps programs in another folder already.
        PermissionError: The folder belongs to somebody else, or others may write to it.
    """
    wanted = user_folder() if where is True else Path(where)
    config: Any = jax.config
    current = config.jax_compilation_cache_dir
    if current is None:
        config.update("jax_compilation_cache_dir", str(private(wanted)))
        if config.jax_persistent_cache_min_compile_time_secs == SECONDS:
            config.update("jax_persistent_cache_min_compile_time_secs", 0)
    elif where is not True and Path(current).resolve() != wanted.resolve():
        raise ValueError(
            f"programs cannot be kept in {str(wanted)!r}: JAX has one folder for them in a process,"
            f" which is {current!r} here; cache=True uses it"
        )


def user_folder() -> Path:
    """The folder for compiled programs in the user's cache folder."""
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(home).expanduser() / "onnxla" / "programs"


def private(folder: Path) -> Path:
    """A folder, resolved, that is made if it is not there.

    Raises:
        PermissionError: It belongs to somebody else, or others may write to it.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = folder.resolve()
    if os.name == "posix":  # elsewhere a user's folder is private by its place
        found = folder.stat()
        if found.st_uid != os.getuid():
            raise PermissionError(
                f"programs are not kept in {str(folder)!r}, which belongs to user {found.st_uid}:"
                " what is found there runs as code"
            )
        if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise PermissionError(
                f"programs are not kept in {str(folder)!r}, to which others may write (mode"
                f" {stat.S_IMODE(found.st_mode):o}): what is found there runs as code; chmod 700"
            )
    return folder
