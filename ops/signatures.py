"""Whether a model's nodes fit the signatures of their operators: inputs, outputs and attributes.

So nothing that reads a node has to ask whether an operand is there, or an attribute is a number.
"""

from __future__ import annotations

import collections.abc
import functools
import inspect
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import is_dataclass
from typing import Any

import jax
import numpy as np

from onnxla.ir.model import (
    AttributeReference,
    Function,
    Graph,
    Model,
    Node,
    SparseTensor,
    Tensor,
)
from onnxla.ir.names import listed, quoted, shortened
from onnxla.ir.number_list import NumberList
from onnxla.ir.problems import Problems
from onnxla.ir.traverse import all_nodes
from onnxla.ops.table import REQUIRED, RESERVED, Operator, lookup

# A hint on memory use in the first opset's schemas, without any effect on the result.
IGNORED_ATTRIBUTES = frozenset({"consumed_inputs"})
# What an attribute of each kind may be, in a file or as an operator receives it.
TENSOR: tuple[type, ...] = (Tensor, SparseTensor, np.ndarray, jax.Array)
KINDS: dict[Any, tuple[str, tuple[type, ...]]] = {
    int: ("a whole number", (int, np.integer)),
    float: ("a number", (int, float, np.number)),
    str: ("text", (str,)),
    np.ndarray: ("a tensor", TENSOR),
    "graph": ("a graph", (Graph, types.FunctionType, functools.partial)),
}
LISTS: dict[Any, tuple[str, tuple[type, ...]]] = {
    int: ("a list of whole numbers", (int, np.integer)),
    float: ("a list of numbers", (int, float, np.number)),
    str: ("a list of texts", (str, bytes)),
}


def find_misfits(model: Model) -> Problems:
    """What of a model's nodes does not fit the signatures of the operators and functions."""
    problems = Problems()
    functions = {function.key: function for function in model.functions}
    for node, opsets in all_nodes(model):
        if function := functions.get((node.domain, node.op_type, node.overload)):
            found = call_misfits(function, node)
        elif operator := lookup(node.domain, node.op_type, opsets.get(node.domain, 1)):
            found = misfits(operator, node)
        else:
            continue  # another part says that it is not supported
        for problem in found:
            problems.add(f"{node} {problem}")
    return problems


def call_misfits(function: Function, node: Node) -> Iterator[str]:
    """What of a node does not fit the function that it calls."""
    for what, given, known in (
        ("inputs", node.inputs, function.inputs),
        ("outputs", node.outputs, function.outputs),
    ):
        if len(given) > len(known):
            yield f"has {len(given):,} {what}; its function has {listed(known) or 'none'}"
    if missing := sorted(set(function.attributes).difference(node.attributes)):
        yield f"lacks the attributes {listed(missing)} of its function"


def misfits(operator: Operator, node: Node) -> Iterator[str]:
    """What of a node does not fit its operator."""
    if problem := input_misfit(operator, node):
        yield problem
    most = output_count(operator) if len(node.outputs) > 1 else None
    if not node.outputs:
        yield "has no outputs"
    elif most is not None and len(node.outputs) > most:
        yield f"has {len(node.outputs):,} outputs; {operator.name} has {most}"
    yield from attribute_misfits(operator, node.attributes)


def input_misfit(operator: Operator, node: Node) -> str:
    """What is wrong with the number of a node's inputs, or with one that is absent, or ""."""
    least = max(operator.required, 1) if operator.variadic else operator.required
    count = len(node.inputs)
    if count < least or (count > len(operator.inputs) and not operator.variadic):
        names = ", ".join(operator.inputs) or "none"
        return f"has {count:,} inputs; {operator.name} takes the inputs {names}"
    pairs = zip(operator.inputs, node.inputs, strict=False)
    absent = [name for name, given in pairs if name in operator.present and not given]
    return f"needs the input {', '.join(absent)}, which is absent" if absent else ""


def attribute_misfits(operator: Operator, attributes: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with attributes, as a file has them or as an operator receives them."""
    known = operator.attributes
    given = {name: v for name, v in attributes.items() if name not in IGNORED_ATTRIBUTES}
    if unknown := sorted(given.keys() - known.keys()):
        yield (
            f"has the attribute {listed(unknown)}, which {operator.name} has not in this opset;"
            f" it has: {', '.join(known) or 'none'}"
        )
    if missing := [k for k, v in known.items() if v is REQUIRED and k not in given]:
        yield f"lacks the attribute {', '.join(missing)}, which {operator.name} needs"
    kinds = attribute_kinds(operator) if given else {}
    for name in given.keys() & kinds.keys():
        value, (what, fits) = given[name], kinds[name]
        if not isinstance(value, AttributeReference) and not fits(value):
            spelled = value if isinstance(value, str | bytes) else shortened(repr(value))
            yield f"has for its attribute {name} not {what}: {quoted(spelled)}"


AttributeKind = tuple[str, Callable[[Any], bool]]


@functools.cache
def attribute_kinds(operator: Operator) -> dict[str, AttributeKind]:
    """By attribute, what its values are called, and whether one is of that kind.

    As the operator's function declares them; of what it does not declare, anything is.
    """
    function = inspect.unwrap(operator.function)
    hints = {**declared(function)}
    for name, default in inspect.signature(function).parameters.items():
        if is_dataclass(default.default) and not isinstance(default.default, type):
            del hints[name]
            hints |= declared(type(default.default))
    names = operator.attributes.keys() - RESERVED
    kinds = {name: kind_of(hints.get(name, Any)) for name in names}
    return {name: kind for name, kind in kinds.items() if kind is not None}


@functools.cache
def declared(owner: Any) -> dict[str, Any]:
    """The types that a function or class declares; {} if they cannot be resolved."""
    try:
        return typing.get_type_hints(owner)
    except (NameError, TypeError):  # it is somebody else's
        return {}


def kind_of(hint: Any) -> AttributeKind | None:
    """What values of a declared type are called, and whether one is; None of any other type."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        (hint, *others) = [each for each in arguments if each is not types.NoneType]
        return None if others else kind_of(hint)
    if origin is tuple and arguments and arguments[0] in LISTS:
        what, classes = LISTS[arguments[0]]
        return (
            what,
            lambda value: (
                isinstance(value, tuple | list | NumberList)
                and all(issubclass(kind, classes) for kind in kinds_in(value))
            ),
        )
    key = "graph" if origin is collections.abc.Callable else hint
    if key not in KINDS:
        return None
    what, classes = KINDS[key]
    return what, lambda value: isinstance(value, classes)


def kinds_in(values: Sequence[Any]) -> set[type]:
    """The types of the entries of a list."""
    return {values.kind} if isinstance(values, NumberList) else set(map(type, values))


@functools.cache
def output_count(operator: Operator) -> int | None:
    """How many outputs an operator has at most, as its function declares; None: any number."""
    result = declared(inspect.unwrap(operator.function)).get("return")
    if typing.get_origin(result) is not tuple:
        return None if result is None or operator.reserved & {"n_outputs"} else 1
    arguments = typing.get_args(result)
    return None if Ellipsis in arguments else len(arguments)
