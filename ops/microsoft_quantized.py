"""Operators of ONNX Runtime's domain on quantized numbers.

Most are an operator on the numbers that integers stand for, whose result is quantized again; in
training as `ops/quantize.py` says. Letters: K inputs, N outputs of a product.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from onnxla.ir.errors import ModelError
from onnxla.ops import activation
from onnxla.ops.conv import QLINEAR_ROLES, qlinear_conv
from onnxla.ops.matmul import matmul, matmul_integer, shifted
from onnxla.ops.microsoft_fused import DOMAIN, normalized_embeddings
from onnxla.ops.pool import average_pool, global_average_pool, max_pool
from onnxla.ops.quantize import dequantize_linear, dynamic_quantize_linear, quantize_linear
from onnxla.ops.rnn import LAYER, LSTM, Layer, lstm_step
from onnxla.ops.table import op
from onnxla.ops.values import Value, alike, at_least_float32, is_floating
from onnxla.ops.window import POOL, WINDOW, PoolAttributes, WindowAttributes

SCALE = "quantization_scale"
UNARY: dict[str, str] = dict.fromkeys(("X_scale", "Y_scale"), SCALE)
POOLED: dict[str, str] = dict.fromkeys(("x_scale", "y_scale"), SCALE)


@op("QuantizeLinear", domain=DOMAIN, since=(1,), roles={"y_scale": SCALE}, converts=True)
def quantize_linear_microsoft(
    x: Value,
    y_scale: Value,
    y_zero_point: Value | None = None,
    *,
    axis: int = 1,
    train: bool = False,
) -> Value:
    """`quantize_linear`, to integers of more types than ONNX's once had."""
    return quantize_linear(x, y_scale, y_zero_point, axis=axis, train=train)


@op("DequantizeLinear", domain=DOMAIN, since=(1,), roles={"x_scale": SCALE}, converts=True)
def dequantize_linear_microsoft(
    x: Value, x_scale: Value, x_zero_point: Value | None = None, *, axis: int = 1
) -> Value:
    """`dequantize_linear`, from integers of more types than ONNX's once had."""
    return dequantize_linear(x, x_scale, x_zero_point, axis=axis)


def like(x: Value, x_zero_point: Value | None, zero_point: Value | None) -> Value:
    """A zero point, 0 of x's type if absent."""
    if zero_point is not None:
        return zero_point
    if not is_floating(x):
        return np.zeros((), x.dtype)
    # In training x is floating point; uint8 is what is quantized without a zero point.
    return np.zeros((), np.uint8 if x_zero_point is None else x_zero_point.dtype)


def elementwise(name: str, function: Callable[[Value, Value], Value], meaning: str) -> None:
    """Registers a function of two quantized operands."""
    scales = ("A_scale", "B_scale", "C_scale")

    @op(
        name,
        domain=DOMAIN,
        since=(1,),
        roles=dict.fromkeys(scales, SCALE),
        optional=("A_zero_point", "B_zero_point"),
    )
    def quantized(
        A: Value,
        A_scale: Value,
        A_zero_point: Value | None,
        B: Value,
        B_scale: Value,
        B_zero_point: Value | None,
        C_scale: Value,
        C_zero_point: Value | None = None,
        *,
        train: bool = False,
    ) -> Value:
        a = dequantize_linear(A, A_scale, A_zero_point)
        b = dequantize_linear(B, B_scale, B_zero_point)
        zero = like(A, A_zero_point, C_zero_point)
        return quantize_linear(function(a, b), C_scale, zero, train=train)

    quantized.__doc__ = f"The {meaning} of the numbers that A and B quantize, quantized."


elementwise("QLinearAdd", jnp.add, "sum")
elementwise("QLinearMul", jnp.multiply, "product")


@op("QLinearLeakyRelu", domain=DOMAIN, since=(1,), roles=UNARY, optional=("X_zero_point",))
def qlinear_leaky_relu(
    X: Value,
    X_scale: Value,
    X_zero_point: Value | None,
    Y_scale: Value,
    Y_zero_point: Value | None = None,
    *,
    alpha: float = 0.009999999776482582,
    train: bool = False,
) -> Value:
    """`leaky_relu` of the numbers that X quantizes, quantized."""
    y = activation.leaky_relu(dequantize_linear(X, X_scale, X_zero_point), alpha=alpha)
    return quantize_linear(y, Y_scale, like(X, X_zero_point, Y_zero_point), train=train)


