"""Metrics are of the whole set, whatever the batches; against scikit-learn's numbers."""

from __future__ import annotations

import json
import math
from functools import partial
from typing import Any

import jax
import numpy as np
import pytest

import onnxla
from onnxla import losses
from onnxla.train.metrics import METRICS
from support.small_models import header, make

RNG = np.random.default_rng(1)
Z = RNG.normal(size=(50, 7)).astype(np.float32)
Z[:, 6] -= 9  # a class that is neither guessed nor labelled
Y = RNG.integers(0, 6, 50)
Y[:4] = 5
W = RNG.integers(0, 4, 50).astype(np.float32)
SCORES = np.round(RNG.normal(size=60), 1).astype(np.float32)  # with ties
BITS = (RNG.normal(size=60) + SCORES > 0).astype(np.int64)

AS_GIVEN = onnxla.load(make(header() + " m (float[N, K] x) => (y) { y = Identity (x) }"))
SOFTMAX = onnxla.load(make(header() + " m (float[N, K] x) => (y) { y = Softmax (x) }"))
COLUMN = onnxla.load(make(header() + " m (float[N] x) => (y) { y = Sigmoid (x) }"))

# scikit-learn 1.9: accuracy_score, precision_score, recall_score, f1_score, jaccard_score,
# top_k_accuracy_score and roc_auc_score; unweighted, and with sample_weight=W.
MANY: dict[str, tuple[Any, float, float]] = {
    "accuracy": ("accuracy", 0.22, 0.14102564102564102),
    "precision": ("precision", 0.23835978835978835, 0.1754901960784314),
    "precision_weighted": (
        losses.precision(average="weighted"),
        0.2671428571428571,
        0.21387631975867272,
    ),
    "recall": ("recall", 0.21132756132756134, 0.13898809523809522),
    "recall_weighted": (losses.recall(average="weighted"), 0.22, 0.14102564102564102),
    "f1": ("f1", 0.21609477124183007, 0.1369923124309089),
    "f1_weighted": (losses.f1(average="weighted"), 0.23320588235294118, 0.15206885382323976),
    "f1_micro": (losses.f1(average="micro"), 0.22, 0.14102564102564102),
    "iou": ("iou", 0.12682132682132682, 0.08012415824915825),
    "top_3_accuracy": (losses.top_k(3), 0.56, 0.5),
    "auc": ("auc", 0.5054129268664153, 0.4432227643744529),
}
BINARY = {
    "auc": 0.8219866071428572,
    "f1": 0.8125,
    "precision": 0.8125,
    "recall": 0.8125,
    "accuracy": 0.8,
    "iou": 0.6656346749226006,
}


def evaluate(data: Any, metrics: Any, module: onnxla.Module = AS_GIVEN, size: int = 9) -> Any:
    return onnxla.evaluate(module, data, metrics=metrics, batch_size=size)


@pytest.mark.parametrize("module", [AS_GIVEN, SOFTMAX], ids=["logits", "probabilities"])
def test_values_of_scikit_learn(module: onnxla.Module) -> None:
    for column, data in enumerate(((Z, Y), (Z, Y, W)), 1):
        metrics = [row[0] for row in MANY.values()]
        found = evaluate(data, metrics, module)
        assert found == {name: pytest.approx(row[column]) for name, row in MANY.items()}


def test_two_classes_in_each_of_their_forms() -> None:
    forms = {
        "one number a sample": (COLUMN, SCORES, BITS),
        "a column": (AS_GIVEN, SCORES[:, None], BITS),
        "two columns": (SOFTMAX, np.stack([-SCORES, SCORES], 1), BITS),
        "labels as numbers": (COLUMN, SCORES, BITS.astype(np.float32)),
        "labels as truth": (AS_GIVEN, SCORES[:, None], BITS[:, None] > 0),
    }
    for form, (module, x, labels) in forms.items():
        found = evaluate((x, labels), [*BINARY], module, 7)
        assert found == {name: pytest.approx(value) for name, value in BINARY.items()}, form


def test_a_perfect_classifier_has_an_f1_of_1_whatever_the_batches() -> None:
    labels = np.sort(RNG.integers(0, 5, 40))  # so that most batches have one class
    logits = np.eye(5, dtype=np.float32)[labels]
    for size in (1, 7, 40):
        found = evaluate((logits, labels), ["f1", "iou", "auc", "recall"], size=size)
        assert found == {"f1": 1, "iou": 1, "auc": 1, "recall": 1}


def test_a_confusion_matrix_counts() -> None:
    expected = np.zeros((7, 7), int)
    np.add.at(expected, (Y, Z.argmax(1)), 1)
    found = evaluate((Z, Y), "confusion_matrix")["confusion_matrix"]
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == np.int64
    weighted = evaluate((Z, Y, W), "confusion_matrix")["confusion_matrix"]
    assert weighted.sum() == W.sum()
    by_class = evaluate((Z, Y), losses.recall(average=None))["recall_by_class"]
    rows = expected.sum(1)
    np.testing.assert_allclose(by_class, expected.diagonal() / np.where(rows == 0, 1, rows))


