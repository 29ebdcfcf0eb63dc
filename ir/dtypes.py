"""ONNX element types as numpy dtypes, both ways. Source: `TensorProto.DataType`."""

from __future__ import annotations

import ml_dtypes
import numpy as np

from onnxla.ir.errors import ModelError

# Strings are arrays of Python `str` with dtype object, as everywhere in the numpy world of ONNX.
STRING = np.dtype(object)
"""The dtype of arrays of text."""

DTYPES_BY_NUMBER: dict[int, np.dtype] = {
    1: np.dtype(np.float32),
    2: np.dtype(np.uint8),
    3: np.dtype(np.int8),
    4: np.dtype(np.uint16),
    5: np.dtype(np.int16),
    6: np.dtype(np.int32),
    7: np.dtype(np.int64),
    8: STRING,
    9: np.dtype(np.bool_),
    10: np.dtype(np.float16),
    11: np.dtype(np.float64),
    12: np.dtype(np.uint32),
    13: np.dtype(np.uint64),
    14: np.dtype(np.complex64),
    15: np.dtype(np.complex128),
    16: np.dtype(ml_dtypes.bfloat16),
    17: np.dtype(ml_dtypes.float8_e4m3fn),
    18: np.dtype(ml_dtypes.float8_e4m3fnuz),
    19: np.dtype(ml_dtypes.float8_e5m2),
    20: np.dtype(ml_dtypes.float8_e5m2fnuz),
    21: np.dtype(ml_dtypes.uint4),
    22: np.dtype(ml_dtypes.int4),
    23: np.dtype(ml_dtypes.float4_e2m1fn),
    24: np.dtype(ml_dtypes.float8_e8m0fnu),
    25: np.dtype(ml_dtypes.uint2),
    26: np.dtype(ml_dtypes.int2),
    27: np.dtype(ml_dtypes.float6_e2m3fn),
    28: np.dtype(ml_dtypes.float6_e3m2fn),
}
NUMBERS_BY_DTYPE = {dtype: number for number, dtype in DTYPES_BY_NUMBER.items()}
# Element types that are packed several to a byte in a file, with their width in bits.
PACKED_BITS = {21: 4, 22: 4, 23: 4, 25: 2, 26: 2, 27: 6, 28: 6}


def dtype_of(number: int) -> np.dtype:
    """The numpy dtype of an ONNX element type number. Raises: ModelError if there is none.

    For example:

        assert onnxla.ir.dtype_of(1) == np.float32
    """
    try:
        return DTYPES_BY_NUMBER[number]
    except KeyError:
        raise ModelError(f"element type {number} is not one that ONNX defines") from None


def number_of(dtype: np.dtype) -> int:
    """The ONNX element type number of a numpy dtype. Raises: ModelError if there is none.

    For example:

        assert onnxla.ir.number_of(np.dtype(np.float32)) == 1
    """
    try:
        return NUMBERS_BY_DTYPE[np.dtype(dtype)]
    except KeyError:
        raise ModelError(f"dtype {dtype} has no ONNX element type") from None


def bits_of(number: int) -> int:
    """Bits that one element takes in `raw_data` or in external data; not defined for strings.

    For example:

        assert onnxla.ir.bits_of(1) == 32
    """
    return PACKED_BITS.get(number) or 8 * dtype_of(number).itemsize


def is_float(dtype: np.dtype) -> bool:
    """Whether a dtype is real floating point, the ml_dtypes kinds included.

    For example:

        assert onnxla.ir.is_float(np.dtype(np.float16))
    """
    return NUMBERS_BY_DTYPE.get(dtype) in (1, 10, 11, 16, 17, 18, 19, 20, 23, 24, 27, 28)
