"""Precision: a model computed in another floating-point type than its file's, as a whole.

Not an edit of the graph, whose types are stated in many places: constants, inputs, attributes, and
operators that make numbers of nothing. Instead no value has one of the file's types to begin with,
and a rule sees to it that no operator makes one. So the file stays as it is, and is saved so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jax
import ml_dtypes
import numpy as np

from onnxla.interpret.calls import Call, Results, Rule, Then
from onnxla.ir.dtypes import DTYPES_BY_NUMBER, number_of
from onnxla.ir.errors import UnsupportedError
from onnxla.ir.model import MapType, OptionalType, SequenceType, TensorType, Type
from onnxla.ops.values import Value

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

    Raises:
        UnsupportedError: An operator reads or makes the bits of such numbers.
    """

    def rule(call: Call, then: Then) -> Results:
        stated = attributes_in(dtype, call)
        if call.operator.exact == "bits" and (stated or any(map(is_precise, call.operands))):
            raise UnsupportedError(
                f"{call.node} is about the bits of numbers, which in {dtype} are others than in the"
                " file's type: the model cannot be computed in it"
            )
        keywords = {**call.keywords, **stated}
        if "single" in call.operator.reserved:
            keywords["single"] = dtype
        results: Results = in_precision(then(replace(call, keywords=keywords)), dtype)
        return results

    return rule


def attributes_in(dtype: np.dtype, call: Call) -> Mapping[str, Any]:
    """The attributes of a call, given or by default, that state a type, if it is to be another."""
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
            new = wider(np.dtype(old), dtype) if name in INNER else dtype
            found[name] = new.name if isinstance(given, str) else number_of(new)
    return found


def wider(old: np.dtype, new: np.dtype) -> np.dtype:
    """The one of two types that has more bits; the new one if they have as many."""
    return old if old.itemsize > new.itemsize else new


def in_precision(value: Value, dtype: np.dtype | None) -> Value:
    """A tree of values with the arrays of `PRECISIONS` in `dtype`, if one is given."""
    if dtype is None:
        return value
    return jax.tree.map(lambda x: x.astype(dtype) if is_precise(x) else x, value)


def is_precise(value: Value) -> bool:
    """Whether a value is an array of one of `PRECISIONS`."""
    return hasattr(value, "dtype") and value.dtype in PRECISIONS


def type_in(kind: Type, dtype: np.dtype | None) -> Type:
    """The type of a value that has the type `kind` in the file."""
    match kind:
        case TensorType(np.dtype() as old) if dtype is not None and old in PRECISIONS:
            return replace(kind, dtype=dtype)
        case SequenceType() | OptionalType():
            return replace(kind, element=type_in(kind.element, dtype))
        case MapType():
            return replace(kind, value=type_in(kind.value, dtype))
    return kind
