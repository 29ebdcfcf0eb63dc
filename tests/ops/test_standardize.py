"""Normalizations: their derivative is one expression, and is right in every mode and precision."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from onnxla.interpret.rules.budget import equations
from onnxla.ops import microsoft_fused, normalize
from onnxla.ops.standardize import standardized

RNG = np.random.default_rng(0)
ONES, ZEROS = np.ones(4), np.zeros(4)
# Each as a function of x [3, 4, 2, 4] and of a scale [4].
NORMALIZATIONS: dict[str, Callable[[Any, Any], Any]] = {
    "BatchNormalization": lambda x, g: normalize.batch_normalization(
        x, g, g, jnp.zeros_like(g), jnp.ones_like(g), train=True, frozen=False
    ),
    "InstanceNormalization": lambda x, g: normalize.instance_normalization(x, g, g),
    "GroupNormalization": lambda x, g: normalize.group_normalization(x, g, g, num_groups=2),
    "LayerNormalization": lambda x, g: normalize.layer_normalization(x, g, g),
    "RMSNormalization": normalize.rms_normalization,
    "MeanVarianceNormalization": lambda x, g: normalize.mean_variance_normalization(x) * g,
    "LpNormalization": lambda x, g: normalize.lp_normalization(x, p=2) * g,
    "SkipLayerNormalization": lambda x, g: microsoft_fused.skip_layer_normalization(x, x**2, g, g),
    "SkipSimplifiedLayerNormalization": lambda x, g: (
        microsoft_fused.skip_simplified_layer_normalization(x, x**2, g)
    ),
}


def points(dtype: Any = np.float64) -> tuple[np.ndarray, np.ndarray]:
    return RNG.normal(1, 2, (3, 4, 2, 4)).astype(dtype), RNG.normal(size=4).astype(dtype)


@pytest.fixture(autouse=True)
def in_double_precision() -> Any:
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("name", NORMALIZATIONS)
def test_first_and_second_derivatives(name: str) -> None:
    check_grads(NORMALIZATIONS[name], points(), order=2, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", NORMALIZATIONS)
def test_each_derivative_is_one_slope(name: str) -> None:
    x, g = points()

    def pulled(x: Any, g: Any) -> Any:
        outputs, pull = jax.vjp(lambda *xs: jax.tree.leaves(NORMALIZATIONS[name](*xs))[0], x, g)
        return pull(outputs)

    names = [str(e.primitive) for e in equations(jax.make_jaxpr(pulled)(x, g).jaxpr)]
    assert names.count("slope") == 1


@pytest.mark.parametrize("in_axes", [(0, 0), (0, None), (None, 0), (3, 1)])
@pytest.mark.parametrize("name", ["BatchNormalization", "LayerNormalization", "RMSNormalization"])
def test_mapped_as_one_by_one(name: str, in_axes: tuple[int | None, int | None]) -> None:
    size = 2
    operands = [
        x if axis is None else np.stack([x + i for i in range(size)], axis)
        for x, axis in zip(points(), in_axes, strict=True)
    ]

    def gradient(x: Any, g: Any) -> Any:
        """By forward mode over reverse mode, so that the slope's own derivatives are mapped."""
        loss = lambda x: jnp.sin(jax.tree.leaves(NORMALIZATIONS[name](x, g))[0]).sum()  # noqa: E731
        return jax.jvp(jax.grad(loss), (x,), (jnp.cos(x),))

    mapped = jax.vmap(gradient, in_axes)(*operands)
    for i in range(size):
        one = gradient(
            *(
                x if axis is None else np.take(x, i, axis)
                for x, axis in zip(operands, in_axes, strict=True)
            )
        )
        for got, want in zip(mapped, one, strict=True):
            np.testing.assert_allclose(got[i], want, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("centered", [True, False])
@pytest.mark.parametrize("epsilon", [0.0, 1e-300, 1e-12, 1.0, 1e30])
def test_slope_at_extremes_of_epsilon(epsilon: float, centered: bool) -> None:
    """The derivative is that which JAX finds of the formula."""

    def formula(x: Any) -> Any:
        deviations = x - x.mean(-1, keepdims=True) if centered else x
        return deviations / jnp.sqrt((deviations**2).mean(-1, keepdims=True) + epsilon)

    x, t = RNG.normal(1, 2, (2, 5, 7))
    for scale in (1e-100, 1.0, 1e100):
        got = jax.jvp(lambda x: standardized(x, (1,), epsilon, centered)[0], (scale * x,), (t,))
        want = jax.jvp(formula, (scale * x,), (t,))
        for a, b in zip(got, want, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12 * np.abs(b).max())


@pytest.mark.parametrize("dtype", [np.float16, jnp.bfloat16])
@pytest.mark.parametrize("name", ["LayerNormalization", "RMSNormalization", "GroupNormalization"])
def test_half_precision_is_that_of_single_but_for_rounding(name: str, dtype: Any) -> None:
    x, g = points(dtype)

    def gradient(x: Any, g: Any) -> Any:
        loss = lambda *xs: (  # noqa: E731
            jax.tree.leaves(NORMALIZATIONS[name](*xs))[0].astype(np.float32) ** 3
        ).sum()
        return jax.grad(loss, (0, 1))(x, g)

    half, single = gradient(x, g), gradient(x.astype(np.float32), g.astype(np.float32))
    for got, want in zip(half, single, strict=True):
        assert got.dtype == dtype
        tolerance = 30 * float(jnp.finfo(dtype).eps) * np.abs(want).max()
        np.testing.assert_allclose(got.astype(np.float32), want, rtol=0, atol=tolerance)


def test_values_without_variance_have_finite_gradients() -> None:
    x = np.ones((2, 3, 4, 4))
    for function in (
        lambda x: normalize.layer_normalization(x, ONES)[0],
        lambda x: normalize.mean_variance_normalization(x) * 1e-9,
        lambda x: normalize.lp_normalization(0 * x, p=2),
    ):
        assert np.isfinite(jax.grad(lambda x, f=function: (f(x) * x[..., :1]).sum())(x)).all()


def test_the_slope_of_values_without_variance() -> None:
    """Of `mean_variance_normalization` it is the direction less its mean, over 1e-9."""
    t = RNG.normal(size=(1, 1, 2, 3))
    _, along = jax.jvp(normalize.mean_variance_normalization, (np.ones((1, 1, 2, 3)),), (t,))
    np.testing.assert_allclose(along, (t - t.mean()) / 1e-9, rtol=1e-6)
