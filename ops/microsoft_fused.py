"""Operators of ONNX Runtime's domain that its optimizer makes of several others, and older ones.

Their signatures are those of ONNX Runtime's schemas.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax import lax

from onnxla.ir.dtypes import dtype_of
from onnxla.ir.errors import ModelError
from onnxla.ops.activation import gelu, swish
from onnxla.ops.checks import only
from onnxla.ops.conv import conv
from onnxla.ops.image import grid_sample_16
from onnxla.ops.index import gather_nd, unique
from onnxla.ops.limits import check_size
from onnxla.ops.matmul import gemm, matmul
from onnxla.ops.normalize import layer_normalization, rms_normalization, widened
from onnxla.ops.rnn import ACTIVATIONS
from onnxla.ops.shape import pad, range_, trilu, unsqueeze
from onnxla.ops.standardize import mean
from onnxla.ops.table import op
from onnxla.ops.values import Value, as_traced, at_least_float32, xp
from onnxla.ops.window import WINDOW, WindowAttributes

DOMAIN = "com.microsoft"
AFFINE = {"gamma": "scale", "beta": "bias", "bias": "bias"}


def activated(x: Value, name: str | None, *constants: float | None) -> Value:
    """An activation by name; `constants` are its parameters in the order of its schema."""
    given = [c for c in constants if c is not None]
    if name is None:
        return x
    if name == "Clip":
        return jnp.clip(x, *given)
    if name.lower() not in ACTIVATIONS:
        raise ModelError(f"'{name}' is no activation that can be fused")
    function, defaults = ACTIVATIONS[name.lower()]
    return function(x, **{**defaults, **dict(zip(defaults, given, strict=False))})


@op("Gelu", domain=DOMAIN, since=(1,))
def exact_gelu(X: Value) -> Value:
    """X * P(Z <= X) for a standard normal Z."""
    return gelu(X)


@op("BiasGelu", domain=DOMAIN, since=(1,), roles={"B": "bias"})
def bias_gelu(A: Value, B: Value) -> Value:
    """`gelu` of A + B."""
    return gelu(A + B)


@op("FastGelu", domain=DOMAIN, since=(1,), roles={"bias": "bias"})
def fast_gelu(X: Value, bias: Value | None = None) -> Value:
    """`gelu` of X + bias, by tanh."""
    return gelu(X if bias is None else X + bias, approximate="tanh")


@op("QuickGelu", domain=DOMAIN, since=(1,))
def quick_gelu(X: Value, *, alpha: float = 1.7020000219345093) -> Value:
    """X * sigmoid(alpha * X)."""
    return swish(X, alpha=alpha)


@op("FusedMatMul", domain=DOMAIN, since=(1,), roles={"A": "weight", "B": "weight"}, product=True)
def fused_matmul(
    A: Value,
    B: Value,
    *,
    alpha: float = 1.0,
    transA: int = 0,
    transB: int = 0,
    transBatchA: int = 0,
    transBatchB: int = 0,
) -> Value:
    """The product alpha * A' @ B', ' a transpose of the last two axes if asked for.

    With `transBatchA` (or B) the first axis of the operand is the last but one; the others move up.
    """

    def oriented(x: Value, transposed: int, batch: int) -> Value:
        x = jnp.moveaxis(x, 0, -2) if batch else jnp.asarray(x)
        return x.swapaxes(-1, -2) if transposed and x.ndim > 1 else x

    product = matmul(oriented(A, transA, transBatchA), oriented(B, transB, transBatchB))
    return product if alpha == 1 else product * alpha


@op(
    "TransposeMatMul", domain=DOMAIN, since=(1,), roles={"A": "weight", "B": "weight"}, product=True
)
def transpose_matmul(
    A: Value, B: Value, *, alpha: float = 1.0, transA: int = 0, transB: int = 0
) -> Value:
    """`fused_matmul` by its older name."""
    return fused_matmul(A, B, alpha=alpha, transA=transA, transB=transB)


@op(
    "FusedGemm",
    domain=DOMAIN,
    since=(1,),
    roles={"A": "weight", "B": "weight", "C": "bias"},
    product=True,
)
def fused_gemm(
    A: Value,
    B: Value,
    C: Value | None = None,
    *,
    activation: str | None = None,
    activation_alpha: float | None = None,
    activation_beta: float | None = None,
    activation_gamma: float | None = None,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,
    transB: int = 0,
) -> Value:
    """An activation of `gemm`."""
    Y = gemm(A, B, C, alpha=alpha, beta=beta, transA=transA, transB=transB)
    return activated(Y, activation, activation_alpha, activation_beta, activation_gamma)


@op(
    "FusedConv",
    domain=DOMAIN,
    since=(1,),
    roles={"W": "weight", "B": "bias"},
    product=True,
    times_zero=("W",),
)
def fused_conv(
    X: Value,
    W: Value,
    B: Value | None = None,
    Z: Value | None = None,
    *,
    activation: str | None = None,
    activation_params: tuple[float, ...] | None = None,
    group: int = 1,
    window: WindowAttributes = WINDOW,
) -> Value:
    """An activation of `conv` plus Z."""
    Y = conv(X, W, B, group=group, window=window)
    return activated(Y if Z is None else Y + Z, activation, *(activation_params or ()))


@op("SkipLayerNormalization", domain=DOMAIN, since=(1,), roles=AFFINE)
def skip_layer_normalization(
    input: Value,
    skip: Value,
    gamma: Value,
    beta: Value | None = None,
    bias: Value | None = None,
    *,
    epsilon: float = 9.999999960041972e-13,
) -> tuple[Value, ...]:
    """`layer_normalization` of input + skip + bias over the last axis; last of all that sum."""
    parts = [part for part in (input, skip, bias) if part is not None]
    return normalized_sum(parts, gamma, beta, epsilon)


def normalized_sum(
    parts: Sequence[Value], gamma: Value, beta: Value | None, epsilon: float
) -> tuple[Value, ...]:
    """`layer_normalization` of a sum, which is taken in single precision at least; last that."""
    total = functools.reduce(operator.add, widened(*parts))
    affine = (v if v is None else v.astype(total.dtype) for v in (gamma, beta))
    Y, *statistics = layer_normalization(total, *affine, epsilon=epsilon)
    return (Y.astype(gamma.dtype), *statistics, total.astype(gamma.dtype))


def simplified_layer_normalization(
    X: Value,
    scale: Value,
    *,
    axis: int = -1,
    epsilon: float = 9.999999747378752e-06,
    stash_type: int = 1,
) -> tuple[Value, Value]:
    """`rms_normalization`, and 1 over the root mean square, in the `stash_type` float32."""
    (wide,) = widened(X)
    axes = tuple(range(axis % X.ndim, X.ndim))
    inverse = lax.rsqrt(mean(lax.square(wide), axes) + epsilon).astype(dtype_of(stash_type))
    return rms_normalization(X, scale, axis=axis, epsilon=epsilon, stash_type=stash_type), inverse


# ONNX Runtime also writes it as if it were ONNX's own.
for each_domain in ("", DOMAIN):
    op("SimplifiedLayerNormalization", domain=each_domain, since=(1,), roles={"scale": "scale"})(
        simplified_layer_normalization
    )


@op(
    "SkipSimplifiedLayerNormalization",
    domain=DOMAIN,
    since=(1,),
    roles={"gamma": "scale", "bias": "bias"},
)
def skip_simplified_layer_normalization(
    input: Value,
    skip: Value,
    gamma: Value,
    bias: Value | None = None,
    *,
    epsilon: float = 9.999999960041972e-13,
) -> tuple[Value, ...]:
    """`rms_normalization` of input + skip + bias; their mean, 1 / root mean square, and sum."""
    parts = [part for part in (input, skip, bias) if part is not None]
    total = functools.reduce(operator.add, widened(*parts))
    scale = gamma.astype(total.dtype)
    Y, inverse = simplified_layer_normalization(total, scale, epsilon=epsilon)
    return Y.astype(input.dtype), mean(total, (-1,)), inverse, total.astype(input.dtype)


def normalized_embeddings(
    rows: Sequence[Value], gamma: Value, beta: Value, mask: Value | None, epsilon: float
) -> tuple[Value, Value, Value]:
    """`embed_layer_normalization` of what the embeddings have for each place; [B or 1, S, H]."""
    Y, *_, total = normalized_sum(rows, gamma, beta, epsilon)
    counts = jnp.zeros(len(total), np.int32) if mask is None else (mask == 1).sum(1, dtype=np.int32)
    return Y, counts, total


@op(
    "EmbedLayerNormalization",
    domain=DOMAIN,
    since=(1,),
    roles={"gamma": "scale", "beta": "bias"}
    | dict.fromkeys(("word_embedding", "position_embedding", "segment_embedding"), "embedding"),
    optional=("segment_ids", "segment_embedding"),
)
def embed_layer_normalization(
    input_ids: Value,
    segment_ids: Value | None,
    word_embedding: Value,
    position_embedding: Value,
    segment_embedding: Value | None,
    gamma: Value,
    beta: Value,
    mask: Value | None = None,
    position_ids: Value | None = None,
    *,
    epsilon: float = 9.999999960041972e-13,
    mask_index_type: int | None = None,
) -> tuple[Value, Value, Value]:
    """`layer_normalization` of the sum of three embeddings; how much each mask has; that sum.

    input_ids, segment_ids and mask are [B, S], position_ids [B, S] or [1, S], by default 0, 1, ...;
    the mask counts are int32 [B], 0 without a mask.
    """
    input_ids, segment_ids, word_embedding, position_embedding, segment_embedding = as_traced(
        [input_ids, segment_ids, word_embedding, position_embedding, segment_embedding]
    )
    positions = np.arange(input_ids.shape[1])[None] if position_ids is None else position_ids
    rows = [word_embedding[input_ids], position_embedding[positions]]
    if segment_ids is not None and segment_embedding is not None:
        rows.append(segment_embedding[segment_ids])
    return normalized_embeddings(rows, gamma, beta, mask, epsilon)


@op("Trilu", domain=DOMAIN, since=(1,))
def trilu_microsoft(X: Value, k: Value | None = None, *, upper: int = 1) -> Value:
    """`trilu`, which ONNX has since opset 14."""
    return trilu(X, k, upper=upper)


@op("Unique", domain=DOMAIN, since=(1,), static=("x",))
def unique_microsoft(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The distinct elements as they occur, which of them each element is, and how often."""
    y, _, inverse, counts = unique(x, sorted=0)
    return y, inverse, counts


