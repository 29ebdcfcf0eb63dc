"""One training step as one compiled function."""

from __future__ import annotations

import contextlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from onnxla.interpret.remat import keeps_products
from onnxla.module import Module
from onnxla.ops.values import Value
from onnxla.train.averages import AVERAGE, next_average
from onnxla.train.means import as_wide
from onnxla.train.objective import Objective
from onnxla.train.optimizer import rates_known, update
from onnxla.train.plateau import SCALE


def double_precision(module: Module) -> contextlib.AbstractContextManager[Any]:
    """Lets losses and optimizers have float64 if a parameter has; JAX would make it float32."""
    double = any(value.dtype == np.float64 for value in module.params.values())
    return jax.enable_x64(True) if double else contextlib.nullcontext()


def master(value: jax.Array) -> jax.Array:
    """A copy of a parameter to train, in float32 at least: small steps would round to nothing."""
    return jnp.array(as_wide(value), copy=True)


def make_step(
    objective: Objective,
    optimizer: Any,
    seed: int,
    remat: bool,
    *,
    rate: Any = None,
    accumulate: int = 1,
    weight_average: float | None = None,
    placed: Any = None,
) -> Any:
    """The compiled training step.

    It maps (state, frozen parameters, step number, inputs, targets) to the next state and a dict of
    the loss, the gradient's norm, the learning rate where it is known, and the further scalars. The
    state has the trained `params`, the running `statistics`, that of the `optimizer`, and perhaps
    their `average`, and the `scale` of updates that a plateau has lowered. It is donated, and stays
    as it is where the loss or the gradient is not finite.

    Args:
        objective: The loss of parameters and a batch.
        optimizer: An optax optimizer.
        seed: Decides what Dropout drops.
        remat: Whether values other than products are computed again for the gradient.
        rate: The optimizer's learning rate, see `Recipe.rate`.
        accumulate: Number of steps that make one update.
        weight_average: The decay of the parameters' average.
        placed: How the next state and the numbers are placed on a mesh, as `jax.jit` takes it.
    """
    import optax

    def step(
        state: dict[str, Any], frozen: dict[str, Value], number: Value, inputs: Any, targets: Any
    ) -> tuple[dict[str, Any], dict[str, Value]]:
        key = jax.random.fold_in(jax.random.key(seed), number)

        def loss(params: dict[str, Value]) -> Any:
            every = {**frozen, **state["statistics"], **params}
            return objective.train(every, inputs, targets, key)

        if remat:
            loss = jax.checkpoint(loss, policy=keeps_products)
        (value, (updates, further)), gradient = jax.value_and_grad(loss, has_aux=True)(
            state["params"]
        )
        norm = jnp.sqrt(sum(jnp.square(part).sum() for part in gradient.values()))
        changes, following = update(
            optimizer,
            gradient,
            state["optimizer"],
            state["params"],
            value,
            lambda params: loss(params)[0],
        )
        rates = rates_known(rate, following, number.astype(jnp.int32) // accumulate)
        kept = {}
        if SCALE in state:
            kept[SCALE] = state[SCALE]
            changes = {k: (v * state[SCALE]).astype(v.dtype) for k, v in changes.items()}
            rates["learning_rate"] = rates["learning_rate"] * state[SCALE]
        new = {
            **kept,
            "params": optax.apply_updates(state["params"], changes),
            "statistics": {name: as_wide(value) for name, value in updates.items()},
            "optimizer": following,
        }
        if weight_average is not None:
            new[AVERAGE] = next_average(state[AVERAGE], new, weight_average, number, accumulate)
        finite = jnp.isfinite(value) & jnp.isfinite(norm)
        state = jax.tree.map(lambda after, before: jnp.where(finite, after, before), new, state)
        return state, {"loss": value, "gradient_norm": norm, **rates, **further}

    return jax.jit(step, donate_argnums=0, out_shardings=placed)


def look_ahead(objective: Objective, inputs: Any, targets: Any) -> tuple[list[str], Any]:
    """Names of the running statistics that a step updates, and the shapes of what the loss is of.

    The model and the loss are traced for it, so that data of a wrong kind is found before anything
    is compiled.
    """

    def traced(params: dict[str, Value], inputs: Any, targets: Any, key: jax.Array) -> Any:
        found, updates = objective.outputs_in_training(params, inputs, key)
        objective.loss_of(found, targets)
        return updates, found

    arguments = objective.module.params, inputs, targets, jax.random.key(0)
    updates, found = jax.eval_shape(traced, *arguments)
    return list(updates), found