@op("QLinearSigmoid", domain=DOMAIN, since=(1,), roles=UNARY, optional=("X_zero_point",))
def qlinear_sigmoid(
    X: Value,
    X_scale: Value,
    X_zero_point: Value | None,
    Y_scale: Value,
    Y_zero_point: Value | None = None,
    *,
    train: bool = False,
) -> Value:
    """`sigmoid` of the numbers that X quantizes, quantized."""
    y = activation.sigmoid(dequantize_linear(X, X_scale, X_zero_point))
    return quantize_linear(y, Y_scale, like(X, X_zero_point, Y_zero_point), train=train)


@op(
    "QLinearSoftmax",
    domain=DOMAIN,
    since=(1,),
    roles=dict.fromkeys(("X_scale", "y_scale"), SCALE),
    optional=("x_zero_point",),
)
def qlinear_softmax(
    X: Value,
    X_scale: Value,
    x_zero_point: Value | None,
    y_scale: Value,
    y_zero_point: Value,
    *,
    axis: int = -1,
    opset: int,
    train: bool = False,
) -> Value:
    """`softmax` of the numbers that X quantizes, as it was in `opset`, quantized."""
    x, whole = dequantize_linear(X, X_scale, x_zero_point), axis % X.ndim
    if opset < 13:  # over all axes from `axis` on
        x, axis = x.reshape(*X.shape[:whole], math.prod(X.shape[whole:])), -1
    y = activation.softmax(x, axis=axis).reshape(X.shape)
    return quantize_linear(y, y_scale, y_zero_point, train=train)


@op(
    "QLinearWhere",
    domain=DOMAIN,
    since=(1,),
    roles=dict.fromkeys(("x_scale", "y_scale", "z_scale"), SCALE),
)
def qlinear_where(
    condition: Value,
    X: Value,
    x_scale: Value,
    x_zero_point: Value,
    Y: Value,
    y_scale: Value,
    y_zero_point: Value,
    z_scale: Value,
    z_zero_point: Value,
    *,
    train: bool = False,
) -> Value:
    """Of the numbers that X and Y quantize those of X where `condition`, quantized."""
    x = dequantize_linear(X, x_scale, x_zero_point)
    y = dequantize_linear(Y, y_scale, y_zero_point)
    return quantize_linear(jnp.where(condition, x, y), z_scale, z_zero_point, train=train)


@op("QLinearConcat", domain=DOMAIN, since=(1,), roles={"Y_scale": SCALE})
def qlinear_concat(
    Y_scale: Value, Y_zero_point: Value, *inputs: Value, axis: int, train: bool = False
) -> Value:
    """Concatenation of the numbers that `inputs` quantize, quantized.

    The inputs are in groups of three: integers, their scale, and their zero point.
    """
    if not inputs or len(inputs) % 3:
        raise ModelError(f"{len(inputs)} inputs are not groups of integers, scale and zero point")
    groups = zip(inputs[::3], inputs[1::3], inputs[2::3], strict=True)
    parts = [dequantize_linear(x, scale, zero) for x, scale, zero in groups]
    return quantize_linear(jnp.concatenate(parts, axis), Y_scale, Y_zero_point, train=train)


def channels_first(
    function: Callable[[Value], Value], X: Value, channels_last: int | None
) -> Value:
    """A function of [N, C, ...] on X, which is [N, ..., C] if `channels_last`; so is the result."""
    return jnp.moveaxis(function(jnp.moveaxis(X, -1, 1)), 1, -1) if channels_last else function(X)


@op("QLinearGlobalAveragePool", domain=DOMAIN, since=(1,), roles=POOLED)
def qlinear_global_average_pool(
    X: Value,
    x_scale: Value,
    x_zero_point: Value,
    y_scale: Value,
    y_zero_point: Value,
    *,
    channels_last: int = 0,
    train: bool = False,
) -> Value:
    """Means over space of the numbers that X quantizes, quantized."""
    x = dequantize_linear(X, x_scale, x_zero_point)
    y = channels_first(global_average_pool, x, channels_last)
    return quantize_linear(y, y_scale, y_zero_point, train=train)


@op("QLinearAveragePool", domain=DOMAIN, since=(1,), roles=POOLED, optional=("x_zero_point",))
def qlinear_average_pool(
    X: Value,
    x_scale: Value,
    x_zero_point: Value | None,
    y_scale: Value,
    y_zero_point: Value | None = None,
    *,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    channels_last: int = 0,
    count_include_pad: int = 0,
    kernel_shape: tuple[int, ...],
    pads: tuple[int, ...] | None = None,
    strides: tuple[int, ...] | None = None,
    train: bool = False,
) -> Value:
    """`average_pool` of the numbers that X quantizes, quantized."""
    window = PoolAttributes(auto_pad, None, kernel_shape, pads, strides, ceil_mode)
    pool = functools.partial(average_pool, count_include_pad=count_include_pad, window=window)
    y = channels_first(pool, dequantize_linear(X, x_scale, x_zero_point), channels_last)
    return quantize_linear(y, y_scale, like(X, x_zero_point, y_zero_point), train=train)


