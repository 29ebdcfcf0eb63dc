"""Image files."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from onnxla.testing.draw import Draw
from onnxla.testing.operator_cases import strategy
from onnxla.testing.use import Use

# By format: the modes of Pillow that a file of it may have. The simplest one is first.
MODES = {
    "BMP": ("RGB", "L", "1", "P"),
    "PNG": ("RGB", "L", "1", "P", "RGBA", "LA", "I;16"),
    "PPM": ("RGB", "L", "1"),
    "TIFF": ("RGB", "L", "1", "P", "RGBA", "CMYK"),
    "WEBP": ("RGB", "RGBA"),
    "JPEG": ("RGB", "L", "CMYK"),
    "JPEG2000": ("RGB", "L", "RGBA"),
}


@strategy("ImageDecoder")
def image_decoder(draw: Draw) -> Use:
    """The bytes of a small image's file in any format, or what is none."""
    data = draw_file(draw)
    damage = draw.choice((None, None, None, "empty", "cut", "noise", *[None] * 6))
    if damage == "empty":
        data = b""
    elif damage == "cut":
        data = data[: draw.integer(0, len(data) // 2)]
    elif damage == "noise":
        data = draw.array(np.uint8, (8,), 0, 255).tobytes()
    stream = np.frombuffer(data, np.uint8)
    pixel_format = draw.choice((None, "RGB", "BGR", "Grayscale"))
    return draw.use((stream,), {"pixel_format": pixel_format})


def draw_file(draw: Draw) -> bytes:
    """An image file."""
    from PIL import Image

    kind = draw.choice([*MODES])
    mode = draw.choice(MODES[kind])
    width, height = draw.integer(1, 9), draw.integer(1, 9)
    if mode == "I;16":
        image = Image.fromarray(draw.array(np.uint16, (height, width), 0, 65535))
    else:
        pixels = draw.array(np.uint8, (height, width, 4), 0, 255)
        image = Image.fromarray(pixels, "RGBA").convert(mode)
    options: dict[str, dict[str, Any]] = {
        "JPEG": {"quality": draw.choice((90, 30)), "subsampling": draw.choice((0, 1, 2))},
        "WEBP": {"lossless": draw.flag()},
        "JPEG2000": {"irreversible": draw.flag(), "num_resolutions": 1},
    }
    file = io.BytesIO()
    image.save(file, kind, **options.get(kind, {}))
    return file.getvalue()
