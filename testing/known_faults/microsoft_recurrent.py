"""Faults in attention by a recurrent state in ONNX Runtime's domain."""

from __future__ import annotations

import numpy as np

from onnxla.testing.case import Case
from onnxla.testing.fault_records import Fault
from onnxla.testing.predicates import When
from onnxla.testing.use import example

DOMAIN = "com.microsoft"


@When
def state_of_another_type(case: Case) -> bool:
    """Whether the state has another type than the query."""
    past = [*case.operands, None][3]
    return past is not None and past.dtype != case.operands[0].dtype


FAULTS = [
    Fault(
        "onnxruntime",
        "LinearAttention",
        "fails if `past_state` has another type than the query",
        "The types of `query` (T) and of `past_state` (S) are different variables: each may be "
        "float, float16 or bfloat16.",
        state_of_another_type,
        lambda: example(
            "LinearAttention",
            1,
            *[np.ones((1, 1, 1), np.float32)] * 3,
            np.ones((1, 1, 1, 1), np.float16),
            domain=DOMAIN,
            outputs=2,
            ranks={"y0": 3, "y1": 4},
            q_num_heads=1,
            kv_num_heads=1,
            update_rule="linear",
        ),
        DOMAIN,
    )
]
