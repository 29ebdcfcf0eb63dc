"""The optimizer of a training run, with what `fit` puts around it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from onnxla.train.sparsity import keeping_zeros

LEARNING_RATE = 1e-4
WARMUP = 0.05  # share of the steps
DECAYED = frozenset({"weight", "embedding", "adapter"})


def make_optimizer(
    roles: Mapping[str, str],
    optimizer: Any = None,
    learning_rate: Any = None,
    total: int | None = None,
    accumulate: int = 1,
    clip_norm: float | None = None,
    sparse: Sequence[str] = (),
) -> Any:
    """An optax optimizer: the one given, or AdamW; with clipping before, and accumulation around.

    AdamW decays weights, not biases and scales. Its learning rate rises linearly during the first
    twentieth of the steps and falls to zero along a cosine, or stays where their number is unknown.

    Args:
        roles: The parameters in training, with their roles.
        optimizer: An optax optimizer.
        learning_rate: Of AdamW: the largest, or a schedule of optax.
        total: Number of steps, where it is known.
        accumulate: Number of steps whose mean gradient makes one update.
        clip_norm: Largest norm of a gradient.
        sparse: Names of parameters whose zeros stay zero.

    Raises:
        ValueError: An optimizer and a learning rate are given, or a number is out of range.
    """
    import optax

    if optimizer is not None and learning_rate is not None:
        raise ValueError("learning_rate is AdamW's; an optimizer that is given has its own")
    if accumulate < 1:
        raise ValueError(f"accumulate is at least 1, got {accumulate}")
    if clip_norm is not None and not clip_norm > 0:
        raise ValueError(f"clip_norm is positive, got {clip_norm}")
    if optimizer is None:
        rate = LEARNING_RATE if learning_rate is None else learning_rate
        if not callable(rate) and total is not None:
            updates = max(1, total // accumulate)
            warmup = int(WARMUP * updates)
            rate = optax.warmup_cosine_decay_schedule(rate / (warmup + 1), rate, warmup, updates)
        schedule: Any = rate
        decayed = {name: role in DECAYED for name, role in roles.items()}
        optimizer = optax.adamw(schedule, mask=decayed)
    if clip_norm is not None:
        optimizer = optax.chain(optax.clip_by_global_norm(clip_norm), optimizer)
    if accumulate > 1:
        optimizer = optax.MultiSteps(optimizer, accumulate)
    return keeping_zeros(optimizer, sparse) if sparse else optimizer
