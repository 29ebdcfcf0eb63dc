"""What single messages mean, for reading them, and for writing to tell whether they changed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from onnxla.ir.dtypes import dtype_of, number_of
from onnxla.ir.errors import ModelError
from onnxla.ir.model import Attribute, Dim, MapType, OptionalType, SequenceType, TensorType, Type
from onnxla.ir.names import quoted
from onnxla.ir.number_list import as_list
from onnxla.ir.onnx_pb2 import (
    AttributeProto,
    ModelProto,
    OperatorSetIdProto,
    StringStringEntryProto,
    TensorShapeProto,
    TypeProto,
    ValueInfoProto,
)

STANDARD_DOMAIN = "ai.onnx"  # is another name of ""
MAX_RANK = 64  # numpy's

# The field of AttributeProto that holds the value, for each of its types.
ATTRIBUTE_FIELDS: dict[int, str] = {
    AttributeProto.FLOAT: "f",
    AttributeProto.INT: "i",
    AttributeProto.STRING: "s",
    AttributeProto.TENSOR: "t",
    AttributeProto.GRAPH: "g",
    AttributeProto.SPARSE_TENSOR: "sparse_tensor",
    AttributeProto.TYPE_PROTO: "tp",
    AttributeProto.FLOATS: "floats",
    AttributeProto.INTS: "ints",
    AttributeProto.STRINGS: "strings",
    AttributeProto.TENSORS: "tensors",
    AttributeProto.GRAPHS: "graphs",
    AttributeProto.SPARSE_TENSORS: "sparse_tensors",
    AttributeProto.TYPE_PROTOS: "type_protos",
}
MESSAGE_TYPES = (
    AttributeProto.TENSOR,
    AttributeProto.GRAPH,
    AttributeProto.SPARSE_TENSOR,
    AttributeProto.TYPE_PROTO,
)
MESSAGE_LISTS = (
    AttributeProto.TENSORS,
    AttributeProto.GRAPHS,
    AttributeProto.SPARSE_TENSORS,
    AttributeProto.TYPE_PROTOS,
)
LIST_TYPES = frozenset(kind for kind, field in ATTRIBUTE_FIELDS.items() if field[1:].endswith("s"))


def text(value: str | bytes) -> str:
    """A string field. Raises: ModelError if it is not UTF-8; protobuf gives us bytes then."""
    if isinstance(value, bytes):
        raise ModelError(f"a name is not UTF-8: {quoted(value)}")
    return value


def texts(values: Iterable[str]) -> tuple[str, ...]:
    """The strings of a repeated field. Raises: ModelError if one is not UTF-8."""
    found = tuple(values)
    return tuple(map(text, found)) if bytes in map(type, found) else found


def normal_domain(domain: str) -> str:
    """The domain under the one name that onnxla uses for it."""
    return "" if domain == STANDARD_DOMAIN else text(domain)


def decode_opsets(imports: Iterable[OperatorSetIdProto]) -> dict[str, int]:
    """Version by domain: the highest, where a domain has several."""
    opsets: dict[str, int] = {}
    for entry in imports:
        domain = normal_domain(entry.domain)
        opsets[domain] = max(entry.version, opsets.setdefault(domain, entry.version))
    return opsets


def imported_opsets(wire: ModelProto) -> dict[str, int]:
    """The opset imports of a model. Before IR version 3 there were none, and one version."""
    return decode_opsets(wire.opset_import) or ({"": 1} if wire.ir_version < 3 else {})


def decode_entries(entries: Iterable[StringStringEntryProto]) -> dict[str, str]:
    """Entries as a dict: the first, where a key has several."""
    decoded: dict[str, str] = {}
    for entry in entries:
        decoded.setdefault(text(entry.key), text(entry.value))
    return decoded


def attribute_type(wire: AttributeProto) -> int:
    """The stated type, or in files of IR version 1 that of the field which is set, or UNDEFINED."""
    if wire.type:
        return wire.type
    for kind, field in ATTRIBUTE_FIELDS.items():
        if is_set(wire, field, kind):
            return kind
    return AttributeProto.UNDEFINED


def is_set(wire: AttributeProto, field: str, kind: int) -> bool:
    """Whether the value field of attributes of type `kind` holds anything."""
    return bool(getattr(wire, field)) if kind in LIST_TYPES else wire.HasField(field)


def decode_value(
    wire: AttributeProto, kind: int, decoders: Mapping[int, Callable[[Any], Any]]
) -> Attribute:
    """The value of an attribute of type `kind`, its entries decoded by `decoders[kind]`."""
    if kind == AttributeProto.UNDEFINED:
        return ()  # a file of IR version 1 cannot tell which list is empty
    value = getattr(wire, ATTRIBUTE_FIELDS[kind])
    if kind in (AttributeProto.INTS, AttributeProto.FLOATS):
        return as_list(value, np.int64 if kind == AttributeProto.INTS else np.float64)
    decode = decoders[kind]
    if kind == AttributeProto.STRINGS:  # of which many may be the same
        values = tuple(value)
        return tuple(map({each: decode(each) for each in set(values)}.__getitem__, values))
    return tuple(map(decode, value)) if kind in LIST_TYPES else decode(value)


def text_or_bytes(value: bytes) -> str | bytes:
    """A string attribute: text if it is UTF-8, the bytes if not."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value


