"""Convolutions. Letters: N images, C channels, M feature maps."""

from __future__ import annotations

import functools
import itertools
import math

import jax.numpy as jnp
import numpy as np
from jax import lax

from onnxla.ir.errors import ModelError
from onnxla.ops.chain_rule import product
from onnxla.ops.fast_convolution import convolve
from onnxla.ops.limits import check_size
from onnxla.ops.matmul import shifted
from onnxla.ops.quantize import quantized
from onnxla.ops.table import op
from onnxla.ops.transposed_convolution import convolve_transposed
from onnxla.ops.values import Value, alike, is_floating
from onnxla.ops.window import WINDOW, Window, WindowAttributes, split


def per_channel(x: Value, rank: int) -> Value:
    """A vector so that it broadcasts along axis 1 of [N, C, ...]; a scalar as it is."""
    return x.reshape(-1, *(1,) * (rank - 2)) if x.ndim else x


def biased(Y: Value, B: Value | None) -> Value:
    """Y + B, one entry of B for each channel."""
    return Y if B is None else Y + per_channel(B, Y.ndim)


@op(
    "Conv",
    since=(1, 11, 22),
    roles={"W": "weight", "B": "bias"},
    product=True,
    linear=True,
    output_channels={"W": 0},
    times_zero=("W",),
)
def conv(
    X: Value,
    W: Value,
    B: Value | None = None,
    *,
    group: int = 1,
    window: WindowAttributes = WINDOW,
) -> Value:
    """X [N, C, ...] convolved with W [M, C / group, ...] over any number of axes; [N, M, ...]."""
    if X.shape[1] != W.shape[1] * group or W.shape[0] % group:
        raise ModelError(f"X {X.shape} and W {W.shape} do not fit in {group} groups")
    seen = window.over(X.shape[2:], W.shape[2:])
    return biased(convolve(X, W, seen, group), B)


@op("ConvInteger", since=(10,), roles={"w": "weight"}, output_channels={"w": 0})
def conv_integer(
    x: Value,
    w: Value,
    x_zero_point: Value | None = None,
    w_zero_point: Value | None = None,
    *,
    group: int = 1,
    window: WindowAttributes = WINDOW,
) -> Value:
    """`conv` of x - x_zero_point and w - w_zero_point, in int32; padding is x's zero point.

    Computed in floating point that is exact for the sums of products of 8 bits, since XLA's
    convolution of integers is many times slower on a CPU, and lacking on other devices. The result
    is float32 if x or w is floating point, as in training.
    """
    zero = None if w_zero_point is None else per_channel(w_zero_point, w.ndim + 1)
    floating = is_floating(x) or is_floating(w)
    exact = np.prod(w.shape[1:]) * 255 * 255 < 2**24
    wide = np.float32 if floating or exact else np.float64
    x, w = shifted(x, x_zero_point).astype(wide), shifted(w, zero).astype(wide)
    Y = conv(x, w, group=group, window=window)
    return Y if floating else Y.astype(np.int64).astype(np.int32)  # which wraps


QLINEAR_ROLES = {"w": "weight", "B": "bias"} | dict.fromkeys(
    ("x_scale", "w_scale", "y_scale"), "quantization_scale"
)


@op("QLinearConv", since=(10,), roles=QLINEAR_ROLES, output_channels={"w": 0})
def qlinear_conv(
    x: Value,
    x_scale: Value,
    x_zero_point: Value,
    w: Value,
    w_scale: Value,
    w_zero_point: Value,
    y_scale: Value,
    y_zero_point: Value,
    B: Value | None = None,
    *,
    group: int = 1,
    window: WindowAttributes = WINDOW,
    train: bool = False,
) -> Value:
    """`conv` of the numbers that are quantized, quantized again; B is int32 of scale x * w."""
    Y = conv_integer(x, w, x_zero_point, w_zero_point, group=group, window=window)
    scale = per_channel(x_scale * w_scale / y_scale, Y.ndim)
    y = biased(*alike(Y, B)).astype(scale.dtype) * scale
    return quantized(y, y_zero_point, y_zero_point.dtype, train=train)


@op(
    "ConvTranspose",
    since=(1, 11, 22),
    roles={"W": "weight", "B": "bias"},
    product=True,
    linear=True,
    output_channels={"W": 1},
)
def conv_transpose(
    X: Value,
    W: Value,
    B: Value | None = None,
    *,
    group: int = 1,
    output_padding: tuple[int, ...] | None = None,
    output_shape: tuple[int, ...] | None = None,
    window: WindowAttributes = WINDOW,
) -> Value:
    """The transpose of `conv` by its input, of X [N, C, ...]; W [C, M / group, ...]; [N, M, ...].

    `output_shape`, or SAME_UPPER and SAME_LOWER (sizes times strides), decides the padding.
    """
    if X.shape[1] != W.shape[0] or W.shape[0] % group:
        raise ModelError(f"X {X.shape} and W {W.shape} do not fit in {group} groups")
    rank, sizes = X.ndim - 2, X.shape[2:]
    kernel, (strides, dilations) = window.taps(rank, W.shape[2:]), window.steps(rank)
    extra = output_padding or (0,) * rank
    full = [
        (n - 1) * s + (k - 1) * d + 1 + e
        for n, s, k, d, e in zip(sizes, strides, kernel, dilations, extra, strict=True)
    ]
    if output_shape is None and window.auto_pad in ("SAME_UPPER", "SAME_LOWER"):
        output_shape = tuple(n * s for n, s in zip(sizes, strides, strict=True))
    if output_shape is None:
        pads = window.pairs(rank)
    else:
        totals = (n - out for n, out in zip(full, output_shape[-rank:], strict=True))
        pads = tuple(split(total, window.auto_pad) for total in totals)
    outputs = tuple(n - low - high for n, (low, high) in zip(full, pads, strict=True))
    seen = Window(outputs, kernel, strides, dilations, pads, sizes, (1,) * rank)
    return biased(convolve_transposed(X, W, seen, group), B)


