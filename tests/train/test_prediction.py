"""`predict`: a model's outputs for all samples, whatever the form of the data."""

from __future__ import annotations

from collections.abc import Iterator
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
        (MODULE, {"y": X}, TypeError, "missing inputs: x; the data has 'y': rename="),
        (TWO, {"x": X}, TypeError, "missing inputs: y"),
    ):
        with pytest.raises(error, match=message):
            predict(module, data)


def test_the_progress_bar(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onnxla.progress.is_watched", lambda: True)
    onnxla.predict(MODULE, X, 8)
    assert "predicting: 100%" in capsys.readouterr().err


class Samples:
    """A map-style dataset of samples that a function makes."""

    def __init__(self, make: Any) -> None:
        self.make = make

    def __len__(self) -> int:
        return len(X)

    def __getitem__(self, index: int) -> Any:
        if index >= len(X):
            raise IndexError
        return self.make(index)


class Loader:
    """An iterable of batches with a length."""

    def __iter__(self) -> Iterator[Any]:
        return iter([[X[i : i + 8], Y[i : i + 8]] for i in range(0, 22, 8)])

    def __len__(self) -> int:
        return 3


def frames() -> dict[str, Any]:
    """DataFrames, with and without targets."""
    pandas, polars = pytest.importorskip("pandas"), pytest.importorskip("polars")
    columns = dict(zip("abcd", X.T, strict=True))
    features = pandas.DataFrame(columns)
    return {
        "frame of features": features,
        "frame and series": (features, pandas.Series(Y)),
        "frame of polars": polars.DataFrame(columns),
    }


@pytest.mark.parametrize(
    "data",
    [
        Samples(lambda i: X[i]),
        Samples(lambda i: (X[i], Y[i])),
        Samples(lambda i: (X[i], None)),
        Samples(lambda i: {"x": X[i], "text": "a b"}),
        [*X],
        [(x, y) for x, y in zip(X, Y, strict=True)],
        [(x,) for x in X],
        [{"x": x, "label": "cat"} for x in X],
        [X, Y],
        X.tolist(),
        Loader(),
        {"x": X.tolist(), "text": ["a"] * 22},
    ],
    ids=[
        *("arrays", "pairs", "pairs without", "dicts", "list of arrays", "list of pairs"),
        *("list of ones", "list of dicts", "inputs and targets", "lists", "loader", "dict"),
    ],
)
def test_what_fit_takes_with_targets_or_without(data: Any) -> None:
    np.testing.assert_allclose(predict(MODULE, data), MODULE(X), rtol=1e-6)


def test_frames_and_tables() -> None:
    for data in frames().values():
        np.testing.assert_allclose(predict(MODULE, data), MODULE(X), rtol=1e-6)
    datasets = pytest.importorskip("datasets")
    table = datasets.Dataset.from_dict({"pixels": X, "text": ["a b"] * 22})
    found = predict(MODULE, table, rename={"pixels": "x"})
    np.testing.assert_allclose(found, MODULE(X), rtol=1e-6)


def test_a_column_is_an_input() -> None:
    pandas = pytest.importorskip("pandas")
    module = onnxla.load(
        make(
            header()
            + """ m (float[N, 1] age, float[N, 1] size) => (float[N, 1] y) {
                y = Sub (age, size)
            }"""
        )
    )
    frame = pandas.DataFrame({"size": range(22), "years": range(22, 44), "name": ["x"] * 22})
    found = predict(module, frame, rename={"years": "age"})
    np.testing.assert_array_equal(found, np.full((22, 1), 22, np.float32))
    with pytest.raises(TypeError, match=r"missing inputs: age"):
        predict(module, frame)


# Outputs of which all but `mean` keep the length: `same` states it, `other` does not; `rows` has
# the samples second.
LENGTHS = onnxla.load(
    make(
        header()
        + """ m (float[N, T, 2] x) => (float[N, T, 2] same, float[N, K, 2] other, float[N, 2] mean,
            float[T, N] rows) {
            same = Add (x, one)
            other = Mul (x, one)
            mean = ReduceSum <keepdims = 0> (x, axes)
            total = ReduceSum <keepdims = 0> (x, last)
            rows = Transpose <perm = [1, 0]> (total)
        }""",
        one=np.ones((), np.float32),
        axes=np.array([1]),
        last=np.array([2]),
    )
)
RAGGED = [RNG.normal(size=(n, 2)).astype(np.float32) for n in (3, 5, 2, 7, 2)]


@pytest.mark.parametrize("bucket", [None, {"T": 4}])
@pytest.mark.parametrize("form", ["samples", "pairs", "array", "by name"])
def test_what_was_padded_is_cut_off(form: str, bucket: Any) -> None:
    ragged = np.empty(len(RAGGED), object)
    ragged[:] = RAGGED
    data = {
        "samples": RAGGED,
        "pairs": [(x, np.arange(len(x))) for x in RAGGED],
        "array": ragged,
        "by name": {"x": ragged},
    }[form]
    found = predict(LENGTHS, data, 2, bucket=bucket, batch_axis={"rows": 1})
    for x, same, other, rows in zip(
        RAGGED, found["same"], found["other"], found["rows"], strict=True
    ):
        np.testing.assert_array_equal(same, x + 1)
        np.testing.assert_array_equal(other, x)
        np.testing.assert_allclose(rows, x.sum(-1), rtol=1e-6)
    assert isinstance(found["mean"], np.ndarray)
    np.testing.assert_allclose(found["mean"], [x.sum(0) for x in RAGGED], rtol=1e-6)


def test_equal_lengths_are_one_array() -> None:
    x = RNG.normal(size=(5, 3, 2)).astype(np.float32)
    found = predict(LENGTHS, x, 2, bucket={"T": 4}, batch_axis={"rows": 1})
    np.testing.assert_array_equal(found["same"], x + 1)
    np.testing.assert_allclose(found["rows"], x.sum(-1).T, rtol=1e-6)


def test_samples_along_another_axis() -> None:
    module = onnxla.load(
        make(header() + " m (float[T, N] x) => (float[T, N] y) { y = Add (x, x) }")
    )
    found = predict(module, {"x": X.T}, batch_axis={"x": 1, "y": 1})
    np.testing.assert_array_equal(found, 2 * X.T)
    with pytest.raises(ValueError, match="no input, output or target is named 'z'"):
        predict(module, {"x": X.T}, batch_axis={"z": 1})


def test_outputs_that_do_not_count_samples_are_told_at_any_batch_size() -> None:
    module = onnxla.load(
        make(
            header() + " m (float[N, 4] x) => (float[3, N] y) { p = Gemm <transA = 0> (x, w)"
            " y = Transpose <perm = [1, 0]> (p) }",
            w=RNG.normal(size=(4, 3)).astype(np.float32),
        )
    )
    for size in (3, 4):
        with pytest.raises(ValueError, match=r"'y' does not count the . samples"):
            predict(module, X[:12], size)
        found = predict(module, X[:12], size, batch_axis={"y": 1})
        np.testing.assert_allclose(found, module(X[:12]), rtol=1e-6)
    with pytest.raises(ValueError, match="'w' does not count the 4 samples"):
        predict(module, X, 4, outputs="w")


def test_an_empty_sample_beside_one_of_length_1() -> None:
    found = predict(LENGTHS, [RAGGED[0][:0], RAGGED[0][:1]], 2, batch_axis={"rows": 1})
    assert [x.shape for x in found["same"]] == [(0, 2), (1, 2)]
    assert found["mean"].shape == (2, 2)


def test_inputs_of_a_sample_that_differ_in_length() -> None:
    module = onnxla.load(
        make(header() + " m (float[N, T] x, float[N, T] y) => (float[N, T] z) { z = Add (x, x) }")
    )
    samples = [{"x": X[0, :n], "y": X[0, : n + 1]} for n in (1, 2)]
    with pytest.raises(ValueError, match="inputs of a sample differ in the size of 'T'"):
        predict(module, samples, 2)
