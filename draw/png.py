"""A picture as PNG, by resvg, which needs no browser."""

from __future__ import annotations

import os
import re
from contextlib import suppress

MOST = 12_000  # pixels of a side


def png(svg: str, scale: float) -> bytes:
    """An SVG picture as a PNG file.

    Raises:
        ImportError: The package resvg-py is not there.
    """
    try:
        import resvg_py
    except ImportError as error:
        raise ImportError(
            "a PNG needs the package resvg-py: pip install 'onnxla[draw]'; an SVG or a page needs"
            " none"
        ) from error
    width, height = (float(n) for n in re.findall(r'(?:width|height)="(\d+)"', svg)[:2])
    scale = min(scale, MOST / width, MOST / height)
    wide = max(int(width * scale), 1)
    return bytes(resvg_py.svg_to_bytes(svg_string=svg, width=wide, font_dirs=fonts()))


def fonts() -> list[str]:
    """Folders with fonts beside the system's, which may have none: matplotlib's, if it is there."""
    with suppress(ImportError):
        import matplotlib

        return [os.path.join(matplotlib.get_data_path(), "fonts", "ttf")]
    return []
