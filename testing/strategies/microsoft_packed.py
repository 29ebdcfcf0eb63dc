"""Operators of ONNX Runtime's domain on weights of a few bits, packed into bytes.

Letters: K inputs, N outputs of a product.
"""

from __future__ import annotations

import numpy as np

from onnxla.testing.draw import Draw
from onnxla.testing.operator_cases import strategy
from onnxla.testing.strategies.microsoft_quantized import DOMAIN, codes
from onnxla.testing.use import Use

Array = np.ndarray


@strategy("MatMulNBits", domain=DOMAIN)
def matmul_nbits(draw: Draw) -> Use:
    """A of shape (..., K), B of shape (N, blocks, bytes) and scales of shape (N, blocks)."""
    bits, block_size = draw.choice((4, 2, 8)), draw.choice((16, 32, 64))
    k, n = draw.choice((16, 32, 48, 40, 7, 65)), draw.integer(1, 5)
    blocks = -(-k // block_size)
    accuracy = draw.choice((None, 0, 1, 4, 2, 3))
    a = draw.tensor("A", (*draw.shape((0, 2), (1, 3)), k), -1, 1)
    shape = [n, blocks, block_size * bits // 8]
    if draw.choice((False,) * 7 + (True,)):  # B is omitted.
        shape[draw.integer(0, 2)] = 0
    kind = draw.choice((None, "packed", "floating"))
    zeros = None
    if kind == "packed":
        zeros = draw.array(np.uint8, (n, -(-blocks * bits // 8)), 0, 255)
    elif kind == "floating":
        zeros = draw.array(a.dtype, (n, blocks), 0, 2**bits - 1)
    groups = None
    if draw.choice((False,) * 7 + (True,)):
        groups = draw.array(np.int32, (k,), 0, blocks - 1)
    operands = (
        a,
        codes(draw, "B", tuple(shape)),
        draw.array(a.dtype, (n, blocks), 0.01, 0.125),
        zeros,
        groups,
        draw.maybe(lambda: draw.tensor("bias", (n,))),
    )
    attributes = {
        "K": k,
        "N": n,
        "bits": draw.choice((bits, None)) if bits == 4 else bits,
        "block_size": block_size,
        "accuracy_level": accuracy,
        "weight_prepacked": draw.choice((None, 0)),
    }
    # At level 4, the numbers of A are rounded to 8 bits; at levels 2 and 3 to half precision.
    rtol = {4: 2e-2, 3: 1e-2, 2: 1e-3}.get(accuracy or 0, 1e-5)
    return draw.use(
        operands, attributes, ranks={"y0": a.ndim}, rtol=rtol, batch=(0,) if a.ndim > 1 else ()
    )


@strategy("MatMulBnb4", domain=DOMAIN)
def matmul_bnb4(draw: Draw) -> Use:
    """A of shape (..., K), or (..., N) without `transB`, and B with N * K numbers of 4 bits."""
    k, n = draw.choice((16, 32, 20, 7, 1)), draw.integer(1, 5)
    block_size = draw.choice((16, 32, 64))
    transposed = draw.choice((None, None, 1, 1, 1, 0))
    a = draw.tensor("A", (*draw.shape((1, 2), (1, 3)), n if transposed == 0 else k), -1, 1)
    operands = (
        a,
        codes(draw, "B", (-(-n * k // 2),)),
        draw.tensor("absmax", (-(-n * k // block_size),), 0.125, 4),
    )
    attributes = {
        "K": k,
        "N": n,
        "block_size": block_size,
        "quant_type": draw.choice((0, 1)),
        "training_mode": draw.choice((None, 0, 1)),
        "transB": transposed,
    }
    return draw.use(operands, attributes, ranks={"y0": a.ndim}, batch=(0,))


@strategy("GatherBlockQuantized", domain=DOMAIN)
def gather_block_quantized(draw: Draw) -> Use:
    """Data of rank 1 and more, indices of any shape, and scales for blocks of the data."""
    dtype = draw.dtype("data")
    floats = dtype.name.startswith("float")
    packed = dtype == np.uint8
    bits = draw.choice((4, 2, 8)) if packed else 4
    per_byte = 8 // bits if packed else 1
    # Packed numbers are not gathered along the axis along which they are packed.
    shape = list(draw.shape((draw.choice((2, 2, 1)) if per_byte == 1 else 2, 3), (1, 4)))
    rank = len(shape)
    gather = 0 if packed else draw.integer(0, rank - 1)
    quantize = draw.integer(1 if per_byte > 1 else 0, rank - 1)
    block_size = draw.choice((16, 32, 0) if floats else (16, 32))
    shape[quantize] = draw.choice((16, 32, 8, 24, 40))
    if per_byte > 1 and quantize != rank - 1:
        shape[-1] *= per_byte
    blocks = -(-shape[quantize] // block_size) if block_size else 1
    scale_shape = [blocks if i == quantize else s for i, s in enumerate(shape)]
    if floats:  # Some axes may share a scale.
        scale_shape = [1 if i != quantize and draw.flag() else n for i, n in enumerate(scale_shape)]
    data_shape = [*shape[:-1], shape[-1] // per_byte]
    zero_shape = [*scale_shape[:-1], -(-scale_shape[-1] // per_byte)]
    size = shape[gather]
    indices = draw.tensor("indices", draw.shape((0, 2), (0, 3)), -size, size - 1)
    if indices.size and draw.choice((False,) * 7 + (True,)):  # Out of range, it means zeros.
        indices = np.where(indices == indices.max(), indices.dtype.type(size + 1), indices)
    operands = (
        draw.array(dtype, data_shape) if floats else codes(draw, "data", tuple(data_shape)),
        indices,
        draw.tensor("scales", scale_shape, 0.125, 4),
        None if floats else draw.maybe(lambda: codes(draw, "zero_points", tuple(zero_shape))),
    )
    both = {"gather_axis": (gather, 0), "quantize_axis": (quantize, 1)}
    axes = {
        name: draw.choice((axis, axis - rank, *((None,) if axis == default else ())))
        for name, (axis, default) in both.items()
    }
    attributes = {"bits": bits if packed else draw.choice((None, 4)), "block_size": block_size}
    return draw.use(operands, {**attributes, **axes}, ranks={"y0": rank - 1 + indices.ndim})
