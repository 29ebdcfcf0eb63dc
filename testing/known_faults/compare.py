"""Faults in comparison and logic."""

from __future__ import annotations

import numpy as np

from onnxla.testing.known_faults.arithmetic import ignores_axis

FAULTS = [
    *(ignores_axis(op, 1, np.float32) for op in ("Greater", "Less")),
    ignores_axis("Equal", 1, np.int32),
    *(ignores_axis(op, 1, bool) for op in ("And", "Or", "Xor")),
]
