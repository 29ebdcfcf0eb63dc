"""Faults in reductions."""

from __future__ import annotations

import functools

import numpy as np

from onnxla.testing.arrays import f32
from onnxla.testing.case import Case
from onnxla.testing.fault_records import Fault
from onnxla.testing.known_faults.elementary import underflows
from onnxla.testing.predicates import When, dtype, kind, rank, some, version
from onnxla.testing.use import example


def beyond_integers(power: int, limit: float = np.inf) -> When:
    """Whether the sum of all magnitudes, or of their powers, leaves the dtype, or a limit."""

    def check(case: Case) -> bool:
        x = case.operands[0]
        if x.dtype.kind not in "iu":
            return False
        total = (np.abs(x.astype(np.float64)) ** power).sum()
        return bool(total >= min(np.iinfo(x.dtype).max, limit))

    return When(check)


FAULTS = [
    *(
        Fault(
            "reference",
            op,
            "refuses integers",
            "Until opset 18 T has them: 'tensor(uint32), tensor(uint64), tensor(int32), "
            "tensor(int64)'. The text does not say how the logarithm becomes an integer: onnxla "
            "truncates it, as ONNX Runtime does.",
            kind("iu"),
            functools.partial(example, op, 18, np.ones(2, np.int32)),
        )
        for op in ("ReduceLogSum", "ReduceLogSumExp")
    ),
    Fault(
        "reference",
        "ReduceLogSumExp",
        "fails on a tensor without axes",
        "The text says: 'Input tensors of rank zero are valid.'",
        rank(0),
        lambda: example("ReduceLogSumExp", 28, np.array(1, np.float32)),
    ),
    Fault(
        "reference",
        "ReduceLogSumExp",
        "gives NaN where all elements that it reduces are infinite",
        "The text has the logarithm of the sum of the exponentials, which is infinite, too.",
        some(np.isinf),
        lambda: example("ReduceLogSumExp", 18, f32([np.inf])),
    ),
    Fault(
        "onnxruntime",
        "ReduceLogSumExp",
        "gives infinities for large numbers",
        "The logarithm of the exponential of a number is the number. ONNX Runtime has no kernel of "
        "this version, nor of half precision, and does the steps of the function that the schema "
        "has beside the text.",
        (version(28) & some(lambda x: x > 88)) | (dtype(np.float16) & some(lambda x: abs(x) > 9)),
        lambda: example("ReduceLogSumExp", 28, f32([1000])),
    ),
    Fault(
        "onnxruntime",
        "ReduceLogSumExp",
        "gives infinity where there is NaN beside it",
        "The exponential of NaN is NaN, and so is every sum with it.",
        some(np.isnan) & some(np.isinf),
        lambda: example("ReduceLogSumExp", 18, f32([0, np.nan, np.inf])),
    ),
    Fault(
        "reference",
        "ReduceSumSquare",
        "sums 32-bit integers to 64-bit ones",
        "'reduced' has the type T of 'data'.",
        dtype(np.int32, np.uint32),
        lambda: example("ReduceSumSquare", 18, np.ones(2, np.int32)),
    ),
    Fault(
        "reference",
        "ReduceL2",
        "gives infinity where the norm is in range of float16 and its square is not",
        "The text says: 'Computes the L2 norm of the input tensor's elements'. Nothing is out of "
        "range in it.",
        dtype(np.float16) & some(lambda x: abs(x) > 30),
        lambda: example("ReduceL2", 18, np.array([1000], np.float16)),
    ),
    *(
        Fault(
            "onnxruntime",
            op,
            "may ignore NaN",
            "The text is silent on NaN. onnxla returns it, as the reference does.",
            kind("f") & some(np.isnan),
            functools.partial(example, op, 20, np.array([1, np.nan], np.float32)),
        )
        for op in ("ReduceMax", "ReduceMin")
    ),
    underflows("ReduceProd", 18, [1.1754944e-38, 0.5, 4]),
    Fault(
        "reference",
        "ReduceL2",
        "wraps squares of integers",
        "The text says: 'Computes the L2 norm of the input tensor's elements'. It is in range.",
        beyond_integers(2),
        lambda: example("ReduceL2", 18, np.array([2**32 - 1], np.uint32)),
    ),
    Fault(
        "onnxruntime",
        "ReduceSumSquare",
        "does not wrap squares of integers",
        "The text does not say what a sum is that leaves its type. In onnxla it wraps, as that of "
        "ReduceSum does in ONNX Runtime and in the reference.",
        beyond_integers(2),
        lambda: example("ReduceSumSquare", 18, np.array([2**31 - 1], np.int32)),
    ),
    Fault(
        "reference",
        "ReduceMean",
        "wraps sums of integers, and rounds their mean to double precision",
        "'Computes the mean of the input tensor's elements', which is in range.",
        beyond_integers(1, 2**53),
        lambda: example("ReduceMean", 18, np.array([1, 2**32 - 1], np.uint32)),
    ),
    Fault(
        "onnxruntime",
        "ReduceMean",
        "rounds the mean of 64-bit integers to double precision",
        "'Computes the mean of the input tensor's elements'. 9223372036854775807 / 2 is, truncated "
        "as other quotients of integers are, 4611686018427387903.",
        beyond_integers(1, 2**53),
        lambda: example("ReduceMean", 18, np.array([0, 2**63 - 1], np.int64)),
    ),
]
