"""Faults in optional values."""

from __future__ import annotations

import numpy as np

from onnxla.testing.fault_records import Fault
from onnxla.testing.predicates import always
from onnxla.testing.use import example

FAULTS = [
    Fault(
        "reference",
        "Optional",
        "returns a sequence of one element, the value or nothing",
        "'Constructs an optional-type value containing either an empty optional of a certain type "
        "specified by the attribute, or a non-empty value containing the input element.'",
        always,
        lambda: example(
            "Optional", 15, np.ones(1, np.float32), types={"y0": "optional(tensor(float))"}
        ),
    ),
]
