"""Schedules by name: the learning rate as a function of the number of updates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from onnxla.ops.values import Value


def cosine(rate: float, warmup: int, updates: int) -> Any:
    """Rises linearly, then falls to zero along a cosine."""
    import optax

    return optax.warmup_cosine_decay_schedule(rate / (warmup + 1), rate, warmup, updates)


def linear(rate: float, warmup: int, updates: int) -> Any:
    """Rises linearly, then falls to zero linearly."""

    def schedule(count: Value) -> Value:
        rising, falling = (count + 1) / (warmup + 1), (updates - count) / (updates - warmup)
        return rate * jnp.clip(jnp.minimum(rising, falling), 0, 1)

    return schedule


def constant(rate: float, warmup: int, updates: int) -> Any:
    """Rises linearly, then stays."""
    return lambda count: rate * jnp.minimum((count + 1) / (warmup + 1), 1)


SCHEDULES: dict[str, Callable[[float, int, int], Any]] = {
    "cosine": cosine,
    "linear": linear,
    "constant": constant,
}
