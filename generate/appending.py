"""A Concat of past and new keys or values, as writing the new ones into a buffer.

The graph sees a past that is as much shorter than the buffer as there are new tokens, so that all
shapes in it are as they would be; its numbers are read by nothing but the Concat. What the Concat
makes is the buffer itself, in which XLA writes in place: nothing is copied.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace

import jax.numpy as jnp
from jax import lax

from onnxla import ir
from onnxla.generate.caches import Cache
from onnxla.interpret.calls import Context, Env
from onnxla.interpret.composite import Composite, Evaluate
from onnxla.ops.values import Value

# What the environment calls the buffer of a past, and the slot to write in; no file can.
BUFFER, SLOT = "\0buffer of ", "\0slot"


@dataclass(frozen=True, eq=False)
class Append(Composite):
    """A Concat whose result is a buffer."""

    axis: int = 0

    def evaluate(self, env: Env, context: Context, evaluate: Evaluate) -> Mapping[str, Value]:
        """The buffer of the past, with the new values in their slot."""
        past, new = self.inputs
        buffer, values = jnp.asarray(env[BUFFER + past]), jnp.asarray(env[new])
        shape = (*values.shape[: self.axis], buffer.shape[1], *values.shape[self.axis + 1 :])
        flat = values.reshape(-1, *values.shape[self.axis :])
        written = lax.dynamic_update_slice_in_dim(buffer, flat, env[SLOT], 1)
        return {self.outputs[0]: written.reshape(shape)}


def with_buffers(model: ir.Model, caches: Iterable[Cache]) -> ir.Model:
    """The model with an `Append` in place of each Concat of the cache; it cannot be saved."""
    axes = {cache.node: cache.axis for cache in caches if cache.node is not None}

    def exchanged(node: ir.Node) -> ir.Node:
        if node not in axes:
            return node
        same = {field.name: getattr(node, field.name) for field in fields(ir.Node)}
        return Append(**same, axis=axes[node] or 0)

    nodes = tuple(map(exchanged, model.graph.nodes))
    return replace(model, graph=replace(model.graph, nodes=nodes))
