"""Saving a model and its data file so that a crash, or a full disk, loses nothing.

The data goes under a name that no file has; then the model is renamed to its place, which is the
moment when the new pair takes over, and from which on nothing is undone; then old data goes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from itertools import chain
from pathlib import Path

from onnxla.ir.claims import claim, reserve
from onnxla.ir.model import Model
from onnxla.ir.splice import Piece, contents
from onnxla.ir.superseded import foreign_data, remove_superseded, trailer, warn_of_data
from onnxla.ir.writer import ExternalData, TooLargeError, pieces


def save(
    model: Model,
    path: str | os.PathLike[str],
    *,
    external_data: bool | str | None = None,
    check: Callable[[Path], None] | None = None,
) -> None:
    """Saves a model. Whatever fails leaves the old file, which may be the model's own, or the new.

    Of other files, it removes those alone that earlier saves to `path` made under names of their
    own and that no file in the folder names. It warns of other data of the old model, which stays.

    For example:

        onnxla.ir.save(onnxla.ir.read("model.onnx"), "copy.onnx")

    Args:
        model: What to save.
        path: The file to write or replace. A link is replaced, not followed.
        external_data: Where the data of tensors goes. None: that of tensors which were external
            goes to one file beside `path`, named `<file name>.<token>.data`, with a random token;
            so does that of all large tensors if the model is larger than 2 GiB, which is more than
            one file can hold. True: that of all large tensors does, 16 KiB or more each. A file
            name: as True, under that name, with a number if it is taken. False: all is in `path`.
        check: Called with the path of the complete new model before it replaces the old one, which
            stays if this raises.

    Raises:
        OSError: The files cannot be written.
        ValueError: `external_data` is no plain file name.
        ModelError: It is larger than 2 GiB with `external_data=False`, or holds something that ONNX
            cannot express.
    """
    path = Path(path)
    name = external_data if isinstance(external_data, str) else None
    if name is not None:
        require_plain(name, path)
    wanted = external_data if external_data is None else bool(external_data)
    left = foreign_data(path)
    with claim(path) as claimed:
        data_path = claimed.data if name is None else reserve(path.with_name(name))
        end = [trailer(data_path)] if name is None else []
        try:
            data, message = plan(model, data_path.name, wanted)
            if data.pieces:
                with claim(path) as claimed_too:
                    claimed_too.put(data_path, chain(contents(data.pieces), end))
                sync_folder(path.parent)
            claimed.put(path, contents(message), check)
        except BaseException:
            # An interrupt may come after the new model has taken over, which needs its data.
            if claimed.temporary.exists():
                data_path.unlink(missing_ok=True)
            raise
    if name is not None and not data.pieces:
        data_path.unlink()
    sync_folder(path.parent)
    left |= {old.name for old in remove_superseded(path)}
    warn_of_data(path, left)


def require_plain(name: str, path: Path) -> None:
    """Raises ValueError unless `name` is that of a file that can be beside `path`."""
    if name in ("", "..", path.name) or Path(name).name != name or {"\\", "\0"} & {*name}:
        raise ValueError(
            f"external_data='{name}' must be the name of a file beside '{path.name}', no path"
        )


def plan(model: Model, location: str, wanted: bool | None) -> tuple[ExternalData, list[Piece]]:
    """What goes to the data file and what to the model's, which asks for the data where it must."""
    data = ExternalData(location, wanted)
    try:
        return data, pieces(model, data)
    except TooLargeError:
        if wanted is not None:
            raise
    data = ExternalData(location, True)
    return data, pieces(model, data)


def replace_file(path: Path, content: Iterable[bytes | memoryview]) -> None:
    """Writes a file that takes the place of `path` once it is completely on disk."""
    with claim(path) as claimed:
        claimed.put(path, content)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Waits until the names in a folder are on disk."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
