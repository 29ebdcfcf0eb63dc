"""Faults in activation functions, softmax and dropout."""

from __future__ import annotations

import functools
import math

import numpy as np

from onnxla.testing.case import Case
from onnxla.testing.fault_records import Fault
from onnxla.testing.known_faults.arithmetic import stops_at_consumed_inputs
from onnxla.testing.predicates import (
    When,
    before,
    dtype,
    has,
    operand,
    outputs,
    rank,
    some,
    version,
)
from onnxla.testing.use import example

NEGATIVE = -np.ones((2, 3), np.float32)


@When
def more_than_one_axis(case: Case) -> bool:
    """Whether a softmax before opset 13 is not just over `axis`, or the last axis if absent."""
    (x,) = case.operands
    axis = case.attributes.get("axis")
    size = math.prod(x.shape[1 if axis is None else axis :])
    return case.version < 13 and size != x.shape[-1 if axis is None else axis]


@When
def widened(case: Case) -> bool:
    """Whether Dropout is training with a ratio that numpy's types promote the data with."""
    if case.version < 12 or len(case.operands) < 3 or not case.operands[2]:
        return False
    data, ratio, _ = case.operands
    return ratio is not None and (
        ratio.dtype != data.dtype or data.dtype.type.__module__ != "numpy"
    )


@When
def far_apart(case: Case) -> bool:
    """Whether finite operands of a softmax are so far apart that an exponential is 0."""
    (x,) = case.operands
    finite = x[np.isfinite(x)].astype(np.float64)
    return finite.size > 0 and bool(np.ptp(finite) > 10)


FAULTS = [
    stops_at_consumed_inputs("PRelu", 2),
    stops_at_consumed_inputs("Selu"),
    Fault(
        "reference",
        "Selu",
        "has the coefficients of version 6 in version 1",
        "Opset 1 says: 'Coefficient of SELU default to 1.6732' and '... to 1.0507'.",
        before(6) & ~(has("alpha") & has("gamma")),
        lambda: example("Selu", 1, NEGATIVE, ranks={"y0": 2}),
    ),
    Fault(
        "reference",
        "Softsign",
        "fails on a tensor without axes",
        "The text sets no rank: 'The input tensor'.",
        rank(0),
        lambda: example("Softsign", 22, np.array(1, np.float32)),
    ),
    Fault(
        "reference",
        "PRelu",
        "aligns slopes with the last axis before opset 7",
        "Opset 1 and 6 say: 'If `Slope` is of size 1, the value is shared across different "
        "channels', so that more of them belong to one channel each, of X (N, C, ...).",
        before(7) & operand(1, lambda slope: slope.size != 1) & ~rank(0, 1, 2),
        lambda: example(
            "PRelu",
            6,
            -np.ones((1, 2, 2), np.float32),
            np.array([1, 2], np.float32),
            ranks={"y0": 3},
        ),
    ),
    *(
        Fault(
            "reference",
            op,
            "takes `axis` alone before opset 13, the last one by default, not all from there on",
            "Opset 1 and 11 say: 'input will be coerced into a 2-dimensional tensor with "
            "dimensions [a_0 * ... * a_{k-1}, a_k * ... * a_{n-1}]', where k is the axis.",
            more_than_one_axis,
            functools.partial(
                example, op, 11, np.array([[[1, 2], [3, 4]]], np.float32), ranks={"y0": 3}
            ),
        )
        for op in ("Softmax", "LogSoftmax", "Hardmax")
    ),
    Fault(
        "reference",
        "Dropout",
        "has a mask of booleans in version 7",
        "Opset 7 has 'mask : T', of the type of the data.",
        version(7) & outputs(2),
        lambda: example("Dropout", 7, NEGATIVE, outputs=2, ranks={"y1": 2}),
    ),
    Fault(
        "onnxruntime",
        "Dropout",
        "has a mask of zeros in versions 7 and 10",
        "The text says nothing of the mask but 'The output mask.' From opset 12 on 'it will "
        "contain all ones' if nothing is dropped, which onnxla and the reference do before too.",
        version(7, 10) & outputs(2),
        lambda: example("Dropout", 10, NEGATIVE, outputs=2, ranks={"y1": 2}),
    ),
    Fault(
        "reference",
        "Dropout",
        "fails in training without `ratio`",
        "The text says of the ratio: 'if not specified it will default to 0.5'.",
        ~operand(1) & operand(2, bool),
        lambda: example("Dropout", 22, NEGATIVE, None, np.array(True), outputs=2, seed=1),
    ),
    Fault(
        "reference",
        "Dropout",
        "has the type of `data` and `ratio` combined",
        "'output' has the type T of 'data'.",
        widened,
        lambda: example(
            "Dropout", 22, NEGATIVE, np.array(0.5, np.float64), np.array(True), outputs=2, seed=1
        ),
    ),
    Fault(
        "reference",
        "LogSoftmax",
        "gives minus infinity where the softmax is too small for the type",
        "The logarithm is what is asked for, which the type has. ONNX Runtime gives it, too.",
        far_apart,
        lambda: example("LogSoftmax", 13, np.array([[0, -1000]], np.float32)),
    ),
    Fault(
        "onnxruntime",
        "LogSoftmax",
        "gives minus infinity beside an infinity, and NaN for that alone",
        "The text has 'Exp(input) / ReduceSum(Exp(input))', which is NaN for an infinity. "
        "onnxla subtracts the maximum first, as the reference does, so that all become NaN.",
        some(np.isposinf),
        lambda: example("LogSoftmax", 13, np.array([[0, np.inf]], np.float64)),
    ),
    Fault(
        "onnxruntime",
        "LogSoftmax",
        "gives numbers beside NaN in double precision, unless that is first",
        "Each element is divided by the sum of all exponentials, which is NaN.",
        dtype(np.float64) & some(np.isnan),
        lambda: example("LogSoftmax", 13, np.array([[0, np.nan]], np.float64)),
    ),
]
