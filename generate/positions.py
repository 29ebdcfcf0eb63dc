"""Positions that a graph takes from the length of its past, as numbers of the step.

The past that a graph sees in a step is as long as the buffer. A Range from that length on, a Range
that it is added to, or what a Slice takes from there, stands for the tokens that are read now: it
becomes their place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from onnxla import ir
from onnxla.generate.exchanged import Exchanged, exchange, standing_for
from onnxla.interpret.calls import Env
from onnxla.ir.traverse import is_standard
from onnxla.ops.values import Value, is_known
from onnxla.parameters.sources import is_constant
from onnxla.parameters.walk import Analysis

HANDING = ("Cast", "Identity", "Reshape", "Squeeze", "Unsqueeze")  # the same numbers
PLACE, LENGTH = "\0place", "\0length"  # of the token that is read, and of the past that is seen


@dataclass(frozen=True, eq=False, kw_only=True)
class RangeFromPlace(Exchanged):
    """A Range that may begin at the length of the past, or that this may be added to."""

    def value(self, env: Env, result: Callable[..., Value]) -> Value:
        """The file's result, or the place."""
        numbers = result()
        if is_known(numbers) and numbers.ravel().tolist() == [int(env[LENGTH])]:
            return jnp.reshape(env[PLACE], numbers.shape).astype(numbers.dtype)
        return numbers


@dataclass(frozen=True, eq=False, kw_only=True)
class SliceFromPlace(Exchanged):
    """A Slice that may begin at the length of the past."""

    def value(self, env: Env, result: Callable[..., Value]) -> Value:
        """The file's result, or what begins at the place."""
        operands: list[Any] = [env[name] if name else None for name in self.inputs]
        data, *others = operands
        length = int(env[LENGTH])
        if (axis := sliced_from(length, np.ndim(data), others)) is None:
            return result()
        one = lax.dynamic_slice_in_dim(jnp.asarray(data), env[PLACE], 1, axis)
        return result({0: one, 1: np.where(others[0] == length, 0, others[0])})


def sliced_from(length: int, rank: int, operands: list[Any]) -> int | None:
    """The axis of which a Slice takes one element from a position on, if it does so of one.

    Args:
        length: The position.
        rank: How many axes there are.
        operands: starts, ends and, where they are given, axes and steps.
    """
    if not is_known(operands):
        return None
    starts, ends, axes, steps = [*operands, None, None][:4]
    axes = np.arange(len(starts)) if axes is None else axes
    steps = np.ones(len(starts)) if steps is None else steps
    found = (starts == length) & (ends > length) & (steps == 1)
    return int(axes[found][0]) % rank if found.sum() == 1 else None


def from_places(model: ir.Model, analysis: Analysis) -> ir.Model:
    """The model with nodes that know the place for those that may need it; it cannot be saved.

    A Slice that begins at a constant does not begin at the length of the past.
    """
    ranges = set[str]()
    for node in model.graph.nodes:
        handed = is_standard(node, *HANDING) and node.inputs[0] in ranges
        if handed or is_standard(node, "Range"):
            ranges.add(node.outputs[0])

    def new(node: ir.Node) -> ir.Node:
        added = is_standard(node, "Add") and not ranges.isdisjoint(node.inputs)
        if added or is_standard(node, "Range"):
            return standing_for(RangeFromPlace, node)
        if is_standard(node, "Slice") and node.inputs[1:]:
            begins = analysis.operands.get(node, ())[1:2]
            return node if any(map(is_constant, begins)) else standing_for(SliceFromPlace, node)
        return node

    return exchange(model, new)
