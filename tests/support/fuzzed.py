"""What came of cases that a test chooses, as if they had been drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx

from onnxla.testing import Case, Fuzzed, NotSupported, Reference, compare
from onnxla.testing.findings import Finding, signature_of
from onnxla.testing.outcomes import WRONG


class Odd:
    """Doubles, refuses, or raises an error that is long and holds anything, as the operator says.

    `Neg` and `Add` are doubled, `Abs` is not supported, `Not` fails.
    """

    name = "odd"
    version = "0.3"

    def run(self, model: bytes, inputs: Any) -> list[Any]:
        name = onnx.load_from_string(model).graph.node[0].op_type
        if name == "Abs":
            raise NotSupported(f"no kernel for {[*inputs]} of {len(model)} bytes")
        if name == "Not":
            raise ValueError("\x1b[2J\x00 ``` <b>&" + "x" * 900 + " since \ufffe is the cause")
        factor = 2 if name in ("Neg", "Add") else 1
        return [np.asarray(y * factor, y.dtype) for y in Reference().run(model, inputs)]


class Silent:
    """A judge that has no answer."""

    name = "silent"

    def run(self, model: bytes, inputs: Any) -> list[Any]:
        raise NotSupported(f"{len(model)} bytes are too many; silent: 'y' is")


def fuzzed(cases: Sequence[Case], against: Any = ("onnxla", "reference")) -> Fuzzed:
    """What comes of cases of one operator in `Odd`; each failure is a finding."""
    result = Fuzzed(cases[0].op_type, seconds=0.25)
    for case in cases:
        outcome = compare(case, Odd(), against, faults=[])
        result.add(outcome, case)
        if outcome.kind in WRONG:
            finding = Finding(signature_of(case, outcome), case, outcome.detail, outcome.judges, 1)
            result.findings.append(finding)
    return result
