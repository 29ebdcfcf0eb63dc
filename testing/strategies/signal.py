"""Fourier transforms, windows and the mel scale."""

from __future__ import annotations

from typing import Any

import numpy as np

from onnxla.ir.dtypes import number_of
from onnxla.peers.difference import is_integer
from onnxla.testing.draw import Draw
from onnxla.testing.operator_cases import strategy
from onnxla.testing.types import tensor_type
from onnxla.testing.use import Use


@strategy("DFT")
def dft(draw: Draw) -> Use:
    """A real signal (..., n, ..., 1) or complex one (..., n, ..., 2), along any axis but the last.

    One-sided, the forward transform is one of real numbers, the inverse one gives real numbers.
    """
    inverse, onesided = draw.choice((None, 0, 1)), draw.choice((None, 0, 1))
    parts = (2 if inverse else 1) if onesided else draw.choice((1, 2))
    least = 2 if draw.has("axis") and draw.version > 17 else 3
    rank = draw.integer(least, 4)
    # Version 17 names the second axis by default, later ones the last but one.
    axis = draw.maybe(lambda: draw.choice([*range(rank - 1), *range(-rank, -1)]))
    along = (1 if draw.version == 17 else rank - 2) if axis is None else axis % rank
    backward = bool(onesided and inverse)
    length = draw.maybe(lambda: draw.integer(1, 8))
    shape = [*draw.shape((rank - 1, rank - 1), (0, 4)), parts]
    shape[along] = draw.integer(2 if backward and length is None else 1, 6)
    x = draw.tensor("input", shape)
    if backward:
        # A transform of real numbers is real at the ends, which no other numbers go back from.
        size = 2 * (shape[along] - 1) if length is None else length
        real = [0, *([size // 2] if size % 2 == 0 and size // 2 < shape[along] else [])]
        np.moveaxis(x, along, 0)[real, ..., 1] = 0
    operand = None if length is None else np.array(length, draw.dtype("dft_length"))
    attributes: dict[str, Any] = {"inverse": inverse, "onesided": onesided}
    inputs = [x, operand]
    if draw.version == 17:
        attributes["axis"] = axis
    else:
        inputs.append(None if axis is None else np.array(axis, np.int64))
    return draw.use(inputs, attributes, ranks={"y0": rank}, batch=(0,) if along else ())


@strategy("STFT")
def stft(draw: Draw) -> Use:
    """A real signal (B, L, 1) or complex one (B, L, 2), a step, and a window (n) or its length."""
    parts = draw.choice((1, 2))
    given = draw.choice(("window", "length", "both", "none"))
    length = draw.integer(1, 8)
    samples = length + (0 if given == "none" else draw.integer(0, 8))
    x = draw.tensor("signal", (draw.side(0, 3), samples, parts))
    step = draw.array(draw.dtype("frame_step"), (), 1, 4)
    window = draw.tensor("window", (length,)) if given in ("window", "both") else None
    size = np.array(length, step.dtype) if given in ("length", "both") else None
    onesided = draw.choice((None, 1, 0)) if parts == 1 else 0
    return draw.use((x, step, window, size), {"onesided": onesided}, ranks={"y0": 4}, batch=(0,))


@strategy("HannWindow", "HammingWindow", "BlackmanWindow")
def window(draw: Draw) -> Use:
    """A number of samples."""
    # Windows of one and two samples may be zero but for rounding errors, which have no scale.
    size = draw.array(draw.dtype("size"), (), 3, 12)
    number, kind = draw_output(draw)
    return draw.use(
        (size,),
        {"periodic": draw.choice((None, 0, 1)), "output_datatype": number},
        types={"y0": tensor_type(kind)},
        steps=1,  # where a sum of cosines is close to a whole number
    )


def draw_output(draw: Draw) -> tuple[int | None, np.dtype[Any]]:
    """The attribute `output_datatype`, and the dtype it stands for."""
    kind = draw.dtype("output")
    absent = kind == np.float32 and draw.flag()
    return None if absent else number_of(kind), kind


@strategy("MelWeightMatrix")
def mel_weight_matrix(draw: Draw) -> Use:
    """Five scalars: bands, the length of a transform, the sample rate, the lower and upper edge.

    No edge of a band is exactly at a bin, where rounding would decide on which side.
    """
    bands, length = draw.integer(1, 8), draw.integer(2, 32)
    rate = draw.choice((8000, 16000, 8192, 22050))
    whole = draw.dtype("num_mel_bins")
    low = draw.choice((0.0, 20.3, 301.7))
    high = draw.choice((rate / 2, rate / 4, 3000.0, 1713.3))
    edges = [np.array(edge, draw.dtype("lower_edge_hertz")) for edge in (low, high)]
    number, kind = draw_output(draw)
    return draw.use(
        (*(np.array(n, whole) for n in (bands, length, rate)), *edges),
        {"output_datatype": number},
        types={"y0": tensor_type(kind)},
        steps=1 if is_integer(kind) else 0,
    )
