"""Operators of ONNX Runtime's domain that are made of no others, and that ONNX has none like."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from onnxla.ir.errors import ModelError
from onnxla.ops.chain_rule import product
from onnxla.ops.checks import only
from onnxla.ops.limits import check_size
from onnxla.ops.matmul import gemm
from onnxla.ops.microsoft_fused import DOMAIN
from onnxla.ops.normalize import widened
from onnxla.ops.table import op
from onnxla.ops.values import Value, as_traced


@op("CropAndResize", domain=DOMAIN, since=(1,), static=("crop_size",))
def crop_and_resize(
    X: Value,
    rois: Value,
    batch_indices: Value,
    crop_size: np.ndarray,
    *,
    extrapolation_value: float = 0.0,
    mode: str = "bilinear",
) -> Value:
    """Regions [R, C, *crop_size] of X [N, C, H, W], corners at the centers of corner elements.

    A region of rois [R, 4] is (y1, x1, y2, x2) in parts of H - 1 and W - 1, its image one of
    batch_indices [R]. What is outside the image has `extrapolation_value`. Mode nearest rounds half
    up.
    """
    only("mode", mode, "bilinear", "nearest")
    (bounds,) = widened(rois)

    def places(axis: int) -> tuple[Value, Value]:
        """Where the outputs are along an axis of the image, and whether inside; [R, outputs]."""
        (count,), last = check_size(crop_size[axis : axis + 1]), X.shape[2 + axis] - 1
        parts = np.linspace(0, 1, count) if count > 1 else np.asarray([0.5])
        part = parts.astype(bounds.dtype)
        first, end = bounds[:, axis, None], bounds[:, 2 + axis, None]
        at = product(first, 1 - part) + product(end, part)
        at = product(at, np.asarray(last, at.dtype))
        return jnp.clip(at, 0, last), (at >= 0) & (at <= last)

    images, which = as_traced([X, batch_indices])

    def pick(y: Value, x: Value) -> Value:
        """Elements of the images; [R, *crop_size, C]."""
        rows, columns = (
            jnp.minimum(at.astype(np.int32), n - 1)
            for at, n in zip((y, x), X.shape[2:], strict=True)
        )
        return images[which[:, None, None], :, rows[:, :, None], columns[:, None]]

    (y, inside_y), (x, inside_x) = places(0), places(1)
    if mode == "nearest":
        crops = pick(jnp.floor(y + 0.5), jnp.floor(x + 0.5))
    else:
        top, left = jnp.floor(y), jnp.floor(x)
        v = (y - top)[:, :, None, None].astype(X.dtype)
        w = (x - left)[:, None, :, None].astype(X.dtype)
        upper, lower = (
            product(pick(row, left), 1 - w) + product(pick(row, left + 1), w)
            for row in (top, top + 1)
        )
        crops = product(upper, 1 - v) + product(lower, v)
    inside = inside_y[:, :, None, None] & inside_x[:, None, :, None]
    return jnp.moveaxis(jnp.where(inside, crops, extrapolation_value), -1, 1)


@op(
    "WordConvEmbedding",
    domain=DOMAIN,
    since=(1,),
    roles={"W": "weight", "B": "bias", "C": "embedding"},
)
def word_conv_embedding(
    Sequence: Value,
    W: Value,
    B: Value,
    C: Value,
    *,
    char_embedding_size: int | None = None,
    conv_window_size: int | None = None,
    embedding_size: int | None = None,
) -> Value:
    """Embeddings [words, M]: maxima, over a word, of tanh of a convolution of its characters'.

    Sequence [words, length] has the characters, 0 after a word's end; C [characters, E] their
    embeddings; W [M, 1, k, E] and B [M] are the convolution's. A word of fewer than k characters is
    as if it had k. The attributes repeat E, k and M.
    Departs from ONNX Runtime, which leaves the result undefined for a word that starts with 0: it
    is 0.
    """
    M, _, k, E = W.shape
    stated = (char_embedding_size, conv_window_size, embedding_size)
    if any(a not in (None, b) for a, b in zip(stated, (E, k, M), strict=True)):
        raise ModelError(f"the attributes' sizes {stated} are not those of W {list(W.shape)}")
    if Sequence.shape[1] < k:
        raise ModelError(f"words {list(Sequence.shape)} are shorter than a window of {k}")
    words, embeddings = as_traced([Sequence, C])
    starts = np.arange(words.shape[1] - k + 1)
    windows = embeddings[words[:, starts[:, None] + np.arange(k)]]
    values = jnp.tanh(jnp.einsum("wske,mke->wsm", windows, W[:, 0]) + B)
    count = jnp.maximum((words > 0).sum(1), k) - k + 1
    best = jnp.where((starts < count[:, None])[..., None], values, -1).max(1)
    return jnp.where(words[:, :1] > 0, best, 0)


@op("SparseToDenseMatMul", domain=DOMAIN, since=(1,), roles={"A": "weight", "B": "weight"})
def sparse_to_dense_matmul(
    A: Value, B: Value, *, alpha: float = 1.0, transA: int = 0, transB: int = 0
) -> Value:
    """The product alpha * A' @ B', ' a transpose of the last two axes if asked for.

    A is sparse in the file or for its user, and dense here.
    Departs from ONNX Runtime, which ignores alpha unless the type is float32.
    """
    factors = (x.swapaxes(-1, -2) if turn else x for x, turn in ((A, transA), (B, transB)))
    return gemm(*factors, alpha=alpha)
