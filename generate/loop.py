"""Tokens, one after the other: what is compiled once for prompts, and once for steps."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from onnxla.generate.model import CachedModel, Caches, Given
from onnxla.generate.sampling import Sampling, choose
from onnxla.ops.values import Value


class Sequences(NamedTuple):
    """What a step reads and changes.

    Attributes:
        place: The position of the token that the next step reads.
        tokens: The prompts, and what has been made, [B, length + 1].
        done: Whether a sequence is at its end, [B].
        caches: The cache.
    """

    place: Value
    tokens: Value
    done: Value
    caches: Caches


class Fixed(NamedTuple):
    """What stays the same in all steps.

    Attributes:
        given: What the model is given.
        lengths: Tokens of each prompt [B].
        limit: How many are made after each.
        eos: Tokens that end a sequence.
        how: How a token is chosen.
        key: JAX key that tokens are drawn with, if they are.
    """

    given: Given
    lengths: Value
    limit: Value
    eos: Value
    how: Sampling
    key: Value | None


class Stepper:
    """The compiled functions of a decoder."""

    def __init__(self, model: CachedModel) -> None:
        self.model = model
        self.begin: Any = jax.jit(self._begin, static_argnames="length")
        self.advance: Any = jax.jit(self._advance, donate_argnames="state")

    def _begin(self, fixed: Fixed, ids: Value, place: Value, length: int) -> Caches:
        """A cache of prompts' first tokens [B, S], for a step that reads that at a place."""
        return self.model.prompt(fixed.given, ids, place, length)

    def _advance(self, fixed: Fixed, state: Sequences, end: Value) -> Sequences:
        """The state where the position `end` would be read next, or all sequences have ended."""

        def goes_on(state: Sequences) -> Value:
            return (state.place < end) & ~state.done.all()

        def step(state: Sequences) -> Sequences:
            place, tokens = state.place, state.tokens
            read = lax.dynamic_slice_in_dim(tokens, place, 1, 1)
            logits, caches = self.model.step(fixed.given, read, place, state.caches)
            seen = np.arange(tokens.shape[1]) < jnp.maximum(place + 1, fixed.lengths)[:, None]
            key = None if fixed.key is None else jax.random.fold_in(fixed.key, place)
            chosen = choose(logits, jnp.where(seen, tokens, logits.shape[1]), fixed.how, key)
            makes = (place + 1 >= fixed.lengths) & ~state.done
            old = lax.dynamic_slice_in_dim(tokens, place + 1, 1, 1)[:, 0]
            new = jnp.where(makes, chosen.astype(tokens.dtype), old)
            tokens = lax.dynamic_update_slice_in_dim(tokens, new[:, None], place + 1, 1)
            ends = jnp.isin(new, fixed.eos) | (place + 2 >= fixed.lengths + fixed.limit)
            return Sequences(place + 1, tokens, state.done | (makes & ends), caches)

        return lax.while_loop(goes_on, step, state)
