"""Losses of a classifier. Letters: N instances, C classes."""

from __future__ import annotations

import jax.numpy as jnp

from onnxla.ir.errors import ModelError
from onnxla.ops.activation import log_softmax
from onnxla.ops.table import op
from onnxla.ops.values import Value


@op("NegativeLogLikelihoodLoss", since=(12, 13, 22))
def negative_log_likelihood_loss(
    input: Value,
    target: Value,
    weight: Value | None = None,
    *,
    ignore_index: int | None = None,
    reduction: str = "mean",
) -> Value:
    """Minus the log-probability of the target class, times its weight; reduced as asked for.

    input [N, C, ...], target [N, ...]; `mean` divides by the sum of the weights. A target that is
    `ignore_index` has weight 0, and then need not be a class.
    """
    ignored = jnp.zeros(target.shape, bool) if ignore_index is None else target == ignore_index
    classes = jnp.where(ignored, 0, target)
    each = jnp.ones((), input.dtype) if weight is None else jnp.asarray(weight)[classes]
    weights = jnp.where(ignored, 0, each)
    picked = jnp.take_along_axis(input, jnp.expand_dims(classes, 1), 1).squeeze(1)
    loss = jnp.where(ignored, 0, -picked * weights)
    match reduction:
        case "none":
            return loss
        case "sum":
            return jnp.sum(loss)
        case "mean":
            return jnp.sum(loss) / jnp.sum(weights)
    raise ModelError(f"reduction={reduction!r} is none of none, sum, mean")


@op("SoftmaxCrossEntropyLoss", since=(12, 13))
def softmax_cross_entropy_loss(
    scores: Value,
    labels: Value,
    weights: Value | None = None,
    *,
    ignore_index: int | None = None,
    reduction: str = "mean",
) -> tuple[Value, Value]:
    """`negative_log_likelihood_loss` of the log-softmax of scores [N, C, ...]; and the latter."""
    log_prob = log_softmax(scores, axis=1)
    output = negative_log_likelihood_loss(
        log_prob, labels, weights, ignore_index=ignore_index, reduction=reduction
    )
    return output, log_prob
