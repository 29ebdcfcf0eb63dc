"""Optimizers of optax: by name, and what is to be known of one that is given."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from onnxla.ops.values import Value

# Those of optax that need a learning rate, or a schedule of it, and nothing else.
OPTIMIZERS = (
    *(
        "adabelief",
        "adadelta",
        "adafactor",
        "adagrad",
        "adam",
        "adamax",
        "adamaxw",
        "adamw",
        "adan",
    ),
    *(
        "amsgrad",
        "fromage",
        "lamb",
        "lars",
        "lbfgs",
        "lion",
        "nadam",
        "nadamw",
        "novograd",
        "radam",
    ),
    *("rmsprop", "sgd", "sign_sgd", "yogi"),
)
DEFAULT, LINE_SEARCH = "adamw", "lbfgs"
# Of these a step is about as large as the learning rate, whatever the gradient: they have one by
# default.
NORMALIZED = frozenset(
    {"adabelief", "adam", "adamax", "adamaxw", "adamw", "adan", "amsgrad", "nadam", "nadamw"}
    | {"radam", "yogi"}
)
LEARNING_RATE = 1e-4
DECAYED = frozenset({"weight", "embedding", "adapter"})


def bare_optimizer(optimizer: Any, rate: Any, roles: Mapping[str, str] | None = None) -> Any:
    """An optax optimizer by its name, or the one given, with nothing around it.

    Args:
        optimizer: The optimizer, or its name.
        rate: The learning rate of one by name, see `Recipe.rate`.
        roles: The parameters in training, with their roles: of one by name, weights decay, and
            biases and scales do not. Without them, all do.
    """
    import optax

    if isinstance(optimizer, str):
        function = getattr(optax, optimizer)
        masks = inspect.signature(function).parameters.keys() & {"mask", "weight_decay_mask"}
        decayed = {name: role in DECAYED for name, role in (roles or {}).items()}
        return function(rate, **dict.fromkeys(masks if roles else (), decayed))
    return optimizer


def update(
    optimizer: Any,
    gradient: Any,
    state: Any,
    params: Any,
    value: Value,
    value_fn: Callable[[Any], Value],
) -> tuple[Any, Any]:
    """An optimizer's changes and next state. The loss is passed to those that ask for it.

    Args:
        optimizer: An optax optimizer.
        gradient: The gradient of the loss.
        state: The optimizer's.
        params: The parameters.
        value: The loss.
        value_fn: The loss as a function of the parameters.
    """
    import optax

    every = optax.with_extra_args_support(optimizer)
    changes, following = every.update(
        gradient, state, params, value=value, grad=gradient, value_fn=value_fn
    )
    return changes, following


def update_of_some_loss(
    optimizer: Any, seen: Callable[[], Any] = lambda: None
) -> Callable[[Any, Any, Any], tuple[Any, Any]]:
    """An optimizer's update of (gradient, state, parameters) alone, to see what it computes.

    Args:
        optimizer: An optax optimizer.
        seen: Called when it evaluates the loss.
    """

    def value_fn(params: Any) -> Value:
        seen()
        return sum((jnp.sum(leaf) for leaf in jax.tree.leaves(params)), jnp.float32(0))

    return lambda gradient, state, params: update(
        optimizer, gradient, state, params, jnp.float32(1), value_fn
    )


def evaluates_loss(optimizer: Any, params: Any) -> bool:
    """Whether an optimizer evaluates the loss for itself, as a line search does."""
    evaluations: list[None] = []
    state = jax.eval_shape(optimizer.init, params)
    seen = update_of_some_loss(optimizer, lambda: evaluations.append(None))
    jax.eval_shape(seen, params, state, params)
    return bool(evaluations)


def rates_known(rate: Any, state: Any, count: Value) -> dict[str, Value]:
    """What is known of the learning rate of an update, by name.

    Args:
        rate: A number or schedule; None if the optimizer has its own, which is known if its state
            has it, as that of `optax.inject_hyperparams` does.
        state: The optimizer's, after the update.
        count: The number of updates before it.
    """
    import optax
    from optax.contrib import ReduceLROnPlateauState

    if rate is not None:
        value = rate(count) if callable(rate) else rate
        return {"learning_rate": jnp.asarray(value, jnp.float32)}
    named = optax.tree_utils.tree_get_all_with_path(state, "learning_rate")
    rates = [value for _, value in named if getattr(value, "shape", None) == ()]

    def is_plateau(part: Any) -> bool:
        return isinstance(part, ReduceLROnPlateauState)

    scales = [p.scale for p in jax.tree.leaves(state, is_leaf=is_plateau) if is_plateau(p)]
    found = {"learning_rate": rates, "learning_rate_scale": scales}
    return {name: values[0] for name, values in found.items() if len(values) == 1}
