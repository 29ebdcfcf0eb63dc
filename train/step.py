"""One training step as one compiled function."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from onnxla.module import Module
from onnxla.ops.values import Value, is_floating
from onnxla.train.losses import Function, known_name, logits_of, widen

# What a rematerialized step keeps: the results of products, which are expensive to compute again.
PRODUCTS = frozenset({"dot_general", "conv_general_dilated"})


@dataclass(frozen=True)
class Objective:
    """A loss of a module's outputs.

    Attributes:
        module: The module; of its parameters only the dtypes matter.
        loss: Function of the outputs and the targets: a scalar, or with a dict of further ones.
        outputs: Names of the values that the loss gets.
        freeze_statistics: As for `apply_train`.
    """

    module: Module
    loss: Function
    outputs: tuple[str, ...]
    freeze_statistics: Any = ()

    def train(
        self, params: Mapping[str, Value], inputs: Mapping[str, Value], targets: Any, key: jax.Array
    ) -> tuple[jax.Array, tuple[dict[str, Value], dict[str, Value]]]:
        """The loss in training; and the next running statistics, and the further scalars."""
        frozen = {"freeze_statistics": self.freeze_statistics} if self.freeze_statistics else {}
        found, updates = self.module.apply_train(
            self.narrowed(params), inputs, key=key, outputs=self.outputs, **frozen
        )
        value, further = self.measure(found, targets)
        return value, (updates, further)

    def measure(self, found: Any, targets: Any) -> tuple[jax.Array, dict[str, Value]]:
        """The loss of outputs, and the further scalars. Raises: TypeError unless it is a scalar."""
        result = self.loss(jax.tree.map(widen, found), targets)
        value, further = result if isinstance(result, tuple) else (result, {})
        value = jnp.asarray(value)
        if value.shape != () or not is_floating(value):
            raise TypeError(
                "a loss is one floating-point number, a mean for instance; "
                f"got {value.dtype}{list(value.shape)}"
            )
        return value, further

    def narrowed(self, params: Mapping[str, Value]) -> dict[str, Value]:
        """Parameters in the model's dtypes."""
        return {
            name: value.astype(self.module.params[name].dtype) for name, value in params.items()
        }


def make_objective(
    module: Module, loss: Function, outputs: Sequence[str] | None, freeze_statistics: Any = ()
) -> Objective:
    """The objective of a loss, which reads logits where the model would make probabilities."""
    names = output_names(module, outputs, loss)
    if len(names) == 1:
        names = (logits_of(module.program.model, names[0], loss),)
    return Objective(module, loss, names, freeze_statistics)


def output_names(
    module: Module, outputs: Sequence[str] | None, function: Function
) -> tuple[str, ...]:
    """Names of the values that a loss or metric is a function of.

    Raises:
        ValueError: It is one of `onnxla.losses`, which take one, and there are several.
    """
    names = tuple(outputs or module.output_names)
    if len(names) != 1 and known_name(function):
        raise ValueError(
            f"{known_name(function)} is of one output, and there are {', '.join(names)}; say which "
            f"with outputs=['{names[0]}']"
        )
    return names


def prepare(module: Module, inputs: Mapping[str, Value]) -> dict[str, Value]:
    """Inputs by name, checked, as JAX arrays of the model's dtypes.

    Left to `jax.jit`, 64-bit integers would lose half of their bits.
    """
    with jax.enable_x64(True):
        return {name: jnp.asarray(value) for name, value in module.check_inputs(inputs).items()}


def master(value: jax.Array) -> jax.Array:
    """A copy of a parameter to train, in float32 at least: small steps would round to nothing."""
    return jnp.array(widen(value), copy=True)


def make_step(objective: Objective, optimizer: Any, seed: int, remat: bool) -> Any:
    """The compiled training step.

    It maps (state, frozen parameters, step number, inputs, targets) to the next state and a dict of
    the loss, the gradient's norm and the further scalars. The state has the trained `params`, the
    running `statistics` and that of the `optimizer`. It is donated, and stays as it is where the
    loss or the gradient is not finite.
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
        changes, following = optimizer.update(gradient, state["optimizer"], state["params"])
        new = {
            "params": optax.apply_updates(state["params"], changes),
            "statistics": {name: widen(value) for name, value in updates.items()},
            "optimizer": following,
        }
        finite = jnp.isfinite(value) & jnp.isfinite(norm)
        state = jax.tree.map(lambda after, before: jnp.where(finite, after, before), new, state)
        return state, {"loss": value, "gradient_norm": norm, **further}

    return jax.jit(step, donate_argnums=0)


def keeps_products(primitive: Any, *_: Any, **__: Any) -> bool:
    """Whether `jax.checkpoint` keeps the results of a primitive."""
    return primitive.name in PRODUCTS


def find_statistics(objective: Objective, inputs: Any, targets: Any) -> list[str]:
    """Names of the running statistics that a step updates.

    The model and the loss are traced for it, so that data of a wrong kind is found before anything
    is compiled.
    """
    params = objective.module.params
    _, (updates, _) = jax.eval_shape(objective.train, params, inputs, targets, jax.random.key(0))
    return list(updates)
