"""Which token comes next: the likeliest, or one that is drawn."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from onnxla.ops.values import Value


class Sampling(NamedTuple):
    """How a token is chosen; what is None is not done. A pytree: numbers may be traced.

    Attributes:
        temperature: What logits are divided by before one is drawn.
        top_k: How many of the likeliest tokens may be drawn.
        top_p: The likeliest tokens may be drawn that together have so much probability.
        repetition_penalty: What logits of tokens that were there before are divided by, or
            multiplied where they are negative.
    """

    temperature: Value | None = None
    top_k: Value | None = None
    top_p: Value | None = None
    repetition_penalty: Value | None = None

    @property
    def draws(self) -> bool:
        """Whether a token is drawn."""
        return not (self.temperature is None and self.top_k is None and self.top_p is None)


def sampling(
    temperature: float | None,
    top_k: int | None,
    top_p: float | None,
    repetition_penalty: float | None,
) -> Sampling:
    """What a caller asked for, with arrays for numbers.

    At temperature 0, as float32 has it, the likeliest token is chosen.
    """
    if temperature is not None and np.float32(temperature) == 0:
        temperature = top_k = top_p = None
    return Sampling(
        None if temperature is None else np.float32(temperature),
        None if top_k is None else np.int64(top_k),
        None if top_p is None else np.float32(top_p),
        None if repetition_penalty is None else np.float32(repetition_penalty),
    )


def adjusted(logits: Value, seen: Value, how: Sampling) -> Value:
    """Logits [B, V] of the distribution that tokens are drawn from, -inf for those that are not.

    In the order of Hugging Face's generate: repetition_penalty, temperature, top_k, top_p. Of equal
    logits at a limit all stay.

    Args:
        logits: The model's [B, V].
        seen: Tokens that were there before [B, S]; those out of range do not count.
        how: What is done.
    """
    logits = logits.astype(jnp.float32)
    if how.repetition_penalty is not None:
        rows = np.arange(len(logits))[:, None]
        there = jnp.zeros(logits.shape, np.bool_).at[rows, seen].set(True, mode="drop")
        penalty = how.repetition_penalty
        punished = jnp.where(logits < 0, logits * penalty, logits / penalty)
        logits = jnp.where(there, punished, logits)
    if how.temperature is not None:
        logits = logits / how.temperature
    if how.top_k is not None:
        last = jnp.minimum(how.top_k, logits.shape[1]) - 1
        logits = above(logits, jnp.take(falling(logits), last, axis=1))
    if how.top_p is not None:
        ordered = falling(logits)
        shares = jax.nn.softmax(ordered)
        kept = shares.cumsum(1) - shares < how.top_p
        logits = above(logits, ordered.min(1, initial=jnp.inf, where=kept))
    return logits


def falling(logits: Value) -> Value:
    """Logits in falling order."""
    return -jnp.sort(-logits, axis=1)


def above(logits: Value, least: Value) -> Value:
    """Logits [B, V], -inf where they are less than those of [B]."""
    return jnp.where(logits < least[:, None], -jnp.inf, logits)


def choose(logits: Value, seen: Value, how: Sampling, key: Value | None) -> Value:
    """Tokens [B]; for arguments see `adjusted`."""
    logits = adjusted(logits, seen, how)
    return logits.argmax(-1) if key is None else jax.random.categorical(key, logits)
