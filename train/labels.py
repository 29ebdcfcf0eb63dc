"""Labels of classes: whether they are classes of the outputs, and how much each class counts."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from onnxla.ops.values import Value
from onnxla.train.batches import ArrayBatches, ArraySamples, StreamedBatches
from onnxla.train.classes import IGNORED, class_axis
from onnxla.train.loop import Loop, NonFiniteLossError
from onnxla.train.losses import (
    LOSSES,
    Measure,
    causal_lm,
    cross_entropy,
    cross_entropy_probabilities,
    dice,
    distillation,
    focal,
)
from onnxla.train.means import unweighted
from onnxla.train.measures import options_of, plain
from onnxla.train.metrics import Metric
from onnxla.train.reading import has_ragged

LABELLED = (cross_entropy, causal_lm, cross_entropy_probabilities, focal, dice, distillation)


def number_of_classes(measure: Measure, outputs: Any, targets: Any) -> int | None:
    """How many classes a loss or metric tells apart by integer labels, or None if it does not.

    Args:
        measure: The loss or metric.
        outputs: The outputs, of which the shape counts.
        targets: The targets, perhaps `Weighted`.
    """
    labels = labels_of(measure, targets)
    if labels is None or labels.shape == outputs.shape:
        return None
    classes = int(outputs.shape[class_axis(outputs, labels)])
    return 2 if classes == 1 and isinstance(plain(measure), Metric) else classes


def labels_of(measure: Measure, targets: Any) -> Value | None:
    """The labels among targets, where a loss or metric takes any."""
    inner = plain(measure)
    if inner not in LABELLED and not (isinstance(inner, Metric) and inner.labelled):
        return None
    labels, _ = unweighted(targets)
    return labels.get("labels") if isinstance(labels, Mapping) else labels


def wrong_label(
    measure: Measure, targets: Any, classes: int, numbers: np.ndarray | None = None
) -> str | None:
    """What to say of the first label that is no class, if there is one that counts.

    Args:
        measure: The loss or metric, with its `ignore_index`.
        targets: Its targets as numpy arrays, perhaps `Weighted`.
        classes: The number of classes.
        numbers: Those of the samples in the data [N], if they are known: else they are in a batch.
    """
    labels, weights = labels_of(measure, targets), unweighted(targets)[1]
    if labels is None or not labels.size or (labels.min() >= 0 and labels.max() < classes):
        return None
    ignored = options_of(measure).get("ignore_index", IGNORED)
    wrong = ((labels < 0) | (labels >= classes)) & (labels != ignored)
    if weights is not None:
        wrong &= np.reshape(weights, weights.shape + (1,) * (labels.ndim - weights.ndim)) != 0
    if not wrong.any():
        return None
    place = tuple(map(int, np.argwhere(wrong)[0]))
    where = f" at {list(place[1:])}" if place[1:] else ""
    sample = f"{place[0]} of the batch" if numbers is None else numbers[place[0]]
    return (
        f"label {labels[place]} of sample {sample}{where} is no class: the outputs have {classes}"
        f", 0 to {classes - 1}; {ignored} (ignore_index) is a label that does not count"
    )


def with_class_weight(
    loss: Measure, class_weight: Any, batches: ArrayBatches | StreamedBatches
) -> Measure:
    """The loss with its classes weighed.

    Args:
        loss: The loss.
        class_weight: Weights of the classes [K], or a dict of some; or "balanced".
        batches: The data, of which "balanced" counts the labels.

    Raises:
        ValueError: The loss is not of classes, or the data's labels cannot be counted.
    """
    if class_weight is None:
        return loss
    if "class_weight" not in inspect.signature(loss).parameters:
        names = [k for k, v in LOSSES.items() if "class_weight" in inspect.signature(v).parameters]
        raise ValueError(
            f"class_weight= is of losses of integer labels: {', '.join(names)}. "
            "binary_cross_entropy has pos_weight=; other losses take weights of samples, as "
            "data (inputs, targets, weights)"
        )
    if isinstance(class_weight, str):
        if class_weight != "balanced":
            raise ValueError(
                f"class_weight is an array, a dict or 'balanced'; got {class_weight!r}"
            )
        if (targets := targets_at_hand(batches)) is None:
            raise ValueError("class_weight='balanced' counts labels of arrays: pass a dict instead")
        ignored = options_of(loss).get("ignore_index", IGNORED)
        class_weight = balanced(unweighted(targets)[0], ignored)
    return functools.partial(loss, class_weight=class_weight)


def balanced(labels: np.ndarray, ignore_index: int = IGNORED) -> dict[int, float]:
    """Weights by which all classes count alike, as scikit-learn's `compute_class_weight`."""
    found, counts = np.unique(labels[labels != ignore_index], return_counts=True)
    weights = counts.sum() / (len(found) * counts)
    return {int(k): float(w) for k, w in zip(found, weights, strict=True)}


def targets_at_hand(batches: ArrayBatches | StreamedBatches) -> Any:
    """The targets of all samples, where they are arrays; else None."""
    samples = batches.samples if isinstance(batches, ArrayBatches) else None
    if not isinstance(samples, ArraySamples) or has_ragged(samples.targets):
        return None
    return samples.take_targets()


def check_labels(
    loss: Measure, batches: ArrayBatches | StreamedBatches, classes: int | None
) -> None:
    """Raises ValueError if a label of arrays is no class, or none counts.

    Others are seen batch by batch.
    """
    if (targets := targets_at_hand(batches)) is None:
        return
    labels, weights = labels_of(loss, targets), unweighted(targets)[1]
    ignored = options_of(loss).get("ignore_index", IGNORED)
    if labels is not None and labels.size and (labels == ignored).all():
        raise ValueError(f"no label counts: all are {ignored}, which is ignored (ignore_index)")
    if weights is not None and not np.any(weights):
        raise ValueError("nothing counts: all weights of the data are 0")
    assert isinstance(batches, ArrayBatches)
    numbers = batches.numbers(0, len(batches.samples))
    if classes is not None and (problem := wrong_label(loss, targets, classes, numbers)):
        raise ValueError(problem)


def with_checked_labels(loop: Loop, loss: Measure, classes: int) -> Callable[..., Any]:
    """The loop's step, which is not taken where a label is no class.

    Raises:
        NonFiniteLossError: There is one; its loss would be NaN.
    """
    take_step = loop.take_step

    def step(state: Any, frozen: Any, number: Any, inputs: Any, targets: Any) -> Any:
        if problem := wrong_label(loss, targets, classes):
            loop.read()
            raise NonFiniteLossError(f"the batch of step {number} has no loss: {problem}")
        return take_step(state, frozen, number, inputs, targets)

    return step
