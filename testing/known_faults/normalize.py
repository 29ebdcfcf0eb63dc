"""Faults in normalizations."""

from __future__ import annotations

import functools

import numpy as np

from onnxla.testing.arrays import f32, f64, ones
from onnxla.testing.case import Case
from onnxla.testing.fault_records import Fault
from onnxla.testing.known_faults.nonfinite import beyond
from onnxla.testing.predicates import (
    When,
    attribute,
    dtype,
    enabled,
    has,
    output,
    outputs,
    rank,
    some,
    spatial,
    version,
)
from onnxla.testing.use import example

STATISTICS = (f32([2]), f32([1]), f32([0.5]), f32([4]))
ROW = f32([[1], [2], [4]])


# Whether there are further outputs.
in_training = outputs(2)


@When
def broadcast_scale(case: Case) -> bool:
    """Whether the scale has not an element for each one that is normalized."""
    x, scale = case.operands[:2]
    return bool(scale.shape != x.shape[case.attributes.get("axis", -1) :])


def kinds(case: Case) -> set[str]:
    """Names of the dtypes of the operands."""
    return {x.dtype.name for x in case.operands if x is not None}


FAULTS = [
    Fault(
        "reference",
        "BatchNormalization",
        "returns one value that is a tuple of all, in the training mode of versions 6 and 7",
        "'Output case #1: Y, mean, var, saved_mean, saved_var (training mode)'; and version 7 has "
        "no is_test, by which alone the reference tells the modes.",
        version(6, 7) & ~enabled("is_test"),
        functools.partial(example, "BatchNormalization", 7, ROW, *STATISTICS),
    ),
    Fault(
        "reference",
        "BatchNormalization",
        "normalizes by a mixture of given and computed statistics in version 9",
        "'Output case #2: Y (test mode)', where the statistics are the estimated ones; in training "
        "they are the batch's, and there are five outputs. The reference has one.",
        version(9),
        functools.partial(example, "BatchNormalization", 9, ROW, *STATISTICS),
    ),
    Fault(
        "reference",
        "BatchNormalization",
        "returns running statistics in the type of X",
        "Their type is U (T2 from version 15 on), that of input_mean and input_var.",
        lambda case: in_training(case) and case.operands[0].dtype != case.operands[3].dtype,
        functools.partial(
            example,
            "BatchNormalization",
            15,
            ROW.astype(np.float16),
            *STATISTICS,
            outputs=3,
            training_mode=1,
        ),
    ),
    Fault(
        "reference",
        "BatchNormalization",
        "fails on X of one axis in training",
        "'The op also accepts single dimension input of size N in which case C is assumed to be "
        "1'.",
        in_training & rank(1),
        functools.partial(
            example, "BatchNormalization", 15, ROW[:, 0], *STATISTICS, outputs=3, training_mode=1
        ),
    ),
    Fault(
        "onnxruntime",
        "BatchNormalization",
        "returns the inverse of the standard deviation as `saved_var`, before version 14",
        "'saved_var: Saved variance used during training to speed up gradient computation.'",
        output(4),
        functools.partial(
            example,
            "BatchNormalization",
            9,
            ROW,
            *STATISTICS,
            outputs=5,
            ranks={f"y{i}": 1 for i in range(1, 5)},
        ),
    ),
    Fault(
        "reference",
        "InstanceNormalization",
        "fails on `consumed_inputs`",
        "'legacy optimization attribute' of version 1.",
        has("consumed_inputs"),
        functools.partial(
            example,
            "InstanceNormalization",
            1,
            ones(1, 1, 2),
            ones(1),
            ones(1),
            consumed_inputs=[0, 0, 0],
            ranks={"y0": 3},
        ),
    ),
    Fault(
        "reference",
        "LayerNormalization",
        "returns mean and deviation in the type of X",
        "'stash_type: Type of Mean and InvStdDev.'",
        lambda case: in_training(case) and kinds(case) != {"float32"},
        functools.partial(
            example,
            "LayerNormalization",
            17,
            f64([[1, 2]]),
            f64([1, 1]),
            outputs=3,
            types={"Mean": "tensor(float)", "InvStdDev": "tensor(float)"},
        ),
    ),
    Fault(
        "reference",
        "RMSNormalization",
        "returns the type of X",
        "Y has the type V of scale.",
        lambda case: len(kinds(case)) > 1,
        functools.partial(
            example,
            "RMSNormalization",
            23,
            f32([[1, 2]]),
            f64([1, 1]),
            ranks={"y0": 2},
        ),
    ),
    *(
        Fault(
            runtime,
            "LRN",
            "rejects all but two spatial axes",
            "'For non image case, the dimensions are in the form of (N x C x D1 x D2 ... Dn)'.",
            ~spatial(2),
            functools.partial(example, "LRN", 13, ones(1, 1, 1), size=1),
        )
        for runtime in ("reference", "onnxruntime")
    ),
    Fault(
        "reference",
        "LRN",
        "gives 0 where the square of a number is not in range of float16",
        "'Y[n, c, d1, ..., dk] = X[n, c, d1, ..., dk] / (bias + alpha / size * square_sum[...] ) ^ "
        "beta', in which nothing else is out of range.",
        dtype(np.float16) & some(lambda x: abs(x) > 100),
        functools.partial(example, "LRN", 13, np.full((1, 1, 1, 1), 1000, np.float16), size=1),
    ),
    Fault(
        "onnxruntime",
        "LRN",
        "gives NaN to channels that are far from one with an infinite square",
        "The sum is that of the channels around. ONNX Runtime takes it from that of the channel "
        "before, so that infinity is taken from infinity.",
        some(lambda x: ~(np.abs(x.astype(np.float64)) < 1.8e19)),
        functools.partial(
            example, "LRN", 13, np.array([np.inf, 1], np.float32).reshape(1, 2, 1, 1), size=1
        ),
    ),
    Fault(
        "reference",
        "LRN",
        "takes the number of instances for that of channels",
        "'max(0, c - floor((size - 1) / 2)) <= i <= min(C - 1, c + ceil((size - 1) / 2))'",
        lambda case: case.operands[0].shape[0] != case.operands[0].shape[1],
        functools.partial(example, "LRN", 13, ones(1, 2, 1, 1), size=1),
    ),
    Fault(
        "reference",
        "MeanVarianceNormalization",
        "accepts float32 alone",
        "T also has float16, double and bfloat16. The function that defines the operator has "
        "constants of float32.",
        lambda case: kinds(case) != {"float32"},
        functools.partial(
            example,
            "MeanVarianceNormalization",
            13,
            f64([[1, 2]]),
            axes=[1],
            ranks={"y0": 2},
        ),
    ),
    Fault(
        "reference",
        "LpNormalization",
        "takes the sum of the elements for their norm of order 1",
        "'output = input / Lp_norm(input, axis)'",
        attribute("p", 1) & some(lambda x: x < 0),
        functools.partial(example, "LpNormalization", 22, f32([[3, -1]]), p=1),
    ),
    Fault(
        "onnxruntime",
        "LayerNormalization",
        "gives NaN as the mean where an element is infinite",
        "'Mean = ReduceMean<axes=normalized_axes>(X)', and the mean of 0 and infinity is infinity.",
        in_training & some(np.isinf),
        functools.partial(
            example,
            "LayerNormalization",
            17,
            f64([0, np.inf, 0]),
            f64([0, 0, 0]),
            outputs=2,
            types={"y1": "tensor(float)"},
        ),
    ),
    Fault(
        "onnxruntime",
        "LayerNormalization",
        "squares numbers in double precision where Scale broadcasts, and else in single",
        "'This operator casts all input variables' to the type of `stash_type`, in which 'DD = "
        "Mul(D, D)' may be infinite, so that 'InvStdDev' is 0.",
        beyond & (broadcast_scale | attribute("stash_type", 11)),
        functools.partial(
            example,
            "LayerNormalization",
            17,
            f32([0, np.finfo(np.float32).max]),
            f32([1]),
            ranks={"y0": 1},
        ),
    ),
]
