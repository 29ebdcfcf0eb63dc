"""Faults in optimizers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from onnxla.testing.case import Case
from onnxla.testing.fault_records import Fault
from onnxla.testing.known_faults.elementary import underflows
from onnxla.testing.predicates import dtype, operands
from onnxla.testing.strategies.preview_training import DOMAIN
from onnxla.testing.use import example

TEXT = "The outputs have T3, the type of the tensors to be optimized."


# Whether tensors are in single precision.
single = dtype(np.float32, of=2)
# Whether only the rate is in double precision.
rate_is_double = single & dtype(np.float64)


def step(op: str, groups: int, rate: Any, number: float = 1.0, **attributes: Any) -> Case:
    """A step for one tensor, whose elements, gradients and states are a number."""
    tensors = [np.full(2, number, np.float32)] * groups
    types = {f"y{i}": "tensor(float)" for i in range(groups - 1)}
    return example(
        op,
        1,
        np.array(0.5, rate),
        np.array(1),
        *tensors,
        domain=DOMAIN,
        outputs=groups - 1,
        types=types,
        ranks=dict.fromkeys(types, 1),
        **attributes,
    )


MOMENTUM: dict[str, Any] = {"alpha": 0.5, "beta": 0.5, "mode": "standard", "norm_coefficient": 0.0}


FAULTS = [
    replace(
        underflows("Momentum", 1),
        example=lambda: step("Momentum", 3, np.float32, 1.1754944e-38, **MOMENTUM),
        domain=DOMAIN,
    ),
    Fault(
        "reference",
        "Adam",
        "gives float64 for a tensor of float32",
        TEXT,
        single & (operands(6) & ~operands(7)),
        lambda: step("Adam", 4, np.float32),
        DOMAIN,
    ),
    Fault(
        "reference",
        "Adam",
        "gives float32 for several tensors of float64",
        TEXT,
        ~single & operands(7),
        lambda: example(
            "Adam",
            1,
            np.array(0.5, np.float32),
            np.array(1),
            *[np.ones(2)] * 8,
            domain=DOMAIN,
            outputs=6,
            types={f"y{i}": "tensor(double)" for i in range(6)},
            ranks={f"y{i}": 1 for i in range(6)},
        ),
        DOMAIN,
    ),
    Fault(
        "reference",
        "Momentum",
        "gives float64 for tensors of float32, where the rate is float64",
        TEXT,
        rate_is_double,
        lambda: step("Momentum", 3, np.float64, **MOMENTUM),
        DOMAIN,
    ),
]
