"""What an audit looks at: the messages of a file, and its graphs with the constants in them.

Nothing here trusts the file: it need not be a model that can be loaded.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.message import Message

from onnxla.ir.entries import allowed, check_number
from onnxla.ir.errors import ModelError
from onnxla.ir.model import FunctionId
from onnxla.ir.names import quoted, shortened
from onnxla.ir.onnx_pb2 import (
    AttributeProto,
    FunctionProto,
    GraphProto,
    ModelProto,
    NodeProto,
    OperatorSetIdProto,
    TensorProto,
    ValueInfoProto,
)
from onnxla.ir.tensors import decode_raw, decode_typed
from onnxla.ir.wire import STANDARD_DOMAIN
from onnxla.ops.limits import Limits

SMALL = 1024  # elements of a constant that is looked at: sizes, counts and flags are few
LONGEST = 60  # characters of a name in a remark


@dataclass(frozen=True)
class GraphBody:
    """A graph or a function's body, with the constants that its nodes can name.

    Attributes:
        nodes: Its nodes.
        constants: Tensors by name: initializers and the values of Constant nodes.
        opsets: Version by domain.
        outer: The graph around it.
        function: The function that it is in, or None.
        graph: Its message.
    """

    nodes: Sequence[NodeProto]
    constants: Mapping[str, TensorProto]
    opsets: Mapping[str, int]
    outer: GraphBody | None
    function: FunctionId | None
    graph: GraphProto | FunctionProto

    def constant(self, name: str) -> np.ndarray | None:
        """The value of a name if it is a small constant, here or in a graph around."""
        scope: GraphBody | None = self
        while scope is not None:
            if name in scope.constants:
                return small_value(scope.constants[name])
            scope = scope.outer
        return None

    def operand(self, node: NodeProto, index: int) -> np.ndarray | None:
        """The value of a node's input if it is a small constant."""
        return self.constant(node.input[index]) if index < len(node.input) else None


@dataclass(frozen=True)
class Contents:
    """What a file holds.

    Attributes:
        path: Where it is, if it is a file.
        size: Its bytes without large tensor data.
        message: The model without large tensor data.
        parts: Every message in it, with the nearest one around that has a name.
        scopes: Its graphs and functions' bodies, those of subgraphs too.
        limits: What is too much.
    """

    path: Path | None
    size: int
    message: ModelProto
    parts: Sequence[tuple[Message, Message]]
    scopes: Sequence[GraphBody]
    limits: Limits

    @classmethod
    def of(cls, message: ModelProto, size: int, path: Path | None, limits: Limits) -> Contents:
        """The contents of a message that took `size` bytes. Raises: ModelError if it has many."""
        found = list(itertools.islice(parts(message), allowed(size) + 1))
        check_number(len(found), size)
        return cls(path, size, message, found, list(scopes(message)), limits)

    def nodes(self) -> Iterator[tuple[NodeProto, GraphBody]]:
        """Every node with its graph."""
        return ((node, scope) for scope in self.scopes for node in scope.nodes)


NAMED = (NodeProto, TensorProto, ValueInfoProto, FunctionProto, GraphProto)


def parts(message: Message) -> Iterator[tuple[Message, Message]]:
    """A message and every one in it, with the nearest one around that has a name."""
    waiting: list[Iterator[tuple[Message, Message]]] = [iter([(message, message)])]
    while waiting:
        found = next(waiting[-1], None)
        if found is None:
            waiting.pop()
            continue
        part, owner = found
        if isinstance(part, NAMED):
            owner = part
        yield part, owner
        waiting.append(children(part, owner))


def children(part: Message, owner: Message) -> Iterator[tuple[Message, Message]]:
    """The messages in a message, in order, each with the nearest one around that has a name."""
    for field, value in part.ListFields():
        if field.message_type is not None:
            for child in (value,) if isinstance(value, Message) else value:
                yield child, owner


