"""Faults in products of matrices."""

from __future__ import annotations

import functools

import ml_dtypes
import numpy as np

from onnxla.testing.arrays import f16, f32, ones, u8
from onnxla.testing.case import Case
from onnxla.testing.fault_records import Fault
from onnxla.testing.predicates import (
    When,
    attribute,
    before,
    dtype,
    enabled,
    integer,
    kind,
    operand,
    rank,
    size,
)
from onnxla.testing.use import example

BYTES = u8([[1, 2], [3, 4]])
ONE, ZERO = np.float32(1), np.uint8(0)


def by_row(position: int) -> When:
    """Whether a scale or zero point is none of the whole."""
    return operand(position) & ~rank(0, of=position)


@When
def upper_and_implicit(case: Case) -> bool:
    """Whether the equation has capital letters, but no output."""
    equation = case.attributes["equation"]
    return "->" not in equation and equation != equation.lower()


@When
def exceeds_half_of_float64(case: Case) -> bool:
    """Whether a number has so many bits that float64 may not hold a product of two."""
    return any(abs(float(v)) > 2**26 for x in case.operands if x is not None for v in x.flat)


FAULTS = [
    Fault(
        "onnxruntime",
        "MatMulInteger",
        "rejects zero points of A by row",
        "'It could be a scalar or N-D tensor. Scalar refers to per tensor quantization whereas N-D "
        "refers to per row quantization.'",
        by_row(2),
        functools.partial(example, "MatMulInteger", 10, BYTES, BYTES, u8([1, 2])),
    ),
    Fault(
        "onnxruntime",
        "MatMulInteger",
        "returns memory that it has not written where K is 0",
        "'Matrix product that behaves like numpy.matmul': a sum of nothing is 0.",
        size(-1, 0),
        functools.partial(
            example, "MatMulInteger", 10, ones(64, 0, dtype=np.uint8), ones(0, 64, dtype=np.uint8)
        ),
    ),
    Fault(
        "onnxruntime",
        "QLinearMatMul",
        "rejects scales of `a` by row",
        "'They must be either scalar (per tensor) or N-D tensor (per row for 'a' and per column "
        "for 'b').'",
        by_row(1),
        functools.partial(
            example,
            "QLinearMatMul",
            10,
            BYTES,
            f32([1, 2]),
            u8([0, 0]),
            BYTES,
            ONE,
            ZERO,
            ONE,
            ZERO,
        ),
    ),
    Fault(
        "reference",
        "QLinearMatMul",
        "takes a vector of scales of the rows for one of the columns",
        "'If the input is 2D of shape [M, K] then zero point and scale tensor may be an M element "
        "vector [v_1, v_2, ..., v_M] for per row quantization'.",
        by_row(1) & rank(1, of=1),
        functools.partial(
            example,
            "QLinearMatMul",
            10,
            BYTES,
            f32([1, 2]),
            u8([0, 1]),
            BYTES,
            ONE,
            ZERO,
            ONE,
            ZERO,
        ),
    ),
    Fault(
        "reference",
        "QLinearMatMul",
        "converts float8 operands to integers",
        "T1 and T2 have float8 types since version 21, whose numbers have fractions.",
        ~(integer() & integer(of=3)),
        functools.partial(
            example,
            "QLinearMatMul",
            21,
            np.array([[0.5]], "float8_e4m3fn"),
            ONE,
            np.array(0, "float8_e4m3fn"),
            u8([[2]]),
            ONE,
            ZERO,
            ONE,
            ZERO,
        ),
    ),
    Fault(
        "reference",
        "MatMulInteger",
        "takes a vector of zero points of the rows for one of the columns",
        "'If the input is 2D of shape [M, K] then zero point tensor may be an M element vector "
        "[zp_1, zp_2, ..., zp_M].'",
        by_row(2) & rank(1, of=2),
        functools.partial(example, "MatMulInteger", 10, BYTES, BYTES, u8([1, 2])),
    ),
    Fault(
        "onnxruntime",
        "QLinearMatMul",
        "returns memory that it has not written where K is 0",
        "'Matrix product that behaves like numpy.matmul': a sum of nothing is 0.",
        size(-1, 0),
        functools.partial(
            example,
            "QLinearMatMul",
            10,
            ones(64, 0, dtype=np.uint8),
            ONE,
            ZERO,
            ones(0, 64, dtype=np.uint8),
            ONE,
            ZERO,
            ONE,
            np.uint8(77),
        ),
    ),
    Fault(
        "reference",
        "Gemm",
        "ignores `beta` in version 6 where `broadcast` is 0",
        "'Compute Y = alpha * A * B + beta * C'",
        before(7) & ~enabled("broadcast") & ~attribute("beta", 1.0, default=1.0),
        functools.partial(
            example, "Gemm", 6, ones(1, 1), ones(1, 1), ones(1, 1), beta=2.0, ranks={"y0": 2}
        ),
    ),
    Fault(
        "reference",
        "Gemm",
        "returns float32 for float16 in version 6 where `broadcast` is 0",
        "Y has the type T of the operands.",
        before(7) & ~enabled("broadcast") & dtype(np.float16),
        functools.partial(
            example,
            "Gemm",
            6,
            *(ones(1, 1, dtype=np.float16) for _ in range(3)),
            ranks={"y0": 2},
        ),
    ),
    Fault(
        "reference",
        "Gemm",
        "multiplies integers by `alpha` in floating point",
        "T has integers of 64 bits, which float64 does not hold exactly.",
        kind("iu") & exceeds_half_of_float64,
        functools.partial(
            example,
            "Gemm",
            13,
            np.array([[2**60 + 1]]),
            np.array([[1]]),
            ranks={"y0": 2},
        ),
    ),
    Fault(
        "reference",
        "Det",
        "fails on float16, and returns float64 for bfloat16",
        "T has both, and it is the type of Y.",
        dtype(np.float16, ml_dtypes.bfloat16),
        functools.partial(example, "Det", 22, f16([[1]])),
    ),
    Fault(
        "onnxruntime",
        "Einsum",
        "fails where the output of capital letters is implicit",
        "'output indices are (implicitly) set to the sequence of indices appearing exactly once in "
        "the equation, sorted in increasing order of their ASCII values (so that all upper case "
        "letters precede all lower case letters'.",
        upper_and_implicit,
        functools.partial(
            example, "Einsum", 12, ones(2, 2), ones(2), equation="bB,c", ranks={"y0": 3}
        ),
    ),
]
