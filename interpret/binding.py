"""Binding: a node's operator, and what the node gives bound to its signature."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax

from onnxla.ir.errors import ModelError, StaticOperandError, UnsupportedError
from onnxla.ir.model import AttributeReference, Graph, Node, SparseTensor, Tensor
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

# A hint on memory use in the first opset's schemas, without any effect on the result.
IGNORED_ATTRIBUTES = frozenset({"consumed_inputs"})


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
    operator: Operator, attributes: Mapping[str, Any], reserved: Mapping[str, Any]
) -> dict[str, Any]:
    """Keyword arguments of an operator: the node's attributes, and what it asks to be filled in."""
    keywords = {k: v for k, v in attributes.items() if k not in IGNORED_ATTRIBUTES}
    if unknown := set(keywords).difference(operator.attributes):
        raise ModelError(
            f"{operator.name} has no attribute {', '.join(sorted(unknown))} in this opset; "
            f"it has: {', '.join(operator.attributes) or 'none'}"
        )
    required = {k for k, v in operator.attributes.items() if v is inspect.Parameter.empty}
    if missing := sorted(required.difference(keywords)):
        raise ModelError(f"{operator.name} needs the attribute {', '.join(missing)}")
    for name, value in keywords.items():
        default = operator.attributes[name]
        number = isinstance(default, int | float) and isinstance(value, str | bytes | tuple)
        if number or (isinstance(default, str) and not isinstance(value, str)):
            kind = "number" if number else "text"
            raise ModelError(f"attribute {name} of {operator.name} is no {kind}: {value!r}")
    return keywords | {k: v for k, v in reserved.items() if k in operator.reserved}


def bind_operands(operator: Operator, node: Node, operands: Sequence[Value]) -> list[Value]:
    """Positional arguments of an operator, as numpy if static, or with strings."""
    if len(operands) < operator.required or (
        len(operands) > len(operator.inputs) and not operator.variadic
    ):
        raise ModelError(
            f"{operator.name} takes the inputs {', '.join(operator.inputs)}; "
            f"this node has {len(operands)}"
        )
    pairs = zip(operator.inputs, node.inputs, strict=False)
    if absent := [name for name, given in pairs if name in operator.present and not given]:
        raise ModelError(f"{node} needs the input {', '.join(absent)}, which is absent")
    bound = list(operands)
    known = is_known(bound)
    leaves = jax.tree.leaves(operands)
    concrete = any(map(has_no_type_in_jax, leaves))
    for index, value in enumerate(operands):
        name = operator.input_name(index)
        if isinstance(value, Sizes) and not known and name not in operator.static:
            bound[index] = as_traced(value)  # numbers among data
        if is_known(value) or not (concrete or name in operator.static):
            continue
        if not is_concrete(value):
            reason = "decides a shape" if name in operator.static else "meets strings"
            raise StaticOperandError(
                f"operand '{name}' ('{node.inputs[index]}') of {node} {reason}, so it must be "
                "known while tracing",
                (node.inputs[index],),
            )
        bound[index] = as_known(value)
    return bound
