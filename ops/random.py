"""Random numbers, from a JAX key.

The same key gives the same numbers. They are not those of another runtime, even for the same seed.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from onnxla.ir.dtypes import dtype_of, number_of
from onnxla.ops.cast import widen
from onnxla.ops.table import op
from onnxla.ops.values import Value


def random_key(key: jax.Array | None, seed: float | None = None) -> jax.Array:
    """The key that a caller gave, else one made from a node's `seed`.

    Raises:
        ValueError: There is neither.
    """
    if key is not None:
        return key
    if seed is None:
        raise ValueError("this operator draws random numbers; pass key=jax.random.key(...)")
    return jax.random.key(np.float32(seed).view(np.int32))


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
    return mean + scale * jax.random.normal(random_key(key, seed), shape, dtype_of(dtype))


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
    return jax.random.uniform(random_key(key, seed), shape, dtype_of(dtype), low, high)


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
    drawn = jax.random.bernoulli(random_key(key, seed), widen(input))
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
    logits, shape = jnp.asarray(widen(input)), (sample_size, len(input))
    drawn = jax.random.categorical(random_key(key, seed), logits, shape=shape)
    return drawn.T.astype(dtype_of(dtype))
