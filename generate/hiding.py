"""Slots that are not filled are hidden from attention, whether or not a graph masks them.

Graphs for one token often have no mask: of a past that is as long as it says, all is to be seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

from onnxla import ir
from onnxla.generate.exchanged import Exchanged, exchange, standing_for
from onnxla.interpret.calls import Env
from onnxla.ir.traverse import is_standard
from onnxla.ops.table import lookup
from onnxla.ops.values import Value

FILLED = "\0filled"  # whether a slot is, [slots]


@dataclass(frozen=True, eq=False, kw_only=True)
class Hiding(Exchanged):
    """A Softmax of scores, of which some are for slots."""

    def value(self, env: Env, result: Callable[..., Value]) -> Value:
        """Its result without the slots that are not filled, if there are as many scores."""
        scores, filled = env[self.inputs[0]], env[FILLED]
        if scores.shape[-1:] != filled.shape:
            return result()
        return result({0: jnp.where(filled, scores, np.asarray(-np.inf, scores.dtype))})


def with_hidden_slots(model: ir.Model, presents: Iterable[str]) -> ir.Model:
    """The model with a `Hiding` for each Softmax of products with some keys; it cannot be saved.

    Args:
        model: The model.
        presents: The keys and values. What is computed of values goes through a second product
            before it comes to a Softmax.
    """
    products = dict.fromkeys(presents, 0)  # how many each value that is made of keys went through

    def new(node: ir.Node) -> ir.Node:
        counts = [products[name] for name in node.inputs if name in products]
        if counts and is_standard(node, "Softmax"):
            return standing_for(Hiding, node)
        operator = lookup(node.domain, node.op_type, model.opsets.get(node.domain, 1))
        count = min(counts, default=2) + bool(operator is not None and operator.product)
        for name in node.outputs if count < 2 else ():
            products.setdefault(name, count)
        return node

    return exchange(model, new)