def test_what_is_ignored_does_not_count() -> None:
    labels = np.where(np.arange(50) % 3 == 0, -100, Y)
    kept = labels >= 0
    names = [name for name in METRICS if name not in losses.LOSSES]
    found, expected = evaluate((Z, labels), names), evaluate((Z[kept], Y[kept]), names)
    weighted = evaluate((Z, Y, kept), names)
    for name in names:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-6, err_msg=name)
        np.testing.assert_allclose(weighted[name], expected[name], rtol=1e-6, err_msg=name)
    other = np.where(kept, Y, 255).astype(np.uint8)
    assert evaluate((Z, other), partial(losses.iou, ignore_index=255))["iou"] == pytest.approx(
        expected["iou"]
    )


def test_places_of_images() -> None:
    image = np.moveaxis(Z.reshape(2, 5, 5, 7), -1, 1)  # [N, K, H, W]
    module = onnxla.load(make(header() + " m (float[N, 7, 5, 5] x) => (y) { y = Identity (x) }"))
    names = ["iou", "f1", "auc", "top_5_accuracy", "perplexity"]
    found = evaluate((image, Y.reshape(2, 5, 5)), names, module, 1)
    assert found == {k: pytest.approx(v, rel=1e-6) for k, v in evaluate((Z, Y), names).items()}


def test_perplexity_is_of_the_mean_over_all_labels() -> None:
    labels = np.where(np.arange(50) < 20, -100, Y)
    kept = labels >= 0
    p = np.exp(Z[kept]) / np.exp(Z[kept]).sum(1, keepdims=True)
    expected = math.exp(-np.log(p[np.arange(30), Y[kept]]).mean())
    for module in (AS_GIVEN, SOFTMAX):
        assert evaluate((Z, labels), "perplexity", module)["perplexity"] == pytest.approx(expected)


def test_named_losses_are_metrics_of_logits() -> None:
    smoothed = partial(losses.cross_entropy, label_smoothing=0.1)
    assert [*evaluate((Z, Y), smoothed)] == ["cross_entropy"]
    with pytest.raises(ValueError, match="several metrics are named 'cross_entropy'"):
        evaluate((Z, Y), ["cross_entropy", smoothed])
    plain = evaluate((Z, Y), "cross_entropy")
    assert evaluate((Z, Y), "cross_entropy", SOFTMAX) == plain  # as the loss, in training
    assert plain["cross_entropy"] == pytest.approx(float(losses.cross_entropy(Z, Y)))


def test_a_metric_of_one_batch() -> None:
    assert float(jax.jit(losses.accuracy)(Z, Y)) == pytest.approx(0.22)
    assert float(losses.f1()(Z, Y)) == pytest.approx(MANY["f1"][1])
    assert losses.auc(Z, Y, W) == pytest.approx(MANY["auc"][2])
    assert np.isnan(losses.auc(Z[:3], np.zeros(3, int)))  # no pair to compare
    assert float(losses.accuracy(Z, np.full(50, -100))) == 0


def test_metrics_in_a_history() -> None:
    data = (Z, Y)
    linear = onnxla.load(
        make(
            header() + " m (float[N, 7] x) => (y) { y = MatMul (x, w) }",
            w=np.eye(7, dtype=np.float32),
        )
    )
    names = ["f1", "confusion_matrix"]
    result = onnxla.fit(
        linear, data, "cross_entropy", epochs=2, validation=data, metrics=names, progress=False
    )
    found = onnxla.evaluate(result.module, data, metrics=names)
    written = json.loads(json.dumps(result.history.to_dict()))
    assert written["epochs"]["confusion_matrix"][-1] == found["confusion_matrix"].tolist()
    assert written["epochs"]["f1"][-1] == pytest.approx(found["f1"])
    assert "f1" in str(result.history)
    assert "confusion_matrix" not in str(result.history)


def test_a_metric_of_ones_own_is_of_the_whole_set() -> None:
    spread = losses.Metric(
        "spread",
        lambda outputs, _, weights: (outputs.shape[0], outputs.sum(0), (outputs**2).sum(0)),
        lambda sums: sums[2] / sums[0] - (sums[1] / sums[0]) ** 2,
    )
    found = evaluate((Z, None), spread)["spread"]
    np.testing.assert_allclose(found, Z.var(0), rtol=1e-4)


def test_wrong_metrics() -> None:
    with pytest.raises(ValueError, match=r"average is one of .* got 'mean'"):
        losses.f1(average="mean")
    with pytest.raises(ValueError, match="f1_binary: average='binary' is of two classes, not 7"):
        evaluate((Z, Y), losses.f1(average="binary"))
    with pytest.raises(
        ValueError, match=r"weights have shape \[9, 7\]; .* \[9\], or one an element"
    ):
        evaluate((Z, Y, Z), "accuracy")
    with pytest.raises(ValueError, match="no metric is named 'f2'"):
        evaluate((Z, Y), "f2")
