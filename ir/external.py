"""External data: tensors whose bytes are in another file, named by an untrusted model.

A model may name data in its own folder, and nothing else. Without that rule, loading a model and
saving it again would copy any file of the user into a file that looks like weights.
"""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath, PureWindowsPath

from onnxla.ir.errors import ModelError
from onnxla.ir.files import MappedFile
from onnxla.ir.names import quoted
from onnxla.ir.onnx_pb2 import TensorProto
from onnxla.ir.wire import decode_entries

IN_MEMORY = "_ORT_MEM_ADDR_"  # ONNX Runtime writes addresses of its own memory under this name


class DataFolder:
    """The folder in which a model's external data is looked up; each file is opened once."""

    def __init__(self, folder: Path | None, model: Path | None = None) -> None:
        """Look up data in `folder` (None: nowhere). `model` is the model's own file, if any."""
        self.folder = folder
        self.model = model
        self._files: dict[str, MappedFile] = {}

    def locate(self, tensor: TensorProto, size: int) -> tuple[MappedFile, int]:
        """The file and the offset of a tensor's `size` bytes.

        Raises:
            ModelError: The location is not allowed, or the file is missing or too small.
        """
        entries = decode_entries(tensor.external_data)
        location = entries.get("location", "")
        offset = byte_count(entries, "offset", 0)
        length = byte_count(entries, "length", size)
        if length != size:
            raise ModelError(f"external data has length {length}, but type and shape need {size}")
        if location not in self._files:
            self._files[location] = self._open(location)
        file = self._files[location]
        if offset + size > file.size:
            raise ModelError(
                f"external data at offset {offset} with {size} bytes ends after"
                f" {quoted(location)}, which has {file.size} bytes"
            )
        return file, offset

    def _open(self, location: str) -> MappedFile:
        if problem := location_problem(location):
            raise ModelError(f"external data location {quoted(location)} is not allowed: {problem}")
        if self.folder is None:
            raise ModelError(
                f"external data is in {quoted(location)}, but the model was not read from a path;"
                " say where its data is with folder="
            )
        path = Path(os.path.realpath(self.folder / location))
        if not self._allows(path, self.folder):
            raise ModelError(
                f"external data location {quoted(location)} is not allowed: its symbolic link leads"
                f" out of the model's folder, to {quoted(path)}"
            )
        try:
            # The path is resolved, so a link here has been put in since.
            file = MappedFile(path, getattr(os, "O_NOFOLLOW", 0))
        except OSError as error:
            raise ModelError(f"external data file {quoted(path)}: {error.strerror}") from error
        if file.links > 1:
            # A hard link can give any file of this file system a name in the model's folder.
            raise ModelError(
                f"external data location {quoted(location)} is not allowed: the file has several"
                " hard links; copy it to use it"
            )
        return file

    def _allows(self, path: Path, folder: Path) -> bool:
        if path.is_relative_to(os.path.realpath(folder)):
            return True
        # Download caches keep all files in one folder of blobs, and link both model and data there.
        return (
            self.model is not None
            and self.model.is_symlink()
            and path.parent == Path(os.path.realpath(self.model)).parent
        )


def location_problem(location: str) -> str:
    """Why a location could lead out of the model's folder, or "". Windows' ways are refused too."""
    windows = PureWindowsPath(location)
    if not location or "\0" in location:
        return "it is not a file name"
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
