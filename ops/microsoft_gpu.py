"""Operators that ONNX Runtime's optimizer writes into models for GPUs, and has no CPU kernels of.

Letters: N images, H * W or S places, C channels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax.numpy as jnp

from onnxla.ir.errors import ModelError, UnsupportedError
from onnxla.ops.activation import gelu, softmax, swish
from onnxla.ops.checks import only
from onnxla.ops.matmul import matmul
from onnxla.ops.microsoft_fused import DOMAIN, fast_gelu
from onnxla.ops.microsoft_quantized import channels_first
from onnxla.ops.normalize import group_normalization, widened
from onnxla.ops.signal import to_complex, to_parts
from onnxla.ops.table import REQUIRED, op
from onnxla.ops.values import Value

AFFINE = {"gamma": "scale", "beta": "bias"}


@op("BiasAdd", domain=DOMAIN, since=(1,), roles={"bias": "bias"})
def bias_add(X: Value, bias: Value, skip: Value) -> Value:
    """The sum X [N, S, C] + bias [C] + skip [N, S, C]."""
    return X + bias + skip


@op("BiasSoftmax", domain=DOMAIN, since=(1,))
def bias_softmax(data: Value, bias: Value, *, axis: int = 1, is_inner_broadcast: int) -> Value:
    """`softmax`, over the axes from `axis` on as if they were one, of data + bias.

    The bias has those axes, and of the axes before some of the first ones if `is_inner_broadcast`,
    else some of the last ones; it is the same along the others.
    """
    size = math.prod(data.shape[axis % data.ndim :])
    count = math.prod(data.shape[: axis % data.ndim])
    rows = bias.reshape(math.prod(bias.shape[: -(data.ndim - axis % data.ndim)]), size)
    each = count // max(len(rows), 1)
    if is_inner_broadcast:
        total = data.reshape(len(rows), each, size) + rows[:, None]
    else:
        total = data.reshape(each, len(rows), size) + rows
    return softmax(total).reshape(data.shape)


@op("BiasSplitGelu", domain=DOMAIN, since=(1,), roles={"bias": "bias"})
def bias_split_gelu(X: Value, bias: Value) -> Value:
    """The first half of X + bias along the last axis, times `gelu` of the second half."""
    left, right = jnp.split(X + bias, 2, -1)
    return left * gelu(right)


@op("GemmFastGelu", domain=DOMAIN, since=(1,), roles={"W": "weight", "bias": "bias"}, product=True)
def gemm_fast_gelu(X: Value, W: Value, bias: Value | None = None) -> Value:
    """`fast_gelu` of X @ W + bias."""
    return fast_gelu(matmul(X, W), bias)


@dataclass(frozen=True)
class GroupNormAttributes:
    """The attributes of a normalization of groups of channels."""

    activation: int = REQUIRED
    channels_last: int = 1
    epsilon: float = 9.999999747378752e-06
    groups: int = REQUIRED


GROUP_NORM = GroupNormAttributes()


@op("GroupNorm", domain=DOMAIN, since=(1,), roles=AFFINE)
def group_norm(
    X: Value,
    gamma: Value,
    beta: Value,
    *,
    norm: GroupNormAttributes = GROUP_NORM,
) -> Value:
    """`group_normalization` with gamma and beta [C], and `swish` of it if `activation` is 1.

    X is [N, H, W, C] if `channels_last`, else [N, C, H, W]. Sums and products are in float32 at
    least; gamma and beta may be wider than X.
    """
    only("activation", norm.activation, 0, 1)
    x, *affine = widened(X, gamma, beta)

    def normalized(x: Value) -> Value:
        return group_normalization(x, *affine, epsilon=norm.epsilon, num_groups=norm.groups)

    y = channels_first(normalized, x, norm.channels_last)
    return (swish(y) if norm.activation else y).astype(X.dtype)


@op("SkipGroupNorm", domain=DOMAIN, since=(1,), roles=AFFINE | {"bias": "bias"})
def skip_group_norm(
    X: Value,
    gamma: Value,
    beta: Value,
    skip: Value,
    bias: Value | None = None,
    *,
    norm: GroupNormAttributes = GROUP_NORM,
) -> tuple[Value, Value]:
    """`group_norm` of X + skip + bias, and that sum; skip is of X's shape or [N, C], bias [C]."""
    places = (..., None, None, slice(None)) if norm.channels_last else (..., None, None)
    total = X + (skip[places] if skip.ndim == 2 else skip)
    if bias is not None:
        total = total + bias[places]
    return group_norm(total, gamma, beta, norm=norm), total


def transform_axes(rank: int, normalized: int, onesided: int, signal_ndim: int) -> tuple[int, ...]:
    """The last `signal_ndim` axes. Raises: UnsupportedError unless the others are defaults."""
    if normalized or not onesided:
        raise UnsupportedError(
            f"a Fourier transform with normalized={normalized} and onesided={onesided}: "
            "ONNX Runtime has defined 0 and 1 alone"
        )
    if not 0 < signal_ndim <= rank:
        raise ModelError(f"signal_ndim={signal_ndim} is not in [1, {rank}]")
    return tuple(range(-signal_ndim, 0))


@op("Rfft", domain=DOMAIN, since=(1,))
def rfft(X: Value, *, normalized: int = 0, onesided: int = 1, signal_ndim: int = 1) -> Value:
    """Fourier transform [..., n // 2 + 1, 2] of real numbers [..., n] along `signal_ndim` axes."""
    axes = transform_axes(X.ndim, normalized, onesided, signal_ndim)
    return to_parts(jnp.fft.rfftn(to_complex(X[..., None]), axes=axes), X.dtype)


@op("Irfft", domain=DOMAIN, since=(1,))
def irfft(X: Value, *, normalized: int = 0, onesided: int = 1, signal_ndim: int) -> Value:
    """The inverse of `rfft` for an even n: [..., m, 2] to [..., 2 * (m - 1)]."""
    axes = transform_axes(X.ndim - 1, normalized, onesided, signal_ndim)
    return jnp.fft.irfftn(to_complex(X), axes=axes).astype(X.dtype)
