"""Arrays in files: what a file claims is checked, pickles are refused, and nothing half is left."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxla.commands.array_files import read_array, result_path, whole_file, write_arrays


def npy(shape: Any, descr: str = "<f4", data: bytes = b"") -> bytes:
    """An .npy file that claims a shape and a dtype."""
    head = repr({"descr": descr, "fortran_order": False, "shape": shape}).encode()
    head += b" " * (-(len(head) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\0" + struct.pack("<H", len(head)) + head + data


def npz(path: Path, **members: bytes) -> bytes:
    """An .npz file with members of these bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path.read_bytes()


BAD = {
    "lies": (npy((10**14,)), "claims float32"),
    "overflows": (npy((2**62, 2**62)), "claims float32"),
    "negative": (npy((-1, 3), data=b"\0" * 24), "claims float32"),
    "pickle": (npy((1,), "|O", b"cos\nsystem\n(S'false'\ntR."), "pickled objects"),
    "version": (b"\x93NUMPY\x09\0\x10\0{'descr'}", "version"),
    "header": (b"\x93NUMPY\x01\0\x10\0{'descr': (((((((", "no .npy or .npz"),
    "empty": (b"", "no .npy or .npz"),
    "text": (b"1, 2, 3\n", "no .npy or .npz"),
    "half a zip": (b"PK\3\4" + b"\0" * 50, "no .npy or .npz"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_refused(tmp_path: Path, name: str) -> None:
    content, message = BAD[name]
    (tmp_path / "x.npy").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_array(tmp_path / "x.npy")


def test_a_bad_member_is_refused(tmp_path: Path) -> None:
    for name, content, message in (
        ("x.npy", npy((10**14,)), "'x.npy': it claims"),
        ("x.npy", npy((1,), "|O", b"N."), "pickled objects"),
        ("readme.txt", b"read me first", "'readme.txt'"),
    ):
        npz(tmp_path / "x.npz", **{name: content})
        with pytest.raises(ValueError, match=message):
            read_array(tmp_path / "x.npz")


def test_an_archive_that_unpacks_to_gigabytes_is_refused(tmp_path: Path) -> None:
    content = bytearray(npz(tmp_path / "x.npz", **{"x.npy": npy((2,), data=b"\0" * 8)}))
    place = content.rindex(b"PK\1\2") + 24  # of the size in the directory
    content[place : place + 4] = struct.pack("<I", 2**32 - 2)
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(ValueError, match="would unpack to 4,294,967,294"):
        read_array(tmp_path / "x.npz")


def test_what_is_written_is_read(tmp_path: Path) -> None:
    arrays = {
        "file": np.arange(6).reshape(2, 3),  # names that numpy.savez has for itself
        "allow_pickle": np.array(2.5, np.float32),
        "text": np.array(["a", "bc"], object),
        "none": np.zeros((0, 3)),
    }
    write_arrays(tmp_path / "y.npz", arrays)
    read = read_array(tmp_path / "y.npz")
    assert {*read} == {*arrays}
    for name, array in arrays.items():
        np.testing.assert_array_equal(read[name], array)
    write_arrays(tmp_path / "y.npy", {"y": np.arange(3)})
    np.testing.assert_array_equal(read_array(tmp_path / "y.npy"), np.arange(3))


def test_a_file_that_is_not_completed_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "y.npz"
    path.write_bytes(b"old")

    def write() -> None:
        with whole_file(path) as file:
            file.write(b"new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    with pytest.raises(ValueError, match="no file of arrays can hold it"):
        write_arrays(path, {"y": np.array([{}], object)})
    assert path.read_bytes() == b"old"
    assert [*tmp_path.iterdir()] == [path]


def test_where_arrays_cannot_be_written_is_told_before(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is a folder"):
        result_path(tmp_path, 1)
    with pytest.raises(ValueError, match="there is no folder"):
        result_path(tmp_path / "none" / "y.npz", 1)
    with pytest.raises(ValueError, match="holds one array"):
        result_path(tmp_path / "y.npy", 2)
    assert result_path(tmp_path / "y", 2) == tmp_path / "y.npz"
