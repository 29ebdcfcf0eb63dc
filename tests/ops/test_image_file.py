"""ImageDecoder: which files it reads, and which are too large."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from onnxla.ir.errors import ModelError
from onnxla.ops.image_file import image_decoder
from onnxla.ops.limits import Budget, Limits, spending

PIXELS = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
LOSSLESS = {"BMP": {}, "PNG": {}, "PPM": {}, "TIFF": {}, "JPEG2000": {}, "WEBP": {"lossless": True}}


def encoded(kind: str, **options: bool) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(PIXELS).save(stream, kind, **options)
    return stream.getvalue()


def decode(data: bytes) -> np.ndarray:
    return image_decoder(np.frombuffer(data, np.uint8))


def png(width: int, height: int, data: bytes = b"") -> bytes:
    """A PNG of a size, whatever its data are."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", LOSSLESS)
def test_the_formats_of_onnx(kind: str) -> None:
    np.testing.assert_array_equal(decode(encoded(kind, **LOSSLESS[kind])), PIXELS)


def test_jpeg() -> None:
    assert decode(encoded("JPEG")).shape == PIXELS.shape
    assert decode(encoded("JPEG", progressive=True)).shape == PIXELS.shape


@pytest.mark.parametrize("kind", ["GIF", "TGA", "ICO", "PCX", "SGI", "PDF"])
def test_no_other_format_is_read(kind: str) -> None:
    assert decode(encoded(kind)).shape == (0, 0, 3)


@pytest.mark.parametrize("kind", [*LOSSLESS, "JPEG"])
def test_damaged_files_have_no_pixels(kind: str) -> None:
    data = encoded(kind)
    for end in range(0, len(data), 5):
        assert decode(data[:end] + bytes(8)).ndim == 3
    assert decode(data[: len(data) // 4]).shape == (0, 0, 3)


@pytest.mark.parametrize("side", [2_000, 30_000, 2**31 - 1])
def test_images_that_are_too_large(side: int) -> None:
    with (
        spending(Budget(Limits(bytes=10**6))),
        pytest.raises(ModelError, match=r"image (while it is decoded|is too large)"),
    ):
        decode(png(side, side))


def test_a_jpeg_of_too_many_scans() -> None:
    with pytest.raises(ModelError, match="a JPEG of 1001 scans, more than 500"):
        decode(encoded("JPEG") + b"\xff\xda\0\0" * 1000)
