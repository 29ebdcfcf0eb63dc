"""Faults in losses."""

from __future__ import annotations

import functools

import numpy as np

from onnxla.testing.fault_records import Fault
from onnxla.testing.predicates import attribute, operands, rank, size
from onnxla.testing.use import example

FAULTS = [
    Fault(
        "reference",
        "NegativeLogLikelihoodLoss",
        "divides the mean by all targets where `ignore_index` is -1, by those kept where it is not",
        "The text says: 'mean(loss), if \"weight\" is not provided', and 'the sum of the output "
        "will be divided by the sum of applied weights'. It does not tell whether that counts "
        "ignored targets. They do not count in onnxla, for any `ignore_index`, as in ONNX Runtime "
        "and in PyTorch, which the text refers to.",
        attribute("ignore_index", -1)
        & attribute("reduction", "mean", default="mean")
        & ~operands(3),
        lambda: example(
            "NegativeLogLikelihoodLoss",
            13,
            np.ones((2, 3), np.float32),
            np.array([0, -1], np.int64),
            ignore_index=-1,
        ),
    ),
    *(
        Fault(
            "reference",
            op,
            "fails on an empty batch",
            "The text sets no bound: 'shape of (N, C) or (N, C, d1, d2, ..., dk)'.",
            size(0, 0) & ~rank(3),
            functools.partial(
                example, op, 13, np.ones((0, 3), np.float32), np.zeros(0, np.int64), reduction="sum"
            ),
        )
        for op in ("NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss")
    ),
]
