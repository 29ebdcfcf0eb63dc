"""Means over samples: sums and weights, which add up over batches.

A loss is a weighted mean of elements: a sum, divided by the weights' sum. Both add up over batches,
so that a mean over all of them is exact, however many labels count in each. Weights are one number
a sample [N], or one an element, as a mask of padding; they may stop at any axis between.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, ParamSpec

import jax
import jax.numpy as jnp

from onnxla.ops.values import Value, is_floating

P = ParamSpec("P")


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=["targets", "weights"], meta_fields=[]
)
@dataclass(frozen=True)
class Weighted:
    """Targets of which some count more than others, as a batch (inputs, targets, weights) has them.

    Attributes:
        targets: An array, or any tree of them.
        weights: One number a sample, or one an element of a loss.
    """

    targets: Any
    weights: Any


class Sums(NamedTuple):
    """A mean before it is divided.

    Attributes:
        total: The sum of the elements times their weights.
        weight: The sum of the weights.
    """

    total: Any
    weight: Any


def mean_of(sums: Callable[P, Sums]) -> Callable[P, jax.Array]:
    """The loss whose sums a function returns, which `sums_of` finds again."""

    @functools.wraps(sums)
    def mean(*args: P.args, **options: P.kwargs) -> jax.Array:
        total, weight = sums(*args, **options)
        return jnp.asarray(total / jnp.where(weight == 0, 1, weight))

    signature = inspect.signature(sums).replace(return_annotation="jax.Array")
    mean.__signature__ = signature  # type: ignore[attr-defined]
    return mean


def summed(elements: Value, weights: Value | None = None, counts: Any = None) -> Sums:
    """The sums of elements, of which those of weight 0 may be anything.

    Args:
        elements: The elements.
        weights: What they are multiplied by: their shape, or the first axes of it.
        counts: What each adds to the divisor, times its weight; by default 1.

    Raises:
        ValueError: The weights have another shape.
    """
    every = along(weights, elements)
    counted = every if counts is None else every * counts
    total, weight = (jnp.where(every == 0, 0, x).sum() for x in (elements * every, counted))
    return Sums(total, weight)


def along(weights: Value | None, like: Value) -> Any:
    """Weights in the shape and dtype of an array. Raises: ValueError if they do not fit it."""
    if weights is None:
        return jnp.ones(like.shape, like.dtype)
    if weights.ndim == 0 or weights.shape != like.shape[: weights.ndim]:
        raise ValueError(
            f"weights have shape {list(weights.shape)}; they are one number a sample, "
            f"{list(like.shape[:1])}, or one an element, {list(like.shape)}"
        )
    every = weights.reshape(weights.shape + (1,) * (like.ndim - weights.ndim))
    return jnp.broadcast_to(every.astype(like.dtype), like.shape)


def unweighted(targets: Any) -> tuple[Any, Any]:
    """Targets, and their weights or None."""
    return (targets.targets, targets.weights) if isinstance(targets, Weighted) else (targets, None)


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
