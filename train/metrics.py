"""Metrics by name, over a whole set of samples: not means of what batches have.

What batches give is added up, or collected, and the metric is made of that in the end. Labels that
are ignored do not count, and where the data has weights, everything counts as much as they say.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from onnxla.ops.values import Value, is_floating, xp
from onnxla.train.classes import IGNORED, class_axis, not_ignored
from onnxla.train.losses import LOGITS, LOSSES, Measure, cross_entropy
from onnxla.train.means import Sums, along
from onnxla.train.measures import known_loss, options_of, plain, sums_of

AVERAGES = ("binary", "macro", "weighted", "micro", None)


@dataclass(frozen=True)
class Metric:
    """A metric over a whole set of samples; called, that of one batch.

    For example:

        largest = onnxla.losses.Metric(
            "largest",
            lambda outputs, targets, weights: {"sum": outputs.max(-1).sum()},
            lambda sums: sums["sum"],
        )
        print(onnxla.evaluate(module, (x, labels), metrics=largest))

    Attributes:
        name: Its name in results.
        of_batch: What a batch gives, a tree of arrays, as a JAX function of outputs, targets and
            weights or None; `functools.partial` of the metric fixes its further arguments.
        result: The metric, of the sum of these, or of all of them.
        collects: Whether `result` is of all of them, joined along their first axis.
        logits: Kinds of probabilities in whose stead it reads logits, as `LOGITS` has them.
        labelled: Whether its targets are integer labels of classes.
    """

    name: str
    of_batch: Callable[..., Any]
    result: Callable[[Any], Any]
    collects: bool = False
    logits: tuple[str, ...] = ()
    labelled: bool = False

    def __call__(
        self, outputs: Value, targets: Value, weights: Value | None = None, **options: Any
    ) -> Any:
        """The metric of one batch."""
        return self.result(self.of_batch(outputs, targets, weights, **options))


# Metrics of guesses, to which Sigmoid matters, and Softmax does not.
of_guesses = functools.partial(Metric, logits=("binary",), labelled=True)


def ratio(a: Any, b: Any) -> Any:
    """The ratio of two numbers, and 0 where the second is 0."""
    numbers = xp(a, b)
    return numbers.where(b == 0, 0.0, a / numbers.where(b == 0, 1, b))


def divided(sums: Sums) -> Any:
    """A mean of its sums."""
    return ratio(sums.total, sums.weight)


def as_metric(measure: Measure) -> Metric | None:
    """A metric or named loss, perhaps with arguments fixed, as a metric; or None."""
    inner = plain(measure)
    if isinstance(inner, Metric):
        of_batch = functools.partial(inner.of_batch, **options_of(measure))
        return Metric(**{**vars(inner), "of_batch": of_batch})
    name, sums = known_loss(measure), sums_of(measure)
    if name is None or sums is None:
        return None
    return Metric(name, sums, divided, logits=LOGITS.get(inner, ()))


def name_of(measure: Measure) -> str:
    """A loss's or metric's name in the tables, or its own."""
    inner = plain(measure)
    if isinstance(inner, Metric):
        return inner.name
    return known_loss(measure) or str(getattr(measure, "__name__", type(measure).__name__))


def by_class(
    outputs: Value, labels: Value, weights: Value | None, ignore_index: int
) -> tuple[Value, Value, Value]:
    """Logits with the classes last, integer labels, and weights, all without further axes.

    Logits of yes and no, which have the labels' shape or one more axis of size 1, become those of
    two classes. Weights are integers unless given as numbers, so that sums of them are exact.
    """
    if outputs.shape == labels.shape:
        outputs, labels = outputs[..., None], whole(labels)
    elif outputs.shape == (*labels.shape, 1):
        labels = whole(labels)
    else:
        outputs = jnp.moveaxis(outputs, class_axis(outputs, labels), -1)
    if outputs.shape[-1] == 1:
        outputs = jnp.concatenate([jnp.zeros_like(outputs), outputs], -1)
    labels, counted = not_ignored(labels, ignore_index)
    dtype = outputs.dtype if weights is not None and is_floating(weights) else jnp.int32
    every = along(weights, jax.ShapeDtypeStruct(labels.shape, dtype))
    return (
        outputs.reshape(-1, outputs.shape[-1]),
        labels.ravel(),
        jnp.where(counted, every, 0).ravel(),
    )


def whole(labels: Value) -> Value:
    """Labels of yes and no, which may be floating-point numbers, as integers."""
    is_whole = jnp.issubdtype(labels.dtype, jnp.integer)
    return labels if is_whole else jnp.round(labels.astype(jnp.float32)).astype(jnp.int32)


def guesses_right(
    outputs: Value,
    labels: Value,
    weights: Value | None = None,
    *,
    k: int = 1,
    ignore_index: int = IGNORED,
) -> Sums:
    """How many of the labels are among the k classes of the largest outputs, and of how many."""
    logits, labels, counts = by_class(outputs, labels, weights, ignore_index)
    if k == 1:
        right = logits.argmax(-1) == labels
    else:
        _, best = jax.lax.top_k(logits, min(k, logits.shape[-1]))
        right = (best == labels[:, None]).any(-1)
    return Sums(jnp.where(right, counts, 0).sum(), counts.sum())


def confusions(
    outputs: Value, labels: Value, weights: Value | None = None, *, ignore_index: int = IGNORED
) -> Value:
    """How often each class [K] was taken for each [K]."""
    logits, labels, counts = by_class(outputs, labels, weights, ignore_index)
    classes = logits.shape[-1]
    table = jnp.zeros((classes, classes), counts.dtype)
    labels = jnp.where(labels < 0, classes, labels)  # which is dropped, and not counted from behind
    return table.at[labels, logits.argmax(-1)].add(counts, mode="drop")


def scores(
    outputs: Value, labels: Value, weights: Value | None = None, *, ignore_index: int = IGNORED
) -> tuple[Value, Value, Value]:
    """The probabilities [N, K] that logits mean, of two classes [N, 1] the logit; and labels."""
    logits, labels, counts = by_class(outputs, labels, weights, ignore_index)
    if logits.shape[-1] == 2:
        return logits[:, 1:] - logits[:, :1], labels, counts
    return jax.nn.softmax(logits), labels, counts


def area_under_curve(collected: tuple[np.ndarray, np.ndarray, np.ndarray]) -> float:
    """The mean area under the ROC curve, of each class that some have and some have not.

    It is the share of pairs of a sample that has the class and one that has not in which the first
    has the larger score; where both have the same, a half.
    """
    values, labels, weights = (np.asarray(part) for part in collected)
    classes = [1] if values.shape[1] == 1 else range(values.shape[1])
    areas = []
    for column, number in zip(values.T, classes, strict=True):
        distinct, place = np.unique(column, return_inverse=True)
        yes, no = (
            np.bincount(place, np.where(has, weights, 0), len(distinct))
            for has in (labels == number, labels != number)
        )
        if yes.any() and no.any():
            pairs = (yes * (no.cumsum() - no / 2)).sum()
            areas.append(pairs / (yes.sum() * no.sum()))
    return float(np.mean(areas)) if areas else float("nan")


def averaged(of_counts: Callable[[Any, Any, Any], Any], average: str | None, table: Value) -> Any:
    """A ratio of true positives, guesses and labels of each class, averaged over the classes.

    Args:
        of_counts: The ratio.
        average: As for `f1`.
        table: The confusion matrix.
    """
    right, guessed, labelled = table.diagonal(), table.sum(0), table.sum(1)
    if average == "binary":
        right, guessed, labelled = right[1:2], guessed[1:2], labelled[1:2]
    if average in ("binary", "micro"):
        return of_counts(right.sum(), guessed.sum(), labelled.sum())
    values = of_counts(right, guessed, labelled)
    if average is None:
        return values
    weights = labelled if average == "weighted" else (guessed + labelled) > 0
    weights = weights.astype(values.dtype)
    return ratio((values * weights).sum(), weights.sum())


def from_counts(
    name: str, of_counts: Callable[[Any, Any, Any], Any], average: str | None = "auto"
) -> Metric:
    """A metric of each class's counts. Raises: ValueError if there is no such average."""
    if average not in (*AVERAGES, "auto"):
        raise ValueError(f"average is one of {AVERAGES}, got {average!r}")

    def result(table: Value) -> Any:
        chosen = ("binary" if len(table) == 2 else "macro") if average == "auto" else average
        if chosen == "binary" and len(table) != 2:
            raise ValueError(f"{name}: average='binary' is of two classes, not {len(table)}")
        return averaged(of_counts, chosen, table)

    name = name if average == "auto" else f"{name}_{average or 'by_class'}"
    return of_guesses(name, confusions, result)


