"""Faults in operators of ONNX Runtime's domain on quantized numbers."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from onnxla.testing.case import Case
from onnxla.testing.fault_records import Fault
from onnxla.testing.known_faults.conv import dilated_same
from onnxla.testing.known_faults.pool import less_than_none
from onnxla.testing.predicates import When, operands, rank
from onnxla.testing.use import example

DOMAIN = "com.microsoft"
ONE = np.asarray(1, np.float32)


TO_FLOAT = ("A", "B", "a_scale", "b_scale", "a_zero_point", "b_zero_point", "bias")
DYNAMIC = ("A", "B", "b_scale", "b_zero_point", "bias")
NAMES = {"MatMulIntegerToFloat": TO_FLOAT, "DynamicQuantizeMatMul": DYNAMIC}


def input_named(case: Case, name: str) -> Any:
    """An input by its name in the schema, None where absent."""
    return dict(zip(NAMES[case.op_type], case.operands, strict=False)).get(name)


def several(*names: str) -> When:
    """Whether one of these inputs has several elements."""
    return When(lambda case: any(np.size(input_named(case, name)) > 1 for name in names))


# Whether B has more than two axes.
stacked = ~rank(0, 1, 2, of=1)
# Whether A has a scale or a zero point for each column.
columns_of_a = several("a_scale", "a_zero_point")
# Whether the columns of a stack of matrices B have zero points of their own.
zero_points_of_stack = stacked & several("b_zero_point")
# Whether they have scales of their own, and there is a bias.
biased = When(lambda case: input_named(case, "bias") is not None)
scales_of_stack_and_bias = stacked & several("b_scale") & biased
# Whether the last input, `Y_zero_point`, is absent.
without_last = ~operands(5)


@When
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
