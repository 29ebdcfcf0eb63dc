"""Faults in products of 8 bits that only some processors have.

Where a processor has no VNNI, ONNX Runtime multiplies uint8 by int8 with an instruction that adds
two products at a time, in 16 bits, and saturates: 255 * 127 + 255 * 127 is 32767.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from onnxla.peers.onnx_runtime import OnnxRuntime
from onnxla.testing.case import Case
from onnxla.testing.fault_records import Fault
from onnxla.testing.predicates import When
from onnxla.testing.use import example

TEXT = (
    "'The production MUST never overflow. The accumulation may overflow if and only if in 32 bits.'"
)
SILENT = "Nothing lets it lose bits of what the other integer products of ONNX keep in 32."
ONE, ZERO = np.float32(1), np.uint8(0)
LARGE, FACTORS = np.full((2, 2), 255, np.uint8), np.full((2, 2), 127, np.int8)
REALS = np.array([[0, 1], [1, 1]], np.float32)


@functools.cache
def saturates() -> bool:
    """Whether ONNX Runtime does on this machine's processor."""
    case = example("MatMulInteger", 10, LARGE, FACTORS)
    return bool(OnnxRuntime().run(case.model, case.inputs)[0].max() < 2 * 255 * 127)


def exceeds(unsigned: int, *signed: int) -> When:
    """Whether a sum of two products of a uint8 operand and an int8 one may leave 16 bits.

    An operand in floating point is quantized to the whole range of uint8.
    """

    def check(case: Case) -> bool:
        x = case.operands[unsigned]
        factors = [w for at in signed if (w := case.operands[at]).dtype == np.int8]
        if x.dtype == np.int8:
            return False
        most = x.max(initial=0) if x.dtype == np.uint8 else 255
        return any(2 * int(most) * np.abs(w.astype(int)).max(initial=0) > 32767 for w in factors)

    return When(check)


def saturation(op_type: str, text: str, when: When, *use: Any, **details: Any) -> Fault:
    """The fault of one operator."""
    return Fault(
        "onnxruntime",
        op_type,
        "saturates sums of two products of uint8 and int8 at 16 bits, without VNNI",
        text,
        when,
        functools.partial(example, op_type, *use, **details),
        domain=details.get("domain", ""),
        machine=saturates,
    )


MICROSOFT: dict[str, Any] = {"domain": "com.microsoft"}
GATES = np.full((1, 2, 4), 127, np.int8)

FAULTS = [
    saturation("MatMulInteger", TEXT, exceeds(0, 1), 10, LARGE, FACTORS),
    # The filter is the first factor of its product.
    saturation(
        "ConvInteger",
        TEXT,
        exceeds(1, 0),
        10,
        FACTORS.reshape(1, 2, 2, 1),
        LARGE.reshape(2, 2, 1, 1),
    ),
    saturation(
        "QLinearMatMul",
        "'Production must never overflow, and accumulation may overflow if and only if in 32 "
        "bits.'",
        exceeds(0, 3),
        *(10, LARGE, ONE, ZERO, FACTORS, ONE, np.int8(0), np.float32(1024), ZERO),
    ),
    saturation(
        "QLinearConv",
        SILENT,
        exceeds(0, 3),
        *(10, LARGE.reshape(1, 2, 2, 1), ONE, ZERO),
        *(FACTORS.reshape(2, 2, 1, 1), ONE, np.int8(0), np.float32(1024), ZERO),
    ),
    saturation(
        "QLinearConv",
        SILENT,
        exceeds(0, 3),
        *(1, LARGE.reshape(1, 2, 2, 1), ONE, ZERO),
        *(FACTORS.reshape(2, 2, 1, 1), ONE, np.int8(0), np.float32(1024), ZERO),
        **MICROSOFT,
        ranks={"y0": 4},
    ),
    saturation(
        "MatMulIntegerToFloat",
        SILENT,
        exceeds(0, 1),
        *(1, LARGE, FACTORS, ONE, ONE),
        **MICROSOFT,
        ranks={"y0": 2},
    ),
    saturation(
        "QGemm",
        SILENT,
        exceeds(0, 3),
        *(1, LARGE, ONE, ZERO, FACTORS, ONE, np.int8(0)),
        **MICROSOFT,
        ranks={"y0": 2},
        types={"y0": "tensor(float)"},
    ),
    saturation(
        "DynamicQuantizeMatMul",
        SILENT,
        exceeds(0, 1),
        *(1, REALS, FACTORS, ONE),
        **MICROSOFT,
        ranks={"y0": 2},
    ),
    saturation(
        "DynamicQuantizeLSTM",
        SILENT,
        exceeds(0, 1, 2),
        *(1, REALS.reshape(2, 1, 2), GATES, GATES[:, :1], None, None, None, None, None),
        *(np.full(1, 0.01, np.float32), np.zeros(1, np.int8)),
        *(np.full(1, 0.01, np.float32), np.zeros(1, np.int8)),
        **MICROSOFT,
        hidden_size=1,
        ranks={"y0": 4},
    ),
    saturation(
        "QAttention",
        SILENT,
        exceeds(0, 1),
        *(1, LARGE.reshape(1, 2, 2), np.full((2, 6), 127, np.int8), np.zeros(6, np.float32)),
        *(np.float32(1 / 255), np.float32(1 / 127)),
        **MICROSOFT,
        num_heads=1,
        ranks={"y0": 3},
    ),
]
