"""ONNX's type strings, such as `seq(tensor(float))`: their numpy dtypes and protobuf messages."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import TensorProto, TypeProto, helper

from onnxla.ir import dtypes


@dataclass(frozen=True)
class Typed:
    """A value whose type does not show in it: an empty sequence, an optional, a map.

    For example:

        empty = onnxla.testing.Typed("seq(tensor(float))", [])
        case = onnxla.testing.example("SequenceLength", 11, empty)

    Attributes:
        type: An ONNX type string, such as `optional(tensor(float))` or `map(string,int64)`.
        value: An array, a list of arrays, a dict, or None.
    """

    type: str
    value: Any


@functools.cache
def dtype_of(text: str) -> np.dtype[Any]:
    """The numpy dtype of the innermost tensor of a type string; `object` for strings."""
    inner = text[text.rfind("(") + 1 : text.find(")")]
    return dtypes.dtype_of(TensorProto.DataType.Value(inner.upper()))


@functools.cache
def tensor_type(dtype: np.dtype[Any]) -> str:
    """The type string of a tensor of a numpy dtype."""
    return f"tensor({TensorProto.DataType.Name(dtypes.number_of(dtype)).lower()})"


def type_of(value: Any) -> str:
    """The type string of a value: an array, a list of arrays that is not empty, or `Typed`."""
    if isinstance(value, Typed):
        return value.type
    if isinstance(value, list):
        if not value:
            raise TypeError("an empty sequence must be Typed, since its elements have no type")
        return f"seq({type_of(value[0])})"
    return tensor_type(np.asarray(value).dtype)


def plain(value: Any) -> Any:
    """The value that a runtime is fed: of `Typed` what is in it."""
    return value.value if isinstance(value, Typed) else value


def type_proto(text: str, shape: tuple[int, ...] | None = None) -> TypeProto:
    """The protobuf message of a type string; of a tensor also its shape, if given."""
    kind, _, rest = text.partition("(")
    inner = rest.rpartition(")")[0]
    if kind == "tensor":
        return helper.make_tensor_type_proto(TensorProto.DataType.Value(inner.upper()), shape)
    if kind == "sparse_tensor":
        return helper.make_sparse_tensor_type_proto(
            TensorProto.DataType.Value(inner.upper()), shape
        )
    if kind == "seq":
        return helper.make_sequence_type_proto(type_proto(inner))
    if kind == "optional":
        return helper.make_optional_type_proto(type_proto(inner))
    if kind == "map":
        key, _, value = inner.partition(",")
        # The schemas write `map(string, float)` for what is a scalar tensor in the message.
        value = value if "(" in value else f"tensor({value.strip()})"
        key_type = TensorProto.DataType.Value(key.strip().upper())
        return helper.make_map_type_proto(key_type, type_proto(value.strip()))
    raise ValueError(f"'{text}' is no ONNX type")


def type_string(proto: TypeProto) -> str:
    """The type string of a protobuf message."""
    kind = proto.WhichOneof("value")
    if kind == "sequence_type":
        return f"seq({type_string(proto.sequence_type.elem_type)})"
    if kind == "optional_type":
        return f"optional({type_string(proto.optional_type.elem_type)})"
    if kind == "map_type":
        key = TensorProto.DataType.Name(proto.map_type.key_type).lower()
        return f"map({key},{type_string(proto.map_type.value_type)})"
    tensor = proto.sparse_tensor_type if kind == "sparse_tensor_type" else proto.tensor_type
    return f"{kind.removesuffix('_type')}({TensorProto.DataType.Name(tensor.elem_type).lower()})"
