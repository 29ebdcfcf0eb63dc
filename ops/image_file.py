"""Images from the bytes of image files."""

from __future__ import annotations

import io
import warnings

import numpy as np

from onnxla.ir.errors import ModelError
from onnxla.ops.checks import only
from onnxla.ops.limits import check_size
from onnxla.ops.table import op

# Those that ONNX names. Pillow reads many more, with readers that few people look at.
FORMATS = ("BMP", "JPEG", "JPEG2000", "TIFF", "PNG", "WEBP", "PPM")
# A progressive JPEG has some ten scans, each of which may take a few bytes and touch every pixel.
MAX_SCANS, SCAN = 500, b"\xff\xda"
IN_MEMORY = 12  # bytes a pixel while it is decoded and converted


@op("ImageDecoder", since=(20,), static=("encoded_stream",))
def image_decoder(encoded_stream: np.ndarray, *, pixel_format: str = "RGB") -> np.ndarray:
    """The image in a file's bytes as uint8 [H, W, C]; [0, 0, C] if it cannot be decoded.

    C is 1 for Grayscale, else 3. Needs Pillow. Raises ModelError if the image is too large.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError("ImageDecoder needs Pillow: pip install Pillow") from error
    only("pixel_format", pixel_format, "RGB", "BGR", "Grayscale")
    gray = pixel_format == "Grayscale"
    data = encoded_stream.tobytes()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it is large, or that transparency is lost
            with Image.open(io.BytesIO(data), formats=FORMATS) as file:
                check_image(file.width, file.height, data)
                pixels = np.asarray(file.convert("L" if gray else "RGB"))
    except Image.DecompressionBombError as error:
        raise ModelError(f"the image is too large: {error}") from error
    except ModelError:
        raise
    except Exception:  # Pillow's readers raise whatever a damaged file makes them stumble over
        return np.zeros((0, 0, 1 if gray else 3), np.uint8)
    pixels = pixels[..., None] if gray else pixels
    return pixels[..., ::-1] if pixel_format == "BGR" else pixels


def check_image(width: int, height: int, data: bytes) -> None:
    """Raises: ModelError if it takes too much memory or time to decode an image."""
    check_size((height, width, IN_MEMORY), np.uint8, "the image while it is decoded")
    scans = data.count(SCAN) if data.startswith(b"\xff\xd8") else 1
    if scans > MAX_SCANS:
        raise ModelError(f"the image is a JPEG of {scans} scans, more than {MAX_SCANS}")
