import functools

import ml_dtypes
import numpy as np

from support.samples import Sample, f32, i64
from support.samples.microsoft_quantized import u8

Microsoft = functools.partial(Sample, domain="com.microsoft")


def numbers(x: np.ndarray, bits: int) -> np.ndarray:
    return np.stack([x >> shift & (1 << bits) - 1 for shift in range(0, 8, bits)], -1)


def by_group(
    A: np.ndarray,
    B: np.ndarray,
    scales: np.ndarray,
    zeros: np.ndarray,
    groups: np.ndarray,
    _: None,
    bits: int,
) -> np.ndarray:
    """MatMulNBits where each input has the scale and the zero point of its group."""
    q, z = (numbers(x, bits).reshape(len(scales), -1).astype(np.float32) for x in (B, zeros))
    return A @ ((q - z[:, groups]) * scales[:, groups]).T


def nbits(bits: int, K: int, N: int, block_size: int, zero: str = "", **more: int) -> Sample:
    blocks = -(-K // block_size)
    zeros = {
        "": None,
        "packed": u8(N * (-(-blocks * bits // 8))),
        "real": f32(N, blocks, low=0.0, high=2.0**bits - 1),
    }[zero]
    groups = np.int32(np.arange(K)[::-1] // block_size) if more.pop("groups", 0) else None
    bias = f32(N) if more.pop("biased", 0) else None
    # With groups, ONNX Runtime ignores packed zero points, and has 4 bits alone.
    own = groups is not None and (zero == "packed" or bits != 4)
    return Microsoft(
        "MatMulNBits",
        (
            f32(2, 3, K),
            u8(N, blocks, block_size * bits // 8),
            f32(N, blocks, low=0.01, high=0.1),
            zeros,
            groups,
            bias,
        ),
        {"K": K, "N": N, "bits": bits, "block_size": block_size, **more},
        expected=functools.partial(by_group, bits=bits) if own else None,
        grad=[0, 2, *[3] * (zero == "real"), *[5] * (bias is not None)],
        rtol=1e-4,
        atol=1e-4,
    )


def untransposed(A: np.ndarray, B: np.ndarray, absmax: np.ndarray, attributes: dict) -> np.ndarray:
    """MatMulBnb4 of FP4 numbers, without `transB`."""
    codes = np.stack([B >> 4, B & 15], -1).reshape(-1)[: attributes["N"] * attributes["K"]]
    sizes = {0: 0, 1: 0.0625, 6: 2, 7: 3, 4: 4, 5: 6, 2: 8, 3: 12}
    x = np.asarray([sizes[c & 7] / (-12 if c & 8 else 12) for c in codes.tolist()], np.float32)
    x = x * absmax[np.arange(len(x)) // attributes["block_size"]]
    return A @ x.reshape(attributes["N"], attributes["K"])


def bnb4(K: int, N: int, block_size: int, quant_type: int, **more: int) -> Sample:
    transposed = more.get("transB", 1)
    attributes = {"K": K, "N": N, "block_size": block_size, "quant_type": quant_type, **more}
    # Without transB, ONNX Runtime's CPU kernel transposes all the same.
    own = functools.partial(untransposed, attributes=attributes)
    return Microsoft(
        "MatMulBnb4",
        (
            f32(2, 3, K if transposed else N),
            u8(-(-K * N // 2)),
            f32(-(-K * N // block_size), low=0.1),
        ),
        attributes,
        expected=None if transposed else own,
        grad=(0, 2),
        rtol=1e-4,
        atol=1e-5,
    )


SAMPLES = [
    nbits(4, 32, 5, 16),
    nbits(4, 40, 5, 16, "packed", biased=1),
    nbits(4, 64, 3, 32, "real"),
    nbits(4, 64, 3, 32, "packed", accuracy_level=1),
    nbits(4, 64, 3, 16, groups=1),
    nbits(4, 64, 3, 16, "real", groups=1),
    nbits(4, 64, 3, 16, "packed", groups=1),
    nbits(2, 64, 3, 16, "packed", groups=1),
    nbits(8, 32, 3, 16, "packed", groups=1),
    nbits(2, 64, 4, 16),
    nbits(2, 48, 4, 16, "packed"),
    nbits(8, 32, 5, 16),
    nbits(8, 40, 5, 16, "packed"),
    Microsoft(
        "MatMulNBits",
        (f32(2, 32), u8(0, 2, 8), f32(0), None, None, f32(5)),
        {"K": 32, "N": 5, "block_size": 16},
    ),
    *(bnb4(*sizes, kind) for sizes in ((32, 5, 16), (20, 3, 32), (7, 3, 16)) for kind in (0, 1)),
    bnb4(16, 16, 64, 1, training_mode=1),
    bnb4(32, 32, 16, 0, transB=0),
    bnb4(9, 5, 16, 0, transB=0),
    Microsoft(
        "GatherBlockQuantized",
        (u8(5, 32), i64([4, 0], [1, 2]), f32(5, 4, low=0.1)),
        {"block_size": 16},
        grad=(2,),
    ),
    Microsoft(
        "GatherBlockQuantized",
        (u8(5, 3, 16), i64(2, 0), f32(5, 3, 2, low=0.1), u8(5, 3, 1)),
        {"block_size": 16, "quantize_axis": 2},
    ),
    Microsoft(
        "GatherBlockQuantized",
        (u8(5, 32), i64(4, 0, -1), f32(5, 2, low=0.1), u8(5, 2)),
        {"block_size": 16, "bits": 8},
    ),
    # ONNX Runtime takes no arrays of these types. An index is out of range; blocks lie along the
    # axis of the indices; a row is one block.
    Microsoft(
        "GatherBlockQuantized",
        (f32(5, 20).astype(ml_dtypes.float8_e4m3fn), i64(4, 7, -1), f32(1, 2, low=0.1)),
        {"block_size": 16},
        expected=lambda x, _, scales: (
            np.stack([x[4].astype(np.float32), np.zeros(20, np.float32), x[-1].astype(np.float32)])
            * scales[:, np.arange(20) // 16]
        ),
        grad=(2,),
    ),
    Microsoft(
        "GatherBlockQuantized",
        (f32(40, 2, high=8.0).astype(ml_dtypes.int4), i64([39, 0], [16, -1]), f32(3, 2, low=0.1)),
        {"block_size": 16, "quantize_axis": 0},
        expected=lambda x, at, scales: (x.astype(np.float32) * scales[np.arange(40) // 16])[at],
        grad=(2,),
    ),
    Microsoft(
        "GatherBlockQuantized",
        (f32(3, 20).astype(ml_dtypes.float8_e5m2), i64(2, 0), f32(3, 1, low=0.1)),
        {"block_size": 0},
        expected=lambda x, at, scales: (x.astype(np.float32) * scales)[at],
    ),
]
