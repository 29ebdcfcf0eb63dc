"""Faults in quantization."""

from __future__ import annotations

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
]
