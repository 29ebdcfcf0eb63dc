"""Losses by name: functions of a model's outputs, the targets and perhaps weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from onnxla.ops.values import Value
from onnxla.train.classes import IGNORED, at_labels, class_axis, kept, of_labels, require_integers
from onnxla.train.means import Sums, as_outputs, mean_of, summed

Measure: TypeAlias = Callable[..., Any]
"""A loss or metric of (outputs, targets), and of weights where the data has them."""


# Of classes


@mean_of
def cross_entropy(
    logits: Value,
    labels: Value,
    weights: Value | None = None,
    *,
    label_smoothing: float = 0.0,
    class_weight: Any = None,
    ignore_index: int = IGNORED,
) -> Sums:
    """Mean cross entropy of logits [N, ..., K] or [N, K, ...] with integer labels [N, ...].

    For example:

        loss = onnxla.losses.cross_entropy(module(x), labels, label_smoothing=0.1)

    Args:
        logits: The classes' logits.
        labels: Numbers of classes; the loss is NaN if another one is among them.
        weights: Weights of the samples [N], or of the labels.
        label_smoothing: Share of the target that all classes have alike.
        class_weight: Weights of the classes [K], or a dict of some, the others' being 1. The mean
            is divided by the sum of the weights of the labels' classes.
        ignore_index: A label that does not count. The loss is 0 if none does.
    """
    axis = class_axis(logits, labels)
    labels, weights = kept(labels, ignore_index, weights, logits)
    log_probabilities = jax.nn.log_softmax(logits, axis)
    return of_labels(log_probabilities, labels, axis, weights, class_weight, label_smoothing)


@mean_of
def causal_lm(
    logits: Value,
    labels: Value,
    weights: Value | None = None,
    *,
    label_smoothing: float = 0.0,
    ignore_index: int = IGNORED,
) -> Sums:
    """Mean cross entropy of logits [N, S, K] with the next of labels [N, S], which are the tokens.

    For example:

        ids = np.array([[5, 17, 3, 9]])
        loss = onnxla.losses.causal_lm(np.zeros((1, 4, 32), np.float32), ids)

    Args:
        logits: At each token, of the next one; the last ones do not count.
        labels: The tokens; the first ones do not count.
        weights: Weights of the samples [N], or of the labels [N, S].
        label_smoothing: Share of the target that all tokens have alike.
        ignore_index: A label that does not count: that of padding, or of a prompt.

    Raises:
        ValueError: A shape is another.
        TypeError: Labels are no integers.
    """
    if logits.ndim != 3 or labels.shape != logits.shape[:2]:
        raise ValueError(
            f"causal_lm takes logits [N, S, K] and labels [N, S], got {list(logits.shape)} and "
            f"{list(labels.shape)}"
        )
    require_integers(labels)
    logits, labels = logits[:, :-1], labels[:, 1:]
    if weights is not None and np.ndim(weights) > 1:
        weights = weights[:, 1:]
    labels, weights = kept(labels, ignore_index, weights, logits)
    return of_labels(jax.nn.log_softmax(logits, 2), labels, 2, weights, None, label_smoothing)


@mean_of
def cross_entropy_probabilities(
    probabilities: Value,
    labels: Value,
    weights: Value | None = None,
    *,
    class_weight: Any = None,
    ignore_index: int = IGNORED,
) -> Sums:
    """Mean cross entropy of probabilities, as of a model that ends with a Softmax in disguise.

    Arguments are those of `cross_entropy`, which is more exact: small probabilities underflow.

    For example:

        loss = onnxla.losses.cross_entropy_probabilities(jax.nn.softmax(module(x)), labels)
    """
    axis = class_axis(probabilities, labels)
    labels, weights = kept(labels, ignore_index, weights, probabilities)
    # Of an impossible label the gradient is 0, where the logarithm's would be infinite.
    logarithms = jnp.log(jnp.maximum(probabilities, jnp.finfo(probabilities.dtype).tiny))
    return of_labels(logarithms, labels, axis, weights, class_weight)


@mean_of
def focal(
    logits: Value,
    labels: Value,
    weights: Value | None = None,
    *,
    gamma: float = 2.0,
    alpha: float | None = None,
    class_weight: Any = None,
    ignore_index: int = IGNORED,
) -> Sums:
    """Mean focal loss: cross entropy times (1 - p) ** gamma, p being the label's probability.

    For example:

        loss = onnxla.losses.focal(module(x), labels, gamma=1.0)

    Args:
        logits: Logits of K classes, as for `cross_entropy`; or of yes and no.
        labels: Integers, as for `cross_entropy`; or numbers in [0, 1] of the logits' shape.
        weights: Weights of the samples [N], or of the labels.
        gamma: How little what is right already counts.
        alpha: Weight of yes, where labels are of the logits' shape; that of no is 1 - alpha.
        class_weight: As for `cross_entropy`, where labels are of classes.
        ignore_index: As for `cross_entropy`.

    Raises:
        ValueError: `alpha` is of yes and no, `class_weight` of classes, and labels are the other.
    """
    binary = logits.shape == labels.shape
    if (class_weight if binary else alpha) is not None:
        wrong, right = ("class_weight", "alpha") if binary else ("alpha", "class_weight")
        raise ValueError(f"focal takes {right}=, not {wrong}=, with labels {list(labels.shape)}")
    if binary:
        labels, weights = kept(labels, ignore_index, weights, logits)
        labels = labels.astype(logits.dtype)
        yes, no = jax.nn.softplus(-logits), jax.nn.softplus(logits)  # -log of p, and of 1 - p
        yes, no = jnp.exp(-gamma * no) * yes, jnp.exp(-gamma * yes) * no
        of_yes, of_no = (1.0, 1.0) if alpha is None else (alpha, 1 - alpha)
        return summed(of_yes * labels * yes + of_no * (1 - labels) * no, weights)
    axis = class_axis(logits, labels)
    labels, weights = kept(labels, ignore_index, weights, logits)
    logarithms = jax.nn.log_softmax(logits, axis)
    rest = jnp.maximum(-jnp.expm1(logarithms), jnp.finfo(logits.dtype).tiny)
    return of_labels(rest**gamma * logarithms, labels, axis, weights, class_weight)


@mean_of
def dice(
    logits: Value,
    labels: Value,
    weights: Value | None = None,
    *,
    smooth: float = 1e-5,
    ignore_index: int = IGNORED,
) -> Sums:
    """Mean soft Dice loss of each sample and class: 1 - 2 * sum(p * t) / sum(p + t) over places.

    For example:

        masks = np.zeros((2, 4, 4), np.int32)
        loss = onnxla.losses.dice(np.ones((2, 3, 4, 4), np.float32), masks)

    Args:
        logits: Logits [N, K, ...] or [N, ..., K].
        labels: Integers [N, ...], for which p is the softmax; or masks [N, K, ...] of the logits'
            shape, for which it is the sigmoid.
        weights: Weights of the samples [N], or of the places, as labels have them.
        smooth: Added to both sums: the loss of a class that is nowhere is 0.
        ignore_index: A label that does not count.
    """
    masks = logits.shape == labels.shape
    axis = 1 if masks else class_axis(logits, labels)
    by_sample = weights is None or weights.ndim == 1
    labels, places = kept(labels, ignore_index, None if by_sample else weights, logits)
    if masks:
        p, t = jax.nn.sigmoid(logits), labels.astype(logits.dtype)
    else:
        p = jax.nn.softmax(logits, axis)
        t = jax.nn.one_hot(labels, logits.shape[axis], dtype=logits.dtype, axis=axis)
        places = jnp.expand_dims(places, axis)
    space = tuple(i for i in range(1, logits.ndim) if i != axis)
    shared = (2 * p * t * places).sum(space) + smooth
    elements = 1 - shared / (((p + t) * places).sum(space) + smooth)
    return summed(elements, weights if by_sample else None)


@mean_of
def binary_cross_entropy(
    logits: Value, labels: Value, weights: Value | None = None, *, pos_weight: Any = None
) -> Sums:
    """Mean binary cross entropy of logits with labels in [0, 1] of the same shape.

    For example:

        loss = onnxla.losses.binary_cross_entropy(module(x)[:, 0], (labels == 0).astype(np.float32))

    Args:
        logits: The logits.
        labels: The labels.
        weights: Weights of the samples [N], or of the labels.
        pos_weight: What the part of label 1 is multiplied by, a number or one of each column.
    """
    labels = as_outputs(logits, labels)
    if pos_weight is None:
        return summed(jax.nn.softplus(logits) - labels * logits, weights)
    yes = labels * jnp.asarray(pos_weight, logits.dtype) * jax.nn.softplus(-logits)
    return summed(yes + (1 - labels) * jax.nn.softplus(logits), weights)


@mean_of
def kl_divergence(
    logits: Value, probabilities: Value, weights: Value | None = None, *, axis: int = -1
) -> Sums:
    """Mean Kullback-Leibler divergence of target probabilities from those of logits.

    For example:

        loss = onnxla.losses.kl_divergence(module(x), np.full((len(x), 3), 1 / 3, np.float32))

    Args:
        logits: Logits of classes.
        probabilities: The targets, of the same shape.
        weights: Weights of the samples [N], or of all places.
        axis: The axis of the classes.
    """
    return summed(divergence(logits, as_outputs(logits, probabilities), axis), weights)


@mean_of
def distillation(
    logits: Value,
    targets: Any,
    weights: Value | None = None,
    *,
    temperature: float = 2.0,
    mix: float = 0.5,
    label_smoothing: float = 0.0,
    ignore_index: int = IGNORED,
) -> Sums:
    """Mean of what a teacher's logits say, and what labels say, as `distilled` puts them together.

    It is mix * temperature ** 2 * KL(teacher / temperature || student / temperature) + (1 - mix)
    times the cross entropy.

    For example:

        data = onnxla.losses.distilled((x, labels), teacher=module)
        onnxla.fit(module, data, "distillation")

    Args:
        logits: The student's logits.
        targets: A dict of the `teacher`'s logits, of the same shape, and perhaps of `labels`, as
            for `cross_entropy`; without them the teacher's part is all there is, whatever `mix`.
        weights: Weights of the samples [N], or of the labels.
        temperature: What logits are divided by.
        mix: The teacher's share.
        label_smoothing: As for `cross_entropy`.
        ignore_index: As for `cross_entropy`; the teacher's part is left out there, too.

    Raises:
        ValueError: `mix` is not in [0, 1], or a shape is another.
        TypeError: The targets are another thing.
    """
    if not isinstance(targets, Mapping) or "teacher" not in targets:
        raise TypeError(
            "distillation takes targets {'labels': ..., 'teacher': logits}, as "
            "onnxla.losses.distilled(data, teacher) makes them"
        )
    if not 0 <= mix <= 1:
        raise ValueError(f"mix is the teacher's share, in [0, 1]; got {mix}")
    labels = targets.get("labels")
    axis = logits.ndim - 1 if labels is None else class_axis(logits, labels)
    teacher = as_outputs(logits, targets["teacher"]) / temperature
    soft = divergence(logits / temperature, jax.nn.softmax(teacher, axis), axis) * temperature**2
    if labels is None:
        return summed(soft, weights)
    labels, weights = kept(labels, ignore_index, weights, logits)
    log_probabilities = jax.nn.log_softmax(logits, axis)
    hard = -at_labels(log_probabilities, labels, axis)
    if label_smoothing:
        hard = (1 - label_smoothing) * hard - label_smoothing * log_probabilities.mean(axis)
    return summed(mix * soft + (1 - mix) * hard, weights)


# Of numbers


@mean_of
def mean_squared_error(outputs: Value, targets: Value, weights: Value | None = None) -> Sums:
    """Mean squared difference of two arrays of the same shape.

    For example:

        loss = onnxla.losses.mean_squared_error(module(x), x[:, :3])
    """
    return summed(jnp.square(outputs - as_outputs(outputs, targets)), weights)


@mean_of
def mean_absolute_error(outputs: Value, targets: Value, weights: Value | None = None) -> Sums:
    """Mean absolute difference of two arrays of the same shape.

    For example:

        loss = onnxla.losses.mean_absolute_error(module(x), x[:, :3])
    """
    return summed(jnp.abs(outputs - as_outputs(outputs, targets)), weights)


@mean_of
def huber(
    outputs: Value, targets: Value, weights: Value | None = None, *, delta: float = 1.0
) -> Sums:
    """Mean Huber loss: half the squared difference, and linear where it is beyond `delta`.

    For example:

        loss = onnxla.losses.huber(module(x), x[:, :3], delta=0.5)
    """
    distance = jnp.abs(outputs - as_outputs(outputs, targets))
    near = jnp.minimum(distance, delta)
    return summed(near * (distance - near / 2), weights)


# Of embeddings


@mean_of
def contrastive(
    outputs: Any, targets: Any = None, weights: Value | None = None, *, temperature: float = 0.05
) -> Sums:
    """Mean contrastive loss (InfoNCE) of pairs, among all pairs of the batch, in both directions.

    For example:

        loss = onnxla.losses.contrastive((x, x + 0.1))

    Args:
        outputs: Two outputs [N, D], whose rows are pairs; or one, with the other rows as targets.
            They are normalized, and compared by their products.
        targets: Nothing, where there are two outputs.
        weights: Weights of the pairs [N].
        temperature: What similarities are divided by.

    Raises:
        ValueError: The shapes are others.
    """
    first, second = outputs if isinstance(outputs, tuple | list) else (outputs, targets)
    require_rows("contrastive", first, second)
    similar = normalized(first) @ normalized(second.astype(first.dtype)).T / temperature
    ways = (jnp.diagonal(jax.nn.log_softmax(similar, axis)) for axis in (0, 1))
    return summed(-sum(ways) / 2, weights)


@mean_of
def triplet(
    outputs: Any, targets: Any = None, weights: Value | None = None, *, margin: float = 1.0
) -> Sums:
    """Mean of what the distance to a positive lacks to be a margin less than that to a negative.

    For example:

        loss = onnxla.losses.triplet((x, x + 0.1, -x), margin=0.5)

    Args:
        outputs: Three outputs [N, D]: anchors, positives and negatives.
        targets: Nothing.
        weights: Weights of the triplets [N].
        margin: How much nearer the positive should be.

    Raises:
        ValueError: The shapes are others.
    """
    anchor, positive, negative = outputs
    require_rows("triplet", anchor, positive, negative)

    def distance(other: Value) -> Any:  # PyTorch's, which has a gradient where they are the same
        return jnp.sqrt(jnp.square(anchor - other + 1e-6).sum(1))

    return summed(jax.nn.relu(distance(positive) - distance(negative) + margin), weights)


# Of texts


@mean_of
def ctc(logits: Value, labels: Any, weights: Value | None = None, *, blank: int = 0) -> Sums:
    """Mean connectionist temporal classification loss of logits [N, T, K].

    For example:

        texts = np.array([[1, 2, -1]])
        loss = onnxla.losses.ctc(np.zeros((1, 6, 4), np.float32), texts)

    Args:
        logits: For each frame the classes' logits.
        labels: Integers [N, L]; -1 where a text has ended. Or such labels and the numbers of
            frames [N], where not all frames count.
        weights: Weights of the samples [N].
        blank: The class that stands for no label.

    Raises:
        ValueError: A shape or dtype is another.
    """
    import optax

    labels, frames = labels if isinstance(labels, tuple | list) else (labels, None)
    if logits.ndim != 3 or labels.ndim != 2 or len(labels) != len(logits):
        raise ValueError(
            f"ctc takes logits [N, T, K] and labels [N, L], got {list(logits.shape)} and "
            f"{list(labels.shape)}"
        )
    require_integers(labels)
    time = jnp.arange(logits.shape[1])
    unused = jnp.zeros(logits.shape[:2], bool) if frames is None else time >= frames[:, None]
    padding = labels < 0
    loss = optax.ctc_loss(
        logits,
        unused.astype(logits.dtype),
        jnp.where(padding, blank, labels),
        padding.astype(logits.dtype),
        blank_id=blank,
    )
    return summed(loss, weights)


LOSSES: dict[str, Measure] = {
    "cross_entropy": cross_entropy,
    "causal_lm": causal_lm,
    "cross_entropy_probabilities": cross_entropy_probabilities,
    "binary_cross_entropy": binary_cross_entropy,
    "focal": focal,
    "dice": dice,
    "kl_divergence": kl_divergence,
    "distillation": distillation,
    "mse": mean_squared_error,
    "mae": mean_absolute_error,
    "huber": huber,
    "contrastive": contrastive,
    "triplet": triplet,
    "ctc": ctc,
}
"""Losses by the names that calls take."""
# Losses of logits, with the kinds of probabilities that would have been made of them; the
# operators' trait `probabilities` has the same words.
LOGITS: dict[Measure, tuple[str, ...]] = {
    cross_entropy: ("categorical",),
    causal_lm: ("categorical",),
    ctc: ("categorical",),
    kl_divergence: ("categorical",),
    distillation: ("categorical",),
    binary_cross_entropy: ("binary",),
    focal: ("categorical", "binary"),
    dice: ("categorical", "binary"),
}
# How many outputs a loss may be of, where that is not one.
OUTPUTS: dict[Measure, tuple[int, ...]] = {contrastive: (1, 2), triplet: (3,)}


def require_rows(name: str, *arrays: Value) -> None:
    """Raises ValueError unless a loss is given arrays [N, D] of one shape."""
    shapes = [list(np.shape(array)) for array in arrays]
    if len(shapes[0]) != 2 or shapes.count(shapes[0]) != len(shapes):
        found = ", ".join(map(str, shapes))
        raise ValueError(f"{name} takes {len(shapes)} arrays of one shape [N, D], got {found}")


def divergence(logits: Value, probabilities: Value, axis: int) -> Any:
    """The Kullback-Leibler divergence of probabilities from those of logits, at each place."""
    log_probabilities = jax.nn.log_softmax(logits, axis)
    entropy = jax.scipy.special.xlogy(probabilities, probabilities)
    return (entropy - probabilities * log_probabilities).sum(axis)


def normalized(rows: Value) -> Any:
    """Rows of length 1, or less where they are nearly 0, as PyTorch's `normalize`."""
    square = jnp.square(rows).sum(1, keepdims=True)
    return rows * jax.lax.rsqrt(jnp.maximum(square, 1e-24))
