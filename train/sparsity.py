"""Sparse weights in training: what is zero when a run begins stays zero.

Not the gradient alone is masked: weight decay and noise are updates without one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from onnxla.module import Module
from onnxla.parameters.devices import as_numpy
from onnxla.parameters.selection import chosen


class KeptZerosState(NamedTuple):
    """Which elements stay zero, by parameter, and the state of the optimizer."""

    zero: Mapping[str, jax.Array]
    inner: Any


def choose_sparse(
    module: Module, trained: Sequence[str], keep_zeros: bool | str | Sequence[str]
) -> list[str]:
    """Names of the parameters that train and whose zeros stay; as `fit` takes `keep_zeros`.

    Raises:
        ValueError: A pattern matches none of the parameters that train, or there are adapters.
    """
    if isinstance(keep_zeros, bool):
        roles = {name: module.roles[name] for name in trained}
        found = [name for name in trained if roles[name] in ("weight", "embedding")]
        found = found if keep_zeros else []
    else:
        patterns = (keep_zeros,) if isinstance(keep_zeros, str) else tuple(keep_zeros)
        wanted = chosen(patterns, module.program.parameters) if patterns else set()
        found = [name for name in trained if name in wanted]
        if patterns and not found:
            raise ValueError(f"keep_zeros={keep_zeros!r} matches no parameter that trains")
    if keep_zeros and "adapter" in module.roles.values():
        raise ValueError(
            "keep_zeros is for weights that train: adapters, once merged, fill the zeros of theirs"
        )
    return found


def describe_zeros(module: Module, names: Sequence[str]) -> str:
    """How many elements of some parameters stay zero, in words."""
    arrays = [as_numpy(module.params[name]) for name in names]
    zeros, elements = (sum(map(count, arrays)) for count in (lambda x: (x == 0).sum(), np.size))
    return f"{zeros} of {elements} elements of {len(names)} parameters are zero and stay zero"


def keeping_zeros(optimizer: Any, names: Sequence[str]) -> Any:
    """An optax optimizer that leaves elements of parameters zero that are when it is begun."""
    import optax

    def init(params: Any) -> KeptZerosState:
        return KeptZerosState({name: params[name] == 0 for name in names}, optimizer.init(params))

    every: Any = optax.with_extra_args_support(optimizer)

    def update(
        updates: Any, state: Any, params: Any = None, **extra: Any
    ) -> tuple[Any, KeptZerosState]:
        given = masked(updates, state.zero, 0.0)
        changes, inner = every.update(given, state.inner, params, **extra)
        # x + -0.0 is x, also where x is -0.0.
        return masked(changes, state.zero, -0.0), KeptZerosState(state.zero, inner)

    return optax.GradientTransformationExtraArgs(init, update)


def masked(
    values: Mapping[str, jax.Array], mask: Mapping[str, jax.Array], fill: float
) -> dict[str, jax.Array]:
    """Arrays by name, with a number in those elements where there is a mask that is true."""
    return {k: jnp.where(mask[k], fill, v) if k in mask else v for k, v in values.items()}
