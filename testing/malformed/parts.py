"""Parts of a model that can be broken: those it has, and new ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
import onnx
from hypothesis import strategies as st
from onnx import (
    AttributeProto,
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    helper,
    numpy_helper,
)

from onnxla.testing.malformed.registry import NotHere

HUGE = (2**31, 2**40, 2**62, 2**63 - 1)

T = TypeVar("T")


def pick(draw: st.DrawFn, options: Sequence[T]) -> T:
    """One of the options. Raises: NotHere if there is none."""
    if not options:
        raise NotHere
    return draw(st.sampled_from(options))


def graphs_within(graph: GraphProto) -> Iterator[GraphProto]:
    """A graph and its subgraphs."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == attribute.GRAPH:
                yield from graphs_within(attribute.g)


def any_node(draw: st.DrawFn, model: ModelProto) -> NodeProto:
    """Some node, perhaps in a subgraph."""
    return pick(draw, [node for graph in graphs_within(model.graph) for node in graph.node])


def operator_node(draw: st.DrawFn, model: ModelProto) -> NodeProto:
    """Some node that does not call a function, perhaps in a subgraph, or a new one."""
    nodes = [node for graph in graphs_within(model.graph) for node in graph.node]
    found = [node for node in nodes if not node.domain]
    return pick(draw, found or [new_node(model, "Neg", [new_array(model)])])


def main_node(draw: st.DrawFn, model: ModelProto) -> NodeProto:
    """Some node of the main graph."""
    return pick(draw, list(model.graph.node))


def any_attribute(draw: st.DrawFn, model: ModelProto) -> AttributeProto:
    """An attribute of some node, or of a new one."""
    nodes = [node for graph in graphs_within(model.graph) for node in graph.node]
    found = [attribute for node in nodes for attribute in node.attribute]
    return pick(draw, found or [new_node(model, "Elu", [new_array(model)], alpha=0.5).attribute[0]])


def new_array(model: ModelProto) -> str:
    """The name of a new initializer, float32 of shape [2, 2]."""
    name = f"w_{len(model.graph.initializer)}"
    array = np.arange(4, dtype=np.float32).reshape(2, 2)
    model.graph.initializer.append(numpy_helper.from_array(array, name))
    return name


def new_tensor(draw: st.DrawFn, model: ModelProto) -> TensorProto:
    """A new tensor with raw data, float32 of shape [2, 2]: an initializer, or an attribute."""
    new_array(model)
    if draw(st.booleans()):
        tensor = model.graph.initializer.pop()
        return new_node(model, "Constant", [], value=tensor).attribute[0].t
    return model.graph.initializer[-1]


def new_node(
    model: ModelProto, op_type: str, inputs: Sequence[str], **attributes: Any
) -> NodeProto:
    """A new last node, whose output is one of the graph's: float32 with two axes."""
    name = f"z_{len(model.graph.node)}"
    model.graph.node.append(helper.make_node(op_type, inputs, [name], **attributes))
    model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["m", "n"]))
    return model.graph.node[-1]


def new_input(model: ModelProto, dims: Sequence[Any] = (2, 2)) -> onnx.ValueInfoProto:
    """A new input, float32 of a shape."""
    name = f"x_{len(model.graph.input)}"
    model.graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, dims))
    return model.graph.input[-1]
