"""Faults in operators of ONNX Runtime's domain on quantized numbers."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from onnxla.testing.case import Case
from onnxla.testing.fault_records import Fault
from onnxla.testing.known_faults.conv import dilated_same
from onnxla.testing.known_faults.pool import less_than_none
from onnxla.testing.use import example

DOMAIN = "com.microsoft"
ONE = np.asarray(1, np.float32)


def operand(case: Case, name: str, names: tuple[str, ...]) -> Any:
    """An input by its name in the schema, None where absent."""
    return dict(zip(names, case.operands, strict=False)).get(name)


TO_FLOAT = ("A", "B", "a_scale", "b_scale", "a_zero_point", "b_zero_point", "bias")
DYNAMIC = ("A", "B", "b_scale", "b_zero_point", "bias")
NAMES = {"MatMulIntegerToFloat": TO_FLOAT, "DynamicQuantizeMatMul": DYNAMIC}


def several(case: Case, *names: str) -> bool:
    """Whether one of these inputs has several elements."""
    return any(np.size(operand(case, name, NAMES[case.op_type])) > 1 for name in names)


def stacked(case: Case) -> bool:
    """Whether B has more than two axes."""
    return bool(case.operands[1].ndim > 2)


def columns_of_a(case: Case) -> bool:
    """Whether A has a scale or a zero point for each column."""
    return several(case, "a_scale", "a_zero_point")


def zero_points_of_stack(case: Case) -> bool:
    """Whether the columns of a stack of matrices B have zero points of their own."""
    return stacked(case) and several(case, "b_zero_point")


def scales_of_stack_and_bias(case: Case) -> bool:
    """Whether columns of a stack of matrices B have scales of their own, and a bias."""
    bias = operand(case, "bias", NAMES[case.op_type])
    return stacked(case) and several(case, "b_scale") and bias is not None


def without_last(case: Case) -> bool:
    """Whether the last input, `Y_zero_point`, is absent."""
    return len(case.operands) < 5


def zero_points_of_gates(case: Case) -> bool:
    """Whether zero points of columns differ, or signed ones are not zero."""
    return any(
        z.ndim == 2 and (z.any() if z.dtype == np.int8 else (z != z[0, 0]).any())
        for z in case.operands[9:12:2]
    )


def stack(op: str, zero_point: np.ndarray | None, bias: np.ndarray | None) -> Case:
    """A product with one matrix in a stack, whose two columns have scales of their own."""
    a = np.ones((1, 1, 1), np.uint8 if op == "MatMulIntegerToFloat" else np.float32)
    b, scales = np.ones((1, 1, 2), np.uint8), np.array([2, 2], np.float32)
    inputs: tuple[Any, ...] = (a, b, ONE, scales, None, zero_point, bias)
    if op == "DynamicQuantizeMatMul":
        inputs = (a, b, scales, zero_point, bias)
    return example(op, 1, *inputs, domain=DOMAIN, ranks={"y0": 3})


FAULTS = [
    *(
        Fault(
            "onnxruntime",
            op,
            "crashes if `Y_zero_point` is absent",
            "'Output Y's zero point. Default value is 0 if it's not specified.'",
            without_last,
            functools.partial(
                example,
                op,
                1,
                np.array([3], np.uint8),
                ONE,
                np.asarray(0, np.uint8),
                ONE,
                domain=DOMAIN,
                ranks={"y0": 1},
            ),
            DOMAIN,
        )
        for op in ("QLinearLeakyRelu", "QLinearSigmoid")
    ),
    Fault(
        "onnxruntime",
        "MatMulIntegerToFloat",
        "fails or crashes if columns of A have scales or zero points of their own",
        "'It could be a scalar or a 1-D tensor, which means a per-tensor or per-column "
        "quantization. If it's a 1-D tensor, its number of elements should be equal to the number "
        "of columns of input 'A'.'",
        columns_of_a,
        lambda: example(
            "MatMulIntegerToFloat",
            1,
            np.ones((1, 2), np.uint8),
            np.ones((2, 1), np.uint8),
            ONE,
            ONE,
            np.array([0, 1], np.uint8),
            domain=DOMAIN,
            ranks={"y0": 2},
        ),
        DOMAIN,
    ),
    *(
        Fault(
            "onnxruntime",
            op,
            "refuses zero points of the columns of a B of more than two axes",
            "B is an 'N-dimensional matrix B'; its zero point 'could be a scalar or a 1-D tensor, "
            "which means a per-tensor or per-column quantization.'",
            zero_points_of_stack,
            functools.partial(stack, op, np.array([0, 1], np.uint8), None),
            DOMAIN,
        )
        for op in NAMES
    ),
    *(
        Fault(
            "onnxruntime",
            op,
            "multiplies the bias by the scales of the columns of a B of more than two axes",
            "The bias is a '1D input tensor, whose dimension is same as B's last dimension'; that "
            "it is floating point, added as it is, is what the kernel does with a B of two axes.",
            scales_of_stack_and_bias,
            functools.partial(stack, op, None, np.array([1, 2], np.float32)),
            DOMAIN,
        )
        for op in NAMES
    ),
    Fault(
        "onnxruntime",
        "DynamicQuantizeLSTM",
        "refuses zero points of each column that differ, or are signed and not zero",
        "'Its size is [num_directions] for per-tensor/layer quantization, or [num_directions, "
        "4*hidden_size] for per-channel quantization'; nothing says that they are equal.",
        zero_points_of_gates,
        lambda: example(
            "DynamicQuantizeLSTM",
            1,
            np.ones((1, 1, 1), np.float32),
            *[np.ones((1, 1, 4), np.int8)] * 2,
            *[None] * 5,
            *[np.ones((1, 4), np.float32), np.ones((1, 4), np.int8)] * 2,
            domain=DOMAIN,
            ranks={"y0": 4},
            hidden_size=1,
        ),
        DOMAIN,
    ),
    Fault(
        "onnxruntime",
        "QLinearAveragePool",
        "moves the windows where automatic padding would be less than none",
        "ONNX's AveragePool, whose attributes it has: 'SAME_UPPER or SAME_LOWER mean pad the input "
        "so that output_shape[i] = ceil(input_shape[i] / strides[i])'.",
        less_than_none,
        lambda: example(
            "QLinearAveragePool",
            1,
            np.arange(3, dtype=np.uint8).reshape(1, 1, 3),
            *(np.array(1, np.float32), np.array(0, np.uint8)) * 2,
            domain=DOMAIN,
            ranks={"y0": 3},
            kernel_shape=[1],
            strides=[3],
            auto_pad="SAME_UPPER",
        ),
        DOMAIN,
    ),
    Fault(
        "onnxruntime",
        "NhwcMaxPool",
        "has a smaller output with dilations and automatic padding",
        "ONNX's MaxPool, whose attributes it has: 'SAME_UPPER or SAME_LOWER mean pad the input so "
        "that output_shape[i] = ceil(input_shape[i] / strides[i])'.",
        dilated_same,
        lambda: example(
            "NhwcMaxPool",
            1,
            np.ones((1, 2, 1), np.uint8),
            domain=DOMAIN,
            ranks={"y0": 3},
            kernel_shape=[2],
            dilations=[2],
            auto_pad="SAME_UPPER",
        ),
        DOMAIN,
    ),
]
