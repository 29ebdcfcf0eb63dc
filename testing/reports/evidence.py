"""What a finding rests on: the values expected, who says so, and a script that shows it."""

from __future__ import annotations

import functools
from contextlib import suppress
from typing import Any

from onnxla.testing import gradients
from onnxla.testing.case import Case
from onnxla.testing.findings import Finding
from onnxla.testing.outcomes import runtime_of
from onnxla.testing.script import gradient_script


@functools.lru_cache(maxsize=1024)
def expected_values(case: Case, judges: tuple[str, ...]) -> list[Any] | None:
    """The outputs that are expected of a case; None if no judge is found by its name.

    Args:
        case: The case of a finding.
        judges: Names of those whose answer is the one expected.
    """
    for name in judges:
        with suppress(Exception):  # a judge from elsewhere, or one that is not installed here
            return list(runtime_of(name).run(case.model, case.inputs))
    return None


def expected_gradients(finding: Finding) -> gradients.Gradients | None:
    """The gradients that are expected, if the finding is of these."""
    return gradients.gradients_of(finding.case) if finding.judges == gradients.JUDGES else None


def script_of(finding: Finding) -> str:
    """The finding's case as a script, with the values expected where they are known."""
    case, judges = finding.case, finding.judges
    if (slopes := expected_gradients(finding)) is not None:
        rows = {
            name: (slopes.rounded(name), slopes.tolerance(case, name)) for name in slopes.expected
        }
        return gradient_script(case.proto, slopes.inputs, slopes.cotangents, rows, said_by(finding))
    return case.script(expected_values(case, judges), said_by(finding))


def reproducer(finding: Finding) -> str:
    """The case in one line, and as a script: a short one, unless it is of gradients."""
    if finding.judges != gradients.JUDGES:
        return finding.reproducer
    return f"{finding.case!r}\n\n{script_of(finding)}"


def said_by(finding: Finding) -> str:
    """Who says what is expected, and who confirms it; empty for a property of onnxla itself."""
    if finding.judges == gradients.JUDGES:
        return "as onnxla differentiates in double precision"
    first, *others = finding.judges or ("",)
    if not others:
        return f"as {first} says" if first else ""
    confirm = "confirms" if len(others) == 1 else "confirm"
    return f"as {first} says; {' and '.join(others)} {confirm} it"
