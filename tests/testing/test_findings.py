"""Judges decide what is expected; failures are told by cause, each by its simplest case."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
import pytest

from onnxla.testing import Reference, compare, example, fuzz
from onnxla.testing.findings import signature_of
from onnxla.testing.fuzzing import CRASHES, Fuzzed
from onnxla.testing.outcomes import Outcome, judges_of
from support.small_runtimes import Doubling

Fault = Callable[[onnx.NodeProto, Mapping[str, Any], list[Any]], list[Any]]


class Faulty:
    """The reference evaluator with faults planted in it."""

    name = "faulty"

    def __init__(self, *faults: Fault) -> None:
        self.faults = faults

    def run(self, model: bytes, inputs: Mapping[str, Any]) -> list[Any]:
        outputs = Reference().run(model, inputs)
        for fault in self.faults:
            outputs = fault(onnx.load_from_string(model).graph.node[0], inputs, outputs)
        return outputs


def empty_fails(node: onnx.NodeProto, inputs: Any, outputs: list[Any]) -> list[Any]:
    """No empty tensors."""
    if any(np.size(x) == 0 for x in outputs):
        raise ValueError(f"shape {np.shape(outputs[0])} is empty")
    return outputs


def axis_is_wrong(node: onnx.NodeProto, inputs: Any, outputs: list[Any]) -> list[Any]:
    """Wrong where there is a negative axis."""
    negative = any(a.name == "axis" and a.i < 0 for a in node.attribute)
    return [y + 1 if negative else y for y in outputs]


def keepdims_is_ignored(node: onnx.NodeProto, inputs: Any, outputs: list[Any]) -> list[Any]:
    """Axes are lost where there is an attribute that says so."""
    keeps = any(a.name == "keepdims" and a.i for a in node.attribute)
    return [np.squeeze(y) if keeps else y for y in outputs]


def half_is_wide(node: onnx.NodeProto, inputs: Any, outputs: list[Any]) -> list[Any]:
    """Half precision comes out as single."""
    return [np.asarray(y, np.float32) if y.dtype == np.float16 else y for y in outputs]


def unsigned_is_zero(node: onnx.NodeProto, inputs: Any, outputs: list[Any]) -> list[Any]:
    """Nothing but zeros from unsigned integers."""
    return [np.zeros_like(y) if y.dtype.kind == "u" else y for y in outputs]


# Two faults at once, and a feature that tells each from the other.
PAIRS: list[tuple[str, Fault, str, Fault, str]] = [
    ("Softmax", axis_is_wrong, "axis<0", empty_fails, "an empty axis"),
    ("LogSoftmax", axis_is_wrong, "axis<0", half_is_wide, "T float16"),
    ("ReduceMax", keepdims_is_ignored, "keepdims", unsigned_is_zero, "T unsigned"),
    ("Add", half_is_wide, "T float16", unsigned_is_zero, "T unsigned"),
    ("Concat", axis_is_wrong, "axis<0", half_is_wide, "T float16"),
    ("ArgMax", axis_is_wrong, "axis<0", empty_fails, "an empty axis"),
]


@pytest.mark.parametrize(
    ("op_type", "first", "a", "second", "b"),
    [pytest.param(*pair, id=f"{pair[0]}-{pair[1].__name__}-{pair[3].__name__}") for pair in PAIRS],
)
def test_one_fault_does_not_hide_another(
    op_type: str, first: Fault, a: str, second: Fault, b: str
) -> None:
    result = fuzz(op_type, Faulty(first, second), "reference", examples=100)
    features = [finding.signature.features for finding in result.findings]
    assert any(a in each and b not in each for each in features), result.findings
    assert any(b in each and a not in each for each in features), result.findings
    assert sum(each.count for each in result.findings) + result.further == (
        result.counts["disagreed"] + result.counts["failed"]
    )


def test_findings_are_what_their_simplest_case_needs() -> None:
    result = fuzz("Softmax", Faulty(axis_is_wrong), "reference", examples=100, dtypes=["float32"])
    (finding,) = result.findings
    assert finding.case.attributes["axis"] < 0
    assert finding.signature.features == {"axis", "axis<0", "axis≠0", "operand input"}
    assert finding.signature.place == "output '…': a value, not a value"


def test_findings_survive_being_written() -> None:
    result = fuzz("Neg", Faulty(half_is_wide), "reference", examples=60)
    again = Fuzzed.of_record(json.loads(json.dumps(result.record())))
    assert again.record() == result.record()
    assert again.findings[0].case.model == result.findings[0].case.model
    assert again.findings[0].signature == result.findings[0].signature


def test_cases_are_different_ones() -> None:
    seen: list[bytes] = []

    class Seen:
        name = "seen"

        def run(self, model: bytes, inputs: Mapping[str, Any]) -> list[Any]:
            seen.append(model + b"".join(np.asarray(x).tobytes() for x in inputs.values()))
            return Reference().run(model, inputs)

    result = fuzz("Not", Seen(), "reference", examples=60)
    assert len(seen) == len({*seen}) == result.counts.total() == 60


def test_a_runtime_that_keeps_crashing_is_given_up() -> None:
    class Crashing:
        name = "crashing"

        def run(self, model: bytes, inputs: Any) -> list[Any]:
            from onnxla.testing import RuntimeCrashed

            raise RuntimeCrashed("SIGSEGV")

    result = fuzz("Neg", Crashing(), "reference", examples=50)
    assert result.counts == {"failed": CRASHES}
    assert result.cut == f"{CRASHES} cases in a row took the runtime down: crashing: " + (
        "RuntimeCrashed: SIGSEGV"
    )
    assert result.findings


class Saying:
    """Says always the same."""

    def __init__(self, name: str, answer: Any) -> None:
        self.name, self.answer = name, answer

    def run(self, model: bytes, inputs: Any) -> list[Any]:
        if isinstance(self.answer, Exception):
            raise self.answer
        return [np.float32([self.answer])]


class Mute(Exception):
    """An error that cannot be shown."""

    def __str__(self) -> str:
        raise ValueError("no text")


def test_a_failure_that_does_not_come_each_time_is_told_as_that() -> None:
    class Fickle(Reference):
        calls = 0

        def run(self, model: bytes, inputs: Any) -> list[Any]:
            self.calls += 1
            return [output + (self.calls <= 20) for output in super().run(model, inputs)]

    fickle = Fickle()
    fickle.name = "fickle"
    result = fuzz("Neg", fickle, "onnxla", examples=20, most=1, dtypes=["float32"])
    (finding,) = result.findings
    assert finding.detail.endswith("-- but not each time: a second run of it has 'agreed'")
    steady = fuzz("Neg", Doubling(), "onnxla", examples=20, most=1, dtypes=["float32"])
    assert "each time" not in steady.findings[0].detail


@pytest.mark.parametrize("seed", [12, 27])
def test_a_rare_failure_is_simplified_too(seed: int) -> None:
    class Rarely(Saying):
        def run(self, model: bytes, inputs: Any) -> Any:
            outputs = Reference().run(model, inputs)
            wrong = any(x.ndim == 3 and x.shape[0] == 2 for x in inputs.values())
            return [y + wrong for y in outputs]

    options: dict[str, Any] = {"opset": 13, "dtypes": ["float32"], "examples": 20, "seed": seed}
    (finding,) = fuzz("Neg", Rarely("rarely", 0), "reference", **options).findings
    assert finding.count <= 3
    assert finding.case.inputs["X"].shape == (2, 2, 3)


def test_judges() -> None:
    case = example("Neg", 13, np.float32([1]))
    right, wrong, other = Saying("a", -1), Saying("b", 5), Saying("c", -1)
    silent = Saying("d", NotImplementedError("no"))
    assert compare(case, "onnxla", [wrong, right]).kind == "judges differ"
    agreed = compare(case, "onnxla", [silent, right])
    assert (agreed.kind, agreed.judges) == ("agreed", ("a",))
    disagreed = compare(case, wrong, [silent, right, other])
    assert (disagreed.kind, disagreed.judges) == ("disagreed", ("a", "c"))
    nobody = compare(case, wrong, [silent])
    assert (nobody.kind, nobody.detail) == ("not judged", "d: NotImplementedError: no")
    assert compare(case, silent, [right]).kind == "unsupported"
    assert compare(case).judges == ("reference",)
    assert compare(case, "reference").judges == ("onnxla",)


def test_judges_that_are_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [judge.name for judge in judges_of(None, Saying("a", 1))]
    assert names == ["onnxla", "reference", "onnxruntime"]
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert [judge.name for judge in judges_of(None, Saying("a", 1))] == names[:2]


def test_what_a_runtime_says_that_it_supports() -> None:
    class Choosy(Saying):
        def supports(self, model: bytes, inputs: Any) -> bool | str:
            return "no vectors" if np.ndim(next(iter(inputs.values()))) else True

    choosy = Choosy("choosy", -1)
    outcome = compare(example("Neg", 13, np.float32([1])), choosy)
    assert (outcome.kind, outcome.detail) == ("unsupported", "choosy: no vectors")
    assert compare(example("Neg", 13, np.float32(1)), choosy).kind == "disagreed"


@pytest.mark.parametrize(
    ("answer", "detail"),
    [
        (None, "`run` gives NoneType, not a list of outputs"),
        (np.float32([-1]), "`run` gives ndarray, not a list of outputs"),
        (SystemExit("bye"), "SystemExit: bye"),
        (Mute(), "Mute, whose text cannot be made"),
    ],
    ids=["nothing", "an array", "exit", "mute"],
)
def test_whatever_a_runtime_does_is_an_outcome(answer: Any, detail: str) -> None:
    class Odd:
        name = "odd"

        def run(self, model: bytes, inputs: Any) -> Any:
            if isinstance(answer, BaseException):
                raise answer
            return answer

    outcome = compare(example("Neg", 13, np.float32([1])), Odd(), "reference")
    assert outcome.kind == "failed"
    assert outcome.detail.endswith(detail)


def test_a_question_that_a_runtime_cannot_answer() -> None:
    class Unsure(Saying):
        def supports(self, model: bytes, inputs: Any) -> bool:
            raise ZeroDivisionError("oh")

    outcome = compare(example("Neg", 13, np.float32([1])), Unsure("unsure", -1))
    detail = "unsure: `supports` raises ZeroDivisionError: oh"
    assert (outcome.kind, outcome.detail) == ("failed", detail)


def test_a_runtime_that_writes_into_its_inputs_deceives_no_judge() -> None:
    class Writing:
        name = "writing"

        def run(self, model: bytes, inputs: Any) -> list[Any]:
            (x,) = inputs.values()
            x += 1
            return [-x]

    case = example("Neg", 13, np.float32([1]))
    outcome = compare(case, Writing())
    assert (outcome.kind, outcome.judges) == ("disagreed", ("onnxla", "reference", "onnxruntime"))
    assert case.inputs["X"].tolist() == [1]


def test_long_errors_keep_their_cause() -> None:
    case = example("Neg", 13, np.float32([1]))
    error = ValueError("first " + "x" * 10_000 + " the cause")
    detail = compare(case, Saying("a", error), "reference").detail
    assert detail.endswith("the cause")
    assert len(detail) < 2100


def test_places_have_no_numbers_of_the_case() -> None:
    case = example("Neg", 13, np.float32([1]))
    texts = ("a: ValueError: shape (1, 2) of 'x'", "a: ValueError: shape (3,) of 'yy'")
    places = {signature_of(case, Outcome("failed", text)).place for text in texts}
    assert places == {"a: ValueError: shape […] of '…'"}
    assert Outcome("disagreed", "output 'y0': float32, not float16").place.endswith(
        "float32, not float16"
    )
