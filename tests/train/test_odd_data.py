"""Odd data: an error that says what is odd, or a note; never silence."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import onnxla
from support.small_models import header, make

N = 20
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, 4)).astype(np.float32)
Y = np.arange(N) % 3
MODULE = onnxla.load(
    make(
        header() + " m (float[N, 4] x) => (float[N, 3] z) { z = MatMul (x, w) }",
        w=RNG.normal(size=(4, 3)).astype(np.float32),
    )
)
fit = functools.partial(onnxla.fit, MODULE, progress=False)
evaluate = functools.partial(onnxla.evaluate, MODULE, progress=False)
predict = functools.partial(onnxla.predict, MODULE, progress=False)


class Samples:
    """A dataset in which one sample is odd."""

    def __init__(self, odd: Any) -> None:
        self.odd = odd

    def __len__(self) -> int:
        return N

    def __getitem__(self, index: int) -> Any:
        if index == 10 and isinstance(self.odd, Exception):
            raise self.odd
        return self.odd if index == 10 else (X[index], Y[index])


def pieces(count: int) -> Iterator[Any]:
    return ((X[i : i + 4], Y[i : i + 4]) for i in range(0, 4 * count, 4))


def same_name() -> Any:
    return [lambda y, t: 1.0, lambda y, t: 2.0]


def targets(values: Any) -> Callable[[], Any]:
    return lambda: fit((X, values), "cross_entropy")


def class_targets() -> Any:
    return {"x": X, "a": Y, "b": Y}


ODD: dict[str, tuple[Callable[[], Any], str]] = {
    "text labels": (targets(np.array(["a"] * N)), "targets are text: a loss takes numbers"),
    "missing labels": (targets(np.array([None] * N)), "targets are objects, such as None, and no"),
    "float labels": (
        targets(Y * 1.0),
        r"got float32\[.*\]. labels.astype\('int64'\) makes them where",
    ),
    "boolean labels": (targets(Y > 0), r"the numbers of the classes; got bool\["),
    "no label counts": (targets(np.full(N, -100)), "no label counts: all are -100"),
    "no label counts, measured": (
        lambda: evaluate([(X, np.full(N, -100))], metrics="accuracy"),
        "nothing counts: all labels are ignored, or all weights are 0",
    ),
    "weights of zero": (lambda: fit((X, Y, 0.0 * Y), "cross_entropy"), "all weights .* are 0"),
    "weights of zero, measured": (
        lambda: evaluate((X, Y, 0.0 * Y), "cross_entropy"),
        "nothing counts: all labels are ignored, or all weights are 0",
    ),
    "a file": (lambda: fit("data.csv", "cross_entropy"), "and no file: read 'data.csv'"),
    "a file to predict": (lambda: predict("data.csv"), "and no file: read 'data.csv'"),
    "texts to predict": (lambda: predict(["a", "b"]), r"'x' of a batch has shape \[\], without ax"),
    "nothing in a sample": (
        lambda: fit(Samples(None), "cross_entropy"),
        "samples are pairs .*, triples .*, or dicts .* got NoneType, tuple",
    ),
    "a longer sample": (
        lambda: fit(Samples((X[0], Y[0], 1.0)), "cross_entropy"),
        "samples are pairs .* of the same form; got tuple",
    ),
    "a shorter sample": (
        lambda: fit(Samples((X[0][:3], Y[0])), "cross_entropy", shuffle=False),
        r"'x' takes shape \[4\] of each sample, and sample 10 of the batch has \[3\]",
    ),
    "a shorter sample to predict": (
        lambda: predict([[1.0, 2.0, 3.0, 4.0], [1.0, 2.0]]),
        r"'x' takes shape \[4\] of each sample, and sample 1 of the batch has \[2\]",
    ),
    "validation that ends": (
        lambda: fit((X, Y), "cross_entropy", epochs=2, validation=pieces(2)),
        "validation is an iterator, which has its batches once: pass arrays",
    ),
    "validation that ended": (
        lambda: fit((X, Y), "cross_entropy", steps=2, validation=pieces(2), batch_size=N),
        "the data to evaluate on has no batches; an iterator has them once",
    ),
    "targets by name": (
        lambda: evaluate(class_targets(), metrics="accuracy"),
        "accuracy is of one array of targets, and the data has 'a', 'b' beside",
    ),
    "no targets": (
        lambda: evaluate((X, None), "cross_entropy"),
        "cross_entropy is of one array of targets: the data is inputs alone",
    ),
    "a loss of nothing": (lambda: fit((X, Y), lambda y, t: None), "a loss is .* got NoneType"),
    "a loss of text": (lambda: fit((X, Y), lambda y, t: "a"), "a loss is one .* got str"),
    "a metric of nothing": (
        lambda: evaluate((X, Y), metrics=lambda y, t: None),
        "the metric <lambda> is a number, .* got NoneType",
    ),
    "metrics of one name": (
        lambda: evaluate((X, Y), metrics=same_name()),
        "several metrics are named '<lambda>': write functions",
    ),
    "classes of no weight": (
        lambda: fit((X, Y), "cross_entropy", class_weight=[0, 0, 0]),
        "class_weight is .* some above 0, got",
    ),
    "no outputs": (lambda: predict(X, outputs=[]), r"outputs is a name or several, got \[\]"),
}


@pytest.mark.parametrize("what", ODD)
def test_what_is_odd_is_told(what: str) -> None:
    function, message = ODD[what]
    with pytest.raises((TypeError, ValueError), match=message):
        function()


def test_frames() -> None:
    pandas = pytest.importorskip("pandas")
    columns = dict(zip("abcd", X.T, strict=True))
    twice = pandas.DataFrame(X, columns=[*"abca"])
    for function in (lambda: fit((twice, Y), "cross_entropy"), lambda: predict(twice)):
        with pytest.raises(TypeError, match="several columns named 'a': rename them"):
            function()
    with pytest.raises(TypeError, match="the DataFrame has no columns"):
        predict(pandas.DataFrame())
    with pytest.raises(ValueError, match="the data has no samples"):
        predict(pandas.DataFrame(columns).iloc[:0])
    objects = pandas.DataFrame({**columns, "d": X[:, 3].astype(object)})
    np.testing.assert_allclose(predict(objects), MODULE(X), rtol=1e-6)


def test_a_sparse_matrix() -> None:
    sparse = pytest.importorskip("scipy.sparse")
    with pytest.raises(TypeError, match=r"csr_matrix is a sparse matrix: pass its .toarray\(\)"):
        fit((sparse.csr_matrix(X), Y), "cross_entropy")


def test_numbers_that_are_objects_are_numbers() -> None:
    plain, objects = (fit((X, y), "cross_entropy", steps=2) for y in (Y, Y.astype(object)))
    assert plain.history.steps == objects.history.steps


def test_what_a_dataset_raises_is_passed_on_with_the_sample_and_the_result() -> None:
    with pytest.raises(OSError, match="disk") as caught:
        fit(Samples(OSError("disk")), "cross_entropy", batch_size=4, shuffle=False)
    assert caught.value.__notes__ == ["Sample 10 of the data was read."]
    assert len(caught.value.result.history.loss) == 2  # type: ignore[attr-defined]


def test_a_loss_of_nothing_that_trains_is_noted() -> None:
    notes = fit((X, Y), lambda y, t: 0.0, steps=2).history.notes
    assert "the gradient was 0 in all steps: the loss does not change with what trains" in notes


def test_numbers_of_numpy_are_numbers(tmp_path: Any) -> None:
    numbers: dict[str, Any] = {
        "batch_size": np.int64(4),
        "epochs": np.int8(2),
        "accumulate": np.int8(2),
        "seed": np.uint8(3),
        "learning_rate": np.float32(0.5),
        "warmup": np.float64(0.25),
        "clip_norm": np.float32(1),
        "weight_average": np.array(0.5),
    }
    run = functools.partial(fit, (X, Y), "cross_entropy")
    found = run(**numbers, checkpoint=tmp_path)
    plain = run(**{name: value.item() for name, value in numbers.items()})
    assert found.history == plain.history


def test_a_wrong_label_is_told_by_its_number_in_the_data() -> None:
    """Also where it is held out; in a batch it has the batch's number."""
    labels = np.where(np.arange(N) == 15, 7, Y)
    for seed in range(4):  # held out by one of them, and not by another
        with pytest.raises(ValueError, match="label 7 of sample 15 is no class"):
            fit((X, labels), "cross_entropy", validation=0.5, seed=seed)
    with pytest.raises(ValueError, match="label 7 of sample 15 is no class"):
        evaluate((X, labels), "cross_entropy", batch_size=4)
    with pytest.raises(ValueError, match="label 7 of sample 3 of the batch is no class"):
        evaluate([(X[12:16], labels[12:16])], "cross_entropy")


def test_frames_with_their_rows_in_different_orders() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=[*"abcd"]).assign(kind=Y)
    features = frame[[*"abcd"]].sample(frac=1, random_state=0)
    with pytest.raises(ValueError, match="inputs and targets have different indexes"):
        fit((features, frame["kind"]), "cross_entropy")
    fit((features, frame["kind"].loc[features.index]), "cross_entropy")
    fit((features.to_numpy(), frame["kind"].to_numpy()), "cross_entropy")
