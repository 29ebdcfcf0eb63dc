"""Elementary functions of one operand: signs, rounding, roots, exponentials, angles."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax.scipy.special import erf as real_erf

from onnxla.ops.chain_rule import singular
from onnxla.ops.table import op
from onnxla.ops.values import Value, is_floating, xp


@op("Neg", since=(1, 6, 13))
def neg(X: Value) -> Value:
    """-X."""
    return xp(X).negative(X)


@op("Abs", since=(1, 6, 13))
def abs_(X: Value) -> Value:
    """|X|. Its derivative at 0 is 0."""
    # JAX's derivative of `abs` at 0 is 1.
    return jnp.sign(X) * X if is_floating(X) else xp(X).abs(X)


@op("Sign", since=(9, 13), steps=True)
def sign(input: Value) -> Value:
    """1, 0 or -1 in the type of `input`."""
    return xp(input).sign(input)


@op("Floor", since=(1, 6, 13), steps=True)
def floor(X: Value) -> Value:
    """The greatest integer that is not above X."""
    return xp(X).floor(X)


@op("Ceil", since=(1, 6, 13), steps=True)
def ceil(X: Value) -> Value:
    """The least integer that is not below X."""
    return xp(X).ceil(X)


@op("Round", since=(11, 22), steps=True)
def round_(X: Value) -> Value:
    """The nearest integer; the even one of two."""
    return xp(X).rint(X)


@op("Sqrt", since=(1, 6, 13))
@singular
def sqrt(X: Value) -> Value:
    """The square root; NaN where X < 0."""
    return jnp.sqrt(X)


@op("Reciprocal", since=(1, 6, 13))
@singular
def reciprocal(X: Value) -> Value:
    """1 / X."""
    return jnp.reciprocal(X)


@op("Exp", since=(1, 6, 13), probabilities="other")
@singular
def exp(input: Value) -> Value:
    """The exponential."""
    return jnp.exp(input)


@op("Log", since=(1, 6, 13))
@singular
def log(input: Value) -> Value:
    """The natural logarithm; NaN where input < 0."""
    return jnp.log(input)


@op("Erf", since=(9, 13))
def erf(input: Value) -> Value:
    """The error function; of integers, truncated toward zero."""
    if is_floating(input):
        return real_erf(input)
    return real_erf(input.astype(np.float32)).astype(input.dtype)


@op("Sin", since=(7, 22))
@singular
def sin(input: Value) -> Value:
    """The sine."""
    return jnp.sin(input)


@op("Cos", since=(7, 22))
@singular
def cos(input: Value) -> Value:
    """The cosine."""
    return jnp.cos(input)


@op("Tan", since=(7, 22))
@singular
def tan(input: Value) -> Value:
    """The tangent."""
    return jnp.tan(input)


@op("Asin", since=(7, 22))
@singular
def asin(input: Value) -> Value:
    """The angle in [-pi/2, pi/2] whose sine is `input`."""
    return jnp.arcsin(input)


@op("Acos", since=(7, 22))
@singular
def acos(input: Value) -> Value:
    """The angle in [0, pi] whose cosine is `input`."""
    return jnp.arccos(input)


@op("Atan", since=(7, 22))
def atan(input: Value) -> Value:
    """The angle in [-pi/2, pi/2] whose tangent is `input`."""
    return jnp.arctan(input)


@op("Sinh", since=(9, 22))
@singular
def sinh(input: Value) -> Value:
    """The hyperbolic sine."""
    return jnp.sinh(input)


@op("Cosh", since=(9, 22))
@singular
def cosh(input: Value) -> Value:
    """The hyperbolic cosine."""
    return jnp.cosh(input)


@op("Tanh", since=(1, 6, 13))
@singular
def tanh(input: Value) -> Value:
    """The hyperbolic tangent."""
    return jnp.tanh(input)


@op("Asinh", since=(9, 22))
def asinh(input: Value) -> Value:
    """The inverse of the hyperbolic sine."""
    return jnp.arcsinh(input)


@op("Acosh", since=(9, 22))
@singular
def acosh(input: Value) -> Value:
    """The inverse of the hyperbolic cosine; NaN where input < 1."""
    return jnp.arccosh(input)


@op("Atanh", since=(9, 22))
@singular
def atanh(input: Value) -> Value:
    """The inverse of the hyperbolic tangent; NaN where |input| > 1."""
    return jnp.arctanh(input)
