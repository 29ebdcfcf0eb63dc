"""Images from the bytes of image files."""

from __future__ import annotations

import io
import warnings

import numpy as np

from onnxla.ops.checks import only
from onnxla.ops.table import op


@op("ImageDecoder", since=(20,), static=("encoded_stream",))
def image_decoder(encoded_stream: np.ndarray, *, pixel_format: str = "RGB") -> np.ndarray:
    """The image in a file's bytes as uint8 [H, W, C]; [0, 0, C] if it cannot be decoded.

    C is 1 for Grayscale, else 3. Needs Pillow, and reads what that reads.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError("ImageDecoder needs Pillow: pip install Pillow") from error
    only("pixel_format", pixel_format, "RGB", "BGR", "Grayscale")
    gray = pixel_format == "Grayscale"
    try:
        with warnings.catch_warnings(), Image.open(io.BytesIO(encoded_stream.tobytes())) as file:
            warnings.simplefilter("ignore", UserWarning)  # that transparency is lost
            pixels = np.asarray(file.convert("L" if gray else "RGB"))
    except (OSError, SyntaxError, ValueError):  # what Pillow's readers raise
        return np.zeros((0, 0, 1 if gray else 3), np.uint8)
    pixels = pixels[..., None] if gray else pixels
    return pixels[..., ::-1] if pixel_format == "BGR" else pixels
