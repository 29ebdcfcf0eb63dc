"""Faults in operators of ONNX Runtime's domain on packed weights."""

from __future__ import annotations

import numpy as np

from onnxla.testing.arrays import ones
from onnxla.testing.case import Case
from onnxla.testing.fault_records import Fault
from onnxla.testing.predicates import When, attribute
from onnxla.testing.use import example

DOMAIN = "com.microsoft"


@When
def groups(case: Case) -> bool:
    """Whether each input has a group, and B is not left out."""
    operands = [*case.operands, None, None][:5]
    return operands[4] is not None and operands[1].size > 0


@When
def groups_of_few_or_many_bits(case: Case) -> bool:
    """Whether each input has a group, and weights 8 bits, or 2 and floating-point zero points."""
    zeros = [*case.operands, None][3]
    floats = zeros is not None and zeros.dtype != np.uint8
    bits = case.attributes.get("bits", 4)
    return groups(case) and bool(bits == 8 or (bits == 2 and floats))


@When
def groups_with_packed_zeros(case: Case) -> bool:
    """Whether each input has a group, and zero points are packed."""
    zeros = case.operands[3] if groups(case) else None
    return zeros is not None and zeros.dtype == np.uint8


@When
def not_the_last_axis(case: Case) -> bool:
    """Whether data of bytes is quantized along an axis that is not the last one."""
    data = case.operands[0]
    axis = case.attributes.get("quantize_axis", 1) % data.ndim
    return bool(data.dtype == np.uint8 and axis != data.ndim - 1)


def grouped(bits: int, zeros: np.ndarray | None) -> Case:
    """A product with weights in two groups of inputs that take turns."""
    return example(
        "MatMulNBits",
        1,
        ones(1, 32),
        np.full((1, 2, 2 * bits), 3, np.uint8),
        np.array([[1, 2]], np.float32),
        zeros,
        np.array([0, 1] * 16, np.int32),
        domain=DOMAIN,
        ranks={"y0": 2},
        K=32,
        N=1,
        bits=bits,
        block_size=16,
    )


FAULTS = [
    Fault(
        "onnxruntime",
        "MatMulBnb4",
        "takes the transpose of B whatever `transB` says, and reads past the end of A",
        "'transB=False: Shape of A: [D0, D1, ..., Dn, N]; output = A @ dequant_B; Shape of output: "
        "[D0, D1, ..., Dn, K]'",
        attribute("transB", 0, default=1),
        lambda: example(
            "MatMulBnb4",
            1,
            np.array([[1, 2, 3, 4]], np.float32),
            np.arange(8, dtype=np.uint8),
            ones(1),
            domain=DOMAIN,
            ranks={"y0": 2},
            K=4,
            N=4,
            block_size=16,
            quant_type=1,
            transB=0,
        ),
        DOMAIN,
    ),
    Fault(
        "onnxruntime",
        "MatMulNBits",
        "refuses `g_idx` with weights of 8 bits, or of 2 bits with floating-point zero points",
        "'bits: Bit-width used to quantize the weights (supported values: 2, 4, 8)'. g_idx is "
        "deprecated, but nothing restricts it.",
        groups_of_few_or_many_bits,
        lambda: grouped(8, None),
        DOMAIN,
    ),
    Fault(
        "onnxruntime",
        "MatMulNBits",
        "ignores packed zero points if there is a `g_idx`",
        "'Per-block zero point for dequantization. It can be either packed or unpacked.'",
        groups_with_packed_zeros,
        lambda: grouped(4, np.array([[0x21]], np.uint8)),
        DOMAIN,
    ),
    Fault(
        "onnxruntime",
        "GatherBlockQuantized",
        "refuses uint8 data that is quantized along another axis than the last one",
        "'For uint8 data, the gather_axis must be 0'; of `quantize_axis` it says only that 'for "
        "bits < 8 [...] gather_axis and quantize_axis must differ.'",
        not_the_last_axis,
        lambda: example(
            "GatherBlockQuantized",
            1,
            np.ones((1, 16, 2), np.uint8),
            np.array([0], np.int64),
            ones(1, 1, 2),
            domain=DOMAIN,
            ranks={"y0": 3},
            bits=8,
            block_size=16,
            quantize_axis=1,
        ),
        DOMAIN,
    ),
]
