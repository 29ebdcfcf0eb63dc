"""Elementwise arithmetic of two or more operands, with numpy broadcasting."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from onnxla.ops.table import op
from onnxla.ops.values import Value, xp


def align(a: Value, b: Value, axis: int | None, broadcast: int) -> Value:
    """`b` reshaped so that it broadcasts to `a` as it did before opset 7.

    Then broadcasting was asked for by an attribute, and matched `b`'s axes with those of `a` that
    start at `axis` (default: with the last ones).
    """
    if not broadcast or axis is None:
        return b
    trailing = a.ndim - (axis % a.ndim) - b.ndim
    return b.reshape(b.shape + (1,) * trailing)


def binary(name: str, since: tuple[int, ...], roles: dict[str, str] | None = None) -> Callable:
    """Registers a two-operand elementwise function, and its form of opsets 1 to 6."""

    def decorate(function: Callable[[Value, Value], Value]) -> Callable[[Value, Value], Value]:
        def legacy(A: Value, B: Value, *, axis: int | None = None, broadcast: int = 0) -> Value:
            return function(A, align(A, B, axis, broadcast))

        op(name, since=[v for v in since if v < 7], roles=roles)(legacy)
        return op(name, since=[v for v in since if v >= 7], roles=roles)(function)

    return decorate


@binary("Add", (1, 6, 7, 13, 14), roles={"A": "bias", "B": "bias"})
def add(A: Value, B: Value) -> Value:
    """A + B."""
    return xp(A, B).add(A, B)


@binary("Sub", (1, 6, 7, 13, 14), roles={"A": "bias", "B": "bias"})
def sub(A: Value, B: Value) -> Value:
    """A - B."""
    return xp(A, B).subtract(A, B)


@binary("Mul", (1, 6, 7, 13, 14), roles={"A": "scale", "B": "scale"})
def mul(A: Value, B: Value) -> Value:
    """A * B."""
    return xp(A, B).multiply(A, B)


@binary("Div", (1, 6, 7, 13, 14), roles={"A": "scale", "B": "scale"})
def div(A: Value, B: Value) -> Value:
    """A / B; of integers, truncated toward zero."""
    m = xp(A, B)
    if not np.issubdtype(A.dtype, np.integer):
        return m.divide(A, B)
    quotient = m.floor_divide(A, B)
    # Floor and truncation differ where the signs differ and the division is not exact.
    inexact = (quotient * B != A) & ((A < 0) != (B < 0))
    return quotient + inexact.astype(A.dtype)


@op("Sum", since=(6, 8, 13))
def sum_(*data_0: Value) -> Value:
    """Elementwise sum of all operands."""
    return functools.reduce(add, data_0)
