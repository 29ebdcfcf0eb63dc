"""Saving a model and its data file so that a crash, or a full disk, loses nothing.

The data goes under a name that no file has; then the model is renamed to its place, which is the
moment when the new pair takes over; then the old data is removed, if no other model uses it.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from google.protobuf.message import DecodeError, Message

from onnxla.ir.errors import ModelError
from onnxla.ir.files import Bytes, OpenFile, content
from onnxla.ir.model import Model
from onnxla.ir.onnx_pb2 import ModelProto, TensorProto
from onnxla.ir.splice import extract
from onnxla.ir.wire import decode_entries
from onnxla.ir.writer import ExternalData, TooLargeError, pieces


def save(
    model: Model,
    path: str | os.PathLike[str],
    *,
    external_data: bool | str | None = None,
    check: Callable[[Path], None] | None = None,
) -> None:
    """Saves a model. Whatever fails leaves the old file, which may be the model's own, or the new.

    Args:
        model: What to save.
        path: The file to write or replace.
        external_data: Where the data of tensors goes. None: that of tensors which were external
            goes to one file beside `path`, named `<file name>.data`; so does that of all large
            tensors if the model is larger than 2 GiB, which is more than one file can hold. True:
            that of all large tensors does, 16 KiB or more each. A file name: as True, under that
            name. False: all is in `path`. A number is added to a name that is taken, since the old
            model needs its data until it is replaced.
        check: Called with the path of the complete new model before it replaces the old one, which
            stays if this raises.

    Raises:
        OSError: The files cannot be written.
        ValueError: `external_data` is no plain file name.
        ModelError: It is larger than 2 GiB with `external_data=False`, or holds something that ONNX
            cannot express.
    """
    path = Path(path)
    name = external_data if isinstance(external_data, str) else f"{path.name}.data"
    if name in ("", "..", path.name) or Path(name).name != name or "\\" in name:
        raise ValueError(
            f"external_data='{name}' must be the name of a file beside '{path.name}', no path"
        )
    data_path = unused_path(path.with_name(name))
    wanted = external_data if external_data is None else bool(external_data)
    data = ExternalData(data_path.name, wanted)
    try:
        message = pieces(model, data)
    except TooLargeError:
        if external_data is not None:
            raise
        data = ExternalData(data_path.name, True)
        message = pieces(model, data)
    superseded = superseded_files(path)
    try:
        if data.pieces:
            replace_file(data_path, data.pieces)
            sync_folder(path.parent)
        replace_file(path, message, check)
    except BaseException:
        if data.pieces:
            data_path.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)
    for old in superseded:
        with suppress(OSError):  # Windows keeps a file that is still open
            old.unlink()


def unused_path(path: Path) -> Path:
    """`path`, with a number before its suffix if a file has that name."""
    numbered = (path.with_name(f"{path.stem}.{n}{path.suffix}") for n in itertools.count(1))
    return next(p for p in itertools.chain((path,), numbered) if not os.path.lexists(p))


def replace_file(
    path: Path, contents: Iterable[Bytes], check: Callable[[Path], None] | None = None
) -> None:
    """Writes a file that takes the place of `path` once it is completely on disk and checked."""
    temporary = path.with_name(f".{path.name}.{os.urandom(6).hex()}.tmp")
    try:
        with open(temporary, "xb") as file:
            if path.exists():
                os.chmod(temporary, path.stat().st_mode & 0o777)
            file.writelines(map(content, contents))
            file.flush()
            os.fsync(file.fileno())
        if check is not None:
            check(temporary)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def sync_folder(folder: Path) -> None:
    """Waits until the names in a folder are on disk."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def superseded_files(path: Path) -> list[Path]:
    """Data files beside `path` that nothing needs once it is replaced.

    These are the files that the old model names, and what a crash has left of earlier ones, without
    those that another model in the folder names.
    """
    # Not `path` itself if it is a link: it is replaced, and the model behind it stays.
    named = set() if path.is_symlink() else data_names(path) or set()
    ours = re.compile(re.escape(path.name) + r"(\.\d+)?\.data")
    files = [p for p in path.parent.iterdir() if p.is_file() and not p.is_symlink()]
    candidates = [p for p in files if p.name in named or ours.fullmatch(p.name)]
    if not candidates:
        return []
    for other in path.parent.glob("*.onnx"):
        used = data_names(other) if other.name != path.name else set()
        candidates = [p for p in candidates if used is not None and p.name not in used]
    return candidates


def data_names(path: Path) -> set[str] | None:
    """Where a model file says that its external data is; None if it cannot be read."""
    try:
        return {os.path.normpath(name) for name in external_locations(parse_without_data(path))}
    except (OSError, ModelError, DecodeError):
        return None


def parse_without_data(path: Path) -> ModelProto:
    """The message in a model file, without its large data."""
    return ModelProto.FromString(bytes(content(extract(OpenFile(path).content)[0])))


def external_locations(message: Message) -> Iterator[str]:
    """The locations of external data in a message and all within it."""
    if isinstance(message, TensorProto):
        if message.data_location == TensorProto.EXTERNAL:
            yield decode_entries(message.external_data).get("location", "")
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for child in (value,) if isinstance(value, Message) else value:
                yield from external_locations(child)
