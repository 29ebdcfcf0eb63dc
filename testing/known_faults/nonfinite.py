"""Results that are NaN or infinite by one order of sums and products, and not by another.

The text of an operator is a formula of real numbers: it says neither in which order its sums are
taken, nor in which its factors are multiplied, nor what its weights of 0 do. Where operands are
infinite, or products leave the range of the dtype, `inf - inf` and `0 * inf` depend on these. So
runtimes may differ in which results are NaN or infinite, and onnxla's are none that the text
excludes; the other results have to agree nevertheless.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import ml_dtypes
import numpy as np

from onnxla.testing.arrays import f16, f32, f64, i32, i64
from onnxla.testing.case import Case
from onnxla.testing.fault_records import Fault
from onnxla.testing.findings import arrays_in
from onnxla.testing.predicates import When, operand
from onnxla.testing.use import example


def floats_in(case: Case) -> Iterator[np.ndarray]:
    """The operands in floating point that are not narrower than half precision, in double."""
    for array in arrays_in(case.operands):
        if array.dtype.kind in "fc" or array.dtype == ml_dtypes.bfloat16:
            yield array


@When
def beyond(case: Case) -> bool:
    """Whether an operand is infinite, or so large that its square is."""
    for array in floats_in(case):
        limit = float(ml_dtypes.finfo(array.dtype).max) ** 0.5
        with np.errstate(all="ignore"):
            if (np.abs(array.astype(complex)) > limit).any():
                return True
    return False


@When
def special(case: Case) -> bool:
    """Whether an operand has NaN, or is `beyond`."""
    return beyond(case) or any(np.isnan(array).any() for array in floats_in(case))


def left_open(
    what: str, text: str, when: When, op: str, version: int, *operands: Any, **details: Any
) -> Fault:
    """What the text does not decide of results that are not finite, with an example of it."""
    return Fault(
        "onnxla",
        op,
        what,
        f"{text} What is finite in both has to agree.",
        when,
        lambda: example(op, version, *operands, **details),
        domain=details.get("domain", ""),
        nonfinite=True,
    )


def another_order(op: str, version: int, *operands: Any, **details: Any) -> Fault:
    """The fault of an operator that sums products."""
    what = "takes its sums and products in an order of its own, by which others are NaN or infinite"
    text = (
        "The text is a formula of real numbers, and says nothing of the order. Where operands are "
        "infinite, or products leave the range, infinity is taken from infinity or multiplied by "
        "0 in one order and not in another."
    )
    return left_open(what, text, beyond, op, version, *operands, **details)


def own_weights(op: str, version: int, *operands: Any, **details: Any) -> Fault:
    """The fault of an operator that makes the weights of its sums."""
    what = "leaves elements with the weight 0 out of its sums, whatever they are"
    text = (
        "The operator makes the weights from positions, and the text does not say that they are "
        "multiplied. A result that does not depend on an element is not changed by an infinity or "
        "NaN there. Others multiply: 0 * inf is NaN. Besides, sums that leave the range depend on "
        "their order."
    )
    return left_open(what, text, special, op, version, *operands, **details)


MOST, INF = np.finfo(np.float32).max, np.inf
ONES = np.ones(1, np.float32)
SCALED = np.array([[-INF, 1, 1], [1, 1, 1], [1, 1, 1]], np.float32)

ROW, SUMMED = f32([[[MOST, 0]]]), f32([[[MOST, MOST, 0]]])
LARGEST = np.finfo(np.float64).max
MICROSOFT: dict[str, Any] = {"domain": "com.microsoft"}

FAULTS = [
    own_weights("AffineGrid", 20, f32([[[1, INF, 0], [0, 1, 0]]]), i64([1, 1, 1, 1])),
    own_weights("GridSample", 16, f32([[[[0, 0, 0, INF]]]]), f32([[[[0.25, 0]]]]), ranks={"y0": 4}),
    another_order(
        "BatchNormalization", 15, f32([[0]]), ONES, INF * ONES, MOST * ONES, 0.125 * ONES
    ),
    another_order("Det", 22, SCALED),
    own_weights("DFT", 20, f32([[0, 0], [INF, INF]])),
    own_weights("STFT", 17, f32([[0, INF]]), np.int64(1), np.ones(2, np.float32), np.int64(2)),
    own_weights("Upsample", 7, f32([[[[1], [INF]]]]), scales=[1.0, 1.0, 1.0, 2.0], mode="linear"),
    own_weights(
        *("RoiAlign", 22, f32([[[[INF]]]]), f32([[0, 0, 0.5, 0.5]]), i64([0])),
        ranks={"y0": 4},
    ),
    own_weights(
        *("DeformConv", 22, f32([[[[0, 0], [0, INF]]]]), np.ones((1, 1, 1, 1), np.float32)),
        np.zeros((1, 2, 2, 2), np.float32),
    ),
    own_weights(
        *("Resize", 19, f32([[[[1], [INF]]]]), None, f32([1, 1, 1, 2])),
        mode="linear",
        ranks={"y0": 4},
    ),
    another_order(
        *("Adam", 1, f64(0.5), i64(1), 0 * ONES, 0 * ONES, ONES, ONES),
        *(MOST * ONES, MOST * ONES, 100 * ONES, 100 * ONES),
        domain="ai.onnx.preview.training",
        outputs=6,
        beta=0.5,
        ranks={f"y{i}": 1 for i in range(6)},
        types={f"y{i}": "tensor(float)" for i in range(6)},
    ),
    another_order(
        *("GRU", 22, f32([[[4]]]), f32([[[MOST], [0], [1]]]), np.zeros((1, 3, 1), np.float32)),
        *(None, None, f32([[[8]]])),
        activations=["LeakyRelu", "LeakyRelu"],
        activation_alpha=[1.0, 1.0],
        hidden_size=1,
        ranks={"y0": 4},
    ),
    left_open(
        "sums products in an order of its own, and in double precision leaves padding out",
        "The text is a formula of real numbers, and says neither in which order its sums are taken "
        "nor that what is padded is multiplied by weights that are NaN or infinite.",
        special,
        *("Conv", 11, f64([[[1]]]), f64([[[np.nan, 0]]])),
        pads=[1, 0],
    ),
    another_order(
        "CausalConvWithState", 27, f32([[[-INF, MOST, MOST]]]), f32([[[1, 2, 2]]]), outputs=2
    ),
    another_order(
        *("CausalConvWithState", 1, f32([[[-INF, MOST, MOST]]]), f32([[[1, 2, 2]]])),
        **MICROSOFT,
        outputs=2,
        ranks={"y0": 3, "y1": 3},
    ),
    another_order(
        *("LinearRegressor", 1, f32([[0, MOST, MOST]])),
        domain="ai.onnx.ml",
        coefficients=[1.0, 2.0, -2.0],
        ranks={"y0": 2},
    ),
    another_order("MatMul", 9, f32([-INF, MOST, MOST]), f32([1, 2, 2])),
    another_order(
        *("FusedConv", 1, f16([[[65504]]]), f16([[[-4]]]), f16([INF])),
        **MICROSOFT,
        ranks={"y0": 3},
    ),
    another_order("CDist", 1, f32([[MOST]]), f32([[1]]), **MICROSOFT, ranks={"y0": 2}),
    another_order(
        "FusedMatMul", 1, f32([-INF, MOST, MOST]), f32([1, 2, 2]), **MICROSOFT, ranks={"y0": 0}
    ),
    another_order(
        "TransposeMatMul", 1, f32([-INF, MOST, MOST]), f32([1, 2, 2]), **MICROSOFT, ranks={"y0": 0}
    ),
    another_order("GroupNormalization", 21, ROW, ONES, 0 * ONES, num_groups=1, ranks={"y0": 3}),
    another_order(
        "InstanceNormalization", 1, f32([[[1, 10]]]), MOST * ONES, 0 * ONES, ranks={"y0": 3}
    ),
    another_order("FastGelu", 1, np.full(4, LARGEST), **MICROSOFT, ranks={"y0": 1}),
    another_order(
        "SkipLayerNormalization",
        1,
        SUMMED,
        0 * SUMMED,
        0 * SUMMED[0, 0],
        **MICROSOFT,
        ranks={"y0": 3},
    ),
    another_order(
        "CropAndResize",
        *(1, f32([[[[INF, 1]]]]), f32([[0, 0.5, 0, 0.5]]), i32([0]), i32([1, 1])),
        **MICROSOFT,
        ranks={"y0": 4},
    ),
    left_open(
        "goes on after the end of a sequence that is shorter than others with keys of 0, which "
        "leave its state as it is, but make NaN of one that is infinite",
        "The state is that after the last token of a sequence.",
        beyond & operand(3),
        *("GatedDeltaNet", 1, np.ones((3, 1, 1), np.float32), np.ones((3, 1, 1), np.float32)),
        *(f32([[[INF]], [[1]], [[1]]]), i32([0, 1, 3]), np.zeros((3, 1), np.float32)),
        np.ones((3, 1), np.float32),
        **MICROSOFT,
        outputs=2,
        ranks={"y0": 3, "y1": 4},
    ),
    own_weights(
        "GridSample",
        1,
        f32([[[[0, 0, 0, INF]]]]),
        f32([[[[0.25, 0]]]]),
        **MICROSOFT,
        ranks={"y0": 4},
        types={"y0": "tensor(float)"},
    ),
]