@op("NhwcMaxPool", domain=DOMAIN, since=(1,))
def nhwc_max_pool(
    x: Value,
    *,
    window: PoolAttributes = POOL,
) -> Value:
    """`max_pool` of x [N, ..., C], int8 or uint8."""
    return channels_first(lambda x: max_pool(x, window=window, n_outputs=1)[0], x, channels_last=1)


@op("QLinearConv", domain=DOMAIN, since=(1,), roles=QLINEAR_ROLES, output_channels={"w": 0})
def qlinear_conv_microsoft(
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
    channels_last: int = 0,
    group: int = 1,
    window: WindowAttributes = WINDOW,
    train: bool = False,
) -> Value:
    """`qlinear_conv`, of x [N, ..., C] to [N, ..., M] if `channels_last`."""

    def convolved(x: Value) -> Value:
        quantized = x_scale, x_zero_point, w, w_scale, w_zero_point, y_scale, y_zero_point
        return qlinear_conv(x, *quantized, B, group=group, window=window, train=train)

    return channels_first(convolved, x, channels_last)


@op(
    "QGemm",
    domain=DOMAIN,
    since=(1,),
    roles={"A": "weight", "B": "weight", "C": "bias"}
    | dict.fromkeys(("a_scale", "b_scale", "y_scale"), SCALE),
    output_channels={"B": -1},
)
def qgemm(
    A: Value,
    a_scale: Value,
    a_zero_point: Value,
    B: Value,
    b_scale: Value,
    b_zero_point: Value,
    C: Value | None = None,
    y_scale: Value | None = None,
    y_zero_point: Value | None = None,
    *,
    alpha: float = 1.0,
    transA: int = 0,
    transB: int = 0,
    train: bool = False,
) -> Value:
    """`gemm` of the numbers that A and B quantize, quantized if y_scale is given.

    B's parameters are scalars or [N]; C is int32 of scale alpha * a_scale * b_scale.
    """
    A, B = A.T if transA else A, B.T if transB else B
    product = matmul_integer(A, B, a_zero_point, b_zero_point)
    whole = product if C is None else jnp.add(*alike(product, C))
    y = whole.astype(a_scale.dtype) * (alpha * jnp.asarray(a_scale) * b_scale)
    if y_scale is None:
        return y
    return quantize_linear(y, y_scale, like(A, a_zero_point, y_zero_point), train=train)


def product_of_columns(
    A: Value, B: Value, a_zero_point: Value | None, b_zero_point: Value | None
) -> Value:
    """`matmul_integer`, but a zero point of A may be that of a column, not of a row."""
    return matmul_integer(shifted(A, a_zero_point), B, None, b_zero_point)


@op(
    "MatMulIntegerToFloat",
    domain=DOMAIN,
    since=(1,),
    roles={"B": "weight", "bias": "bias", "a_scale": SCALE, "b_scale": SCALE},
)
def matmul_integer_to_float(
    A: Value,
    B: Value,
    a_scale: Value,
    b_scale: Value,
    a_zero_point: Value | None = None,
    b_zero_point: Value | None = None,
    bias: Value | None = None,
) -> Value:
    """The product of the numbers that A and B quantize, plus bias.

    A's parameters may be [K], and B's [N].
    """
    dtype, wide = a_scale.dtype, at_least_float32(a_scale.dtype)
    # Sums of products may be out of range in half precision where they are not once scaled.
    a_scale, b_scale = (jnp.asarray(s, wide) for s in (a_scale, b_scale))
    if a_scale.size == 1 or A.shape[-1] == 1:
        y = product_of_columns(A, B, a_zero_point, b_zero_point).astype(wide)
        y = y * (a_scale * b_scale)
    else:
        a = shifted(A, a_zero_point).astype(wide) * a_scale
        y = matmul(a, shifted(B, b_zero_point).astype(wide)) * b_scale
    return (y if bias is None else y + bias.astype(wide)).astype(dtype)


@op(
    "DynamicQuantizeMatMul",
    domain=DOMAIN,
    since=(1,),
    roles={"B": "weight", "bias": "bias", "b_scale": SCALE},
)
def dynamic_quantize_matmul(
    A: Value,
    B: Value,
    b_scale: Value,
    b_zero_point: Value | None = None,
    bias: Value | None = None,
    *,
    train: bool = False,
) -> Value:
    """The product of A, quantized to uint8, with the numbers that B quantizes, plus bias [N]."""
    a, scale, zero_point = dynamic_quantize_linear(A, train=train)
    return matmul_integer_to_float(a, B, scale, b_scale, zero_point, b_zero_point, bias)


