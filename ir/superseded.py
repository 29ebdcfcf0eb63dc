"""Data files that earlier saves of a model left: which of them may go.

What a model says of its data decides nothing: anybody can write it, and name any file. A file goes
if its name and its last bytes say that a save of this very target wrote it, if that save does not
run any more, and if no file in the folder, be it a model or a backup of one, has its name in it.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Collection, Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path

from google.protobuf.message import DecodeError, Message

from onnxla.ir.claims import TOKEN, regular_files, temporary_path
from onnxla.ir.errors import ModelError
from onnxla.ir.external import location_problem
from onnxla.ir.files import OpenFile, content
from onnxla.ir.onnx_pb2 import ModelProto, TensorProto
from onnxla.ir.splice import MAX_MESSAGE, extract
from onnxla.ir.wire import decode_entries

DATA_NAME = re.compile(rf"(?P<target>.+)\.(?P<token>{TOKEN})\.data", re.DOTALL)
BLOCK = 1 << 24  # bytes that are searched at a time


def trailer(path: Path) -> bytes:
    """The last bytes of a data file, after all data: that a save wrote it, for which target."""
    return b"\nonnxla wrote this file as " + os.fsencode(path.name)


def remove_superseded(target: Path) -> list[Path]:
    """Removes the data files of `target` that nothing needs. Returns those that may be needed."""
    ours = finished_data(target)
    if not ours:
        return []
    try:
        needed = named_in_folder(target.parent, {path.name for path in ours})
    except OSError:  # a file that cannot be read may need them all
        return [path for path in ours if path.name not in named_in(target, {path.name})]
    for path in ours:
        if path.name not in needed:
            with suppress(OSError):  # Windows keeps a file that is still mapped
                path.unlink()
    return []


def finished_data(target: Path) -> list[Path]:
    """The data files that saves of `target` wrote which do not run any more."""
    found = []
    for path in regular_files(target.parent):
        match = DATA_NAME.fullmatch(path.name)
        if not match or match["target"] != target.name or not is_data(path):
            continue
        # A save has its temporary file from before it writes data until the model names it.
        if not temporary_path(target, match["token"]).exists():
            found.append(path)
    return found


def is_data(path: Path) -> bool:
    """Whether a save wrote a file, under its present name."""
    end = trailer(path)
    try:
        with open(path, "rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - len(end)))
            return file.read() == end
    except OSError:
        return False


def named_in_folder(folder: Path, names: Collection[str]) -> set[str]:
    """Those of `names` that a file in a folder contains, or a copy of a model in one below.

    Raises:
        OSError: A file cannot be read.
    """
    found: set[str] = set()
    # A model in a folder below does not find its data here, but may be put back.
    for path in chain(folder.iterdir(), folder.glob("*/*.onnx*")):
        if path.is_file() and not (DATA_NAME.fullmatch(path.name) and is_data(path)):
            with suppress(FileNotFoundError):  # another save's temporary file, just now
                found |= named_in(path, names)
    return found


def named_in(path: Path, names: Collection[str]) -> set[str]:
    """Those of `names` that a file contains, if it is not larger than a model can be."""
    wanted = {os.fsencode(name): name for name in names}
    longest, found, end = max(map(len, wanted)), set(), b""
    # It is read, not mapped: a file that shrinks while it is mapped would kill the process.
    with open(path, "rb") as file:
        if os.fstat(file.fileno()).st_size > MAX_MESSAGE:
            return set()
        while block := file.read(BLOCK):
            text = end + block
            found |= {name for raw, name in wanted.items() if raw in text}
            end = text[-longest:]
    return found


def warn_of_data(target: Path, left: Collection[str]) -> None:
    """Tells which data files of the model that was replaced are still there."""
    if left:
        names = ", ".join(map(repr, sorted(left)[:5])) + ", ..." * (len(left) > 5)
        warnings.warn(
            f"'{target}' is saved; {names} beside it, which may be data of the model that it "
            "replaced, stays: it may be needed by others. Remove it if it is not",
            stacklevel=4,
        )


def foreign_data(target: Path) -> set[str]:
    """The files that the model at `target` says its data is in, without those saves wrote for it.

    Nothing if it is a link, since the model behind it stays, or no model that can be read.
    """
    try:
        file = None if target.is_symlink() else OpenFile(target)
        message = b"" if file is None else bytes(content(extract(file.content)[0]))
        if b"location" not in message:  # the key that each of them has
            return set()
        names = set(external_locations(ModelProto.FromString(message)))
    except (OSError, ModelError, DecodeError):
        return set()
    ours = {path.name for path in finished_data(target)}
    return {
        name
        for name in names - ours
        if not location_problem(name) and os.path.isfile(target.parent / name)
    }


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