def scopes(message: ModelProto) -> Iterator[GraphBody]:
    """The model's graph, its functions' bodies, and every subgraph, outer ones first."""
    waiting = [scope_of(message.graph, opsets_of(message.opset_import), None, None)]
    for function in message.functions:
        opsets = opsets_of(function.opset_import)
        waiting.append(scope_of(function, opsets, None, function_id(function)))
    while waiting:
        scope = waiting.pop()
        yield scope
        for node in scope.nodes:
            for attribute in node.attribute:
                for graph in subgraphs(attribute):
                    waiting.append(scope_of(graph, scope.opsets, scope, scope.function))


def scope_of(
    graph: GraphProto | FunctionProto,
    opsets: Mapping[str, int],
    outer: GraphBody | None,
    function: FunctionId | None,
) -> GraphBody:
    """A graph with its constants."""
    constants = {}
    if isinstance(graph, GraphProto):
        constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and not domain_of(node):
            for attribute in node.attribute:
                if attribute.name in ("value", "value_int", "value_ints") and node.output:
                    constants[node.output[0]] = tensor_of(attribute)
    return GraphBody(graph.node, constants, opsets, outer, function, graph)


def tensor_of(attribute: AttributeProto) -> TensorProto:
    """The value of a Constant node: a tensor or integers."""
    if attribute.name == "value":
        return attribute.t
    listed = attribute.name == "value_ints"
    numbers = attribute.ints if listed else [attribute.i]
    dims = [len(numbers)] if listed else []
    return TensorProto(data_type=TensorProto.INT64, dims=dims, int64_data=numbers)


def subgraphs(attribute: AttributeProto) -> Iterable[GraphProto]:
    """The graphs in an attribute."""
    return [attribute.g] if attribute.HasField("g") else attribute.graphs


def small_value(tensor: TensorProto) -> np.ndarray | None:
    """A constant's numbers, or None if it has many, or none that can be read here."""
    shape = tuple(tensor.dims)
    if tensor.data_location == TensorProto.EXTERNAL or min(shape, default=0) < 0:
        return None
    if tensor.data_type == TensorProto.STRING or math.prod(shape) > SMALL:
        return None
    try:
        if tensor.HasField("raw_data"):
            return decode_raw(tensor.raw_data, tensor.data_type, shape)
        return decode_typed(tensor).reshape(shape)
    except (ModelError, ValueError, KeyError):
        return None


def attribute_of(node: NodeProto, name: str) -> AttributeProto | None:
    """An attribute of a node by name."""
    return next((each for each in node.attribute if each.name == name), None)


def domain_of(part: NodeProto | FunctionProto | OperatorSetIdProto) -> str:
    """A domain, under its one name."""
    return "" if part.domain == STANDARD_DOMAIN else part.domain


def function_id(function: FunctionProto) -> FunctionId:
    """What a function is called by."""
    return domain_of(function), function.name, function.overload


def called_id(node: NodeProto) -> FunctionId:
    """What a node calls, if it is a function."""
    return domain_of(node), node.op_type, node.overload


def opsets_of(imports: Iterable[OperatorSetIdProto]) -> dict[str, int]:
    """Version by domain."""
    return {domain_of(entry): entry.version for entry in imports}


def spell(part: Message) -> str:
    """What a part of a file is called in a remark; empty for the file itself."""
    if isinstance(part, NodeProto):
        name = part.name or next(iter(part.output), "")
        return f"{operator_name(part)} node {named(name)}"
    if not isinstance(part, NAMED):
        return ""
    kind = part.DESCRIPTOR.name.removesuffix("Proto").removesuffix("Info").lower()
    return f"{kind} {named(part.name)}"


def operator_name(part: NodeProto) -> str:
    """A node's operator, with its domain if that is not ONNX's own."""
    domain = domain_of(part)
    return named(f"{domain}.{part.op_type}" if domain else part.op_type)[1:-1]


def named(name: Any) -> str:
    """A name in quotes, short."""
    return quoted(shortened(name if isinstance(name, str) else repr(name), LONGEST))
