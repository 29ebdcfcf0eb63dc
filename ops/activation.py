"""Activation functions, softmax and dropout. X has any shape, and the output that of X."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from onnxla.ir.errors import ModelError
from onnxla.ops.chain_rule import product, singular
from onnxla.ops.checks import check_split, only
from onnxla.ops.elementary import tanh
from onnxla.ops.index import argmax
from onnxla.ops.random import random_key, uniform
from onnxla.ops.sizes import is_symbolic
from onnxla.ops.table import op
from onnxla.ops.values import Value, is_floating, wide


@op("Relu", since=(1, 6, 13, 14))
def relu(X: Value) -> Value:
    """max(X, 0). Its derivative at 0 is 0."""
    return jax.nn.relu(X)


@op("LeakyRelu", since=(1, 6, 16))
def leaky_relu(X: Value, *, alpha: float = 0.01) -> Value:
    """X where X > 0, else alpha * X. Its derivative at 0 is alpha."""
    return jnp.where(X > 0, X, alpha * jnp.asarray(X))


@op("PRelu", since=(7, 9, 16), roles={"slope": "weight"})
def p_relu(X: Value, slope: Value) -> Value:
    """X where X > 0, else slope * X. Its derivative at 0 is the slope."""
    return jnp.where(X > 0, X, jnp.multiply(slope, X))


@op("PRelu", since=(1, 6), roles={"slope": "weight"})
def p_relu_6(X: Value, slope: Value) -> Value:
    """`p_relu` with one slope [1], or one for each channel [C] of X [N, C, ...]."""
    if slope.ndim == 1 and slope.size != 1 and X.ndim > 1:
        slope = slope.reshape(slope.shape + (1,) * (X.ndim - 2))
    return p_relu(X, slope)


@op("ThresholdedRelu", since=(10, 22))
def thresholded_relu(X: Value, *, alpha: float = 1.0) -> Value:
    """X where X > alpha, else 0."""
    return jnp.where(jnp.greater(X, alpha), X, 0)


@op("Shrink", since=(9,))
def shrink(input: Value, *, bias: float = 0.0, lambd: float = 0.5) -> Value:
    """`input` moved toward 0 by `bias` where its magnitude exceeds `lambd`, else 0."""
    x = jnp.asarray(input if is_floating(input) else input.astype(np.float64))
    moved = jnp.where(x < -lambd, x + bias, jnp.where(x > lambd, x - bias, 0))
    return moved.astype(input.dtype)


@op("Elu", since=(1, 6, 22))
def elu(X: Value, *, alpha: float = 1.0) -> Value:
    """X where X > 0, else alpha * (exp(X) - 1)."""
    return jax.nn.elu(X, alpha)


@op("Selu", since=(6, 22))
def selu(
    X: Value, *, alpha: float = 1.67326319217681884765625, gamma: float = 1.05070102214813232421875
) -> Value:
    """Gamma * X where X > 0, else gamma * alpha * (exp(X) - 1)."""
    return gamma * elu(X, alpha=alpha)


@op("Selu", since=(1,))
def selu_1(X: Value, *, alpha: float = 1.6732, gamma: float = 1.0507) -> Value:
    """`selu` with coefficients of fewer digits."""
    return selu(X, alpha=alpha, gamma=gamma)


@op("Celu", since=(12, 28))
def celu(X: Value, *, alpha: float = 1.0) -> Value:
    """X where X > 0, else alpha * (exp(X / alpha) - 1)."""
    return jax.nn.celu(X, alpha)


@op("Gelu", since=(20,))
def gelu(X: Value, *, approximate: str = "none") -> Value:
    """X * P(Z <= X) for a standard normal Z; `approximate` is "none" or "tanh"."""
    only("approximate", approximate, "none", "tanh")
    if approximate == "none":
        return jax.nn.gelu(X, approximate=False)
    # The cube overflows at 41 in float16; its slope is then infinite, that of tanh 0.
    cube = singular(lambda x: lax.integer_pow(x, 3))(jnp.asarray(X))
    return X * (0.5 * (1 + tanh(math.sqrt(2 / math.pi) * (X + 0.044715 * cube))))


@op("Sigmoid", since=(1, 6, 13), probabilities="binary")
def sigmoid(X: Value) -> Value:
    """1 / (1 + exp(-X)), not in half precision, in which exp(12) is infinite."""
    return jax.nn.sigmoid(wide(X)).astype(X.dtype)


@op("HardSigmoid", since=(1, 6, 22), probabilities="other")
def hard_sigmoid(X: Value, *, alpha: float = 0.2, beta: float = 0.5) -> Value:
    """Alpha * X + beta, limited to [0, 1]. Its derivative at both ends is 0."""
    line = alpha * wide(X) + beta
    return jnp.where(line <= 0, 0, jnp.where(line >= 1, 1, line)).astype(X.dtype)


@op("Swish", since=(24,))
def swish(X: Value, *, alpha: float = 1.0) -> Value:
    """X * sigmoid(alpha * X)."""
    return (wide(X) * sigmoid(alpha * wide(X))).astype(X.dtype)


@op("SwiGLU", since=(28,))
def swi_glu(A: Value, B: Value, *, alpha: float = 1.0) -> Value:
    """swish(A) * B."""
    return swish(A, alpha=alpha) * B


@op("HardSwish", since=(14, 22))
def hard_swish(X: Value) -> Value:
    """X * hard_sigmoid(X), with alpha = 1/6 and beta = 1/2."""
    return (wide(X) * hard_sigmoid(wide(X), alpha=1 / 6)).astype(X.dtype)


@op("Mish", since=(18, 22))
def mish(X: Value) -> Value:
    """X * tanh(softplus(X))."""
    return X * jnp.tanh(jax.nn.softplus(X))


@op("Softplus", since=(1, 22))
def softplus(X: Value) -> Value:
    """log(exp(X) + 1)."""
    return jax.nn.softplus(X)


@op("Softsign", since=(1, 22))
def softsign(input: Value) -> Value:
    """Input / (1 + |input|)."""
    return jax.nn.soft_sign(input)


def normalizer(name: str, **traits: Any) -> Callable[[Callable[..., Value]], Callable[..., Value]]:
    """Registers a function along an axis, and its form before opset 13.

    That one takes all axes from `axis` on as a single one.
    """

    def decorate(function: Callable[..., Value]) -> Callable[..., Value]:
        def flattened(input: Value, *, axis: int = 1) -> Value:
            check_split(axis, input.ndim)
            outer = input.shape[:axis] if axis else ()
            matrix = input.reshape(math.prod(outer), math.prod(input.shape[len(outer) :]))
            return function(matrix, axis=1).reshape(input.shape)

        flattened.__doc__ = f"`{function.__name__}` over all axes from `axis` on."
        op(name, since=(1, 11), **traits)(flattened)
        return op(name, since=(13,), **traits)(function)

    return decorate


# Of minus infinities alone the softmax is NaN, which files replace. Where they do, no gradient
# comes back, and `product` keeps it so.
@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def stable_softmax(x: Value, axis: int) -> Value:
    """The softmax along an axis; NaN of minus infinities alone."""
    return jax.nn.softmax(x, axis)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def stable_log_softmax(x: Value, axis: int) -> Value:
    """The logarithm of `stable_softmax`."""
    return jax.nn.log_softmax(x, axis)


@stable_softmax.defjvp
def softmax_jvp(axis: int, primals: tuple[Value], tangents: tuple[Value]) -> tuple[Value, Value]:
    """Value and directional derivative of `stable_softmax`."""
    y = stable_softmax(*primals, axis)
    weighted = product(y, tangents[0])
    return y, weighted - product(y, weighted.sum(axis, keepdims=True))


@stable_log_softmax.defjvp
def log_softmax_jvp(
    axis: int, primals: tuple[Value], tangents: tuple[Value]
) -> tuple[Value, Value]:
    """Value and directional derivative of `stable_log_softmax`."""
    weighted = product(stable_softmax(*primals, axis), tangents[0])
    return stable_log_softmax(*primals, axis), tangents[0] - weighted.sum(axis, keepdims=True)


@normalizer("Softmax", probabilities="categorical")
def softmax(input: Value, *, axis: int = -1) -> Value:
    """exp(input), divided by its sum along `axis`."""
    return stable_softmax(input, axis)


@normalizer("LogSoftmax")
def log_softmax(input: Value, *, axis: int = -1) -> Value:
    """The logarithm of `softmax`."""
    return stable_log_softmax(input, axis)


@normalizer("Hardmax")
def hardmax(input: Value, *, axis: int = -1) -> Value:
    """1 at the first maximum along `axis`, elsewhere 0."""
    if not input.size:
        return input
    first = argmax(input, axis)
    return jax.nn.one_hot(first, input.shape[axis], dtype=input.dtype, axis=axis % input.ndim)


@op("Dropout", since=(12, 13, 22), static=("ratio", "training_mode"), moves="dropped")
def dropout(
    data: Value,
    ratio: np.ndarray | None = None,
    training_mode: np.ndarray | None = None,
    *,
    seed: int | None = None,
    key: jax.Array | None = None,
    train: bool = False,
) -> tuple[Value, Value]:
    """`data` with a share `ratio` of it zeroed, the rest scaled to keep the mean; and what is kept.

    Only when training: if `train`, or a true `training_mode`; else `data` itself.
    """
    share = 0.5 if ratio is None else float(ratio.item())
    if not share or not (train or (training_mode is not None and training_mode.item())):
        symbolic = is_symbolic(*data.shape)
        return data, (jnp if symbolic else np).broadcast_to(np.True_, data.shape)
    if not 0 < share < 1:
        raise ModelError(f"ratio is in [0, 1), not {share}")
    hint = "" if train else ", or use module.inference(), which drops nothing"
    mask = uniform(random_key(key, seed, hint), data.shape, np.dtype(np.float32)) >= share
    return jnp.where(mask, jnp.asarray(data) * (1 / (1 - share)), 0), mask


@op("Dropout", since=(10,), moves="dropped")
def dropout_10(
    data: Value, *, ratio: float = 0.5, key: jax.Array | None = None, train: bool = False
) -> tuple[Value, Value]:
    """`dropout` with the ratio as an attribute."""
    return dropout(data, np.asarray(ratio), key=key, train=train)


@op("Dropout", since=(7,), moves="dropped")
def dropout_7(
    data: Value, *, ratio: float = 0.5, key: jax.Array | None = None, train: bool = False
) -> tuple[Value, Value]:
    """`dropout_10` with a mask of the type of `data`."""
    output, mask = dropout_10(data, ratio=ratio, key=key, train=train)
    return output, mask.astype(data.dtype)


@op("Dropout", since=(1, 6), moves="dropped")
def dropout_6(
    data: Value,
    *,
    ratio: float = 0.5,
    is_test: int = 0,
    key: jax.Array | None = None,
    train: bool = False,
) -> tuple[Value, Value]:
    """`dropout_7` that trains unless `is_test`."""
    return dropout_7(data, ratio=ratio, key=key, train=train or not is_test)
