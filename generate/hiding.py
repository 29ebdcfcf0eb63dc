"""Slots that are not filled are hidden from attention, whether or not a graph masks them.

Graphs for one token often have no mask: of a past that is as long as it says, all is to be seen.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace

import jax.numpy as jnp
import numpy as np

from onnxla import ir
from onnxla.interpret.calls import Context, Env, Scope
from onnxla.interpret.composite import Composite, Evaluate
from onnxla.ir.traverse import is_standard
from onnxla.ops.table import lookup
from onnxla.ops.values import Value

FILLED = "\0filled"  # whether a slot is, [slots]


@dataclass(frozen=True, eq=False)
class Hiding(Composite):
    """A Softmax of scores, of which some are for slots."""

    def evaluate(self, env: Env, context: Context, evaluate: Evaluate) -> Mapping[str, Value]:
        """Its result without the slots that are not filled, if there are as many scores."""
        node = ir.Node(**{field.name: getattr(self, field.name) for field in fields(ir.Node)})
        (name,), (given,) = self.outputs, self.inputs
        scope: Scope = ChainMap({}, env)  # type: ignore[arg-type]  # which is only read
        scores, filled = env[given], env[FILLED]
        if scores.shape[-1:] == filled.shape:
            scope[given] = jnp.where(filled, scores, np.asarray(-np.inf, scores.dtype))
        evaluate(0, (node,), scope, context)
        return {name: scope[name]}


def with_hidden_slots(model: ir.Model, presents: Iterable[str]) -> ir.Model:
    """The model with a `Hiding` for each Softmax of products with some keys; it cannot be saved.

    Args:
        model: The model.
        presents: The keys and values. What is computed of values goes through a second product
            before it comes to a Softmax.
    """
    products = dict.fromkeys(presents, 0)  # how many each value that is made of keys went through
    nodes: list[ir.Node] = []
    for node in model.graph.nodes:
        counts = [products[name] for name in node.inputs if name in products]
        if counts and is_standard(node, "Softmax"):
            same = {field.name: getattr(node, field.name) for field in fields(ir.Node)}
            nodes.append(Hiding(**same))
            continue
        nodes.append(node)
        operator = lookup(node.domain, node.op_type, model.opsets.get(node.domain, 1))
        count = min(counts, default=2) + bool(operator is not None and operator.product)
        if counts and count < 2:
            for name in node.outputs:
                products.setdefault(name, count)
    return replace(model, graph=replace(model.graph, nodes=tuple(nodes)))
