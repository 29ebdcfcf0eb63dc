"""Prompts of different lengths as one array."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Prompts:
    """Prompts without padding."""

    rows: list[np.ndarray]

    @property
    def lengths(self) -> np.ndarray:
        """How many tokens each has, [B]."""
        return np.array([len(row) for row in self.rows], np.int64)

    def filled(self, length: int, pad: int, dtype: np.dtype) -> np.ndarray:
        """Tokens [B, length], with `pad` after each prompt."""
        tokens = np.full((len(self.rows), length), pad, dtype)
        for row, out in zip(self.rows, tokens, strict=True):
            out[: len(row)] = row
        return tokens


def as_prompts(ids: Any, attention_mask: Any, words: int | None) -> Prompts:
    """The prompts of a batch [B, S], or a single one [S].

    Args:
        ids: The tokens.
        attention_mask: 0 where they are padding; None where nothing is.
        words: How many tokens there are, if that is known.

    Raises:
        TypeError: The tokens are no integers.
        ValueError: Shapes do not fit, a prompt is empty, or there is no such token.
    """
    ids = np.atleast_2d(np.asarray(ids))
    if ids.size and not np.issubdtype(ids.dtype, np.integer):
        raise TypeError(f"ids are integers, not {ids.dtype}")
    mask = np.ones(ids.shape) if attention_mask is None else np.atleast_2d(attention_mask)
    if ids.ndim != 2 or mask.shape != ids.shape:
        raise ValueError(
            f"ids are [B, S] or [S] and attention_mask as they are, not {list(ids.shape)} and "
            f"{list(mask.shape)}"
        )
    rows = [row[kept != 0] for row, kept in zip(ids, mask, strict=True)]
    for number, row in enumerate(rows):
        if not len(row):
            raise ValueError(f"prompt {number} has no tokens")
        if wrong := [n for n in row.tolist() if n < 0 or (words is not None and n >= words)]:
            of = "" if words is None else f" of {words}"
            raise ValueError(f"prompt {number} has {wrong[0]}, which is no token{of}")
    if not rows:
        raise ValueError("there are no prompts")
    return Prompts(rows)
