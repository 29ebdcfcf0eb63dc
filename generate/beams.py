"""Beam search: of all continuations of some texts, those that are likeliest as a whole."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from onnxla.ops.values import Value


class Grown(NamedTuple):
    """The best continuations.

    Attributes:
        source: The row that each continues [B * beams].
        tokens: With which token, [B * beams].
        scores: The logarithms of their probabilities, [B * beams].
    """

    source: Value
    tokens: Value
    scores: Value


def first_scores(batch: int, beams: int) -> np.ndarray:
    """Scores of as many equal beams for each prompt, of which one counts, [B * beams]."""
    return np.tile(np.where(np.arange(beams) == 0, 0, -np.inf).astype(np.float32), batch)


def grow(logits: Value, scores: Value, done: Value, beams: int) -> Grown:
    """The best continuations of each prompt's beams.

    Args:
        logits: Of the next token [B * beams, V].
        scores: Of the beams [B * beams].
        done: Whether a beam has ended: it goes on in one way, with any token, and keeps its score.
        beams: How many each prompt has.
    """
    words = logits.shape[1]
    chances = jax.nn.log_softmax(logits.astype(jnp.float32))
    ended = np.where(np.arange(words) == 0, 0, -np.inf).astype(np.float32)
    total = scores[:, None] + jnp.where(done[:, None], ended, chances)
    best, at = lax.top_k(total.reshape(-1, beams * words), beams)
    own, at = np.arange(0, len(scores), beams)[:, None], at.astype(np.int64)
    return Grown((own + at // words).ravel(), (at % words).ravel(), best.ravel())