@op("GatherND", domain=DOMAIN, since=(1,), moves="gathered")
def gather_nd_microsoft(data: Value, indices: Value) -> Value:
    """`gather_nd` without batch axes."""
    return gather_nd(data, indices)


@op("GridSample", domain=DOMAIN, since=(1,))
def grid_sample_microsoft(
    X: Value,
    Grid: Value,
    *,
    align_corners: int = 0,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
) -> Value:
    """`grid_sample_16`."""
    return grid_sample_16(
        X, Grid, align_corners=align_corners, mode=mode, padding_mode=padding_mode
    )


@op("Pad", domain=DOMAIN, since=(1,), static=("pads",))
def pad_microsoft(
    data: Value, pads: np.ndarray, value: Value | None = None, *, mode: str = "constant"
) -> Value:
    """`pad`, which ONNX has in this form since opset 11; `pads` may be [1, 2 * axes]."""
    return pad(data, pads.reshape(-1), value, mode=mode)


@op("Range", domain=DOMAIN, since=(1,), static=("start", "limit", "delta"))
def range_microsoft(start: np.ndarray, limit: np.ndarray, delta: np.ndarray | None = None) -> Value:
    """`range_`, by default in steps of 1."""
    return range_(start, limit, np.ones((), start.dtype) if delta is None else delta)


