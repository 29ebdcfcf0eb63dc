"""Faults in GroupQueryAttention."""

from __future__ import annotations

import numpy as np

from onnxla.testing.arrays import ones
from onnxla.testing.case import Case
from onnxla.testing.fault_records import Fault
from onnxla.testing.predicates import When, operand
from onnxla.testing.use import example

DOMAIN = "com.microsoft"


# Whether queries and keys are normalized.
normalized = operand(14)


@When
def different_quantization(case: Case) -> bool:
    """Whether keys and values are quantized in different ways."""
    return bool(case.attributes.get("k_quant_type") != case.attributes.get("v_quant_type"))


FAULTS = [
    Fault(
        "onnxruntime",
        "GroupQueryAttention",
        "does not implement `q_norm_weight` on a CPU, and says so when it runs",
        "'Currently honored by the CUDA and native WebGPU execution providers; JSEP WebGPU/JS and "
        "other EPs must reject the node when this input is set.'",
        normalized,
        lambda: example(
            "GroupQueryAttention",
            1,
            *[ones(1, 1, 8)] * 3,
            None,
            None,
            np.array([0], np.int32),
            np.asarray(1, np.int32),
            *[None] * 7,
            ones(8),
            ones(8),
            domain=DOMAIN,
            types=dict.fromkeys(("present_key", "present_value"), "tensor(float)"),
            ranks={"y0": 3},
            num_heads=1,
            kv_num_heads=1,
        ),
        DOMAIN,
    ),
    Fault(
        "onnxruntime",
        "GroupQueryAttention",
        "refuses a `k_quant_type` other than `v_quant_type`",
        "'k_quant_type: Quantization type for K cache. One of NONE, PER_TENSOR, PER_CHANNEL'; "
        "the same of V; nothing says that they are equal.",
        different_quantization,
        lambda: example(
            "GroupQueryAttention",
            1,
            *[ones(1, 1, 8)] * 3,
            *[np.ones((1, 1, 1, 8), np.int8)] * 2,
            np.array([1], np.int32),
            np.asarray(2, np.int32),
            *[None] * 5,
            ones(1),
            ones(1, 1, 1, 8),
            domain=DOMAIN,
            outputs=3,
            ranks={"y0": 3, "y1": 4, "y2": 4},
            num_heads=1,
            kv_num_heads=1,
            kv_cache_bit_width=8,
            k_quant_type="PER_TENSOR",
            v_quant_type="PER_CHANNEL",
        ),
        DOMAIN,
    ),
]
