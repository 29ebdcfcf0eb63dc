"""Tokens, one after the other: what is compiled once for prompts, and once for steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from onnxla.generate.beams import grow
from onnxla.generate.model import CachedModel, Caches, Given
from onnxla.generate.sampling import Sampling, adjusted, choose
from onnxla.interpret.kept import Kept
from onnxla.interpret.regions import trace_key
from onnxla.interpret.rules.budget import check_memory, check_program
from onnxla.ops.limits import Budget
from onnxla.ops.values import Value


class Sequences(NamedTuple):
    """What a step reads and changes.

    Attributes:
        place: The position of the token that the next step reads.
        tokens: The prompts, and what has been made, [B, length + 1].
        done: Whether a sequence is at its end, [B].
        caches: The cache.
        scores: Of beams, the logarithms of their probabilities; those of a prompt follow each
            other.
    """

    place: Value
    tokens: Value
    done: Value
    caches: Caches
    scores: Value | None = None


class Fixed(NamedTuple):
    """What stays the same in all steps.

    Attributes:
        given: What the model is given.
        lengths: Tokens of each prompt [B].
        limit: How many are made after each.
        eos: Tokens that end a sequence.
        pad: What follows its end.
        how: How a token is chosen.
        key: JAX key that tokens are drawn with, if they are.
    """

    given: Given
    lengths: Value
    limit: Value
    eos: Value
    pad: Value
    how: Sampling
    key: Value | None


class Stepper:
    """The compiled functions of a decoder, as many as the model's limits allow.

    Attributes:
        model: The decoder's model.
        programs: What is compiled, by what for.
    """

    def __init__(self, model: CachedModel) -> None:
        self.model = model
        self.programs: Kept[Any] = Kept(model.program.limits.programs)

    def begin(self, budget: Budget, fixed: Fixed, ids: Value, place: Value, length: int) -> Caches:
        """A cache of prompts' first tokens [B, S], for a step that reads that at a place."""
        caches: Caches = self._run(budget, self._begin, (fixed, ids, place), length=length)
        return caches

    def advance(
        self, budget: Budget, fixed: Fixed, state: Sequences, end: Value, beams: int
    ) -> Sequences:
        """The state where the position `end` would be read next, or all sequences have ended.

        The state that is given is gone. So many rows that follow each other are beams of one
        prompt, if it is not 0.
        """
        new: Sequences = self._run(budget, self._advance, (state, fixed, end), beams=beams)
        return new

    def _run(
        self, budget: Budget, function: Callable[..., Any], values: Sequence[Any], **static: int
    ) -> Any:
        """What a function makes of some values, compiled once for those that are like them.

        Raises:
            ModelError: The program would need more memory than the limits allow.
        """

        def compiled() -> Any:
            # The first value of a step is its state.
            gone = () if function == self._begin else (0,)
            program = jax.jit(partial(function, **static), donate_argnums=gone)
            made = program.trace(*values)
            check_program(made.jaxpr.jaxpr, budget)
            # `program` finds this compilation again.
            check_memory(made.lower().compile().memory_analysis(), budget)
            return program

        leaves, tree = jax.tree.flatten(values)
        key = (function.__name__, tree, trace_key(leaves), *static.values())
        return self.programs.get(key, compiled)(*values)

    def _begin(self, fixed: Fixed, ids: Value, place: Value, length: int) -> Caches:
        """What `begin` compiles."""
        return self.model.prompt(fixed.given, ids, place, length)

    def _advance(self, state: Sequences, fixed: Fixed, end: Value, beams: int) -> Sequences:
        """What `advance` compiles."""

        def goes_on(state: Sequences) -> Value:
            return (state.place < end) & ~state.done.all()

        def step(state: Sequences) -> Sequences:
            place, tokens = state.place, state.tokens
            read = lax.dynamic_slice_in_dim(tokens, place, 1, 1)
            logits, caches = self.model.step(fixed.given, read, place, state.caches)
            seen = np.arange(tokens.shape[1]) < jnp.maximum(place + 1, fixed.lengths)[:, None]
            key = None if fixed.key is None else jax.random.fold_in(fixed.key, place)
            before = jnp.where(seen, tokens, logits.shape[1])
            makes, done, scores = place + 1 >= fixed.lengths, state.done, state.scores
            if beams and scores is not None:
                logits = adjusted(logits, before, fixed.how)
                grown = grow(logits, scores, done, beams)
                source = jnp.where(makes, grown.source, np.arange(len(tokens)))
                scores = jnp.where(makes, grown.scores, scores)
                chosen, tokens, done = grown.tokens, tokens[source], done[source]
                caches = self.model.rows(caches, source)
            else:
                chosen = choose(logits, before, fixed.how, key)
            old = lax.dynamic_slice_in_dim(tokens, place + 1, 1, 1)[:, 0]
            new = jnp.where(makes & ~done, chosen.astype(tokens.dtype), old)
            tokens = lax.dynamic_update_slice_in_dim(tokens, new[:, None], place + 1, 1)
            ends = jnp.isin(new, fixed.eos) | (place + 2 >= fixed.lengths + fixed.limit)
            return Sequences(place + 1, tokens, done | (makes & ends), caches, scores)

        return lax.while_loop(goes_on, step, state)
