"""Faults in elementary functions."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

from onnxla.testing.case import Case
from onnxla.testing.fault_records import Fault
from onnxla.testing.predicates import When, dtype, some
from onnxla.testing.use import example


@When
def nearly_zero(case: Case) -> bool:
    """Whether a number is so small that a fraction of it is subnormal."""
    for x in case.operands:
        size = np.abs(x.astype(np.float64))
        least = np.finfo(np.float64 if x.dtype == np.float64 else np.float32).smallest_normal
        if ((size > 0) & (size < 4 * least)).any():
            return True
    return False


def underflows(op: str, version: int, *least: Any, **attributes: Any) -> Fault:
    """XLA rounds subnormal numbers to 0, on the way to a result that is not 0."""
    return Fault(
        "onnxla",
        op,
        "gives 0 where numbers are nearly subnormal",
        "The text says nothing of precision. XLA rounds subnormal numbers to 0 on the way, which "
        "saves time and changes the result by less than the least number.",
        nearly_zero,
        lambda: example(op, version, *map(np.float32, least), **attributes),
    )


FAULTS = [
    Fault(
        "onnxruntime",
        "Sign",
        "gives 0 for the NaN of float16 and bfloat16",
        "The text says: 'If input > 0, output 1. if input < 0, output -1. if input == 0, output "
        "0.' None holds for NaN, which stays NaN in onnxla and the reference, and in ONNX Runtime "
        "in single and double precision.",
        dtype(np.float16, ml_dtypes.bfloat16) & some(np.isnan),
        lambda: example("Sign", 13, np.array([np.nan], np.float16)),
    ),
    Fault(
        "reference",
        "Erf",
        "computes numbers of float64 in single precision",
        "'Computes the error function of the given input tensor element-wise', and T has "
        "tensor(double).",
        dtype(np.float64),
        lambda: example("Erf", 13, np.array([1e-300])),
    ),
    underflows("Einsum", 12, 1.1754944e-38, 0.25, 1e38, equation=",,->"),
    underflows(
        *("SimplifiedLayerNormalization", 1, [[1.1754944e-38, 4]], [3.4028235e38, 1]),
        ranks={"y0": 2},
    ),
    underflows("SwiGLU", 28, [1.1754944e-38], [3.4028235e38]),
]
