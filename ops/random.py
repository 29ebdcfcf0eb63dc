"""Random numbers, from a JAX key.

The same key gives the same numbers. They are not those of another runtime, even for the same seed.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from onnxla.ir.dtypes import dtype_of, number_of
from onnxla.ops.cast import widen
from onnxla.ops.index import argmax
from onnxla.ops.table import op
from onnxla.ops.values import Value


def random_key(key: jax.Array | None, seed: float | None = None, hint: str = "") -> jax.Array:
    """The key that a caller gave, else one made from a node's `seed`.

    Raises:
        ValueError: There is neither; the message ends with the `hint`.
    """
    if key is not None:
        return key
    if seed is None:
        raise ValueError(f"this operator draws random numbers; pass key=jax.random.key(...){hint}")
    return jax.random.key(np.float32(seed).view(np.int32))


def uniform(key: jax.Array, shape: Sequence[int], dtype: np.dtype) -> Value:
    """Numbers uniform in [0, 1).

    Those of 64 bits are made of two draws. JAX draws when it compiles a program, which may be when
    64-bit types are disabled again, and then would draw too little.
    """
    if dtype != np.float64:
        return jax.random.uniform(key, shape, dtype)
    high, low = jax.random.bits(key, (2, *shape), np.uint32)
    return (high.astype(dtype) * 2**21 + (low >> np.uint32(11)).astype(dtype)) * 2**-53


@op("RandomNormal", since=(1, 22))
def random_normal(
    *,
    shape: tuple[int, ...],
    dtype: int = 1,
    mean: float = 0.0,
    scale: float = 1.0,
    seed: float | None = None,
    key: jax.Array | None = None,
) -> Value:
    """Normal numbers with this mean and standard deviation `scale`."""
    kind = dtype_of(dtype)
    if kind == np.float64:
        drawn = uniform(random_key(key, seed), shape, kind) + 2**-54  # in (0, 1)
        return mean + scale * np.sqrt(2) * lax.erf_inv(2 * drawn - 1)
    return mean + scale * jax.random.normal(random_key(key, seed), shape, kind)


@op("RandomNormalLike", since=(1, 22))
def random_normal_like(
    input: Value,
    *,
    dtype: int | None = None,
    mean: float = 0.0,
    scale: float = 1.0,
    seed: float | None = None,
    key: jax.Array | None = None,
) -> Value:
    """Normal numbers in the shape of `input`, and in its type unless `dtype` is given."""
    number = number_of(input.dtype) if dtype is None else dtype
    return random_normal(
        shape=input.shape, dtype=number, mean=mean, scale=scale, seed=seed, key=key
    )


@op("RandomUniform", since=(1, 22))
def random_uniform(
    *,
    shape: tuple[int, ...],
    dtype: int = 1,
    low: float = 0.0,
    high: float = 1.0,
    seed: float | None = None,
    key: jax.Array | None = None,
) -> Value:
    """Numbers uniform in [low, high)."""
    return low + (high - low) * uniform(random_key(key, seed), shape, dtype_of(dtype))


@op("RandomUniformLike", since=(1, 22))
def random_uniform_like(
    input: Value,
    *,
    dtype: int | None = None,
    low: float = 0.0,
    high: float = 1.0,
    seed: float | None = None,
    key: jax.Array | None = None,
) -> Value:
    """Numbers uniform in [low, high) in the shape of `input`, and in its type unless `dtype`."""
    number = number_of(input.dtype) if dtype is None else dtype
    return random_uniform(shape=input.shape, dtype=number, low=low, high=high, seed=seed, key=key)


@op("Bernoulli", since=(15, 22))
def bernoulli(
    input: Value,
    *,
    dtype: int | None = None,
    seed: float | None = None,
    key: jax.Array | None = None,
) -> Value:
    """1 with the probability that `input` states, else 0.

    Departs from ONNX Runtime, where 0 has that probability: it runs the function that expands this
    operator in the schema, which contradicts the schema's text and the reference evaluator.
    """
    probability = widen(input)
    drawn = uniform(random_key(key, seed), input.shape, probability.dtype) < probability
    return drawn.astype(input.dtype if dtype is None else dtype_of(dtype))


@op("Multinomial", since=(7, 22))
def multinomial(
    input: Value,
    *,
    dtype: int = 6,
    sample_size: int = 1,
    seed: float | None = None,
    key: jax.Array | None = None,
) -> Value:
    """Classes [N, sample_size] drawn with replacement.

    `input` [N, classes] is the logarithm of their probabilities, up to a constant for each row.
    """
    logits = jnp.asarray(input, np.float32)
    noise = jax.random.gumbel(random_key(key, seed), (sample_size, *logits.shape), np.float32)
    return argmax(logits + noise, 2).T.astype(dtype_of(dtype))
