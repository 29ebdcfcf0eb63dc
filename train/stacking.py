"""Parameters of repeated blocks as one array each, in a run whose optimizer cannot tell.

A step then joins nothing, and updates a few large arrays instead of many small ones. Checkpoints
and results have the parameters by name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import jaxprs_in_params

from onnxla.interpret.rolling.stacks import Stacks
from onnxla.ops.values import Value
from onnxla.train.objective import Objective
from onnxla.train.optimizer import update_of_some_loss

# What JAX computes element by element, and what it passes on.
ELEMENTWISE = frozenset(
    {
        *("abs", "add", "add_any", "and", "cbrt", "ceil", "clamp", "convert_element_type", "copy"),
        *("copy_p", "cos", "div", "eq", "erf", "exp", "exp2", "expm1", "floor", "ge", "gt"),
        *("integer_pow", "is_finite", "le", "log", "log1p", "logistic", "lt", "max", "min", "mul"),
        *("ne", "neg", "not", "or", "pow", "rem", "round", "rsqrt", "select_n", "sign", "sin"),
        *("sqrt", "square", "stop_gradient", "sub", "tanh", "xor"),
        *("cond", "custom_jvp_call", "jit", "pjit"),
    }
)
# States of optimizers that treat parameters by name.
BY_NAME = re.compile("Masked|Partition|MultiTransform")


def find_stacks(
    objective: Objective, params: Mapping[str, Value], roles: Mapping[str, str], optimizer: Any
) -> Stacks:
    """What of the parameters in training may be one array; of the others, all that may.

    Args:
        objective: Of which parts of the model.
        params: The parameters in training.
        roles: Their roles, which the default optimizer goes by.
        optimizer: One that was given, or None for AdamW.
    """
    every = objective.module.params.items()
    kinds = {name: (x.shape, x.dtype, x.sharding, roles.get(name)) for name, x in every}
    stacks = objective.module.program.stacks(objective.outputs).among(kinds)
    moving = Stacks({stack: m for stack, m in stacks.members.items() if m[0] in params})
    if optimizer is None or not moving.members or cannot_tell(optimizer, params, moving):
        return stacks
    return Stacks({stack: m for stack, m in stacks.members.items() if stack not in moving.members})


def cannot_tell(optimizer: Any, params: Mapping[str, Value], stacks: Stacks) -> bool:
    """Whether an optimizer makes the same of stacks as of their members.

    It must compute an element's update from the past of this element alone, and may not tell
    parameters from one another, by their names or by how many axes they have.
    """
    if not is_elementwise(optimizer, params):
        return False
    few = Stacks({stack: (*m[:2], *m[2:][-1:]) for stack, m in stacks.members.items()})
    rng = np.random.default_rng(0)

    def numbers() -> dict[str, Value]:
        kinds = {name: (params[name].ndim, params[name].dtype) for name in few.places}
        return {k: jnp.asarray(rng.normal(size=(2,) * n), dtype) for k, (n, dtype) in kinds.items()}

    values, gradient, update = numbers(), numbers(), update_of_some_loss(optimizer)
    try:
        with jax.numpy_dtype_promotion("standard"):
            changes, _ = update(gradient, optimizer.init(values), values)
            joined = few.stacked(values)
            others, _ = update(few.stacked(gradient), optimizer.init(joined), joined)
    except (KeyError, TypeError, ValueError):  # it knows the names
        return False
    others = few.by_name(others)
    return all(np.array_equal(changes[name], others[name]) for name in changes)


def is_elementwise(optimizer: Any, params: Mapping[str, Value]) -> bool:
    """Whether an optimizer computes updates element by element, and of all parameters alike."""
    shapes = {name: jax.ShapeDtypeStruct(x.shape, x.dtype) for name, x in params.items()}
    state = jax.eval_shape(optimizer.init, shapes)
    if BY_NAME.search(str(jax.tree.structure(state))):
        return False
    with jax.numpy_dtype_promotion("standard"):
        update = update_of_some_loss(optimizer)
        pending = [jax.make_jaxpr(update)(shapes, state, shapes).jaxpr]
    while pending:
        for equation in pending.pop().eqns:
            name = equation.primitive.name
            of_number = name == "broadcast_in_dim" and equation.invars[0].aval.shape == ()
            if name not in ELEMENTWISE and not of_number:
                return False
            pending += jaxprs_in_params(equation.params)
    return True
