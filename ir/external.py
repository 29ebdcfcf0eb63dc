"""External data: tensors whose bytes are in another file, named by an untrusted model.

A model may name data in its own folder, and nothing else. Without that rule, loading a model and
saving it again would copy any file of the user into a file that looks like weights. If the model is
itself a link, as in download caches, the folder that the link leads to is its own, too.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path, PurePosixPath, PureWindowsPath

from onnxla.ir.errors import ModelError
from onnxla.ir.files import FilePart, OpenFile
from onnxla.ir.folders import Folder
from onnxla.ir.names import quoted
from onnxla.ir.onnx_pb2 import StringStringEntryProto, TensorProto
from onnxla.ir.wire import decode_entries

IN_MEMORY = "_ORT_MEM_ADDR_"  # ONNX Runtime writes addresses of its own memory under this name
LONGEST = 4096  # characters of a location; no system opens longer paths
KEPT_OPEN = 100  # files; some exporters make one of each tensor, and a process may have 256


class DataFolder:
    """Where a model's external data is looked up: in its folders, and nowhere if there are none.

    Each file is opened once, but for those after the first 100, which are opened at each reading.
    """

    def __init__(self, folders: Iterable[Folder] = (), model: OpenFile | None = None) -> None:
        """Look up data in the first of `folders` that has it. `model` is the model's own file."""
        self.folders = tuple(folders)
        self.model = model
        self._files: dict[str, OpenFile] = {}

    def locate(self, tensor: TensorProto, size: int) -> FilePart:
        """A tensor's `size` bytes.

        Raises:
            ModelError: The location is not allowed, or the file is missing, too small, or not the
                one whose checksum the model has.
        """
        check_keys(tensor)
        entries = decode_entries(tensor.external_data)
        location = entries.get("location", "")
        offset = byte_count(entries, "offset", 0)
        length = byte_count(entries, "length", size)
        if length != size:
            raise ModelError(f"external data has length {length}, but type and shape need {size}")
        if location not in self._files:
            self._files[location] = self._open(location)
        file = self._files[location]
        if offset + size > (available := file.status.st_size):
            raise ModelError(
                f"external data at offset {offset} with {size} bytes ends after"
                f" {quoted(location)}, which has {available} bytes"
            )
        expected = entries.get("checksum")
        if expected is not None and expected.lower() != file.sha1:
            raise ModelError(
                f"external data file {quoted(location)} has the SHA-1 checksum {file.sha1}, but the"
                f" model says {quoted(expected)}"
            )
        return FilePart(file, offset, offset + size)

    def _open(self, location: str) -> OpenFile:
        if problem := location_problem(location):
            raise ModelError(f"external data location {quoted(location)} is not allowed: {problem}")
        if not self.folders:
            raise ModelError(
                f"external data is in {quoted(location)}, but the model was not read from a path;"
                " say where its data is with folder="
            )
        paths = [folder.real / location for folder in self.folders]
        path = Path(os.path.realpath(next(filter(os.path.lexists, paths), paths[0])))
        allowed = [folder for folder in self.folders if path.is_relative_to(folder.real)]
        if not allowed:
            raise ModelError(
                f"external data location {quoted(location)} is not allowed: its symbolic link leads"
                f" out of the model's folder, to {quoted(path)}"
            )
        folder, name = allowed[0], path.relative_to(allowed[0].real)
        keep = len(self._files) < KEPT_OPEN
        try:
            file = OpenFile(path, lambda: folder.open(name), keep=keep)
        except OSError as error:
            raise ModelError(f"external data file {quoted(path)}: {error.strerror}") from error
        if file.status.st_nlink > 1 and not self._linked_like(file):
            raise ModelError(
                f"external data location {quoted(location)} is not allowed: the file has several"
                " hard links. That is allowed only where the model's file has several, too, and the"
                " same owner, as a package manager makes them; copy the data to use it"
            )
        return file

    def _linked_like(self, file: OpenFile) -> bool:
        """Whether the model's file has several hard links, and the owner of `file`.

        A hard link can give any file of this file system a name in the model's folder.
        """
        if self.model is None:
            return False
        model = self.model.status
        return model.st_nlink > 1 and model.st_uid == file.status.st_uid


def check_keys(tensor: TensorProto) -> None:
    """Raises: ModelError if a tensor says something about its external data twice."""
    seen: set[str | bytes] = set()
    entry: StringStringEntryProto
    for entry in tensor.external_data:
        if entry.key in seen:
            raise ModelError(f"external_data has the key {quoted(entry.key)} twice")
        seen.add(entry.key)


def location_problem(location: str) -> str:
    """Why a location could lead out of the model's folder, or "". Windows' ways are refused too."""
    windows = PureWindowsPath(location[:LONGEST])
    if not location or "\0" in location:
        return "it is not a file name"
    if len(location) > LONGEST:
        return f"it has {len(location)} characters, more than {LONGEST}"
    if IN_MEMORY in location:
        return "it is an address in the memory of the process that wrote the model"
    if PurePosixPath(location).is_absolute() or windows.drive or windows.root:
        return "it is absolute"
    if ".." in windows.parts:
        return "it leads upwards with '..'"
    return ""


def byte_count(entries: dict[str, str], key: str, default: int) -> int:
    """The number of bytes under a key, or `default`. Raises: ModelError if it is none."""
    text = entries.get(key)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise ModelError(f"external data has {key} {quoted(text)}, which is not a number of bytes")
    return int(text)
