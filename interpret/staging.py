"""Binding-time analysis: which values a value is computed from, and which must be known.

A value must be known (static) where it decides a shape. Shapes themselves are always known, so a
search for what a value depends on ends at what reads a shape.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from onnxla.ir.model import Node
from onnxla.ir.traverse import names_read
from onnxla.ops.table import lookup
from onnxla.ops.values import Value, is_known


def origins(
    names: Sequence[str],
    node: Node,
    before: Sequence[Node],
    env: Mapping[str, Value],
    opsets: Mapping[str, int],
) -> tuple[str, ...]:
    """Traced values that enter this scope from outside and that `names` are computed from.

    Args:
        names: Values that were found to be traced, in the scope of `node` or of its subgraphs.
        node: The node at which that was found.
        before: The nodes that were evaluated before it.
        env: Values so far.
        opsets: Opset imports of the scope.
    """
    producers = {output: producer for producer in before for output in producer.outputs}
    # A name that is not of this scope is one that `node` passed to its subgraph.
    pending = {n for name in names for n in ([name] if name in env else node.inputs) if n}
    found: set[str] = set()
    seen: set[str] = set()
    while pending:
        name = pending.pop()
        seen.add(name)
        if is_known(env.get(name)):  # or not there any more, in a later region
            continue
        producer = producers.get(name)
        if producer is None:
            found.add(name)
            continue
        operator = lookup(producer.domain, producer.op_type, opsets.get(producer.domain, 1))
        if operator is None or not operator.reads_shape:
            pending |= names_read(producer) - seen
    return tuple(sorted(found))
