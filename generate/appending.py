"""A Concat of past and new keys or values, as writing the new ones into a buffer.

The graph sees a past that is as much shorter than the buffer as there are new tokens, so that all
shapes in it are as they would be; its numbers are read by nothing but the Concat. What the Concat
makes is the buffer itself, in which XLA writes in place: nothing is copied.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import jax.numpy as jnp
from jax import lax

from onnxla import ir
from onnxla.generate.caches import Cache
from onnxla.generate.exchanged import Exchanged, exchange, standing_for
from onnxla.interpret.calls import Env
from onnxla.ops.values import Value

# What the environment calls the buffer of a past, and the slot to write in; no file can.
BUFFER, SLOT = "\0buffer of ", "\0slot"


@dataclass(frozen=True, eq=False, kw_only=True)
class Append(Exchanged):
    """A Concat whose result is a buffer."""

    axis: int

    def value(self, env: Env, result: Callable[..., Value]) -> Value:
        """The buffer of the past, with the new values in their slot."""
        past, new = self.inputs
        buffer, values = jnp.asarray(env[BUFFER + past]), jnp.asarray(env[new])
        shape = (*values.shape[: self.axis], buffer.shape[1], *values.shape[self.axis + 1 :])
        flat = values.reshape(-1, *values.shape[self.axis :])
        return lax.dynamic_update_slice_in_dim(buffer, flat, env[SLOT], 1).reshape(shape)


def with_buffers(model: ir.Model, caches: Iterable[Cache]) -> ir.Model:
    """The model with an `Append` in place of each Concat of the cache; it cannot be saved."""
    axes = {cache.node: cache.axis for cache in caches if cache.node is not None}

    def new(node: ir.Node) -> ir.Node:
        return standing_for(Append, node, axis=axes[node]) if node in axes else node

    return exchange(model, new)
