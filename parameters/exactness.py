"""Inputs of which all bits count, such as those of a hash; what lost some is then wrong."""

from __future__ import annotations

from collections.abc import Iterator

from onnxla.ir.dtypes import DTYPES_BY_NUMBER, is_float
from onnxla.ir.model import Model, Node
from onnxla.ir.traverse import all_nodes
from onnxla.ops.table import lookup
from onnxla.parameters.arguments import Callers, calls_of, given
from onnxla.parameters.sources import Formal, Producer, Source
from onnxla.parameters.walk import Analysis


def exact_inputs(model: Model, analysis: Analysis) -> dict[str, Node]:
    """The graph's inputs of whose integers all bits count, each with a node for which they do."""
    calls = calls_of(analysis)
    found: dict[str, Node] = {}
    for node, opsets in all_nodes(model):
        operator = lookup(node.domain, node.op_type, opsets.get(node.domain, 1))
        if operator is None or operator.exact is None:
            continue
        for source in analysis.operands.get(node, ()):
            for name in integers_from(source, analysis, calls):
                found.setdefault(name, node)
    return found


def integers_from(source: Source, analysis: Analysis, calls: Callers) -> Iterator[str]:
    """The inputs whose integers are moved, or computed with, until they are a value.

    What a network computes of them, with weights, has none of their bits.
    """
    pending, seen = [source], set[Source]()
    while pending:
        for origin in given(pending.pop(), analysis, calls):
            if origin in seen:
                continue
            seen.add(origin)
            if isinstance(origin, Formal):
                yield origin.name
            elif isinstance(origin, Producer) and not ends(origin):
                pending += origin.elements or origin.operands


def ends(producer: Producer) -> bool:
    """Whether a value has nothing of integers: a shape, what weights make, or a cast to floats."""
    to, operator = producer.node.attributes.get("to"), producer.operator
    if isinstance(to, int) and to in DTYPES_BY_NUMBER and is_float(DTYPES_BY_NUMBER[to]):
        return True
    weighted = operator is not None and {"weight", "embedding"} & {*operator.roles.values()}
    return bool(weighted) or (operator is not None and operator.reads_shape)
