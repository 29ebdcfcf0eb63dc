"""Losses of a classifier."""

from __future__ import annotations

import numpy as np

from onnxla.testing.draw import Draw
from onnxla.testing.operator_cases import strategy
from onnxla.testing.use import Use


@strategy("NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss")
def loss(draw: Draw) -> Use:
    """Scores (N, C, D1 ...), classes (N, D1 ...) and perhaps a weight for each class (C).

    The mean is of at least one loss that is not ignored.
    """
    scores, target, weight = draw.schema.inputs
    reduction = draw.choice((None, "none", "sum", "mean"))
    mean = reduction in (None, "mean")
    classes = draw.integer(1, 4)
    n, *others = draw.shape((1, 4), (1 if mean else draw.choice((1, 1, 0)), 3))
    # No text says whether a sum of large scores may be out of range on the way to their mean.
    x = draw.tensor(scores, (n, classes, *others), -4, 4)
    labels = draw.tensor(target, (n, *others), 0, classes - 1)
    ignored = draw.maybe(lambda: draw.integer(-2, classes))
    if ignored is not None:
        kept = draw.array(bool, labels.shape)
        if mean:  # of one class, that one is not ignored
            kept.flat[0] = True
            ignored = -1 if classes == 1 and ignored == 0 else ignored
        other = (labels + 1) % classes
        labels = np.where(kept, np.where(labels == ignored, other, labels), ignored)
    outputs = draw.choice((1, 2)) if draw.name == "SoftmaxCrossEntropyLoss" else 1
    return draw.use(
        (
            x,
            labels.astype(draw.dtype(target)),
            draw.maybe(lambda: draw.tensor(weight, (classes,), 0.125, 4)),
        ),
        {"reduction": reduction, "ignore_index": ignored},
        outputs,
        batch=(0, 1) if reduction == "none" else (),
    )
