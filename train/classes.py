"""Labels of classes beside outputs: along which axis, which of them count, and how much."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from onnxla.ops.values import Value, is_floating
from onnxla.train.means import Sums, along, summed

IGNORED = -100  # the label that PyTorch and the Hugging Face libraries leave out


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
        raise TypeError(
            f"labels are integers, the numbers of the classes; got {labels.dtype}"
            f"{list(labels.shape)}. labels.astype('int64') makes them where none is missing, which"
            " -100 then says; labels.argmax(-1) of a row of 0 and 1 for each sample"
        )


def kept(labels: Value, ignore_index: int, weights: Value | None, outputs: Value) -> Any:
    """Labels, with 0 for those that are ignored, and weights, which are 0 there."""
    labels, counted = not_ignored(labels, ignore_index)
    every = along(weights, jax.ShapeDtypeStruct(labels.shape, outputs.dtype))
    return labels, jnp.where(counted, every, 0)


def not_ignored(labels: Value, ignore_index: int) -> tuple[Value, Value]:
    """Labels, with 0 for those that are ignored, and whether each is not."""
    if labels.dtype.itemsize < 4:  # which may hold neither that number nor that of the classes
        labels = labels.astype(jnp.float32 if is_floating(labels) else jnp.int32)
    if jnp.issubdtype(labels.dtype, jnp.unsignedinteger) and ignore_index < 0:
        return labels, jnp.ones(labels.shape, bool)
    counted = labels != ignore_index
    return jnp.where(counted, labels, 0), counted


def at_labels(values: Value, labels: Value, axis: int) -> jax.Array:
    """The values of the labelled classes; NaN for a label that is no class."""
    labels = jnp.where((labels < 0) | (labels >= values.shape[axis]), values.shape[axis], labels)
    index = jnp.expand_dims(labels, axis)
    chosen: jax.Array = jnp.take_along_axis(values, index, axis, mode="fill").squeeze(axis)
    return chosen


def of_labels(
    logarithms: Value,
    labels: Value,
    axis: int,
    weights: Value,
    class_weight: Any,
    label_smoothing: float = 0.0,
) -> Sums:
    """The sums of a loss that is -1 times the logarithm of the label's probability, or the like."""
    counts: Any = None
    if class_weight is not None:
        size = logarithms.shape[axis]
        of_classes = jnp.asarray(classes_weighed(class_weight, size), logarithms.dtype)
        counts = jnp.take(of_classes, labels, mode="fill")
        spread = [size if i == axis else 1 for i in range(logarithms.ndim)]
        logarithms = logarithms * of_classes.reshape(spread)
    elements = -at_labels(logarithms, labels, axis)
    if label_smoothing:
        elements = (1 - label_smoothing) * elements - label_smoothing * logarithms.mean(axis)
    return summed(elements, weights, counts)


def classes_weighed(class_weight: Any, classes: int) -> Any:
    """The weight of each class [K]. Raises: ValueError if there is another number of them."""
    if isinstance(class_weight, Mapping):
        if wrong := [k for k in class_weight if k not in range(classes)]:
            raise ValueError(
                f"class_weight has class {wrong[0]!r}; the outputs have {classes}, 0 to "
                f"{classes - 1}"
            )
        return np.array([class_weight.get(k, 1.0) for k in range(classes)])
    if np.shape(class_weight) != (classes,):
        raise ValueError(
            f"class_weight has shape {list(np.shape(class_weight))}; the outputs have {classes} "
            "classes"
        )
    return class_weight
