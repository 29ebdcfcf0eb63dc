"""Properties of other runtimes, by their own answers."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import onnx
import pytest

from onnxla.testing import Isolated, Reference, example, fuzz
from onnxla.testing.properties import judge
from support.small_runtimes import Breaking

counter = itertools.count()


class Forgetful(Reference):
    """Gives something else each time."""

    def run(self, model: bytes, inputs: Any) -> list[Any]:
        return [y + next(counter) for y in super().run(model, inputs)]


class Folding(Reference):
    """Takes stored operands for zeros."""

    def run(self, model: bytes, inputs: Any) -> list[Any]:
        proto = onnx.load_from_string(model)
        for tensor in proto.graph.initializer:
            tensor.raw_data = bytes(len(tensor.raw_data))
        return super().run(proto.SerializeToString(), inputs)


class Double(Reference):
    """Gives doubles."""

    def run(self, model: bytes, inputs: Any) -> list[Any]:
        return [y.astype(np.float64) for y in super().run(model, inputs)]


class OfOldOpsets(Reference):
    """Knows no newer opset, and computes otherwise in one."""

    def run(self, model: bytes, inputs: Any) -> list[Any]:
        newer = onnx.load_from_string(model).opset_import[0].version > 20
        return [y + newer for y in super().run(model, inputs)]


class OfTwo(Reference):
    """Computes two rows of a batch, and repeats them."""

    def run(self, model: bytes, inputs: Any) -> list[Any]:
        return [y[np.arange(len(y)) % 2] for y in super().run(model, inputs)]


@pytest.mark.parametrize(
    ("runtime", "operator", "detail"),
    [
        (Forgetful, "Add", "the_answer_is_repeated: a second run differs: output 'y0': "),
        (Folding, "Add", "stored_operands_are_as_fed: stored operands differ: output 'y0': "),
        (Double, "Add", "outputs_are_as_inferred: 'y0' is float64, stated tensor(float)"),
        (OfOldOpsets, "Add", "converter_keeps_the_answer: at opset "),
        (OfTwo, "MaxPool", "batch_entries_are_independent: a batch twice as large differs: "),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_runtime_that_violates_a_property(runtime: Any, operator: str, detail: str) -> None:
    tested = runtime()
    tested.name = "mine"
    found = fuzz(operator, tested, "properties", examples=40, dtypes=["float32"], most=2)
    assert any(detail in finding.detail for finding in found.findings)


@pytest.mark.parametrize("operator", ["Add", "Conv", "Resize", "Softmax", "Optional"])
def test_the_reference_keeps_them(operator: str) -> None:
    found = fuzz(operator, "reference", "properties", examples=20, seed=3)
    assert not found.findings
    assert found.counts["agreed"] > 4


def test_what_a_runtime_does_not_compute() -> None:
    isolated = Isolated(Breaking(), timeout=10.0)
    numbers = {1: "failed", 3: "unsupported", 4: "failed"}
    for number, kind in numbers.items():
        case = example("Neg", 13, np.array([number], np.float32))
        outcome = judge(case, isolated)
        assert outcome.kind == kind
        assert outcome.crashed == (number == 1)


def test_outputs_that_are_missing() -> None:
    class Short(Reference):
        def run(self, model: bytes, inputs: Any) -> list[Any]:
            return super().run(model, inputs)[:1]

    tested = Short()
    tested.name = "short"
    case = example("TopK", 11, np.ones(3, np.float32), np.array([2]), outputs=2, ranks={"y1": 1})
    assert "1 outputs, not 2" in judge(case, tested).detail


def test_a_fault_on_record_counts_for_nothing() -> None:
    """The reference takes the softmax over one axis where older opsets say several."""
    case = example("Softmax", 11, np.ones((2, 2, 2), np.float32), axis=1)
    outcome = judge(case, "reference")
    assert outcome.kind == "known fault"
    assert "converter_keeps_the_answer" in outcome.detail
