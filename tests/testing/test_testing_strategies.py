"""Every operator has a strategy, whose cases are valid; on them onnxla agrees with the others.

A few cases of each here. `benchmarks/strategies.py` measures many.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import onnx
import pytest

from onnxla.ops import rows
from onnxla.testing import Case, Fault, Onnxla, check, compare, faults, operators
from onnxla.testing.fault_records import fault_of
from onnxla.testing.outcomes import WRONG
from onnxla.testing.properties import PROPERTIES, of_onnxla
from onnxla.testing.pytest import for_operators
from onnxla.testing.runtime_properties import (
    CONVERTER,
    INFERENCE,
    converter_keeps_the_answer,
    outputs_are_as_inferred,
)
from onnxla.testing.traceable import PropertyViolated
from support.mutants import MUTANTS, Mutant, caught_after

REGRESSIONS = sorted((Path(__file__).parent / "regressions").glob("*.onnx"))


def test_every_operator_has_a_strategy() -> None:
    # Others' tests register operators of their own.
    every = {
        (operator.domain, operator.name)
        for _, operator in rows()
        if operator.function.__module__.startswith("onnxla.ops.")
    }
    assert every - operators().keys() == set()


class Once:
    """onnxla, which computes the outputs of a case once for both comparisons."""

    name = "onnxla"

    def __init__(self) -> None:
        self.case: tuple[bytes, Any] | None = None

    def run(self, model: bytes, inputs: Any) -> list[Any]:
        if self.case is None or self.case[0] is not model or self.case[1] is not inputs:
            self.outputs = Onnxla().run(model, dict(inputs))
            self.case = model, inputs
        return self.outputs


ONCE = Once()


def refusals() -> dict[tuple[str, str, int], str]:
    """Schema versions whose cases onnx refuses, and why, though they are uses of the schema."""
    every = onnx.defs.get_all_schemas_with_history()
    found = {
        (s.domain, s.name, s.since_version): "the checker refuses what is deprecated"
        for s in every
        if s.deprecated
    }
    # ONNX Runtime's optimizer writes this one as ONNX's, which it is not.
    found["", "SimplifiedLayerNormalization", 1] = "there is no schema"
    return found


REFUSED = refusals()


def is_misjudged(case: Case) -> bool:
    """Whether onnx's shape inference is known to be wrong of it."""
    return fault_of(case, [INFERENCE]) is not None


def assert_valid(case: Case) -> None:
    onnx.checker.check_model(case.model, full_check=True)
    onnx.shape_inference.infer_shapes(case.proto, check_type=True, strict_mode=True)


def assert_as_inferred(case: Case) -> None:
    assert_valid(case)
    of_onnxla(functools.partial(outputs_are_as_inferred, faults=[]))(case)


@pytest.mark.one_in(4)
@for_operators(examples=20)
def test_cases_are_valid(case: Case) -> None:
    if (case.domain, case.op_type, case.version) not in REFUSED and not is_misjudged(case):
        assert_valid(case)


@pytest.mark.one_in(8)
@for_operators(examples=6)
def test_equals_the_others(case: Case) -> None:
    check(case, ONCE, "reference")
    check(case, ONCE, "onnxruntime")


@pytest.mark.one_in(24)
@pytest.mark.quickly
@for_operators(examples=2)
def test_properties(case: Case) -> None:
    for holds in PROPERTIES:
        holds(case)


@pytest.mark.one_in(8)
@pytest.mark.parametrize("path", REGRESSIONS, ids=lambda path: path.stem)
def test_cases_that_once_failed(path: Path) -> None:
    case = Case.load(path)
    outcomes = [compare(case, "onnxla", other) for other in ("reference", "onnxruntime")]
    assert not any(outcome.kind in WRONG for outcome in outcomes), outcomes
    for holds in PROPERTIES:
        holds(case)


@pytest.mark.parametrize(
    "fault", [pytest.param(fault, id=f"{i}-{fault.op_type}") for i, fault in enumerate(faults())]
)
def test_faults_on_record_are_there_still(fault: Fault) -> None:
    case = fault.example()
    assert fault.when(case)
    advice = "if it is mended, its record says up to which version it holds"
    assert shows(case, fault.runtime) is fault.applies, advice


def shows(case: Case, runtime: str) -> bool:
    """Whether a runtime, or onnxla against some runtime, is wrong of a case."""
    try:
        if runtime == CONVERTER:
            of_onnxla(functools.partial(converter_keeps_the_answer, faults=[]))(case)
            return False
        if runtime == INFERENCE:
            assert_as_inferred(case)
            return False
    except (PropertyViolated, onnx.shape_inference.InferenceError):
        return True
    others = ("reference", "onnxruntime") if runtime == "onnxla" else (runtime,)
    # Several tries, since memory that was not written may hold the answer.
    pairs = ((other, attempt) for attempt in range(10) for other in others)
    kinds = (compare(case, "onnxla", other, faults=[]).kind for other, _ in pairs)
    return any(kind in {"disagreed", "failed", "not judged"} for kind in kinds)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: f"{m.op_type}-{m.what}")
def test_mutants_are_found(mutant: Mutant) -> None:
    assert caught_after(mutant) is not None
