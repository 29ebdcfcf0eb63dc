"""A small classifier and data for it, and whether two runs are the same."""

from __future__ import annotations

import numpy as np

import onnxla
from support.small_models import header, make

RNG = np.random.default_rng(0)
X = RNG.standard_normal((12, 4)).astype(np.float32)
Y = np.arange(12) % 3
MODULE = onnxla.load(
    make(
        header() + " m (float[N, 4] x) => (float[N, 3] z) { z = Gemm (x, w, b) }",
        w=RNG.standard_normal((4, 3)).astype(np.float32),
        b=np.zeros(3, np.float32),
    )
)


def same_parameters(a: onnxla.Module, b: onnxla.Module) -> None:
    """Asserts that two modules have the same parameters, bit for bit."""
    for name, value in a.params.items():
        np.testing.assert_array_equal(value, b.params[name], name)


def same(a: onnxla.FitResult, b: onnxla.FitResult) -> None:
    """Asserts that two runs had the same steps, and ended with the same parameters."""
    assert a.history.steps == b.history.steps
    same_parameters(a.module, b.module)
