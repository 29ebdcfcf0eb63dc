"""Arrays in `.npy` and `.npz` files. What a file says of itself is checked first."""

from __future__ import annotations

import contextlib
import math
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

from onnxla.ir.claims import claim
from onnxla.ir.errors import describe
from onnxla.ir.names import quoted

# A compressed file of a few megabytes can unpack to gigabytes.
UNPACKED, TIMES = 2**31, 3
HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def read_array(path: Path) -> Any:
    """The array in an .npy file, or the arrays by name in an .npz file. Never runs a pickle.

    Raises:
        ValueError: There is no such file, or it is neither.
    """
    if not path.exists():
        raise ValueError(f"there is no file {quoted(path)}")
    if not path.is_file():
        raise ValueError(f"{quoted(path)} is no regular file")
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of headers that an old numpy wrote
            size = path.stat().st_size
            if file.read(2) == b"PK":
                return read_archive(file, size)
            file.seek(0)
            return read_member(file, size)
    except Exception as error:  # numpy, zipfile and zlib have many kinds for what is damaged
        raise ValueError(f"{quoted(path)} is no .npy or .npz file: {describe(error)}") from None


def read_archive(file: IO[bytes], size: int) -> dict[str, np.ndarray]:
    """The arrays by name in an .npz file. Raises: any exception if it is none."""
    arrays: dict[str, np.ndarray] = {}
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        total = sum(member.file_size for member in members)
        if total > UNPACKED + TIMES * size:
            raise ValueError(
                f"it has {size:,} bytes and would unpack to {total:,}; save it uncompressed"
            )
        for member in members:
            name = member.filename.removesuffix(".npy")
            if name in arrays:
                raise ValueError(f"it holds {quoted(name)} twice")
            with archive.open(member) as stream:
                try:
                    arrays[name] = read_member(stream, member.file_size)
                except ValueError as error:
                    raise ValueError(f"{quoted(member.filename)}: {error}") from None
    return arrays


def read_member(file: IO[bytes], size: int) -> np.ndarray:
    """The array in a stream of `size` bytes. Raises: any exception if it is none."""
    version = npy.read_magic(file)
    if version not in HEADERS:
        raise ValueError(f"its format has the version {version}, which is not supported")
    shape, _, dtype = HEADERS[version](file)
    if dtype.hasobject:
        raise ValueError("it holds pickled objects, which could run code; save numbers or text")
    needed = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or needed > size:
        raise ValueError(f"it claims {dtype}{list(shape)}, {needed:,} bytes, and has {size:,}")
    file.seek(0)
    array: np.ndarray = npy.read_array(file, allow_pickle=False)
    return array


def result_path(path: Path, count: int) -> Path:
    """Where `count` arrays go: to `path` if it ends in .npz, or .npy for one; else .npz is added.

    Raises:
        ValueError: They cannot be written there.
    """
    if path.suffix == ".npy" and count != 1:
        raise ValueError(f"{quoted(path)} holds one array, the model has {count} outputs")
    if path.is_dir():
        raise ValueError(f"{quoted(path)} is a folder; name a file in it")
    if not path.parent.is_dir():
        raise ValueError(f"there is no folder {quoted(path.parent)} for {quoted(path.name)}")
    return path if path.suffix in (".npy", ".npz") else path.with_name(path.name + ".npz")


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes arrays to an .npz file, or the only one to an .npy file.

    Raises:
        ValueError: One is neither of numbers nor of text.
    """
    plain = {name: without_objects(name, array) for name, array in arrays.items()}
    with whole_file(path) as file:
        if path.suffix == ".npy":
            npy.write_array(file, next(iter(plain.values())), allow_pickle=False)
            return
        # Not np.savez, whose own arguments are no names of arrays.
        with zipfile.ZipFile(file, "w") as archive:
            for name, array in plain.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    npy.write_array(member, array, allow_pickle=False)


def without_objects(name: str, array: np.ndarray) -> np.ndarray:
    """An array of numbers or text; in files, objects would be pickles. Raises: ValueError."""
    if array.dtype != object:
        return array
    if not all(isinstance(each, str) for each in array.ravel()):
        raise ValueError(f"output {quoted(name)} is no tensor, and no file of arrays can hold it")
    return array.astype(str)


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """A file to write, which is at `path` once it is complete, and gone if that fails."""
    with claim(path) as claimed:
        yield claimed.file
        claimed.put(path, ())
