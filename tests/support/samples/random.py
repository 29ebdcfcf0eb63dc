"""Draws that leave no choice: probabilities of 0 and 1, and distributions of no width."""

import numpy as np
from onnx import TensorProto

from support.samples import Sample, f32

CERTAIN = np.float32([[0, 1, 1], [1, 0, 1]])
# Logarithms of probabilities, of which all but one of a row are zero.
LOGITS = np.float32([[-200, 0, -200, -200], [-200, -200, -200, 0], [0, -200, -200, -200]])
SEED = {"seed": 1.0}
# Not 0, at which ONNX Runtime aborts.
NORMAL = {**SEED, "mean": 1.5, "scale": 1e-30}
UNIFORM = {**SEED, "low": -2.5, "high": -2.5}
SHAPE = {"shape": [2, 0, 3]}, {"shape": [4]}, {"shape": [2, 3], "dtype": TensorProto.DOUBLE}
LIKE = f32(2, 3), np.ones((2, 1, 3)), np.ones(4, np.float16)
DOUBLE = {"dtype": TensorProto.DOUBLE}

SAMPLES = [
    *(Sample("RandomNormal", (), NORMAL | shape) for shape in SHAPE),
    *(Sample("RandomUniform", (), UNIFORM | shape) for shape in SHAPE),
    *(Sample("RandomNormalLike", (x,), NORMAL) for x in LIKE[:2]),
    *(Sample("RandomUniformLike", (x,), UNIFORM) for x in LIKE[:2]),
    *(Sample("RandomNormalLike", (x,), NORMAL | DOUBLE) for x in (LIKE[0], np.int32([[1], [2]]))),
    *(Sample("RandomUniformLike", (x,), UNIFORM | DOUBLE) for x in (LIKE[0], np.int32([[1], [2]]))),
    *(
        # ONNX Runtime confuses 0 and 1.
        Sample("Bernoulli", (x,), SEED | options, expected=lambda x, d=dtype: x.astype(d))
        for x, options, dtype in (
            (CERTAIN, {}, np.float32),
            (CERTAIN.astype(np.float64), {"dtype": TensorProto.INT32}, np.int32),
            (CERTAIN[0], {"dtype": TensorProto.BOOL}, bool),
        )
    ),
    *(
        Sample("Multinomial", (LOGITS,), SEED | options, versions=(7,))
        for options in ({}, {"sample_size": 5}, {"sample_size": 2, "dtype": TensorProto.INT64})
    ),
    Sample(
        "Multinomial",
        (LOGITS,),
        SEED | {"sample_size": 2},
        versions=(22,),
        # No other runtime implements version 22.
        expected=lambda x: np.int32([[1, 1], [3, 3], [0, 0]]),
    ),
]
