"""The optimizer of a training run, with what `fit` puts around it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from onnxla.ir.names import no_such
from onnxla.ops.values import Value
from onnxla.train.sparsity import keeping_zeros

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
WARMUP = 0.05  # share of the steps
DECAYED = frozenset({"weight", "embedding", "adapter"})


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


def make_rate(
    optimizer: Any,
    learning_rate: Any = None,
    schedule: str | None = None,
    total: int | None = None,
    accumulate: int = 1,
) -> Any:
    """The learning rate of an optimizer by name: a number, a function of the number of updates.

    None for an optimizer that is given, which has its own, and for L-BFGS, which searches for one.

    Args:
        optimizer: An optax optimizer, or the name of one; None for AdamW.
        learning_rate: The largest, or a schedule of optax.
        schedule: The name of a schedule.
        total: Number of steps, where it is known.
        accumulate: Number of steps that make one update.

    Raises:
        ValueError: An optimizer and a learning rate are given, or a name is not known.
    """
    name = DEFAULT if optimizer is None else optimizer
    if not isinstance(name, str):
        if learning_rate is not None or schedule is not None:
            raise ValueError(
                "learning_rate and schedule are of an optimizer by name, by default 'adamw'; one"
                " that is given has its own"
            )
        return None
    if name not in OPTIMIZERS:
        raise ValueError(no_such("optimizer", name, OPTIMIZERS))
    if schedule is not None and schedule not in SCHEDULES:
        raise ValueError(no_such("schedule", schedule, SCHEDULES))
    if callable(learning_rate):
        if schedule is not None:
            raise ValueError(f"learning_rate is a schedule already, besides schedule={schedule!r}")
        return learning_rate
    if learning_rate is None and name in NORMALIZED:
        learning_rate = LEARNING_RATE
    if name == LINE_SEARCH and schedule is None:
        return learning_rate
    if learning_rate is None:
        raise ValueError(f"{name} has no learning rate by default: pass learning_rate=")
    if total is None and schedule not in (None, "constant"):
        raise ValueError(f"schedule={schedule!r} needs the number of steps: pass steps=")
    if total is None:
        return learning_rate
    updates = max(1, total // accumulate)
    return SCHEDULES[schedule or "cosine"](learning_rate, int(WARMUP * updates), updates)


def bare_optimizer(optimizer: Any, rate: Any, roles: Mapping[str, str] | None = None) -> Any:
    """An optax optimizer by its name, or the one given, with nothing around it.

    Args:
        optimizer: The optimizer, or its name.
        rate: The learning rate of one by name, see `make_rate`.
        roles: The parameters in training, with their roles: of one by name, weights decay, and
            biases and scales do not. Without them, all do.

    Raises:
        TypeError: It is neither.
    """
    import optax

    if isinstance(optimizer, str):
        function = getattr(optax, optimizer)
        masks = inspect.signature(function).parameters.keys() & {"mask", "weight_decay_mask"}
        decayed = {name: role in DECAYED for name, role in (roles or {}).items()}
        return function(rate, **dict.fromkeys(masks if roles else (), decayed))
    if not (hasattr(optimizer, "init") and hasattr(optimizer, "update")):
        raise TypeError(
            "optimizer is the name of one, as 'adamw', or an optax optimizer, as optax.sgd(0.1); "
            f"got {optimizer!r}"
        )
    return optimizer


def make_optimizer(
    roles: Mapping[str, str],
    optimizer: Any = None,
    rate: Any = None,
    accumulate: int = 1,
    clip_norm: float | None = None,
    sparse: Sequence[str] = (),
) -> Any:
    """An optax optimizer, by default AdamW; with clipping before, and accumulation around.

    Args:
        roles: The parameters in training, with their roles.
        optimizer: An optax optimizer, or the name of one.
        rate: The learning rate of one by name, see `make_rate`.
        accumulate: Number of steps whose mean gradient makes one update.
        clip_norm: Largest norm of a gradient.
        sparse: Names of parameters whose zeros stay zero.

    Raises:
        ValueError: A number is out of range.
    """
    import optax

    if clip_norm is not None and not clip_norm > 0:
        raise ValueError(f"clip_norm is positive, got {clip_norm}")
    made = bare_optimizer(DEFAULT if optimizer is None else optimizer, rate, roles)
    if clip_norm is not None:
        made = optax.chain(optax.clip_by_global_norm(clip_norm), made)
    if accumulate > 1:
        steps: Any = optax.MultiSteps(made, accumulate)
        made = optax.GradientTransformationExtraArgs(steps.init, steps.update)
    return keeping_zeros(made, sparse) if sparse else made


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


def named_or_type(optimizer: Any) -> str:
    """The name of an optimizer, or the type of one that was given."""
    if isinstance(optimizer, str):
        return optimizer
    return DEFAULT if optimizer is None else type(optimizer).__name__
