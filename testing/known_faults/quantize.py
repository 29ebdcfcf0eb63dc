"""Faults in quantization."""

from __future__ import annotations

import functools

import numpy as np

from onnxla.testing.arrays import f32
from onnxla.testing.case import Case
from onnxla.testing.fault_records import Fault
from onnxla.testing.predicates import When
from onnxla.testing.use import example


def spacing(case: Case) -> np.float32:
    """The scale of `DynamicQuantizeLinear`."""
    x = case.operands[0]
    with np.errstate(all="ignore"):  # of what leaves the range
        return np.float32((np.max(x, initial=0) - np.min(x, initial=0)) / np.float32(255))


# Whether the scale is no finite number.
without_range = When(lambda case: not np.isfinite(spacing(case)))


@When
def of_nan(case: Case) -> bool:
    """Whether NaN may come of the quotient of the first two operands."""
    x, scale = (a.astype(np.float64) for a in case.operands[:2])
    return any(
        [np.isnan(x).any(), np.isnan(scale).any(), np.isinf(x).any() and np.isinf(scale).any()]
    )


FAULTS = [
    Fault(
        "onnxla",
        "DynamicQuantizeLinear",
        "has the zero point 0 where x has NaN or a range that is infinite",
        "The scale is '(maximum(0, max(x)) - minimum(0, min(x))) / (qmax - qmin)', and the zero "
        "point 'qmin - min(x) / y_scale', infinity divided by infinity, as an integer. Nothing "
        "says which one NaN becomes; in onnxla it is 0. The reference and ONNX Runtime say 0 and "
        "255, not always the same.",
        without_range,
        lambda: example("DynamicQuantizeLinear", 11, f32([-np.inf]), outputs=3),
    ),
    *(
        Fault(
            "onnxla",
            "QuantizeLinear",
            "gives 0 where x over its scale is NaN",
            "'y = saturate((x / y_scale) + y_zero_point)' of NaN is NaN, and nothing says which "
            "integer that is. In onnxla NaN is 0 as an integer, as in Cast; others have the least "
            "one, too.",
            of_nan,
            functools.partial(
                example,
                *("QuantizeLinear", 1 if domain else 13, f32([np.nan]), np.float32(1), np.int8(0)),
                domain=domain,
                ranks={"y0": 1},
            ),
            domain=domain,
        )
        for domain in ("", "com.microsoft")
    ),
]
