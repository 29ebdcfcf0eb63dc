"""Faults in object detection."""

from __future__ import annotations

import functools

import numpy as np

from onnxla.testing.arrays import f32, i64
from onnxla.testing.fault_records import Fault
from onnxla.testing.predicates import operand, rank, version
from onnxla.testing.use import example

BOXES = f32([[[0, 0, 1, 1]]])
SCORES = f32([[[0.5]]])


FAULTS = [
    Fault(
        "reference",
        "NonMaxSuppression",
        "fails without `iou_threshold` or `max_output_boxes_per_class`",
        "Both are optional: 'Default to 0'.",
        ~(operand(2) & operand(3)),
        functools.partial(example, "NonMaxSuppression", 11, BOXES, SCORES, i64([1])),
    ),
    Fault(
        "reference",
        "NonMaxSuppression",
        "fails on thresholds that are scalars",
        "'Float representing the threshold ... It is scalar.'",
        rank(0, of=2) | rank(0, of=3) | rank(0, of=4),
        functools.partial(
            example,
            "NonMaxSuppression",
            11,
            BOXES,
            SCORES,
            np.array(1),
            np.array(0.5, np.float32),
        ),
    ),
    Fault(
        "reference",
        "RoiAlign",
        "shifts the coordinates of version 10 by half a pixel",
        "Version 16 says: 'Use the value 'output_half_pixel' to omit the pixel shift for the input "
        "(use this for a backward-compatible behavior).'",
        version(10),
        functools.partial(
            example,
            "RoiAlign",
            10,
            np.arange(4, dtype=np.float32).reshape(1, 1, 2, 2),
            f32([[0, 0, 1, 1]]),
            i64([0]),
            sampling_ratio=1,
        ),
    ),
]
