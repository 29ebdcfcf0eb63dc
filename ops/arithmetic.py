"""Arithmetic of tensors elementwise, with numpy broadcasting, and running sums and products."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.custom_derivatives import SymbolicZero

from onnxla.ir.errors import ModelError
from onnxla.ops.chain_rule import singular
from onnxla.ops.sizes import Sizes, at_least
from onnxla.ops.table import op
from onnxla.ops.values import Value, alike, as_traced, is_floating, is_known, xp


def align(a: Value, b: Value, axis: int | None, broadcast: int) -> Value:
    """`b` reshaped so that it broadcasts to `a` as it did before opset 7.

    Then broadcasting was asked for by an attribute, and matched `b`'s axes with those of `a` that
    start at `axis` (default: with the last ones).
    """
    if not broadcast or axis is None:
        return b
    trailing = a.ndim - (axis % a.ndim) - b.ndim
    return b.reshape(b.shape + (1,) * trailing)


def divide(a: Value, b: Value) -> Value:
    """The quotient a / b, rounded correctly: a floor or a rounding after it shows the last digit.

    On a GPU that is seen to for float32; float64 is exact, and narrower floats are as XLA has them.

    XLA multiplies by the reciprocal of a constant, or of what it broadcasts, unless every element
    might have a divisor of its own, as here. On a GPU its quotient of float32 is off by up to two
    units in the last place, even where the division is exact. That of float64 is not, and has so
    many digits that to round it again changes nothing (Figueroa 1995, doi 10.1145/221332.221334).
    """
    a, b = jnp.broadcast_arrays(a, b)
    b = jnp.where(jnp.isnan(a), a, b)
    if a.dtype != np.float32:
        return a / b
    return lax.platform_dependent(a, b, cpu=jnp.divide, default=divide_wide)


def divide_wide(a: Value, b: Value) -> Value:
    """The quotient of float32, by way of float64."""
    with jax.enable_x64(True):
        wide = a.astype(np.float64) / b.astype(np.float64)
        # One digit less: LLVM makes a float32 division of one that is rounded to it at once.
        return lax.reduce_precision(wide, 11, 51).astype(np.float32)


# Their slopes are infinite where an operand is, or 0 / 0 where a divisor is 0.
times = singular(jnp.multiply)
quotient = singular(jnp.divide, divide)
Binary = Callable[[Value, Value], Value]


def binary(
    name: str, since: tuple[int, ...], roles: dict[str, str] | None = None, **traits: Any
) -> Callable[[Binary], Binary]:
    """Registers a two-operand elementwise function, and its form of opsets 1 to 6."""

    def decorate(function: Binary) -> Binary:
        def legacy(A: Value, B: Value, *, axis: int | None = None, broadcast: int = 0) -> Value:
            return function(A, align(A, B, axis, broadcast))

        legacy.__doc__ = function.__doc__
        op(name, since=[v for v in since if v < 7], roles=roles, **traits)(legacy)
        return op(name, since=[v for v in since if v >= 7], roles=roles, **traits)(function)

    return decorate


@binary("Add", (1, 6, 7, 13, 14), roles={"A": "addend", "B": "addend"})
def add(A: Value, B: Value) -> Value:
    """A + B."""
    return xp(A, B).add(A, B)


@binary("Sub", (1, 6, 7, 13, 14), roles={"A": "addend", "B": "subtrahend"})
def sub(A: Value, B: Value) -> Value:
    """A - B."""
    return xp(A, B).subtract(A, B)


@binary("Mul", (1, 6, 7, 13, 14), roles={"A": "factor", "B": "factor"})
def mul(A: Value, B: Value) -> Value:
    """A * B."""
    return xp(A, B).multiply(A, B) if is_known([A, B]) or not is_floating(A) else times(A, B)


@binary("Div", (1, 6, 7, 13, 14), roles={"A": "factor", "B": "divisor"}, exact="integers")
def div(A: Value, B: Value) -> Value:
    """A / B; of integers, truncated toward zero."""
    known = is_known([A, B])
    if not np.issubdtype(A.dtype, np.integer):
        return np.divide(A, B) if known else quotient(A, B)
    if not known:
        return lax.div(*jnp.broadcast_arrays(A, B))
    if isinstance(A, Sizes) or isinstance(B, Sizes):
        if not all(
            at_least(size, 0) for size in (*np.ravel(A), *np.ravel(B))
        ):  # whether the floor is the truncation depends on a symbol
            return lax.div(*jnp.broadcast_arrays(as_traced(A), as_traced(B)))
        return np.floor_divide(A, B)
    floor = np.floor_divide(A, B)
    # Floor and truncation differ where the signs differ and the division is not exact.
    inexact = (floor * B != A) & ((A < 0) != (B < 0))
    return floor + inexact.astype(A.dtype)


@op("Mod", since=(10, 13, 28), exact="integers")
def mod(A: Value, B: Value, *, fmod: int = 0) -> Value:
    """Remainder of A / B: of the quotient's floor, or if `fmod` of its truncation.

    So it has the sign of B, or if `fmod` that of A.
    """
    m = xp(A, B)
    if m is jnp and is_floating(A):
        return (singular(jnp.fmod) if fmod else real_remainder)(A, B)
    return m.fmod(A, B) if fmod else m.remainder(A, B)


@singular
def real_remainder(A: Value, B: Value) -> Value:
    """Remainder of the quotient's floor. A zero has the sign of B too."""
    remainder = jnp.remainder(A, B)
    # Written so that the derivative of a zero stays that of the remainder.
    zero = jnp.copysign(jnp.zeros_like(remainder), B)
    unchanged = lax.stop_gradient(remainder) - remainder
    return jnp.where(remainder == 0, zero - unchanged, remainder)


