"""Faults in image files."""

from __future__ import annotations

import io
import warnings

import numpy as np

from onnxla.testing.case import Case
from onnxla.testing.fault_records import Fault
from onnxla.testing.use import example


def mode(case: Case) -> str:
    """Pillow's mode of the image in the file; empty if it cannot be decoded."""
    from PIL import Image

    try:
        with (
            warnings.catch_warnings(action="ignore"),
            Image.open(io.BytesIO(case.operands[0].tobytes())) as file,
        ):
            file.load()
            return str(file.mode)
    except (OSError, SyntaxError, ValueError):
        return ""


def gray_file() -> np.ndarray:
    """The bytes of a gray image's file."""
    return np.frombuffer(b"P5 1 1 255\n\x80", np.uint8)


FAULTS = [
    Fault(
        "reference",
        "ImageDecoder",
        "has the channels that the file has, not those of `pixel_format`",
        '\'Pixel format. Can be one of "RGB", "BGR", or "Grayscale"\', and \'decoded images '
        "follow a channel-last layout: (Height, Width, Channels)'.",
        lambda case: (
            case.attributes.get("pixel_format") != "Grayscale" and mode(case) not in ("RGB", "")
        ),
        lambda: example("ImageDecoder", 20, gray_file()),
    ),
    Fault(
        "reference",
        "ImageDecoder",
        "fails for what is no image",
        "'If it can't decode for any reason (e.g. corrupted encoded stream, invalid format, it "
        "will return an empty matrix).'",
        lambda case: mode(case) == "",
        lambda: example("ImageDecoder", 20, np.zeros(0, np.uint8)),
    ),
]