def precision(*, average: str | None = "auto") -> Metric:
    """The share of guesses of a class that are right. Arguments are those of `f1`.

    For example:

        macro = onnxla.losses.precision(average="macro")
        print(onnxla.evaluate(module, (x, labels), metrics=macro))
    """
    return from_counts("precision", lambda right, guessed, labelled: ratio(right, guessed), average)


def recall(*, average: str | None = "auto") -> Metric:
    """The share of labels of a class that are guessed. Arguments are those of `f1`.

    For example:

        macro = onnxla.losses.recall(average="macro")
        print(onnxla.evaluate(module, (x, labels), metrics=macro))
    """
    return from_counts("recall", lambda right, guessed, labelled: ratio(right, labelled), average)


def f1(*, average: str | None = "auto") -> Metric:
    """The harmonic mean of precision and recall.

    For example:

        macro = onnxla.losses.f1(average="macro")
        print(onnxla.evaluate(module, (x, labels), metrics=macro))

    Args:
        average: As in scikit-learn: "binary", that of class 1 of two; "macro", the mean over the
            classes that are guessed or labelled; "weighted", that by their numbers of labels;
            "micro", of all counts; None, an array of all classes' [K]. By default "binary" for two
            classes or one logit, "macro" for more.

    Raises:
        ValueError: There is no such average.
    """
    return from_counts(
        "f1", lambda right, guessed, labelled: ratio(2 * right, guessed + labelled), average
    )


