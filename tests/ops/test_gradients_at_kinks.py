"""Derivatives where there are several to choose from: the table of docs/gradients.md."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import onnxla
from support.sample_models import ROWS, build
from support.samples import Sample, i64

pytestmark = pytest.mark.quickly

INF = math.inf


def real(*values: Any) -> np.ndarray:
    return np.asarray(values, np.float32)


def kink(op: str, inputs: Sequence[Any], *expected: Any, name: str = "", **attributes: Any) -> Any:
    """A point of an operator, and the gradient by each of its first inputs there."""
    outputs = 2 if op == "TopK" else 1
    sample = Sample(op, inputs, attributes, outputs, grad=range(len(expected)))
    return pytest.param(sample, expected, id=name or op)


KINKS = [
    # Where pieces meet
    kink("Relu", [real(0, -0.0)], [0, 0]),
    kink("LeakyRelu", [real(0)], [0.2], alpha=0.2),
    kink("PRelu", [real(0), real(0.25)], [0.25], [0]),
    kink("ThresholdedRelu", [real(1)], [0], alpha=1.0),
    kink("Elu", [real(0)], [0.7], alpha=0.7),
    kink("Selu", [real(0)], [1.7580993]),
    kink("Celu", [real(0)], [1], alpha=0.7),
    kink("Shrink", [real(-0.5, 0.5)], [0, 0], lambd=0.5, bias=0.1),
    kink("HardSigmoid", [real(-2.5, 2.5)], [0, 0]),
    kink("HardSwish", [real(-3, 3)], [0, 1]),
    kink("Softsign", [real(0)], [1]),
    kink("Abs", [real(0, -0.0)], [0, 0]),
    kink(
        "Clip",
        [real(-1, 1, 0, 2), np.float32(-1), np.float32(1)],
        *([1, 1, 1, 0], 0, 1),
    ),
    # Steps
    kink("Sign", [real(0, 2)], [0, 0]),
    kink("Floor", [real(1, 1.5)], [0, 0]),
    kink("Ceil", [real(1, 1.5)], [0, 0]),
    kink("Round", [real(0.5, 1)], [0, 0]),
    kink("Hardmax", [real([1, 1])], [[0, 0]]),
    kink("Mod", [real(3), real(1)], [1], [-3], fmod=1),
    # Ties
    kink("Max", [real(1), real(1)], [0.5], [0.5]),
    kink("Min", [real(1), real(1)], [0.5], [0.5]),
    kink("Max", [real(1), real(1), real(1)], [0.25], [0.25], [0.5], name="Max of three"),
    kink("ReduceMax", [real(1, 1, 0)], [0.5, 0.5, 0]),
    kink("ReduceMin", [real(1, 1, 2)], [0.5, 0.5, 0]),
    kink("GlobalMaxPool", [real([[1, 1, 0, 1]])], [[[1 / 3, 1 / 3, 0, 1 / 3]]]),
    kink("MaxPool", [real([[1, 1, 0, 1]])], [[[1, 0, 0, 1]]], kernel_shape=[2], strides=[2]),
    kink(
        "MaxPool",
        [real([[[1, 2], [2, 1]]])],
        [[[[0, 0], [1, 0]]]],
        name="MaxPool of an image",
        kernel_shape=[2, 2],
    ),
    kink("TopK", [real(1, 2, 2, 0), i64(1)], [0, 1, 0, 0]),
    # Roots and poles
    kink("Sqrt", [real(0)], [INF]),
    kink("Pow", [real(0), np.float32(0.5)], [INF], name="Pow 0.5"),
    kink("Pow", [real(0), np.float32(3)], [0], name="Pow 3"),
    kink("Pow", [real(-2, 0, 0, 0), real(2, 2, 1, 0)], [-4, 0, 1, 0], [0, 0, 0, 0]),
    kink("Log", [real(0)], [INF]),
    kink("Reciprocal", [real(0)], [-INF]),
    kink("Div", [real(1), real(0)], [INF], [-INF]),
    kink("Asin", [real(1)], [INF]),
    kink("Acos", [real(-1, 1)], [-INF, -INF]),
    kink("Acosh", [real(1)], [INF]),
    kink("Atanh", [real(1)], [INF]),
    # Norms of zero
    kink("ReduceL1", [real(0, 0)], [0, 0]),
    kink("ReduceL2", [real(0, 0)], [0, 0]),
    kink("LpPool", [real([[0, 0]])], [[[0, 0]]], kernel_shape=[2]),
    kink("LpNormalization", [real(0, 0)], [0, 0]),
    kink("MeanVarianceNormalization", [real([1, 1])], [[0, 0]], axes=[1]),
    # Products with zeros
    kink("ReduceProd", [real(0, 3, 2)], [6, 0, 0]),
    kink("CumProd", [real(0, 2), np.asarray(0)], [3, 0]),
    kink("ReduceLogSumExp", [real(-INF, -INF)], [0, 0]),
]


@pytest.mark.parametrize(("sample", "expected"), KINKS)
def test_gradient_at_a_kink(sample: Sample, expected: Sequence[Any]) -> None:
    arrays = list(sample.inputs)
    module = onnxla.load(build(sample, ROWS["", sample.op_type][-1][0], arrays))

    def total(*traced: jax.Array) -> jax.Array:
        y = jax.tree.leaves(module.apply(module.params, *traced, *arrays[len(traced) :]))[0]
        return jnp.sum(y)

    gradient = jax.jit(jax.grad(total, tuple(sample.grad)))
    gradients = gradient(*arrays[: len(expected)])
    for gradient, right in zip(gradients, expected, strict=True):
        np.testing.assert_allclose(gradient, right, rtol=1e-6)