@op("Pow", since=(7, 12, 13, 15), roles={"Y": "exponent"})
def pow_(X: Value, Y: Value) -> Value:
    """X ** Y in the type of X; where that is an integer, truncated toward zero."""
    if is_floating(X):
        if is_known(Y) and Y.size == 1 and Y.ndim <= X.ndim and float(Y.item()) in range(-8, 9):
            return singular(lambda x: lax.integer_pow(x, int(float(Y.item()))))(jnp.asarray(X))
        return power(X, Y.astype(X.dtype))
    if is_floating(Y):
        return jnp.power(X.astype(np.float64), Y.astype(np.float64)).astype(X.dtype)
    result = jnp.power(X, abs(Y).astype(X.dtype))
    return jnp.where((Y < 0) & (abs(X) != 1), 0, result)


@op("Pow", since=(1,), roles={"Y": "exponent"})
def pow_1(X: Value, Y: Value, *, axis: int | None = None, broadcast: int = 0) -> Value:
    """`pow_` with broadcasting by attributes."""
    return pow_(X, align(X, Y, axis, broadcast))


@jax.custom_jvp
def real_power(x: Value, y: Value) -> Value:
    """Power of one floating type. The derivative by y is 0 where x <= 0, rather than NaN."""
    return jnp.power(x, y)


@functools.partial(real_power.defjvp, symbolic_zeros=True)
def real_power_jvp(primals: tuple[Value, Value], tangents: tuple[Any, Any]) -> tuple[Value, Value]:
    """Value and directional derivative of `real_power`."""
    (x, y), (dx, dy) = primals, tangents
    z = real_power(x, y)
    dz = jnp.zeros_like(z)
    if not isinstance(dx, SymbolicZero):
        dz += dx * y * real_power(x, jnp.where(y == 0, 1, y - 1))
    if not isinstance(dy, SymbolicZero):
        dz += dy * jnp.where(x > 0, z * jnp.log(jnp.where(x > 0, x, 1)), 0)
    return z, dz


power = singular(real_power)


@op("Max", since=(1, 6, 8, 12, 13))
def max_(*data_0: Value) -> Value:
    """Elementwise maximum of all operands; NaN where one is."""
    return functools.reduce(lambda a, b: xp(a, b).maximum(a, b), alike(*data_0))


@op("Min", since=(1, 6, 8, 12, 13))
def min_(*data_0: Value) -> Value:
    """Elementwise minimum of all operands; NaN where one is."""
    return functools.reduce(lambda a, b: xp(a, b).minimum(a, b), alike(*data_0))


