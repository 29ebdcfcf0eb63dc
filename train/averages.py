"""The exponential moving average of what a run trains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from onnxla.ops.values import Value

PARTS = ("params", "statistics")  # of a run's state
AVERAGE = "average"


def begin_average(state: Mapping[str, Any]) -> Any:
    """The average of parameters and statistics before the first step: a copy of them."""
    return jax.tree.map(jnp.copy, {part: state[part] for part in PARTS})


def next_average(
    average: Any, new: Mapping[str, Any], decay: float, step: Value, accumulate: int
) -> Any:
    """The average after a step.

    A long average of a short run would be that of its start. So the decay begins at 0.1 and rises
    to what is asked for, as (1 + n) / (10 + n) after n updates.

    Args:
        average: That before.
        new: The state after the step.
        decay: What remains of the average at each update in the long run.
        step: The number of steps before.
        accumulate: Number of steps that make one update.
    """
    number = step.astype(jnp.int32) // accumulate
    rising = jnp.minimum(decay, (1 + number) / (10 + number))
    updated = (step.astype(jnp.int32) + 1) % accumulate == 0
    kept = jnp.where(updated, rising, 1.0)
    return jax.tree.map(
        lambda before, now: (before + (1 - kept) * (now - before)).astype(before.dtype),
        average,
        {part: new[part] for part in PARTS},
    )


def trained(state: Mapping[str, Any]) -> dict[str, Value]:
    """Parameters and statistics that a state stands for: their average where it has one."""
    of = state.get(AVERAGE, state)
    return {**of["statistics"], **of["params"]}
