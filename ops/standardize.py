"""Normalization to mean 0 and variance 1, with a derivative that stays one expression.

What JAX derives of a mean, a variance and a quotient are several terms, which XLA computes anew for
each of their uses, in the layers before too: of 24 equal transformer blocks the gradient took 115 s
to compile, and 10 times as long to run as it takes now. For n, the normalized x, and its factor
s = 1 / deviation, the derivative in the direction t is

    s * (t - mean(t) - n * mean(n * t)),

which is linear in t and its own transpose. As a primitive it is the derivative in both modes, and
has derivatives itself. All means are over the same axes, which stay as axes of size 1.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from onnxla.ops.values import Value, lower_exactly

Axes = tuple[int, ...]


def mean(x: Value, axes: Axes) -> Value:
    """The mean over `axes`, which stay as axes of size 1."""
    return jnp.mean(x, axes, keepdims=True)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1, 3))
def standardized(
    x: Value, axes: Axes, epsilon: Value, centered: bool = True
) -> tuple[Value, Value, Value]:
    """Floating-point x less its mean, over its deviation; the mean; the variance.

    The deviation is sqrt(variance + epsilon). Unless `centered`, the mean is not taken off, and the
    variance is the mean of squares.
    """
    center = mean(x, axes)
    deviations = x - center if centered else x
    variance = mean(lax.square(deviations), axes)
    return deviations * lax.rsqrt(variance + epsilon), center, variance


@functools.partial(standardized.defjvp, symbolic_zeros=True)
def standardized_jvp(
    axes: Axes, centered: bool, primals: tuple[Value, Value], tangents: tuple[Any, Any]
) -> tuple[tuple[Value, ...], tuple[Value, ...]]:
    """Values and directional derivatives of `standardized`."""
    (x, epsilon), (t, t_epsilon) = primals, tangents
    n, center, variance = standardized(x, axes, epsilon, centered)
    s = lax.rsqrt(variance + epsilon)
    changes = [jnp.zeros_like(value) for value in (n, center, variance)]
    if not isinstance(t, SymbolicZero):
        deviations = x - center if centered else x
        along = slope(t, n, s, axes=axes, centered=centered)
        changes = [along, mean(t, axes), 2 * mean(deviations * t, axes)]
    if not isinstance(t_epsilon, SymbolicZero):
        changes[0] -= n * s**2 * t_epsilon / 2
    return (n, center, variance), tuple(changes)


def slope(t: Value, n: Value, s: Value, *, axes: Axes, centered: bool) -> Value:
    """The derivative of `standardized` in a direction t: linear in t, and its own transpose.

    Args:
        t: The direction.
        n: The normalized values, of the same shape.
        s: Their factor, with `axes` of size 1.
        axes: Axes of the means.
        centered: Whether the mean was taken off.
    """
    return slope_p.bind(t, n, s, axes=axes, centered=centered)


def compute_slope(t: Value, n: Value, s: Value, *, axes: Axes, centered: bool) -> Value:
    """What `slope` computes."""
    return s * projected(t, n, axes, centered)


def projected(t: Value, n: Value, axes: Axes, centered: bool) -> Value:
    """The part of a direction in which normalized values change."""
    part = t - n * mean(n * t, axes)
    return part - mean(t, axes) if centered else part


def slope_jvp(
    primals: Sequence[Value], tangents: Sequence[Any], *, axes: Axes, centered: bool
) -> tuple[Value, Value]:
    """Value and directional derivative of `slope`."""
    t, n, s = primals
    dt, dn, ds = tangents
    along = functools.partial(slope, axes=axes, centered=centered)
    terms = [] if isinstance(dt, ad.Zero) else [along(dt, n, s)]
    terms += [] if isinstance(ds, ad.Zero) else [along(t, n, ds)]
    if not isinstance(dn, ad.Zero):
        terms.append(-s * (dn * mean(n * t, axes) + n * mean(dn * t, axes)))
    return along(t, n, s), functools.reduce(operator.add, terms)


def slope_transpose(ct: Value, t: Any, n: Value, s: Any, *, axes: Axes, centered: bool) -> Any:
    """The transpose by t or by s, in both of which `slope` is linear."""
    if ad.is_undefined_primal(t):
        return slope(ct, n, s, axes=axes, centered=centered), None, None
    return None, None, jnp.sum(ct * projected(t, n, axes, centered), axes, keepdims=True)


def slope_batch(values: Sequence[Value], dims: Sequence[Any], *, axes: Axes, **how: Any) -> Any:
    """The rule for `vmap`: the mapped axis is one more in front."""
    size = next(x.shape[d] for x, d in zip(values, dims, strict=True) if d is not None)
    operands = [
        jnp.broadcast_to(x, (size, *x.shape)) if d is None else jnp.moveaxis(x, d, 0)
        for x, d in zip(values, dims, strict=True)
    ]
    return slope(*operands, axes=tuple(axis + 1 for axis in axes), **how), 0


slope_p = Primitive("slope")
slope_p.def_impl(jax.jit(compute_slope, static_argnames=("axes", "centered")))
slope_p.def_abstract_eval(lambda t, n, s, **_: t.update(weak_type=False))
ad.primitive_jvps[slope_p] = slope_jvp
ad.primitive_transposes[slope_p] = slope_transpose
mlir.register_lowering(slope_p, lower_exactly(compute_slope))
batching.primitive_batchers[slope_p] = slope_batch
