"""Operators of ONNX Runtime's domain that are made of no others, and that ONNX has none like."""

from __future__ import annotations

import numpy as np

from onnxla.testing.draw import Draw
from onnxla.testing.operator_cases import strategy
from onnxla.testing.strategies.microsoft_fused import DOMAIN, y0
from onnxla.testing.use import Use


@strategy("CropAndResize", domain=DOMAIN)
def crop_and_resize(draw: Draw) -> Use:
    """X of shape (N, C, H, W), regions of shape (R, 4), their images (R), and the size (2)."""
    shape = (draw.integer(1, 3), draw.integer(1, 2), draw.side(1, 5), draw.side(1, 5))
    regions = draw.integer(1, 4)
    x = draw.tensor("X", shape)
    # Corners in the image or outside, in any order, by an amount that no place in between is at a
    # border or halfway between two elements; or those of the image.
    rois = draw.tensor("rois", (regions, 4), -0.25, 1.25)
    rois = (np.round(8 * rois) / 8 + 0.03).astype(rois.dtype)
    if draw.flag():
        rois[0] = (0, 0, 1, 1)
    which = draw.array(np.int32, (regions,), 0, shape[0] - 1)
    size = draw.array(np.int32, (2,), 1, 4)
    attributes = {
        "mode": draw.choice((None, "bilinear", "nearest")),
        "extrapolation_value": draw.maybe(lambda: draw.floating(-2, 2)),
    }
    return draw.use((x, rois, which, size), attributes, ranks=y0(4), rtol=1e-4, batch=(1, 2))


@strategy("WordConvEmbedding", domain=DOMAIN)
def word_conv_embedding(draw: Draw) -> Use:
    """Words of shape (words, length), W of shape (M, 1, k, E), B (M) and C (characters, E)."""
    maps, size, characters = draw.side(1, 4), draw.side(1, 4), draw.integer(2, 6)
    window = draw.integer(1, 4)
    length = window + draw.integer(0, 3)
    words = draw.integer(1, 4)
    # A word is followed by 0; one without characters has no result in ONNX Runtime.
    ends = draw.array(np.int32, (words, 1), 1, length)
    sequence = draw.array(np.int32, (words, length), 1, characters - 1)
    sequence = np.where(np.arange(length) < ends, sequence, np.int32(0))
    w, b = draw.tensor("W", (maps, 1, window, size), -1, 1), draw.tensor("B", (maps,), -1, 1)
    c = draw.tensor("C", (characters, size), -1, 1)
    sizes = {"embedding_size": maps, "conv_window_size": window, "char_embedding_size": size}
    attributes = {name: draw.choice((value, None)) for name, value in sizes.items()}
    return draw.use((sequence, w, b, c), attributes, ranks=y0(2), rtol=1e-4, batch=(0,))


@strategy("SparseToDenseMatMul", domain=DOMAIN)
def sparse_to_dense_matmul(draw: Draw) -> Use:
    """A of shape (M, K), mostly 0, and B of shape (K, N), each perhaps stored transposed."""
    m, k, n = (draw.integer(1, 4) for _ in range(3))
    turned = {f"trans{x}": draw.choice((None, 0, 1)) for x in "AB"}
    a_shape, b_shape = (
        (k, m) if turned["transA"] else (m, k),
        (n, k) if turned["transB"] else (k, n),
    )
    dtype = draw.dtype("B")
    a = draw.array(dtype, a_shape) * draw.array(np.bool_, a_shape).astype(dtype)
    b = draw.array(dtype, b_shape)
    # How a fraction would apply to integers is not said.
    alpha = draw.maybe(
        lambda: float(draw.integer(0, 3)) if dtype.kind != "f" else draw.floating(-2, 2)
    )
    # The schema has a sparse A. Here it is dense, which onnxla takes as well: a case has no sparse
    # inputs.
    return draw.use((a, b), {**turned, "alpha": alpha}, ranks=y0(2))
