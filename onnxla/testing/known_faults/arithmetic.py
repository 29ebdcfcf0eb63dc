"""Faults in arithmetic, logic and comparison."""

from __future__ import annotations

import numpy as np

from onnxla.testing.case import Case
from onnxla.testing.faults import Fault, example


def not_the_last_axes(case: Case) -> bool:
    """Whether `B` is aligned with axes of `A` that are not the last ones, as `axis` says."""
    a, b = case.operands
    axis = case.attributes.get("axis")
    return axis is not None and axis % max(a.ndim, 1) + b.ndim != a.ndim


FAULTS = [
    Fault(
        "reference",
        op,
        "ignores `axis` and broadcasts as numpy does",
        "Opset 1 and 6 say: 'The starting of the mutually equal shape is specified by the argument "
        '"axis", and if it is not set, suffix matching is assumed.\'',
        not_the_last_axes,
        lambda op=op: example(
            op,
            6,
            np.ones((2, 3), np.float32),
            np.ones(2, np.float32),
            axis=0,
            broadcast=1,
            ranks={"y0": 2},
        ),
    )
    for op in ("Add", "Sub", "Mul", "Div")
]
