"""Faults in operators of ONNX Runtime's domain. Its schemas are the text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from onnxla.testing.case import Case
from onnxla.testing.fault_records import Fault
from onnxla.testing.predicates import When, output
from onnxla.testing.strategies.microsoft_fused import DOMAIN
from onnxla.testing.use import example


def fault(
    op_type: str,
    what: str,
    text: str,
    when: Callable[[Case], bool],
    *inputs: np.ndarray,
    rank: int,
    outputs: Any = 1,
    **attributes: Any,
) -> Fault:
    """A fault of ONNX Runtime in its own domain, and the example of it."""

    def make() -> Case:
        return example(
            op_type,
            1,
            *inputs,
            domain=DOMAIN,
            outputs=outputs,
            ranks={f"y{i}": rank for i in range(4)},
            **attributes,
        )

    return Fault("onnxruntime", op_type, what, text, when, make, DOMAIN)


@When
def product_with_a_vector(case: Case) -> bool:
    """Whether a transposed matrix is multiplied with a vector."""
    a, b = case.operands
    return bool(a.ndim > 1 and b.ndim == 1 and case.attributes.get("transA"))


@When
def dilated_and_same(case: Case) -> bool:
    """Whether the window is dilated, and padded so that its places are as many as before."""
    dilations = case.attributes.get("dilations", [])
    same = case.attributes.get("auto_pad", "NOTSET").startswith("SAME")
    return same and any(d > 1 for d in dilations)


@When
def of_no_kernel(case: Case) -> bool:
    """Whether the elements are none of float, double, int32 and int64."""
    return case.operands[0].dtype.name not in ("float32", "float64", "int32", "int64")


ONES, VECTOR = np.ones((1, 1, 2), np.float32), np.ones(2, np.float32)

FAULTS = [
    *(
        fault(
            op_type,
            "does not transpose A if B is a vector",
            "'Whether A should be transposed on the last two dimensions before doing "
            "multiplication'",
            product_with_a_vector,
            np.asarray([[1, 2], [3, 4]], np.float32),
            VECTOR,
            rank=1,
            transA=1,
        )
        for op_type in ("FusedMatMul", "TransposeMatMul")
    ),
    fault(
        "FusedConv",
        "fails for dilations with `auto_pad` SAME_UPPER and SAME_LOWER",
        "'The fused convolution operator schema is the same as Conv', where 'output_shape[i] = "
        "ceil(input_shape[i] / strides[i])' for them.",
        dilated_and_same,
        np.ones((1, 1, 3), np.float32),
        np.ones((1, 1, 2), np.float32),
        rank=3,
        auto_pad="SAME_UPPER",
        dilations=[2],
        kernel_shape=[2],
        strides=[1],
    ),
    fault(
        "SkipSimplifiedLayerNormalization",
        "returns 0 for the mean",
        "'Saved mean used during training to speed up gradient computation': the operator needs "
        "none, but the output is one. onnxla returns that of the sum.",
        output(1),
        ONES,
        ONES,
        VECTOR,
        rank=3,
        outputs=4,
    ),
    fault(
        "UnfoldTensor",
        "fails for types other than float, double, int32 and int64",
        "T lists all types of tensors; the error says 'Unsupported data type'.",
        of_no_kernel,
        np.ones(2, np.int8),
        rank=2,
        size=1,
    ),
]