def top_k(k: int) -> Metric:
    """The share of labels that are among the k classes of the largest outputs.

    For example:

        print(onnxla.evaluate(module, (x, labels), metrics=[onnxla.losses.top_k(2)]))
    """
    of_batch = functools.partial(guesses_right, k=k)
    return of_guesses(f"top_{k}_accuracy", of_batch, divided)


def united(right: Any, guessed: Any, labelled: Any) -> Any:
    """The intersection of guesses and labels over their union."""
    return ratio(right, guessed + labelled - right)


accuracy = of_guesses("accuracy", guesses_right, divided)
"""The share of labels that are the class of the largest output."""
confusion_matrix = of_guesses("confusion_matrix", confusions, lambda table: table)
"""How often each class, in rows, was guessed as each, in columns: [K, K]."""
iou = of_guesses("iou", confusions, functools.partial(averaged, united, "macro"))
"""The mean over classes of the intersection of guesses and labels over their union."""
auc = Metric("auc", scores, area_under_curve, True, ("categorical", "binary"), True)
"""The area under the ROC curve; of more than two classes, the mean of each against the rest."""
perplexity = Metric(
    "perplexity",
    inspect.unwrap(cross_entropy),
    lambda sums: xp(*sums).exp(divided(sums)),
    logits=("categorical",),
    labelled=True,
)
"""The exponential of the mean cross entropy over all labels that count."""
METRICS: dict[str, Measure] = {
    **LOSSES,
    "accuracy": accuracy,
    "top_5_accuracy": top_k(5),
    "precision": precision(),
    "recall": recall(),
    "f1": f1(),
    "auc": auc,
    "confusion_matrix": confusion_matrix,
    "iou": iou,
    "perplexity": perplexity,
}
"""Metrics by the names that calls take; losses are among them, as means."""
