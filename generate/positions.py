"""Positions that a graph takes from the length of its past, as numbers of the step.

The past that a graph sees in a step is as long as the buffer. A Range from that length on, or what
a Slice takes from there, stands for the tokens that are read now: it becomes their place.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from onnxla import ir
from onnxla.interpret.calls import Context, Env, Scope
from onnxla.interpret.composite import Composite, Evaluate
from onnxla.ir.traverse import is_standard
from onnxla.ops.values import Value, is_known

PLACE, LENGTH = "\0place", "\0length"  # of the token that is read, and of the past that is seen


@dataclass(frozen=True, eq=False)
class FromPlace(Composite):
    """A Range or Slice that may begin at the length of the past."""

    def evaluate(self, env: Env, context: Context, evaluate: Evaluate) -> Mapping[str, Value]:
        """The file's result, or that from the place on."""
        node = ir.Node(**{field.name: getattr(self, field.name) for field in fields(ir.Node)})
        (name,), inputs = self.outputs, self.inputs
        scope: Scope = ChainMap({}, env)  # type: ignore[arg-type]  # which is only read
        length, place = int(env[LENGTH]), env[PLACE]
        if self.op_type == "Slice":
            values: list[Any] = [env[each] if each else None for each in inputs[1:]]
            if (axis := sliced_from(length, np.ndim(env[inputs[0]]), values)) is not None:
                data = jnp.asarray(env[inputs[0]])
                scope[inputs[0]] = lax.dynamic_slice_in_dim(data, place, 1, axis)
                scope[inputs[1]] = np.where(values[0] == length, 0, values[0])
        evaluate(0, (node,), scope, context)
        result = scope[name]
        if self.op_type == "Range" and is_known(result) and result.tolist() == [length]:
            result = jnp.reshape(place, 1).astype(result.dtype)
        return {name: result}


def sliced_from(length: int, rank: int, operands: list[Any]) -> int | None:
    """The axis of which a Slice takes one element from a position on, if it does so of one.

    Args:
        length: The position.
        rank: How many axes there are.
        operands: starts, ends and, where they are given, axes and steps.
    """
    if not is_known(operands):
        return None
    starts, ends, axes, steps = (*operands, None, None)[:4]
    axes = np.arange(len(starts)) if axes is None else axes
    steps = np.ones(len(starts)) if steps is None else steps
    found = (starts == length) & (ends > length) & (steps == 1)
    return int(axes[found][0]) % rank if found.sum() == 1 else None


def from_places(model: ir.Model) -> ir.Model:
    """The model with a `FromPlace` for each Range and Slice; it cannot be saved."""

    def exchanged(node: ir.Node) -> ir.Node:
        operands = is_standard(node, "Range") or (is_standard(node, "Slice") and node.inputs[1:])
        if not operands:
            return node
        return FromPlace(**{field.name: getattr(node, field.name) for field in fields(ir.Node)})

    nodes = tuple(map(exchanged, model.graph.nodes))
    return replace(model, graph=replace(model.graph, nodes=nodes))