def decode_type(wire: TypeProto) -> Type:
    """A type; None where it is not stated or opaque.

    Raises:
        ModelError: Its elements are unknown, or it has more dimensions than arrays may have.
    """
    kind = wire.WhichOneof("value")
    if kind == "tensor_type" or kind == "sparse_tensor_type":
        tensor = getattr(wire, kind)
        if len(tensor.shape.dim) > MAX_RANK:
            raise ModelError(f"its type has {len(tensor.shape.dim):,} dimensions, not {MAX_RANK}")
        return TensorType(
            dtype_of(tensor.elem_type) if tensor.elem_type else None,
            tuple(map(decode_dim, tensor.shape.dim)) if tensor.HasField("shape") else None,
            sparse=kind == "sparse_tensor_type",
        )
    if kind == "sequence_type":
        return SequenceType(decode_type(wire.sequence_type.elem_type))
    if kind == "optional_type":
        return OptionalType(decode_type(wire.optional_type.elem_type))
    if kind == "map_type":
        return MapType(dtype_of(wire.map_type.key_type), decode_type(wire.map_type.value_type))
    return None


def decode_dim(wire: TensorShapeProto.Dimension) -> Dim:
    """A dimension: its size, its name, or None if neither is stated."""
    if wire.HasField("dim_value"):
        # Several exporters write -1 (some 0 in a batch axis, which we must take as it is).
        return wire.dim_value if wire.dim_value >= 0 else None
    return text(wire.dim_param) or None


def set_type(wire: ValueInfoProto, type: Type) -> None:
    """Give a value its type, unless it has it already."""
    with contextlib.suppress(ModelError):
        if decode_type(wire.type) == type:
            return
    denotation = wire.type.denotation
    wire.type.CopyFrom(encode_type(type))
    if denotation:
        wire.type.denotation = denotation


def encode_type(type: Type) -> TypeProto:
    """A type as a message."""
    wire = TypeProto()
    fill_type(type, wire)
    return wire


def fill_type(type: Type, wire: TypeProto) -> None:
    """Puts a type into an empty message."""
    if isinstance(type, TensorType):
        tensor = wire.sparse_tensor_type if type.sparse else wire.tensor_type
        tensor.elem_type = number_of(type.dtype) if type.dtype is not None else 0
        if type.shape is not None:
            tensor.shape.SetInParent()
            for dim in type.shape:
                entry = tensor.shape.dim.add()
                if isinstance(dim, str):
                    entry.dim_param = dim
                elif dim is not None:
                    entry.dim_value = dim
    elif isinstance(type, SequenceType):
        wire.sequence_type.SetInParent()
        fill_type(type.element, wire.sequence_type.elem_type)
    elif isinstance(type, OptionalType):
        wire.optional_type.SetInParent()
        fill_type(type.element, wire.optional_type.elem_type)
    elif isinstance(type, MapType):
        wire.map_type.key_type = number_of(type.key)
        fill_type(type.value, wire.map_type.value_type)


# How to decode an entry of an attribute's value, for all types that hold no tensors.
PLAIN_DECODERS: dict[int, Callable[[Any], Any]] = {
    AttributeProto.FLOAT: float,
    AttributeProto.FLOATS: float,
    AttributeProto.INT: int,
    AttributeProto.INTS: int,
    AttributeProto.STRING: text_or_bytes,
    AttributeProto.STRINGS: text_or_bytes,
    AttributeProto.TYPE_PROTO: decode_type,
    AttributeProto.TYPE_PROTOS: decode_type,
}
