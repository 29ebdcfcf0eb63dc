"""Operators of ONNX Runtime's domain on weights of a few bits, packed into bytes.

Letters: K inputs, N outputs of a product.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from onnxla.ir.errors import ModelError
from onnxla.ops.checks import only
from onnxla.ops.index import check_indices
from onnxla.ops.matmul import matmul
from onnxla.ops.microsoft_fused import DOMAIN
from onnxla.ops.microsoft_quantized import SCALE
from onnxla.ops.quantize import dequantize_linear
from onnxla.ops.table import op
from onnxla.ops.values import Value, as_traced, is_floating


def unpacked(x: Value, bits: int) -> Value:
    """Bytes [..., n] as unsigned numbers of 2, 4 or 8 bits, [..., n * 8 / bits], lowest first."""
    only("bits", bits, 2, 4, 8)
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    numbers = (jnp.asarray(x)[..., None] >> shifts) & np.uint8(2**bits - 1)
    return numbers.reshape(*x.shape[:-1], x.shape[-1] * len(shifts))


@op("MatMulNBits", domain=DOMAIN, since=(1,), roles={"scales": SCALE, "bias": "bias"})
def matmul_nbits(
    A: Value,
    B: Value,
    scales: Value,
    zero_points: Value | None = None,
    g_idx: Value | None = None,
    bias: Value | None = None,
    *,
    K: int,
    N: int,
    accuracy_level: int = 0,
    bits: int = 4,
    block_size: int,
    weight_prepacked: int = 0,
) -> Value:
    """A [..., K] times the numbers that B quantizes, plus bias [N].

    B is [N, blocks, block_size * bits / 8], packed into bytes, a block with the scale of its place
    in scales [N, blocks]. zero_points, by default the middle of the range, are numbers of the type
    of scales, or packed like B. `g_idx` [K] has the block whose parameters are used for each of K.
    B without elements stands for zeros.
    Departs from ONNX Runtime's CPU kernel, which ignores packed zero points if there is a `g_idx`.
    """
    if weight_prepacked:
        raise ModelError("weights in a processor's own layout are not ONNX")
    if not B.size:
        return jnp.zeros((*A.shape[:-1], N), A.dtype) + (0 if bias is None else bias)
    blocks = -(-K // block_size)
    values = unpacked(B.reshape(N, -1), bits)[:, : blocks * block_size]
    scales = jnp.asarray(scales).reshape(N, blocks)
    zeros: Value = jnp.full((N, blocks), 2 ** (bits - 1)) if zero_points is None else zero_points
    if zeros.dtype == np.uint8:
        zeros = unpacked(zeros.reshape(N, -1), bits)[:, :blocks]
    zeros = zeros.reshape(N, blocks).astype(scales.dtype)
    block = np.arange(K) // block_size if g_idx is None else g_idx[:K]
    check_indices(block, blocks)
    weights = (values[:, :K].astype(scales.dtype) - zeros[:, block]) * scales[:, block]
    Y = matmul(A, weights.T.astype(A.dtype))
    return Y if bias is None else Y + bias


# What 4 bits stand for, in parts of a block's largest magnitude: FP4, where the highest bit is the
# sign, and NF4, quantiles of a normal distribution.
# Source: the library bitsandbytes, and the paper QLoRA.
FP4 = np.asarray([0, 1 / 16, 8, 12, 4, 6, 2, 3]) / 12
BELOW = [-1.0, -0.6961928, -0.52507305, -0.3949175, -0.28444138, -0.18477343, -0.091050036]
ABOVE = [0.0795803, 0.1609302, 0.2461123, 0.33791524, 0.44070983, 0.562617, 0.72295684, 1.0]
FOUR_BITS = np.asarray([[*FP4, *-FP4], [*BELOW, 0.0, *ABOVE]])


@op("MatMulBnb4", domain=DOMAIN, since=(1,), roles={"absmax": SCALE})
def matmul_bnb4(
    A: Value,
    B: Value,
    absmax: Value,
    *,
    K: int,
    N: int,
    block_size: int,
    quant_type: int,
    training_mode: int = 0,
    transB: int = 1,
) -> Value:
    """A [..., K] times the transpose of B's numbers [N, K]; unless `transB`, A [..., N] times them.

    B has them in 4 bits each, FP4 (`quant_type` 0) or NF4 (1), two a byte, the first one in the
    high bits. Each `block_size` of them, in row-major order, are multiplied by one of absmax.
    Departs from ONNX Runtime's CPU kernel, which takes the transpose whatever `transB` says.
    """
    only("quant_type", quant_type, 0, 1)
    table = FOUR_BITS[quant_type].astype(absmax.dtype)
    pairs = jnp.asarray(np.stack([np.repeat(table, 16), np.tile(table, 16)], -1))
    parts = pairs[B.reshape(-1)].reshape(-1)
    parts = jnp.pad(parts, (0, absmax.size * block_size - parts.size)).reshape(-1, block_size)
    weights = (parts * absmax.reshape(-1, 1)).reshape(-1)[: N * K].reshape(N, K).astype(A.dtype)
    return matmul(A, weights.T if transB else weights)


@op("GatherBlockQuantized", domain=DOMAIN, since=(1,), roles={"scales": SCALE})
def gather_block_quantized(
    data: Value,
    indices: Value,
    scales: Value,
    zero_points: Value | None = None,
    *,
    bits: int = 4,
    block_size: int = 128,
    gather_axis: int = 0,
    quantize_axis: int = 1,
) -> Value:
    """Slices, at `indices` along `gather_axis`, of the numbers that `data` quantizes.

    A scale and zero point hold for `block_size` elements along `quantize_axis`, or for all if that
    is 0. uint8 is packed along the last axis, with a zero point, by default, in the middle of the
    range. Floating-point data may share scales along the other axes. An index out of range gives 0.
    """
    data, indices, scales, zero_points = as_traced([data, indices, scales, zero_points])
    packed, floats, rank = data.dtype == np.uint8, is_floating(data), data.ndim
    quantize_axis, gather_axis = quantize_axis % rank, gather_axis % rank
    size = data.shape[gather_axis]
    indices = jnp.where(indices < 0, indices + size, indices)
    if floats:
        shape = list(data.shape)
        shape[quantize_axis] = scales.shape[quantize_axis]
        scales = jnp.broadcast_to(scales, shape)

    def gathered(x: Value | None) -> Value:
        return None if x is None else jnp.take(x, indices, gather_axis, mode="clip")

    def numbers(data: Value, scales: Value, zeros: Value, axis: int) -> Value:
        values = unpacked(data, bits) if packed and bits < 8 else data
        if zeros is not None:
            zeros = unpacked(zeros, bits) if packed else zeros
            zeros = zeros[..., : scales.shape[-1]].astype(np.int32)
        elif packed:
            zeros = jnp.full(scales.shape, 2 ** (bits - 1), np.int32)
        values = values.astype(np.float32 if floats else np.int32)
        each = block_size or max(1, values.shape[axis])
        return dequantize_linear(values, scales, zeros, axis=axis, block_size=each)

    if quantize_axis == gather_axis:
        y = gathered(numbers(data, scales, zero_points, quantize_axis))
    else:  # So few rows are dequantized as are asked for.
        axis = quantize_axis + (indices.ndim - 1 if quantize_axis > gather_axis else 0)
        y = numbers(gathered(data), gathered(scales), gathered(zero_points), axis)
    valid = (indices >= 0) & (indices < size)
    valid = valid.reshape(indices.shape + (1,) * (rank - gather_axis - 1))
    return jnp.where(valid, y, jnp.zeros((), y.dtype))