def rounded(x: Value, train: bool) -> Value:
    """The numbers that `dynamic_quantize_linear` makes of x."""
    return dequantize_linear(*dynamic_quantize_linear(x, train=train))


@op(
    "DynamicQuantizeLSTM",
    domain=DOMAIN,
    since=(1,),
    roles={"B": "bias", "P": "weight", "W_scale": SCALE, "R_scale": SCALE},
    optional=("B", "sequence_lens", "initial_h", "initial_c", "P"),
    times_zero=("B", "P", "W_scale", "R_scale"),
)
def dynamic_quantize_lstm(
    X: Value,
    W: Value,
    R: Value,
    B: Value | None,
    sequence_lens: Value | None,
    initial_h: Value | None,
    initial_c: Value | None,
    P: Value | None,
    W_scale: Value,
    W_zero_point: Value,
    R_scale: Value,
    R_zero_point: Value,
    *,
    layer: Layer = LAYER,
    input_forget: int = 0,
    train: bool = False,
) -> tuple[Value, ...]:
    """`lstm` of the numbers that W [D, I, 4 * H] and R [D, H, 4 * H] quantize.

    Their parameters are [D] or [D, 4 * H]. X and, in each step, each state are rounded to uint8.
    Departs from ONNX Runtime where there are several sequences: with one scale it rounds the states
    of all that one of its threads computes, or of all if there are 2 to 4 and H is above 256.
    """

    def weights(x: Value, scale: Value, zero_point: Value) -> Value:
        scale, zero_point = (v.reshape(len(x), 1, -1) for v in (scale, zero_point))
        return (shifted(x, zero_point).astype(scale.dtype) * scale).swapaxes(1, 2)

    def step(x: Value, state: tuple[Value, ...], RbP: Any, functions: Any) -> tuple[Value, ...]:
        h = jax.vmap(functools.partial(rounded, train=train))(state[0])
        return lstm_step(x, (h, state[1]), RbP, functions, input_forget)

    if sequence_lens is not None:  # What comes after the longest one has no part in the scale of X.
        used = np.arange(len(X))[:, None, None] < jnp.max(sequence_lens).astype(np.int64)
        X = jnp.where(used, X, np.zeros((), X.dtype))
    W, R = weights(W, W_scale, W_zero_point), weights(R, R_scale, R_zero_point)
    states = initial_h, initial_c
    return layer.run(step, LSTM, rounded(X, train), W, R, B, sequence_lens, states, P)


@op(
    "QEmbedLayerNormalization",
    domain=DOMAIN,
    since=(1,),
    roles={
        f"{name}_scale": SCALE
        for name in ("word_embedding", "position_embedding", "segment_embedding", "gamma", "beta")
    },
    optional=(
        "segment_ids",
        "segment_embedding",
        "mask",
        "segment_embedding_scale",
        "segment_embedding_zero_point",
    ),
)
def qembed_layer_normalization(
    input_ids: Value,
    segment_ids: Value | None,
    word_embedding_quant: Value,
    position_embedding_quant: Value,
    segment_embedding: Value | None,
    gamma_quant: Value,
    beta_quant: Value,
    mask: Value | None,
    word_embedding_scale: Value,
    position_embedding_scale: Value,
    segment_embedding_scale: Value | None,
    gamma_scale: Value,
    beta_scale: Value,
    word_embedding_zero_point: Value,
    position_embedding_zero_point: Value,
    segment_embedding_zero_point: Value | None,
    gamma_zero_point: Value,
    beta_zero_point: Value,
    *,
    epsilon: float = 9.999999960041972e-13,
) -> tuple[Value, Value]:
    """`embed_layer_normalization` of quantized numbers, without its last output."""

    def numbers(x: Value, scale: Value, zero_point: Value, at: Value = slice(None)) -> Value:
        return dequantize_linear(jnp.asarray(x)[at], scale, zero_point)

    word = word_embedding_quant, word_embedding_scale, word_embedding_zero_point
    place = position_embedding_quant, position_embedding_scale, position_embedding_zero_point
    segment = segment_embedding, segment_embedding_scale, segment_embedding_zero_point
    rows = [numbers(*word, input_ids), numbers(*place, np.arange(input_ids.shape[1])[None])]
    rows += [] if segment_ids is None else [numbers(*segment, segment_ids)]
    gamma = numbers(gamma_quant, gamma_scale, gamma_zero_point)
    beta = numbers(beta_quant, beta_scale, beta_zero_point)
    return normalized_embeddings(rows, gamma, beta, mask, epsilon)[:2]
