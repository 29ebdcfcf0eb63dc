"""Uses that the specification forbids: onnx refuses them, and onnxla all but those on record."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import onnx
import pytest

from onnxla.testing import InvalidUse, RuntimeCrashed, fuzz, refused, refuses, wrongs
from onnxla.testing.fuzzing import draw_examples
from onnxla.testing.invalid_uses import WRONGS
from support.small_runtimes import Doubling

OPERATORS = ("Add", "Conv", "Concat", "Flatten", "Gemm", "LSTM", "MaxPool", "Softmax", "TopK")
# Its table of operators has no types, so that onnxla computes with any operands that it can.
UNTYPED = {
    "a dtype that the schema does not allow",
    "operands of one type that have different dtypes",
}


def is_accepted(use: InvalidUse) -> bool:
    """Whether onnxla may take a use: it reads whole numbers for floats, too."""
    return use.what in UNTYPED or "is of type FLOAT" in use.why


class Falling:
    """What `Isolated` says of a runtime that takes its process down."""

    name = "falling"

    def run(self, model: bytes, inputs: Any) -> list[Any]:
        raise RuntimeCrashed("falling took its process down: SIGSEGV")


def drawn(op_type: str, count: int, what: str | None = None) -> list[InvalidUse]:
    found: list[InvalidUse] = []
    draw_examples(refused(op_type, what=what), found.append, count, seed=0)  # type: ignore[arg-type]
    return found


def is_refused_by_onnx(use: InvalidUse) -> bool:
    try:
        onnx.checker.check_model(use.model)
        onnx.shape_inference.infer_shapes(use.model, check_type=True, strict_mode=True)
    except Exception:  # of whatever kind: protobuf has its own
        return True
    return False


@pytest.mark.parametrize("op_type", OPERATORS)
def test_onnx_and_onnxla_refuse_them(op_type: str) -> None:
    uses = drawn(op_type, 25)
    assert len({use.what for use in uses}) >= 5
    for use in uses:
        assert use.why
        assert is_refused_by_onnx(use), use
        reaction = refuses("onnxla", use)
        assert reaction.kind == "refused" or is_accepted(use), (use, reaction)


PLACES = {
    "a required attribute is missing": "Concat",
    "an axis out of range": "Softmax",
    "a number that an attribute cannot have": "Flatten",
}


@pytest.mark.parametrize("what", wrongs())
def test_a_use_is_wrong_as_asked(what: str) -> None:
    """Some operator has a place for each wrong."""
    uses = drawn(PLACES.get(what, "RNN"), 5, what)
    assert {use.what for use in uses} == {what}


def test_what_runtimes_make_of_them() -> None:
    (use, *_) = drawn("Neg", 1, "an attribute that the schema lacks")
    assert use.why == "its attributes are none"
    assert repr(use) == f"InvalidUse(Neg: {use.what}; its attributes are none)"
    assert refuses("reference", use).kind in {"refused", "accepted"}
    one = InvalidUse(use.model, {"X": np.float32([1])}, "Neg", use.what, use.why)
    accepted = refuses(Doubling(), one)
    assert (accepted.kind, accepted.detail) == ("accepted", "float32[1]")
    assert refuses(Falling(), one).kind == "crashed"


def test_the_share_that_runtimes_refuse() -> None:
    """The reference evaluator looks at little; ONNX Runtime refuses most, and goes down on none."""
    counts: Counter[tuple[str, str]] = Counter()
    for op_type in ("Add", "Gemm", "Softmax"):
        for use in drawn(op_type, 15):
            for runtime in ("reference", "onnxruntime"):
                counts[runtime, refuses(runtime, use).kind] += 1
    assert counts["onnxruntime", "refused"] >= 35
    assert counts["reference", "accepted"] > counts["onnxruntime", "accepted"]


def test_there_is_no_such_wrong() -> None:
    with pytest.raises(ValueError, match="no wrong is called 'nothing'; there are an attribute"):
        refused("Add", what="nothing")
    with pytest.raises(ValueError, match="no use of Neg is found that is wrong: an axis out"):
        refused("Neg", what="an axis out of range")
    with pytest.raises(
        KeyError, match=r"the onnx package has no schema of com\.microsoft\.FastGelu"
    ):
        refused("FastGelu", domain="com.microsoft")
    assert WRONGS.keys() == set(wrongs())


def test_fuzzing_tells_what_is_accepted() -> None:
    untyped = fuzz("MaxPool", "onnxla", "refusals", examples=15).findings
    assert all("accepts a dtype that the schema" in finding.detail for finding in untyped)
    result = fuzz("Softmax", Doubling(), "refusals", examples=15)
    assert result.counts.total() == 15
    assert all(finding.detail.startswith("accepts ") for finding in result.findings)
    assert fuzz("Softmax", Falling(), "refusals", examples=15).counts == {"failed": 5}
