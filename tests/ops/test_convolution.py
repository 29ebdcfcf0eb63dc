"""Convolutions in the way that is fastest: the same values, and what XLA is given."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from onnxla.ops.conv import conv
from onnxla.ops.window import WindowAttributes

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("group", [1, 2, 4], ids="{} groups".format)
@pytest.mark.parametrize("axis", [2, 3, 4])
def test_axes_of_size_one(axis: int, group: int) -> None:
    """XLA's convolution does not see them; values and gradients are those of all axes."""
    shape = [2, 4, 6, 5]
    shape.insert(axis, 1)
    kernel = [8, 4 // group, 3, 2]
    kernel.insert(axis, 1)
    x, w = (RNG.normal(size=sizes).astype(np.float32) for sizes in (shape, kernel))
    padding = [(1, 2)] * 3
    padding[axis - 2] = (0, 0)
    strides = [2, 1, 2]
    pads = tuple(pair[side] for side in (0, 1) for pair in padding)
    window = WindowAttributes(pads=pads, strides=tuple(strides))

    def ours(x: Any, w: Any) -> Any:
        return conv(x, w, group=group, window=window)

    def plain(x: Any, w: Any) -> Any:
        return lax.conv_general_dilated(x, w, strides, padding, feature_group_count=group)

    np.testing.assert_allclose(ours(x, w), plain(x, w), rtol=1e-5, atol=1e-5)
    got, want = (
        jax.grad(lambda x, w, f=f: jnp.sum(jnp.sin(f(x, w))), (0, 1))(x, w) for f in (ours, plain)
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), got, want)
    if group == 1:
        (found,) = (
            e
            for e in jax.make_jaxpr(ours)(x, w).jaxpr.eqns
            if e.primitive.name == "conv_general_dilated"
        )
        assert found.invars[0].aval.ndim == 4


def test_an_axis_of_size_one_with_padding_counts() -> None:
    x, w = np.ones((1, 1, 1, 4), np.float32), np.ones((1, 1, 1, 2), np.float32)
    window = WindowAttributes(pads=(1, 0, 0, 0), strides=(2, 1))
    np.testing.assert_array_equal(conv(x, w, window=window), np.zeros((1, 1, 1, 3)))
