"""`predict`: a model's outputs for all samples, whatever the form of the data."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import onnxla
from support.small_models import header, make

RNG = np.random.default_rng(0)
X = RNG.normal(size=(22, 4)).astype(np.float32)
Y = RNG.integers(0, 3, 22)
MODULE = onnxla.load(
    make(
        header()
        + """ m (float[N, 4] x) => (float[N, 3] p) {
            z = Gemm (x, w, b)
            ratio = Constant <value_float = 0.5> ()
            d = Dropout (z, ratio)
            p = Softmax (d)
        }""",
        w=RNG.normal(size=(4, 3)).astype(np.float32),
        b=np.zeros(3, np.float32),
    )
)
TWO = onnxla.load(
    make(
        header()
        + """ m (float[N, 4] x, float[N, 4] y) => (float[N, 4] sum, float total) {
            sum = Add (x, y)
            total = ReduceSum <keepdims = 0> (sum)
        }"""
    )
)


def predict(module: onnxla.Module, data: Any, size: int = 8, **options: Any) -> Any:
    return onnxla.predict(module, data, size, progress=False, **options)


def test_forms_of_data() -> None:
    expected = np.asarray(MODULE(X))
    pieces = [X[i : i + 8] for i in range(0, 22, 8)]
    forms: dict[str, Any] = {
        "array": X,
        "tuple of inputs": (X,),
        "by name": {"x": X},
        "with targets": (X, Y),
        "with weights": (X, Y, Y),
        "by name with targets": {"x": X, "y": Y},
        "batches": pieces,
        "batches with targets": [(x, Y[: len(x)]) for x in pieces],
        "batches by name": ({"x": x} for x in pieces),
        "generator": (x for x in pieces),
        "smallest first": pieces[::-1],
    }
    for form, data in forms.items():
        found = predict(MODULE, data)
        assert isinstance(found, np.ndarray), form
        order = np.r_[16:22, 8:16, 0:8] if form == "smallest first" else slice(None)
        np.testing.assert_allclose(found, expected[order], rtol=1e-6, err_msg=form)


def test_several_inputs_and_outputs() -> None:
    for data in ((X, X), ((X, X), Y), {"x": X, "y": X}, [(X[:8], X[:8]), ((X[8:], X[8:]), Y)]):
        found = predict(TWO, data, outputs=["sum"])
        np.testing.assert_array_equal(found, X + X)
    found = predict(MODULE, X, outputs=["p", "z"])
    assert [*found] == ["p", "z"]
    np.testing.assert_allclose(found["p"], MODULE(X), rtol=1e-6)


def test_the_last_batch_compiles_nothing() -> None:
    shapes: list[Any] = []

    class Seen(onnxla.Module):
        def run(self, inputs: Any, key: Any = None) -> Any:
            shapes.append(inputs["x"].shape)
            return super().run(inputs, key)

        def inference(self) -> Any:
            return self

    predict(Seen(MODULE.params, MODULE.program), X)
    assert shapes == [(8, 4)] * 3


def test_any_function_is_a_metric() -> None:
    guesses = predict(MODULE, (X, Y)).argmax(-1)
    measured = onnxla.evaluate(MODULE, (X, Y), metrics="accuracy")
    assert np.mean(guesses == Y) == pytest.approx(measured["accuracy"])


def test_wrong_data() -> None:
    for module, data, error, message in (
        (
            TWO,
            (X, X),
            ValueError,
            r"'total' does not count the 8 samples .* it is shape \[\]; name",
        ),
        (MODULE, [], ValueError, "the data has no batches"),
        (MODULE, X[:0], ValueError, "the data has no samples"),
        (MODULE, X.astype(int), TypeError, "input 'x' takes float32, got int64"),
        (MODULE, {"y": X}, ValueError, "one number of samples"),
        (TWO, {"x": X}, TypeError, "missing inputs: y"),
    ):
        with pytest.raises(error, match=message):
            predict(module, data)


def test_the_progress_bar(capsys: pytest.CaptureFixture[str]) -> None:
    onnxla.predict(MODULE, X, 8)
    assert "predicting: 100%" in capsys.readouterr().err