@op("ExpandDims", domain=DOMAIN, since=(1,), static=("axis",))
def expand_dims(X: Value, axis: np.ndarray) -> Value:
    """X with an axis of size 1 inserted."""
    return unsqueeze(X, axis.reshape(1))


@op("Inverse", domain=DOMAIN, since=(1,), times_zero=("X",))
def inverse(X: Value) -> Value:
    """The inverses of the matrices in the last two axes."""
    return jnp.linalg.inv(X.astype(at_least_float32(X.dtype))).astype(X.dtype)


@op("CDist", domain=DOMAIN, since=(1,))
def cdist(A: Value, B: Value, *, metric: str = "sqeuclidean") -> Value:
    """Distances [M, N], or their squares, of the rows of A [M, K] to those of B [N, K]."""
    only("metric", metric, "euclidean", "sqeuclidean")
    A, B = as_traced([A, B])
    norms = lax.square(A).sum(1)[:, None] + lax.square(B).sum(1)
    squares = jnp.maximum(norms - 2 * jnp.matmul(A, B.T), 0)
    if metric == "sqeuclidean":
        return squares
    zero = squares == 0
    return jnp.where(zero, 0, jnp.sqrt(jnp.where(zero, 1, squares)))


@op("UnfoldTensor", domain=DOMAIN, since=(1,))
def unfold_tensor(input: Value, *, dim: int = -1, size: int, step: int = 1) -> Value:
    """All slices of `size` elements along `dim`, `step` apart; their elements are a last axis."""
    length = input.shape[dim]
    if not 0 < size <= length or step < 1:
        raise ModelError(f"size={size}, step={step} do not fit an axis of {length}")
    check_size((length - size + 1, size), what="the slices")
    at = np.arange(0, length - size + 1, step)[:, None] + np.arange(size)
    axis = dim % input.ndim
    m = xp(input)
    return m.moveaxis(m.take(input, at, axis), axis + 1, -1)
