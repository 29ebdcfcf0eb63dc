"""Binding: a node's operator, and what the node gives bound to its signature."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax

from onnxla.ir.errors import ModelError, StaticOperandError, UnsupportedError
from onnxla.ir.model import AttributeReference, Graph, Node, SparseTensor, Tensor
from onnxla.ir.names import quoted
from onnxla.ops.limits import OF_A_CALL, budget
from onnxla.ops.signatures import IGNORED_ATTRIBUTES, attribute_misfits, input_misfit
from onnxla.ops.sizes import Sizes
from onnxla.ops.table import Operator, lookup
from onnxla.ops.values import (
    Value,
    as_known,
    as_traced,
    has_no_type_in_jax,
    is_concrete,
    is_known,
)


def find_operator(node: Node, opsets: Mapping[str, int]) -> Operator:
    """The table's row for a node. Raises: UnsupportedError if there is none."""
    operator = lookup(node.domain, node.op_type, opsets.get(node.domain, 1))
    if operator is None:
        raise UnsupportedError(
            f"{node} is not supported; an operator can be registered with @onnxla.op. "
            "All that the model uses and that has no implementation:"
        )
    return operator


def bind_attributes(
    attributes: Mapping[str, Any],
    given: Mapping[str, Any],
    read: Callable[[Tensor | SparseTensor], Value],
    subgraph: Callable[[Graph], Callable[..., Value]],
) -> dict[str, Any]:
    """Attributes as an operator receives them: tensors as values, subgraphs as functions.

    Args:
        attributes: Those of a node, or the defaults of a model-local function.
        given: Values of the enclosing function's attributes, to which some may refer.
        read: Value of a constant tensor.
        subgraph: A graph as a function.
    """

    def bind(attribute: Any) -> Any:
        match attribute:
            case AttributeReference(name):
                return given.get(name)
            case Tensor() | SparseTensor():
                return read(attribute)
            case Graph():
                return subgraph(attribute)
            case tuple() if attribute and isinstance(attribute[0], Tensor | SparseTensor | Graph):
                return tuple(map(bind, attribute))
        return attribute

    bound = ((name, bind(attribute)) for name, attribute in attributes.items())
    return {name: value for name, value in bound if value is not None}


def bind_keywords(
    operator: Operator, node: Node, attributes: Mapping[str, Any], reserved: Mapping[str, Any]
) -> dict[str, Any]:
    """Keyword arguments of an operator: the node's attributes, and what it asks to be filled in."""
    if problems := [*attribute_misfits(operator, attributes)]:
        raise ModelError(f"{node} {'; '.join(problems)}")
    keywords = {k: v for k, v in attributes.items() if k not in IGNORED_ATTRIBUTES}
    return keywords | {k: v for k, v in reserved.items() if k in operator.reserved}


def bind_operands(operator: Operator, node: Node, operands: Sequence[Value]) -> list[Value]:
    """Positional arguments of an operator, as numpy if static, or with strings."""
    if problem := input_misfit(operator, node):
        raise ModelError(f"{node} {problem}")
    bound = list(operands)
    known = is_known(bound)
    leaves = jax.tree.leaves(operands)
    if more := len(leaves) // OF_A_CALL:
        budget().count_call(more)
    concrete = any(map(has_no_type_in_jax, leaves))
    for index, value in enumerate(operands):
        name = operator.input_name(index)
        if isinstance(value, Sizes) and not known and name not in operator.static:
            bound[index] = as_traced(value)  # numbers among data
        if is_known(value) or not (concrete or name in operator.static):
            continue
        if not is_concrete(value):
            if name in operator.traceable and not concrete:
                continue
            reason = "decides a shape" if name in operator.static else "meets strings"
            raise StaticOperandError(
                f"operand '{name}' ({quoted(node.inputs[index])}) of {node} {reason}, so it must"
                " be known while tracing",
                (node.inputs[index],),
            )
        bound[index] = as_known(value)
    return bound
