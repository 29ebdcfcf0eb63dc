"""A run before its first step: the compiled step, and the state that it begins with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from onnxla.interpret.rolling.stacks import NO_STACKS, Stacks
from onnxla.ops.values import Value
from onnxla.train.averages import AVERAGE, begin_average
from onnxla.train.mesh import ONE_DEVICE, Placement
from onnxla.train.optimizer import evaluates_loss
from onnxla.train.plateau import SCALE
from onnxla.train.recipe import Recipe
from onnxla.train.shapes import WatchedStep
from onnxla.train.stacking import find_stacks
from onnxla.train.step import make_step, master
from onnxla.train.task import Task


@dataclass(frozen=True)
class Start:
    """What a run begins with.

    Attributes:
        step: The step, compiled for each shape that it meets.
        state: What steps change, see `make_step`.
        frozen: The other parameters.
        stacks: Which parameters are one array, in the state and among the frozen ones.
        line_search: Whether the optimizer evaluates the loss for itself.
        placement: Where its arrays are.
    """

    step: WatchedStep
    state: dict[str, Any]
    frozen: Mapping[str, Value]
    stacks: Stacks
    line_search: bool
    placement: Placement


def make_start(
    task: Task,
    recipe: Recipe,
    length: int | None,
    *,
    seed: int = 0,
    remat: bool = False,
    weight_average: float | None = None,
    placement: Placement = ONE_DEVICE,
) -> Start:
    """The step of a task, and its first state.

    Args:
        task: What is made small.
        recipe: How updates are made.
        length: Number of steps at which the run ends, where it is known.
        seed: Decides what Dropout drops.
        remat: Whether values other than products are computed again for the gradient.
        weight_average: The decay of the parameters' average.
        placement: Where parameters are.

    Raises:
        ValueError: The optimizer and what is around it do not fit together.
    """
    given = recipe.given(length)
    stacks = NO_STACKS
    if not task.sparse:
        stacks = find_stacks(task.objective, task.params, task.roles, given)
    optimizer = recipe.make(stacks.keyed(task.roles), length, task.sparse)
    placement = placement.with_stacks(stacks)

    def begin(params: Mapping[str, Value], statistics: Mapping[str, Value]) -> dict[str, Any]:
        state: dict[str, Any] = {
            "params": jax.tree.map(master, stacks.stacked(params)),
            "statistics": jax.tree.map(master, statistics),
        }
        # Some keep the parameters, or one array twice; a step that takes its state over cannot.
        state["optimizer"] = jax.tree.map(jnp.copy, optimizer.init(state["params"]))
        if weight_average is not None:
            state[AVERAGE] = begin_average(state)
        if recipe.plateau is not None:
            state[SCALE] = jnp.float32(1)
        return state

    state = placement.begin(
        begin, task.params, {name: task.module.params[name] for name in task.statistics}
    )
    line_search = given is not None and evaluates_loss(given, task.params)
    around = recipe.accumulate > 1 or recipe.clip_norm is not None or recipe.plateau is not None
    if line_search and around:
        raise ValueError(
            "an optimizer that evaluates the loss for itself, as L-BFGS, takes the gradient of"
            " that loss: neither accumulate= nor clip_norm=, and no plateau"
        )
    step = make_step(
        task.objective,
        optimizer,
        seed,
        remat,
        rate=recipe.rate(length),
        accumulate=recipe.accumulate,
        weight_average=weight_average,
        placed=None if (where := placement.of(state)) is None else (where, placement.everywhere),
    )
    frozen = placement.put(stacks.stacked(task.frozen))
    return Start(WatchedStep(step), state, frozen, stacks, line_search, placement)