def interpolated(X: Value, positions: Value) -> Value:
    """X [N, G, C, ...] between its elements, zero outside, at positions [N, G, K, R, O].

    [N, G, C, K, O].
    """
    rank, shape = positions.shape[3], X.shape[3:]
    sizes = np.reshape(shape, (rank, 1)).astype(np.int32)
    elements = X.reshape(*X.shape[:3], math.prod(shape))
    before = lax.stop_gradient(jnp.floor(positions))
    total: Value = 0
    for corner in itertools.product((0, 1), repeat=rank):
        at = before + np.reshape(corner, (rank, 1)).astype(positions.dtype)
        index = at.astype(np.int32)
        inside = jnp.all((index >= 0) & (index < sizes), 3)
        shares = jnp.moveaxis(1 - jnp.abs(positions - at), 3, 0)
        share = jnp.where(inside, functools.reduce(product, shares), 0).astype(X.dtype)
        flat = jnp.ravel_multi_index(tuple(jnp.moveaxis(index, 3, 0)), shape, mode="clip")
        flat = flat.reshape(*flat.shape[:2], 1, math.prod(flat.shape[2:]))
        picked = jnp.take_along_axis(elements, flat, 3)
        total += product(picked.reshape(*X.shape[:3], *share.shape[2:]), share[:, :, None])
    return total


@op(
    "DeformConv",
    since=(19, 22),
    roles={"W": "weight", "B": "bias"},
    product=True,
    times_zero=("W",),
)
def deform_conv(
    X: Value,
    W: Value,
    offset: Value,
    B: Value | None = None,
    mask: Value | None = None,
    *,
    dilations: tuple[int, ...] | None = None,
    group: int = 1,
    kernel_shape: tuple[int, ...] | None = None,
    offset_group: int = 1,
    pads: tuple[int, ...] | None = None,
    strides: tuple[int, ...] | None = None,
) -> Value:
    """`conv` whose taps are moved by `offset` and multiplied by `mask`, both by output position.

    Between elements X is interpolated linearly, outside it is zero. Letters: G offset groups,
    K taps, O outputs, R spatial axes; offset [N, G * K * R, ...], mask [N, G * K, ...].
    """
    window = WindowAttributes("NOTSET", dilations, kernel_shape, pads, strides)
    seen, rank = window.over(X.shape[2:], W.shape[2:]), X.ndim - 2
    N, G, K = X.shape[0], offset_group, math.prod(seen.kernel)
    O = math.prod(seen.outputs)  # noqa: E741
    check_size((2 * rank, K, O), what="the positions of all taps")
    at = np.indices((*seen.kernel, *seen.outputs)).reshape(2 * rank, K, O)
    regular = np.stack([seen.positions(i)[at[rank + i], at[i]] for i in range(rank)], 1)
    positions = regular.astype(offset.dtype) + offset.reshape(N, G, K, rank, O)
    columns = interpolated(X.reshape(N, G, X.shape[1] // G, *seen.sizes), positions)
    if mask is not None:  # which counts where there is something to multiply
        sizes = np.reshape(seen.sizes, (rank, 1)).astype(offset.dtype)
        near = jnp.all((positions > -1) & (positions < sizes), 3)
        columns = columns * jnp.where(near, mask.reshape(N, G, K, O), 0)[:, :, None]
    columns = columns.reshape(N, group, W.shape[1] * K, O)
    kernels = W.reshape(group, W.shape[0] // group, W.shape[1] * K)
    Y = jnp.einsum("ngcp,gmc->ngmp", columns, kernels)
    return biased(Y.reshape(N, W.shape[0], *seen.outputs), B)


@op("Col2Im", since=(18,), static=("image_shape", "block_shape"))
def col2im(
    input: Value,
    image_shape: np.ndarray,
    block_shape: np.ndarray,
    *,
    dilations: tuple[int, ...] | None = None,
    pads: tuple[int, ...] | None = None,
    strides: tuple[int, ...] | None = None,
) -> Value:
    """Images [N, C, *image_shape], the sums of the blocks [N, C * taps, positions] over them."""
    sizes, kernel = [int(n) for n in image_shape], [int(k) for k in block_shape]
    seen = WindowAttributes("NOTSET", dilations, tuple(kernel), pads, strides).over(sizes)
    taps = math.prod(kernel)
    blocks = input.reshape(input.shape[0], input.shape[1] // taps, taps, *seen.outputs)
    padded = [n + low + high for n, (low, high) in zip(sizes, seen.padding, strict=True)]
    total = jnp.zeros((*blocks.shape[:2], *padded), input.dtype)
    for index, (_, spans) in enumerate(seen.spans()):
        total = total.at[(..., *spans)].add(blocks[:, :, index])
    crop = [(0, 0, 0)] * 2 + [(-low, -high, 0) for low, high in seen.padding]
    return lax.pad(total, np.zeros((), input.dtype), crop)
