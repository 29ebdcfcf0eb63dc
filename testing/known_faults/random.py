"""Faults in random numbers."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from onnxla.testing.case import Case
from onnxla.testing.fault_records import Fault
from onnxla.testing.predicates import has, rank, size
from onnxla.testing.use import example

LIKE = ("RandomNormalLike", "RandomUniformLike", "Bernoulli")
FILLED = ("RandomNormal", "RandomUniform")


def use(op: str, **attributes: Any) -> Case:
    """A use of an operator."""
    if op in FILLED:
        types = {"y0": "tensor(float)"}
        return example(op, 22, shape=[2], types=types, **attributes)
    return example(op, 22, np.ones(2, np.float32), types={"y0": "tensor(float)"}, **attributes)


FAULTS = [
    *(
        Fault(
            "reference",
            op,
            "fails for a negative seed",
            "'(Optional) Seed to the random generator', a float of any sign.",
            lambda case: case.attributes.get("seed", 0) < 0,
            functools.partial(use, op, seed=-1.0, dtype=1),
        )
        for op in (*FILLED, *LIKE)
    ),
    *(
        Fault(
            "reference",
            op,
            "fails without `dtype`",
            "'If not specified, we will use the data type of the input tensor.'",
            ~has("dtype"),
            functools.partial(use, op, seed=1.0),
        )
        for op in LIKE[:2]
    ),
    *(
        Fault(
            "reference",
            op,
            "fails for a scalar",
            "The output has the shape of the input tensor, of any rank.",
            rank(0),
            functools.partial(
                example,
                op,
                22,
                np.array(1, np.float32),
                types={"y0": "tensor(float)"},
                seed=1.0,
                dtype=1,
            ),
        )
        for op in LIKE
    ),
    Fault(
        "onnxruntime",
        "Bernoulli",
        "confuses 0 and 1",
        "'An output of 1 is produced with probability p and an output of 0 is produced with "
        "probability (1-p).' The function of the schema, which ONNX Runtime runs, contradicts it.",
        lambda case: not case.tolerance.random,
        lambda: example(
            "Bernoulli",
            15,
            np.ones(2, np.float32),
            types={"y0": "tensor(float)"},
            seed=1.0,
        ),
    ),
    Fault(
        "onnxruntime",
        "Multinomial",
        "rejects an input without rows",
        "'Input tensor with shape [batch_size, class_size]', of which none must be other than 0.",
        size(0, 0),
        lambda: example(
            "Multinomial",
            7,
            np.ones((0, 2), np.float32),
            types={"y0": "tensor(int32)"},
            seed=1.0,
        ),
    ),
]
