"""Padding stays: zeros that no framework trains get no gradient where they are read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import jax.numpy as jnp
from jax import lax

from onnxla.interpret.calls import Call, Results, Rule, Then
from onnxla.parameters.padding import Padding


def keep_padding(paddings: Iterable[Padding]) -> Rule:
    """A rule by which zeros have no derivative where a node reads them as padding."""
    by_node = {padding.node: padding for padding in paddings}

    def rule(call: Call, then: Then) -> Results:
        padding = by_node.get(call.node)
        if padding is None:
            return then(call)
        operands = [*call.operands]
        x = operands[padding.index]
        operands[padding.index] = jnp.where(padding.mask & (x == 0), lax.stop_gradient(x), x)
        return then(replace(call, operands=operands))

    return rule