@op("Sum", since=(1, 6, 8, 13))
def sum_(*data_0: Value) -> Value:
    """Elementwise sum of all operands."""
    return functools.reduce(add, data_0)


@op("Mean", since=(1, 6, 8, 13))
def mean(*data_0: Value) -> Value:
    """Elementwise mean of all operands."""
    return sum_(*data_0) / np.asarray(len(data_0), data_0[0].dtype)


@op("Clip", since=(11, 12, 13))
def clip(input: Value, min: Value = None, max: Value = None) -> Value:
    """`input` raised to `min`, then lowered to `max`. Absent bounds, and NaN, change nothing.

    Its derivative on the bounds is 1, as inside of them.
    """
    input, min, max = alike(input, min, max)
    if min is not None:
        input = xp(input, min).where(input < min, min, input)
    return input if max is None else xp(input, max).where(input > max, max, input)


FLOAT32_MAX = float(np.finfo(np.float32).max)


@op("Clip", since=(1, 6))
def clip_6(input: Value, *, min: float = -FLOAT32_MAX, max: float = FLOAT32_MAX) -> Value:
    """`clip` with bounds as attributes. Their defaults, which are float32's, mean no bound.

    Departs from ONNX: infinities stay, as they do where the later versions have no bound.
    """
    with np.errstate(over="ignore"):  # beyond float16 there is no bound either
        low, high = (
            None if abs(bound) >= FLOAT32_MAX else np.asarray(bound).astype(input.dtype)
            for bound in (min, max)
        )
    return clip(input, low, high)


@op("BitShift", since=(11, 28), exact="integers")
def bit_shift(X: Value, Y: Value, *, direction: str) -> Value:
    """X * 2**Y (LEFT, higher bits discarded) or the floor of X / 2**Y (RIGHT).

    A Y that is negative, or not below the number of bits, shifts all bits out.
    """
    if direction not in ("LEFT", "RIGHT"):
        raise ModelError(f"direction is LEFT or RIGHT, not {direction!r}")
    m = xp(X, Y)
    return m.left_shift(X, Y) if direction == "LEFT" else m.right_shift(X, Y)


@op("BitwiseAnd", since=(18,), exact="integers")
def bitwise_and(A: Value, B: Value) -> Value:
    """A & B."""
    return xp(A, B).bitwise_and(A, B)


@op("BitwiseOr", since=(18,), exact="integers")
def bitwise_or(A: Value, B: Value) -> Value:
    """A | B."""
    return xp(A, B).bitwise_or(A, B)


@op("BitwiseXor", since=(18,), exact="integers")
def bitwise_xor(A: Value, B: Value) -> Value:
    """A ^ B."""
    return xp(A, B).bitwise_xor(A, B)


@op("BitwiseNot", since=(18,), exact="integers")
def bitwise_not(X: Value) -> Value:
    """~X."""
    return xp(X).bitwise_not(X)


def accumulate(
    function: Callable[..., Value],
    neutral: int,
    x: Value,
    axis: Value,
    exclusive: int,
    reverse: int,
) -> Value:
    """A running sum or product, `function`; of nothing, it is `neutral`."""
    m, along = xp(x), int(axis.item())
    x = m.moveaxis(x, along, 0)
    x = x[::-1] if reverse else x
    if exclusive:
        x = m.concatenate([m.full_like(x[:1], neutral), x[:-1]])
    y = function(x, 0, dtype=x.dtype)
    return m.moveaxis(y[::-1] if reverse else y, 0, along)


@op("CumSum", since=(11, 14), static=("axis",))
def cum_sum(x: Value, axis: np.ndarray, *, exclusive: int = 0, reverse: int = 0) -> Value:
    """Sums along `axis` up to each element, without it if `exclusive`; `reverse`: from the end."""
    return accumulate(xp(x).cumsum, 0, x, axis, exclusive, reverse)


@op("CumProd", since=(26,), static=("axis",))
def cum_prod(x: Value, axis: np.ndarray, *, exclusive: int = 0, reverse: int = 0) -> Value:
    """Products along `axis`, otherwise like `cum_sum`."""
    return accumulate(xp(x).cumprod, 1, x, axis, exclusive, reverse)
