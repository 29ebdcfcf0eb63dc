"""Losses and metrics by name: functions of a model's outputs and the targets.

Each returns a mean over the samples, so that means over batches can be combined.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from onnxla.ir.names import no_such
from onnxla.ops.values import Value, is_floating

Measure: TypeAlias = Callable[[Any, Any], Any]
"""A loss or metric of (outputs, targets)."""


def cross_entropy(logits: Value, labels: Value, *, label_smoothing: float = 0.0) -> jax.Array:
    """Mean cross entropy of logits [N, ..., K] or [N, K, ...] with integer labels [N, ...]."""
    axis = class_axis(logits, labels)
    log_probabilities = jax.nn.log_softmax(logits, axis)
    loss = -at_labels(log_probabilities, labels, axis)
    if label_smoothing:
        loss = (1 - label_smoothing) * loss - label_smoothing * log_probabilities.mean(axis)
    return jnp.mean(loss)


def cross_entropy_probabilities(probabilities: Value, labels: Value) -> jax.Array:
    """Mean cross entropy of probabilities, as of a model that ends with a Softmax in disguise.

    Shapes are those of `cross_entropy`, which is more exact: small probabilities underflow.
    """
    chosen = at_labels(probabilities, labels, class_axis(probabilities, labels))
    # Of an impossible label the gradient is 0, where the logarithm's would be infinite.
    return -jnp.log(jnp.maximum(chosen, jnp.finfo(chosen.dtype).tiny)).mean()


def binary_cross_entropy(logits: Value, labels: Value) -> jax.Array:
    """Mean binary cross entropy of logits with labels in [0, 1] of the same shape."""
    labels = as_outputs(logits, labels)
    return jnp.mean(jax.nn.softplus(logits) - labels * logits)


def mean_squared_error(outputs: Value, targets: Value) -> jax.Array:
    """Mean squared difference of two arrays of the same shape."""
    return jnp.square(outputs - as_outputs(outputs, targets)).mean()


def ctc(logits: Value, labels: Value, *, blank: int = 0) -> jax.Array:
    """Mean connectionist temporal classification loss of logits [N, T, K].

    Args:
        logits: For each frame the classes' logits.
        labels: Integers [N, L]; -1 where a text has ended. Or such labels and the numbers of
            frames [N], where not all frames count.
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
    return jnp.mean(loss)


def accuracy(outputs: Value, labels: Value) -> jax.Array:
    """Share of the labels [N, ...] whose class has the largest of the outputs, as logits."""
    guesses = outputs.argmax(class_axis(outputs, labels))
    return jnp.mean(guesses == labels, dtype=jnp.float32)


LOSSES: dict[str, Measure] = {
    "cross_entropy": cross_entropy,
    "cross_entropy_probabilities": cross_entropy_probabilities,
    "binary_cross_entropy": binary_cross_entropy,
    "mse": mean_squared_error,
    "ctc": ctc,
}
METRICS: dict[str, Measure] = {**LOSSES, "accuracy": accuracy}
# Losses of logits, with the kind of probabilities that would have been made of them; the operators'
# trait `probabilities` has the same words.
LOGITS: dict[Measure, str] = {
    cross_entropy: "categorical",
    ctc: "categorical",
    binary_cross_entropy: "binary",
}


def find_measure(given: str | Measure, what: str, table: dict[str, Measure]) -> Measure:
    """A loss or metric by its name, or as it was given.

    Raises:
        ValueError: None has this name.
    """
    if callable(given):
        return given
    if given not in table:
        raise ValueError(no_such(what, given, table))
    return table[given]


def known_name(measure: Measure) -> str | None:
    """The name of one of the functions above, perhaps with some arguments fixed by `partial`."""
    inner = measure.func if isinstance(measure, partial) else measure
    return next((name for name, known in METRICS.items() if known is inner), None)


def name_of(measure: Measure) -> str:
    """A loss's or metric's name in the tables, or its own."""
    return known_name(measure) or str(getattr(measure, "__name__", type(measure).__name__))


def class_axis(outputs: Value, labels: Value) -> int:
    """The axis of the classes: the last one, or the second, whichever the labels lack.

    Raises:
        ValueError: The labels' shape is not that of the outputs without such an axis.
        TypeError: The labels are no integers.
    """
    require_integers(labels)
    for axis in (outputs.ndim - 1, 1):
        if 0 < axis < outputs.ndim and labels.shape == (
            outputs.shape[:axis] + outputs.shape[axis + 1 :]
        ):
            return axis
    raise ValueError(
        f"labels have shape {list(labels.shape)}; outputs of shape {list(outputs.shape)} take "
        f"integers of shape {list(outputs.shape[:-1])}, without the axis of the classes"
    )


def require_integers(labels: Value) -> None:
    """Raises TypeError unless the labels are integers."""
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise TypeError(f"labels are integers, the numbers of the classes; got {labels.dtype}")


def at_labels(values: Value, labels: Value, axis: int) -> jax.Array:
    """The values of the labelled classes; NaN for a label that is no class."""
    labels = jnp.where((labels < 0) | (labels >= values.shape[axis]), values.shape[axis], labels)
    index = jnp.expand_dims(labels, axis)
    chosen: jax.Array = jnp.take_along_axis(values, index, axis, mode="fill").squeeze(axis)
    return chosen


def as_outputs(outputs: Value, targets: Value) -> Any:
    """Targets in the outputs' dtype. Raises: ValueError if their shape is another."""
    if outputs.shape != targets.shape:
        raise ValueError(
            f"targets have shape {list(targets.shape)}, the outputs {list(outputs.shape)}; they "
            "are compared element by element"
        )
    return targets.astype(outputs.dtype)


def as_wide(value: Value) -> Value:
    """A floating-point value in float32 at least, in which losses are computed."""
    narrow = is_floating(value) and value.dtype.itemsize < 4
    return value.astype(jnp.float32) if narrow else value
