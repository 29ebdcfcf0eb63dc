"""Faults in arithmetic."""

from __future__ import annotations

from typing import Any

import numpy as np

from onnxla.testing.case import Case
from onnxla.testing.fault_records import Fault
from onnxla.testing.predicates import When, has
from onnxla.testing.use import example

ONES = np.ones((2, 3), np.float32)


@When
def not_the_last_axes(case: Case) -> bool:
    """Whether `B` is aligned with axes of `A` that are not the last ones, as `axis` says."""
    a, b = case.operands
    axis = case.attributes.get("axis")
    return axis is not None and axis % max(a.ndim, 1) + b.ndim != a.ndim


def ignores_axis(op: str, version: int, dtype: Any) -> Fault:
    """The reference aligns the last axes whatever `axis` says."""
    return Fault(
        "reference",
        op,
        "ignores `axis` and broadcasts as numpy does",
        "Opset 1 and 6 say of Add, to which others refer: 'The starting of the mutually equal "
        'shape is specified by the argument "axis", and if it is not set, suffix matching is '
        "assumed.'",
        not_the_last_axes,
        lambda: example(
            op,
            version,
            ONES.astype(dtype),
            ONES[:, 0].astype(dtype),
            axis=0,
            broadcast=1,
            ranks={"y0": 2},
        ),
    )


def stops_at_consumed_inputs(op: str, operands: int = 1) -> Fault:
    """The reference does not know the attribute of version 1 that means nothing."""
    return Fault(
        "reference",
        op,
        "fails on `consumed_inputs`",
        "Opset 1 has the attribute: 'legacy optimization attribute'.",
        has("consumed_inputs"),
        lambda: example(op, 1, *[ONES] * operands, consumed_inputs=[0] * operands, ranks={"y0": 2}),
    )


@When
def large_without_bound(case: Case) -> bool:
    """Whether a number that a default of `Clip` would change is on a side that has no bound."""
    x, *given = case.operands
    if case.version < 11:
        low, high = (name in case.attributes for name in ("min", "max"))
    else:
        low, high = (len(given) > i and given[i] is not None for i in range(2))
    large = np.abs(x) > np.finfo(np.float32).max if case.version < 11 else np.isinf(x)
    return bool((large & (x < 0) & (not low)).any() or (large & (x > 0) & (not high)).any())


FAULTS = [
    *(ignores_axis(op, 6, np.float32) for op in ("Add", "Sub", "Mul", "Div")),
    Fault(
        "reference",
        "Pow",
        "fails on `axis` and `broadcast`",
        "Opset 1 has both: 'Attribute `broadcast=1` needs to be passed to enable broadcasting.'",
        has("broadcast"),
        lambda: example("Pow", 1, ONES, ONES, broadcast=1, ranks={"y0": 2}),
    ),
    *(stops_at_consumed_inputs(op) for op in ("Sum", "Mean")),
    Fault(
        "reference",
        "Mean",
        "fails if the first operand is smaller than what all broadcast to",
        "'This operator supports multidirectional (i.e., Numpy-style) broadcasting.'",
        lambda case: (
            case.operands[0].shape != np.broadcast_shapes(*(x.shape for x in case.operands))
        ),
        lambda: example("Mean", 13, ONES[0], ONES),
    ),
    Fault(
        "onnxla",
        "Clip",
        "leaves an infinity as it is on a side without a bound, and of float64 before opset 11 all "
        "that is beyond float32",
        "The text says of the bounds: 'They default to numeric_limits::lowest() and "
        "numeric_limits::max(), respectively', so that an infinity becomes the greatest number; "
        "before opset 11 they are those of float32 for all dtypes. The reference leaves it, too, "
        "from opset 11 on: a bound that is absent is none.",
        large_without_bound,
        lambda: example("Clip", 12, np.array([np.inf], np.float32)),
    ),
]
