"""Inputs that are looked up in tables of the file, such as the numbers of tokens in embeddings."""

from __future__ import annotations

from dataclasses import dataclass

from onnxla.ir.model import Graph, Node, Tensor, TensorType
from onnxla.ir.onnx_pb2 import TensorProto
from onnxla.ir.traverse import is_standard
from onnxla.ops.table import lookup
from onnxla.parameters.sources import Formal, Producer, Source
from onnxla.parameters.walk import Analysis


@dataclass(frozen=True)
class Lookup:
    """Where an input is looked up.

    Attributes:
        node: The node that does it.
        table: The name of the table.
        rows: How many it has.
    """

    node: Node
    table: str
    rows: int


def find_lookups(graph: Graph, opset: int, analysis: Analysis) -> dict[str, Lookup]:
    """Inputs of which all elements are looked up whenever the graph runs: each in which table.

    Of several tables it is the smallest. Nodes in subgraphs and functions may not run.
    """
    found: dict[str, Lookup] = {}
    kinds = {value.name: value.type for value in graph.inputs}
    integers = {
        name
        for name, kind in kinds.items()
        if isinstance(kind, TensorType) and kind.dtype is not None and kind.dtype.kind in "iu"
    }
    for node in graph.nodes:
        operator = lookup(node.domain, node.op_type, opset)
        if operator is None or operator.roles != {"data": "embedding"}:
            continue
        data, indices = analysis.operands[node][:2]
        table, given = converted(data), same_elements(indices)
        axis = node.attributes.get("axis", 0)
        if not isinstance(table, Tensor) or not isinstance(given, Formal) or given.function:
            continue
        if given.name not in integers:
            continue
        if not isinstance(axis, int) or not -len(table.shape) <= axis < len(table.shape):
            continue
        rows = table.shape[axis]
        if given.name not in found or rows < found[given.name].rows:
            found[given.name] = Lookup(node, table.name, rows)
    return found


def converted(source: Source) -> Source:
    """What a value is a conversion of: of the same shape."""
    while isinstance(source, Producer) and source.operator and source.operator.converts:
        source = source.operands[0]
    return source


def same_elements(source: Source) -> Source:
    """What a value has all the elements of, in any order or shape, as the numbers that they are."""
    while isinstance(source, Producer) and source.order is not None and source.elements:
        if source.operator and source.operator.converts and not keeps_integers(source):
            return source
        source = source.elements[0]
    return source


def keeps_integers(source: Producer) -> bool:
    """Whether a value is a Cast to a type that has the number of any row."""
    to = source.node.attributes.get("to")
    return is_standard(source.node, "Cast") and to in (TensorProto.INT32, TensorProto.INT64)
