"""Gradients of runtimes are compared with onnxla's in double precision."""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from functools import partial
from typing import Any

import numpy as np
import onnx
import pytest

from onnxla.commands import main as cli
from onnxla.testing import NotSupported, Reference, RuntimeCrashed, cases, example, fuzz
from onnxla.testing.fuzzing import draw_examples
from onnxla.testing.gradients import compare_gradients, gradients_of
from onnxla.testing.reports.evidence import script_of

X = np.array([[1, -2, 0.5]], np.float32)
Y = np.array([[2], [3]], np.float32)


def summed_to(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The sum over the axes along which an array of a shape was broadcast."""
    array = array.sum(tuple(range(array.ndim - len(shape))))
    axes = tuple(i for i, n in enumerate(shape) if n == 1 and array.shape[i] != 1)
    return array.sum(axes, keepdims=True).astype(array.dtype)


class Multiplying:
    """Has the gradient of Mul, right or wrong."""

    name = "multiplying"

    def __init__(self, factor: float = 1) -> None:
        self.factor = factor

    def run(self, model: bytes, inputs: Any) -> list[Any]:
        return Reference().run(model, inputs)

    def vjp(self, model: bytes, inputs: Any, cotangents: Any) -> list[Any]:
        if (graph := onnx.load_from_string(model).graph).node[0].op_type != "Mul":
            raise NotSupported("no gradient")
        if len(inputs) < 2:
            raise ValueError("an operand is stored")
        (x, y), (c,) = inputs.values(), cotangents
        assert list(inputs) == [value.name for value in graph.input]
        return [summed_to(c * y, x.shape), self.factor * summed_to(c * x, y.shape)]


def test_a_right_gradient_agrees_and_a_wrong_one_does_not() -> None:
    case = example("Mul", 14, X, Y)
    assert compare_gradients(case, Multiplying()).kind == "agreed"
    wrong = compare_gradients(case, Multiplying(1.01))
    assert wrong.kind == "disagreed"
    assert wrong.detail.startswith("the gradient by 'B': ")
    failed = compare_gradients(case, Answering(KeyError("x")))
    assert (failed.kind, failed.detail) == ("failed", "answering: KeyError: 'x'")


class Answering:
    """Gives something in place of gradients, or raises it."""

    name = "answering"

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def run(self, model: bytes, inputs: Any) -> list[Any]:
        return []

    def vjp(self, model: bytes, inputs: Any, cotangents: Any) -> Any:
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


def test_what_is_not_compared() -> None:
    none = "no input that is fed has numbers with a finite gradient"
    for case, runtime, kind, text in (
        (example("Mul", 14, X, Y), Reference(), "unsupported", "reference has no `vjp`"),
        (example("Neg", 13, X), Multiplying(), "unsupported", "no gradient"),
        (example("Neg", 13, X), Answering(NotImplementedError("none")), "unsupported", "none"),
        (example("Neg", 13, np.array([1])), Multiplying(), "not judged", none),
        (example("Sqrt", 13, -np.abs(X)), Multiplying(), "not judged", none),
    ):
        outcome = compare_gradients(case, runtime)
        assert outcome.kind == kind
        assert text in outcome.detail


def test_gradients_that_are_none() -> None:
    case = example("Neg", 13, X)
    nothing = compare_gradients(case, Answering(None))
    text = "answering: `vjp` gives NoneType, not a list of gradients"
    assert (nothing.kind, nothing.detail) == ("failed", text)
    assert compare_gradients(case, Answering([None])).kind == "disagreed"
    assert compare_gradients(case, Answering(SystemExit("bye"))).kind == "failed"
    assert compare_gradients(case, Answering(RuntimeCrashed("gone"))).crashed


@pytest.mark.parametrize("op_type", ["Softmax", "TopK"])
def test_gradients_are_those_of_finite_differences(op_type: str) -> None:
    """In the dtype of the case, at points that are not at ties, along each axis of each input."""
    checked = 0

    def body(case: Any) -> None:
        nonlocal checked
        if (found := gradients_of(case)) is None:
            return

        def value(inputs: Any) -> float:
            outputs = Reference().run(case.model, inputs)
            pairs = zip(outputs, found.cotangents, strict=True)
            return float(sum(np.vdot(c, y) for y, c in pairs if c is not None))

        for name, gradient in found.expected.items():
            x = found.inputs[name]
            for index in list(np.ndindex(x.shape))[:3]:
                ends = []
                for step in (1e-5, -1e-5):
                    moved = x.copy()
                    moved[index] += step
                    ends.append(value({**found.inputs, name: moved}))
                slope = (ends[0] - ends[1]) / 2e-5
                assert slope == pytest.approx(gradient[index], rel=1e-3, abs=1e-4)
                checked += 1

    draw_examples(cases(op_type, opset=13, dtypes=["float64"]), body, 5, seed=0)
    assert checked > 5


def test_gradients_are_fuzzed() -> None:
    result = fuzz("Mul", Multiplying(2), "gradients", opset=14, dtypes=["float32"], examples=10)
    assert result.counts["disagreed"] > 3
    details = [finding.detail for finding in result.findings]
    assert any("the gradient by 'B': " in detail for detail in details)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_finding_has_a_script_that_compares_gradients(dtype: str) -> None:
    result = fuzz("Mul", Multiplying(2), "gradients", opset=14, dtypes=[dtype], examples=10)
    finding = next(each for each in result.findings if each.signature.outcome == "disagreed")
    text = script_of(finding)
    assert "as onnxla differentiates in double precision" in text
    assert "onnxla." not in text
    scope: dict[str, Any] = {"__name__": "script"}
    for runtime, verdict in (
        (None, {"as expected"}),  # central differences stand in
        (Multiplying(), {"as expected"}),
        (Multiplying(2), {"as expected", "WRONG"}),
    ):
        head, tail = text.split("\n\nfor name, want, _ in expected:")
        exec(head, scope)
        if runtime is not None:
            scope["run"] = partial(vjp_of, runtime, scope["cotangents"])
        lines = io.StringIO()
        with redirect_stdout(lines):
            exec("for name, want, _ in expected:" + tail, scope)
        got = [line for line in lines.getvalue().splitlines() if " got " in line]
        assert {("WRONG" if "WRONG" in line else "as expected") for line in got} == verdict


def vjp_of(runtime: Multiplying, cotangents: Any, model: onnx.ModelProto, inputs: Any) -> list[Any]:
    return runtime.vjp(model.SerializeToString(), inputs, cotangents)


def test_gradients_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["fuzz", "Neg", "--against", "gradients", "-n", "3"]
    assert cli.main([*arguments, "--runtime", "reference"]) == 1  # nothing was compared
    assert "reference has no `vjp`" in capsys.readouterr().out
