"""Precision: a model computed in another floating-point type than its file's, as a whole.

Not an edit of the graph, whose types are stated in many places: constants, inputs, attributes, and
operators that make numbers of nothing. Instead no value has one of the file's types to begin with,
and a rule sees to it that no operator makes one. So the file stays as it is, and is saved so.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import jax
import ml_dtypes
import numpy as np

from onnxla.interpret.calls import Call, Results, Rule, Then
from onnxla.ir.dtypes import DTYPES_BY_NUMBER, number_of
from onnxla.ir.errors import UnsupportedError
from onnxla.ir.model import Graph, MapType, OptionalType, SequenceType, TensorType, Type
from onnxla.ir.traverse import subgraphs
from onnxla.ops.values import Value, is_known

# The types that stand for one another; narrower ones are those of quantized numbers.
PRECISIONS = (
    np.dtype(np.float16),
    np.dtype(ml_dtypes.bfloat16),
    np.dtype(np.float32),
    np.dtype(np.float64),
)
# Attributes with the number, or in Cast-1 the name, of the type of a result; and of what an
# operator computes in, which is never less than the file asks for.
RESULT = ("to", "dtype", "output_dtype", "output_datatype")
INNER = ("stash_type", "softmax_precision", "precision")
NAMES = {"FLOAT16": "float16", "FLOAT": "float32", "DOUBLE": "float64"}


def computed_in(dtype: np.dtype) -> Rule:
    """A rule by which operators have `dtype` where they would have another of `PRECISIONS`.

    Known values are not narrowed while they meet no others: sizes are computed from them.

    Raises:
        UnsupportedError: An operator reads or makes the bits of such numbers.
    """

    def rule(call: Call, then: Then) -> Results:
        bodies = bool(subgraphs(call.node))
        narrows = bodies or not is_known([*call.operands])
        stated = attributes_in(dtype, call, narrows)
        if call.operator.exact == "bits" and (stated or any(map(is_precise, call.operands))):
            raise UnsupportedError(
                f"{call.node} is about the bits of numbers, which in {dtype} are others than in the"
                " file's type: the model cannot be computed in it"
            )
        keywords = {**call.keywords, **stated}
        if "single" in call.operator.reserved:
            keywords["single"] = dtype
        if bodies:  # whose results have to agree
            attributes = call.node.attributes.items()
            graphs = [name for name, value in attributes if isinstance(value, Graph)]
            keywords |= {name: returning(dtype, keywords[name]) for name in graphs}
        operands = [
            x if is_static(call, index) else in_precision(x, dtype, narrows)
            for index, x in enumerate(call.operands)
        ]
        results = then(replace(call, operands=operands, keywords=keywords))
        return tuple(in_precision(x, dtype, narrows) for x in results)

    return rule


def is_static(call: Call, index: int) -> bool:
    """Whether an operand decides a shape."""
    return bool(call.operator.static) and call.operator.input_name(index) in call.operator.static


def returning(dtype: np.dtype, subgraph: Callable[..., Results]) -> Callable[..., Results]:
    """A subgraph as a function with results of this type."""

    @functools.wraps(subgraph)
    def inner(*args: Value, **keywords: Any) -> Results:
        return tuple(in_precision(x, dtype) for x in subgraph(*args, **keywords))

    return inner


def attributes_in(dtype: np.dtype, call: Call, narrows: bool) -> Mapping[str, Any]:
    """The attributes of a call, given or by default, that state a type that is to be another.

    Args:
        dtype: The type.
        call: The call.
        narrows: Whether its result may be of a narrower type than the file's.
    """
    operator = call.operator
    stated = {
        name: call.keywords.get(name, operator.attributes[name])
        for name in (*RESULT, *INNER)
        if name in operator.attributes
    }
    found: dict[str, Any] = {}
    for name, given in stated.items():
        old = NAMES.get(given.upper()) if isinstance(given, str) else DTYPES_BY_NUMBER.get(given)
        if old is not None and np.dtype(old) in PRECISIONS:
            new = dtype if narrows and name in RESULT else wider(np.dtype(old), dtype)
            found[name] = new.name if isinstance(given, str) else number_of(new)
    return found


def wider(old: np.dtype, new: np.dtype) -> np.dtype:
    """The one of two types that has more bits; the new one if they have as many."""
    return old if old.itemsize > new.itemsize else new


def in_precision(value: Value, dtype: np.dtype | None, narrows: bool = True) -> Value:
    """A tree of values with the arrays of `PRECISIONS` in `dtype`, if one is given.

    Unless it `narrows`, known arrays of a wider type stay as they are.
    """
    if dtype is None:
        return value
    new = dtype

    def converted(x: Value) -> Value:
        if not is_precise(x) or (not narrows and is_known(x) and wider(x.dtype, new) != new):
            return x
        return x.astype(new)

    return jax.tree.map(converted, value)


def is_precise(value: Value) -> bool:
    """Whether a value is an array of one of `PRECISIONS`."""
    return hasattr(value, "dtype") and value.dtype in PRECISIONS


def dtype_in(old: np.dtype, dtype: np.dtype | None) -> np.dtype:
    """The type of an array that has the type `old` in the file."""
    return old if dtype is None or old not in PRECISIONS else dtype


def type_in(kind: Type, dtype: np.dtype | None, narrows: bool = True) -> Type:
    """The type of a value that the file states to be of the type `kind`, narrower if it may be."""
    match kind:
        case TensorType(np.dtype() as old):
            new = dtype_in(old, dtype)
            return replace(kind, dtype=new if narrows else wider(old, new))
        case SequenceType() | OptionalType():
            return replace(kind, element=type_in(kind.element, dtype))
        case MapType():
            return replace(kind, value=type_in(kind.value, dtype))
    return kind
