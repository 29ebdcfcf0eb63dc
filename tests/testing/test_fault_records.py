"""Faults on record: predicates, versions, and what a report says of those that do not hold."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest

from onnxla.testing import Case, Fault, Typed, compare, example, faults, fuzz
from onnxla.testing.fault_records import fault_of
from onnxla.testing.predicates import (
    When,
    always,
    attribute,
    before,
    dtype,
    empty,
    enabled,
    has,
    integer,
    kind,
    operand,
    operands,
    output,
    outputs,
    rank,
    size,
    some,
    spatial,
    stored,
    version,
)
from onnxla.testing.reports.report import FuzzReport
from onnxla.testing.use import Use, case_of
from onnxla.testing.version_ranges import within
from support.small_runtimes import Doubling

ONE = np.ones(2, np.float32)
HELD = case_of(Use("Add", [ONE, ONE]), 14, lambda position, name: name == "B")
GEMM = example("Gemm", 13, np.ones((2, 3)), np.ones((3, 1)), alpha=0.5, transA=0)
DROPOUT = example("Dropout", 13, ONE, None, np.array(True), outputs=2)
CONV = example("Conv", 22, np.zeros((0, 1, 3), np.float32), np.ones((1, 1, 2), np.float32))
SEQUENCE = example("SequenceLength", 11, Typed("seq(tensor(float))", []))
NARROW = example("DequantizeLinear", 21, np.array([1], ml_dtypes.int4), np.float32(1))


@pytest.mark.parametrize(
    ("predicate", "case", "holds"),
    [
        (always, GEMM, True),
        (version(11, 13), GEMM, True),
        (version(11), GEMM, False),
        (before(14), GEMM, True),
        (before(13), GEMM, False),
        (has("alpha"), GEMM, True),
        (has("beta"), GEMM, False),
        (attribute("alpha", 1.0, 0.5), GEMM, True),
        (attribute("alpha", 1.0), GEMM, False),
        (attribute("beta", 1.0), GEMM, False),
        (attribute("beta", 1.0, default=1.0), GEMM, True),
        (enabled("alpha"), GEMM, True),
        (enabled("transA"), GEMM, False),
        (enabled("transB"), GEMM, False),
        (outputs(1), GEMM, True),
        (outputs(2), GEMM, False),
        (output(1), DROPOUT, True),
        (output(2), DROPOUT, False),
        (operands(3), DROPOUT, True),
        (operands(4), DROPOUT, False),
        (operand(1), DROPOUT, False),
        (operand(2), DROPOUT, True),
        (operand(3), DROPOUT, False),
        (operand(2, np.logical_not), DROPOUT, False),
        (stored(0), HELD, False),
        (stored(1), HELD, True),
        (stored(2), HELD, False),
        (rank(2), GEMM, True),
        (rank(0, 1), GEMM, False),
        (rank(0, of=2), DROPOUT, True),
        (rank(0, of=1), DROPOUT, False),  # it is absent
        (spatial(1), CONV, True),
        (spatial(2), CONV, False),
        (size(1, 3), GEMM, True),
        (size(-1, 3, of=1), GEMM, False),
        (empty(), CONV, True),
        (empty(of=1), CONV, False),
        (dtype(np.float64), GEMM, True),
        (dtype(np.float32, bool), GEMM, False),
        (dtype(np.float32, bool, of=2), DROPOUT, True),
        (kind("f"), GEMM, True),
        (kind("iu"), GEMM, False),
        (integer(), NARROW, True),
        (integer(of=1), NARROW, False),
        (some(np.isnan), GEMM, False),
        (some(lambda x: x == 1), GEMM, True),
        (some(np.isnan, of=1), DROPOUT, False),
        (operand(0, lambda sequence: not sequence), SEQUENCE, True),
        (before(14) & rank(2), GEMM, True),
        (before(14) & rank(1), GEMM, False),
        (before(13) | rank(2), GEMM, True),
        (before(13) | rank(1), GEMM, False),
        (~before(13), GEMM, True),
    ],
)
def test_predicates(predicate: When, case: Case, holds: bool) -> None:
    assert predicate(case) is holds


def test_the_second_predicate_is_asked_where_the_first_does_not_decide() -> None:
    @When
    def fails(case: Case) -> bool:
        """A predicate that has no answer."""
        raise AssertionError

    assert not (rank(1) & fails)(GEMM)
    assert (rank(2) | fails)(GEMM)
    assert fails.__doc__ == "A predicate that has no answer."


@pytest.mark.parametrize(
    ("number", "limits", "inside"),
    [
        ("1.32.0", ">=1.20,<1.33", True),
        ("1.33.0", ">=1.20,<1.33", False),
        ("1.19.2", ">=1.20, <1.33", False),
        ("1.20", ">=1.20.0", True),
        ("1.9", ">=1.20", False),
        ("1.33.0rc1", "<1.33", False),
        ("0.12.0.dev1+g12", ">=0.12", True),
        ("7", "", True),
    ],
)
def test_ranges_of_versions(number: str, limits: str, inside: bool) -> None:
    assert within(number, limits) is inside


def fault(versions: str, when: Callable[[Case], Any] = always) -> Fault:
    case = example("Neg", 13, ONE)
    return Fault(
        "doubling", "Neg", "doubles", "The text says -x.", when, lambda: case, "", versions
    )


@pytest.mark.parametrize("versions", ["1.20", ">1", ">=1.20;<2", ">=1.20,<x"])
def test_what_is_no_range_of_versions_is_refused(versions: str) -> None:
    with pytest.raises(ValueError, match="is no limit of versions"):
        fault(versions)


def test_a_fault_of_other_versions_is_not_applied_and_the_report_says_so() -> None:
    case = example("Neg", 13, ONE)
    # Of the runtime itself no version is known.
    for versions in ("", "onnx>=1.0,<99", ">=99"):
        assert compare(case, Doubling(), faults=[fault(versions)]).kind == "known fault"
    later = fault("onnx>=99")
    outcome = compare(case, Doubling(), faults=[later])
    assert (outcome.kind, outcome.fault, outcome.not_applied) == ("disagreed", None, later)
    assert fault_of(case, ["doubling"], [later]) is None
    elsewhere = dataclasses.replace(fault(""), machine=lambda: False)
    assert compare(case, Doubling(), faults=[elsewhere]).not_applied is elsewhere
    assert elsewhere.elsewhere == "of other machines"
    # Another one that holds is applied.
    both = [later, fault("onnx<99")]
    assert compare(case, Doubling(), faults=both).fault is both[1]

    result = fuzz("Neg", Doubling(), examples=5, dtypes=["float32"], faults=[later])
    report = FuzzReport("doubling", ("reference",), [result])
    text = f"doubling: Neg doubles (of onnx>=99, not of onnx {onnx.__version__})"
    assert report.not_applied.keys() == {text}
    assert f" {text}" in str(report)
    assert "not applied</h2><ul><li>" in report._repr_html_()
    assert "doubling: Neg doubles (of onnx&gt;=99" in report._repr_html_()
    assert "not applied" not in str(FuzzReport("doubling", ("reference",), []))


def test_a_fault_of_what_is_not_finite_leaves_the_rest_to_be_compared() -> None:
    limited = dataclasses.replace(fault(""), nonfinite=True)
    most = np.finfo(np.float32).max  # twice of which is infinite
    case = example("Neg", 13, np.array([0, most], np.float32))
    assert compare(case, Doubling(), faults=[limited]).fault is limited
    case = example("Neg", 13, np.array([1, np.inf], np.float32))
    outcome = compare(case, Doubling(), faults=[limited])
    assert (outcome.kind, outcome.fault) == ("disagreed", None)
    # Nor does it excuse that there is no answer, or put off a judge.
    case = example("Neg", 13, ONE)
    assert compare(case, "reference", [Doubling()], [limited]).judges == ("doubling",)
    assert compare(case, Doubling(), ["reference"], [limited]).kind == "disagreed"


def test_every_fault_of_another_runtime_has_versions() -> None:
    assert {fault.runtime for fault in faults() if not fault.versions} == {"onnxla"}
    for record in faults():
        assert record.package in {"onnx", "onnxruntime", "onnxla", "jax"}


def test_a_graph_meets_no_record_of_its_last_node() -> None:
    case = example("Neg", 13, ONE)
    model = onnx.load_from_string(case.model)
    model.graph.node.insert(0, onnx.helper.make_node("Abs", ["X"], ["a"]))
    model.graph.node[1].input[0] = "a"
    record = dataclasses.replace(faults()[0], op_type="Neg", domain="", when=always)
    assert fault_of(case, [record.runtime], [record])
    assert not fault_of(Case(model.SerializeToString(), case.inputs), [record.runtime], [record])
