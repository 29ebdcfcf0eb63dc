"""Padding stays: zeros in parameters that no framework trains get no gradient in training."""

from __future__ import annotations

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
from jax import lax

from onnxla.ops.values import Value


def keep_padding(params: Mapping[str, Value], masks: Mapping[str, np.ndarray]) -> dict[str, Value]:
    """The parameters, of which zeros have no derivative where a mask says so."""

    def kept(x: Value, mask: np.ndarray) -> Value:
        return jnp.where(mask & (x == 0), lax.stop_gradient(x), x)

    return {**params, **{name: kept(params[name], mask) for name, mask in masks.items()}}
