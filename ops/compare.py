"""Comparisons, logic and choice, elementwise with numpy broadcasting."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from onnxla.ir.dtypes import STRING
from onnxla.ir.errors import StaticOperandError
from onnxla.ops.arithmetic import binary
from onnxla.ops.sizes import Sizes, equal_sizes
from onnxla.ops.table import op
from onnxla.ops.values import Value, alike, as_known, as_traced, is_concrete, xp


@binary("Equal", (1, 7, 11, 13, 19))
def equal(A: Value, B: Value) -> Value:
    """A == B; also of strings."""
    if isinstance(A, Sizes) or isinstance(B, Sizes):
        known = equal_sizes(A, B)
        return jnp.equal(as_traced(A), as_traced(B)) if known is None else known
    return xp(A, B).equal(A, B)


@binary("Greater", (1, 7, 9, 13))
def greater(A: Value, B: Value) -> Value:
    """A > B."""
    return xp(A, B).greater(A, B)


@binary("Less", (1, 7, 9, 13))
def less(A: Value, B: Value) -> Value:
    """A < B."""
    return xp(A, B).less(A, B)


@op("GreaterOrEqual", since=(12, 16))
def greater_or_equal(A: Value, B: Value) -> Value:
    """A >= B."""
    return xp(A, B).greater_equal(A, B)


@op("LessOrEqual", since=(12, 16))
def less_or_equal(A: Value, B: Value) -> Value:
    """A <= B."""
    return xp(A, B).less_equal(A, B)


@binary("And", (1, 7))
def and_(A: Value, B: Value) -> Value:
    """A and B."""
    return xp(A, B).logical_and(A, B)


@binary("Or", (1, 7))
def or_(A: Value, B: Value) -> Value:
    """A or B."""
    return xp(A, B).logical_or(A, B)


@binary("Xor", (1, 7))
def xor(A: Value, B: Value) -> Value:
    """A or B, but not both."""
    return xp(A, B).logical_xor(A, B)


@op("Not", since=(1,))
def not_(X: Value) -> Value:
    """Not X."""
    return xp(X).logical_not(X)


@op("IsNaN", since=(9, 13, 20))
def is_nan(X: Value) -> Value:
    """Where X is not a number."""
    return xp(X).isnan(X)


@op("IsInf", since=(10, 20))
def is_inf(X: Value, *, detect_negative: int = 1, detect_positive: int = 1) -> Value:
    """Where X is infinite, with a sign that is to be detected."""
    m = xp(X)
    detected = m.where(X < 0, bool(detect_negative), bool(detect_positive))
    return m.isinf(X) & detected


@op("Where", since=(9, 16))
def where(condition: Value, X: Value, Y: Value) -> Value:
    """X where the condition holds, else Y; also of strings."""
    if STRING not in (X.dtype, Y.dtype):
        return xp(condition, X, Y).where(condition, *alike(X, Y))
    if not is_concrete(condition):
        raise StaticOperandError("strings are chosen while tracing, so the condition must be known")
    return np.where(as_known(condition), X, Y)
