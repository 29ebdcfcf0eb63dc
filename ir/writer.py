"""Writing a model: what did not change is written as it was read.

Each message starts as a copy of the one that was read, and gets only the values that differ. So
doc strings, device configurations, unknown fields and ways of writing (typed fields, a missing
type, the name of the standard domain) survive.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from google.protobuf.message import DecodeError, EncodeError, Message

from onnxla.ir.dtypes import STRING
from onnxla.ir.errors import ModelError
from onnxla.ir.files import Bytes, content
from onnxla.ir.model import (
    Attribute,
    AttributeReference,
    Function,
    Graph,
    MapType,
    Model,
    Node,
    OptionalType,
    SequenceType,
    SparseTensor,
    Tensor,
    TensorType,
    ValueInfo,
)
from onnxla.ir.names import quoted
from onnxla.ir.number_list import NumberList
from onnxla.ir.onnx_pb2 import (
    AttributeProto,
    FunctionProto,
    GraphProto,
    ModelProto,
    NodeProto,
    SparseTensorProto,
    TensorProto,
    ValueInfoProto,
)
from onnxla.ir.order import in_file_order
from onnxla.ir.splice import (
    LARGE,
    MAX_MESSAGE,
    Deferred,
    Piece,
    contents,
    placeholders,
    splice,
)
from onnxla.ir.tensors import Stored, describe, encode_raw, encode_strings, raw_size
from onnxla.ir.wire import (
    ATTRIBUTE_FIELDS,
    LIST_TYPES,
    PLAIN_DECODERS,
    attribute_type,
    decode_entries,
    decode_opsets,
    decode_value,
    encode_type,
    imported_opsets,
    normal_domain,
    set_type,
)

ALIGNMENT = 4096  # of external data, so that other programs can map it

M = TypeVar("M", bound=Message)


def write(model: Model) -> bytes:
    """The bytes of a model. References to external data stay as they are, unless data changed.

    For example:

        data = onnxla.ir.write(onnxla.ir.read("model.onnx"))

    Raises:
        ModelError: It is larger than 2 GiB, or holds something that ONNX cannot express.
    """
    return b"".join(contents(pieces(model)))


def is_as_read(model: Model) -> bool:
    """Whether a model would be written as it was read."""
    if model.wire is None:
        return False
    wires = (ModelWriter(None).model(model), model.wire)
    new, old = (wire.SerializeToString(deterministic=True) for wire in wires)
    return new == old


class TooLargeError(ModelError):
    """A model is larger than one file can hold."""


def pieces(model: Model, external: ExternalData | None = None) -> list[Piece]:
    """The bytes of a model in pieces. Data that `external` wants goes there, in pieces too.

    No data of a large tensor is read or made before its piece is asked for its bytes.

    Raises:
        TooLargeError: It is larger than 2 GiB.
        ModelError: It holds something that ONNX cannot express.
    """
    writer = ModelWriter(external)
    try:
        reduced = writer.model(model).SerializeToString()
    except DecodeError as error:  # copying a message parses it
        raise ModelError("the model is nested too deeply to be written") from error
    except (EncodeError, TypeError, ValueError) as error:
        raise ModelError(f"the model cannot be written: {error}") from error
    result = splice(reduced, writer.payloads)
    if (size := sum(map(len, result))) > MAX_MESSAGE:
        raise TooLargeError(
            f"the model would be {size} bytes, more than the 2 GiB that protobuf allows;"
            " put tensors into a file of their own with save(..., external_data=True)"
        )
    return result


@dataclass
class ExternalData:
    """The file of external data that is being made.

    Attributes:
        location: Its name.
        wanted: What goes there: None: what was external; True: all large data; False: nothing.
        pieces: What is in it, in order.
        size: Bytes that `pieces` are together.
    """

    location: str
    wanted: bool | None
    pieces: list[Piece] = field(default_factory=list)
    size: int = 0

    def wants(self, was_external: bool, raw: Deferred) -> bool:
        """Whether a tensor's data goes there."""
        return was_external if self.wanted is None else self.wanted and len(raw) >= LARGE

    def add(self, wire: TensorProto, raw: Deferred) -> None:
        """Appends a tensor's data, and says in `wire` where it is."""
        padding = -self.size % ALIGNMENT
        offset = self.size + padding
        self.pieces += (bytes(padding), raw)
        self.size = offset + len(raw)
        wire.ClearField("raw_data")
        wire.data_location = TensorProto.EXTERNAL
        del wire.external_data[:]  # a checksum of the old file, too
        for key, value in {"location": self.location, "offset": offset, "length": len(raw)}.items():
            wire.external_data.add(key=key, value=str(value))


class ModelWriter:
    """Makes messages of dataclasses, with large data in `payloads` by placeholder."""

    def __init__(self, external: ExternalData | None) -> None:
        self.external = external
        self.payloads: dict[bytes, Piece] = {}
        self._placeholder = placeholders()

    def model(self, model: Model) -> ModelProto:
        """A model as a message."""
        wire = copy_of(model.wire, ModelProto)
        set_fields(wire, ir_version=model.ir_version, producer_name=model.producer)
        if imported_opsets(wire) != model.opsets:
            set_opsets(wire.opset_import, model.opsets)
        set_metadata(wire, model.metadata)
        wire.graph.CopyFrom(self.graph(model.graph))
        set_messages(wire.functions, map(self.function, model.functions))
        return wire

    def graph(self, graph: Graph) -> GraphProto:
        """A graph as a message."""
        wire = copy_of(graph.wire, GraphProto)
        set_fields(wire, name=graph.name)
        set_messages(wire.node, map(self.node, in_file_order(graph)))
        set_messages(wire.input, map(encode_value_info, graph.inputs))
        set_messages(wire.output, map(encode_value_info, graph.outputs))
        set_messages(wire.value_info, map(encode_value_info, graph.value_info))
        tensors = graph.initializers
        set_messages(wire.initializer, [self.tensor(t) for t in tensors if isinstance(t, Tensor)])
        set_messages(
            wire.sparse_initializer,
            [self.sparse_tensor(t) for t in tensors if isinstance(t, SparseTensor)],
        )
        return wire

    def function(self, function: Function) -> FunctionProto:
        """A function as a message."""
        wire = copy_of(function.wire, FunctionProto)
        set_fields(wire, name=function.name, overload=function.overload)
        set_domain(wire, function.domain)
        set_list(wire.input, function.inputs)
        set_list(wire.output, function.outputs)
        set_list(wire.attribute, function.attributes)
        set_messages(wire.attribute_proto, self.attributes(function.defaults, wire.attribute_proto))
        set_messages(wire.node, map(self.node, in_file_order(function)))
        if decode_opsets(wire.opset_import) != function.opsets:
            set_opsets(wire.opset_import, function.opsets)
        return wire

    def node(self, node: Node) -> NodeProto:
        """A node as a message."""
        wire = copy_of(node.wire, NodeProto)
        set_fields(wire, op_type=node.op_type, name=node.name, overload=node.overload)
        set_domain(wire, node.domain)
        set_list(wire.input, node.inputs)
        set_list(wire.output, node.outputs)
        set_messages(wire.attribute, self.attributes(node.attributes, wire.attribute))
        set_metadata(wire, node.metadata)
        return wire

    def attributes(
        self, attributes: Mapping[str, Attribute], wires: Iterable[AttributeProto]
    ) -> list[AttributeProto]:
        """The attributes, those in `wires` first and changed only where their values differ."""
        written, seen = [], set()
        for wire in wires:
            if wire.name not in attributes:
                continue
            # Reading takes the first of several with one name; the others stay as they are.
            written.append(
                copy_of(wire, AttributeProto)
                if wire.name in seen
                else self.attribute(wire.name, attributes[wire.name], wire)
            )
            seen.add(wire.name)
        new = (name for name in attributes if name not in seen)
        return written + [self.attribute(name, attributes[name], None) for name in new]

    def attribute(self, name: str, value: Attribute, old: AttributeProto | None) -> AttributeProto:
        """An attribute as a message: `old` as it was, if it has this value already."""
        wire = copy_of(old, AttributeProto)
        set_fields(wire, name=name)
        if isinstance(value, AttributeReference):
            set_fields(wire, ref_attr_name=value.name)
            return wire
        kind = attribute_type(wire)
        if (
            not wire.ref_attr_name
            and (kind in PLAIN_DECODERS or kind == AttributeProto.UNDEFINED)
            # repr, because == knows no NaN, and takes 0.0 for -0.0 and 1 for 1.0.
            and repr(decode_value(wire, kind, PLAIN_DECODERS)) == repr(value)
        ):
            return wire
        wire.ClearField("ref_attr_name")
        if kind in ATTRIBUTE_FIELDS:
            wire.ClearField(ATTRIBUTE_FIELDS[kind])
        new_kind = value_kind(value, kind)
        if new_kind != kind:
            wire.type = new_kind  # type: ignore[assignment]
        self._set_value(wire, new_kind, value)
        return wire

    def _set_value(self, wire: AttributeProto, kind: int, value: Any) -> None:
        target = ATTRIBUTE_FIELDS[kind]
        values = [self._encode(entry) for entry in (value if kind in LIST_TYPES else (value,))]
        if kind in LIST_TYPES:
            getattr(wire, target).extend(values)
        elif isinstance(values[0], Message):
            getattr(wire, target).CopyFrom(values[0])
        else:
            setattr(wire, target, values[0])

    def _encode(self, value: Any) -> Any:
        """One value as a message or as protobuf's scalar."""
        match value:
            case Tensor():
                return self.tensor(value)
            case SparseTensor():
                return self.sparse_tensor(value)
            case Graph():
                return self.graph(value)
            case str():
                return value.encode()
            case TensorType() | SequenceType() | OptionalType() | MapType():
                return encode_type(value)
        return value

    def sparse_tensor(self, sparse: SparseTensor) -> SparseTensorProto:
        """A sparse tensor as a message."""
        wire = copy_of(sparse.wire, SparseTensorProto)
        wire.values.CopyFrom(self.tensor(sparse.values))
        wire.indices.CopyFrom(self.tensor(sparse.indices))
        set_list(wire.dims, sparse.shape)
        return wire

    def tensor(self, tensor: Tensor) -> TensorProto:
        """A tensor as a message; its data is in it, in `payloads` or in the external file."""
        wire = copy_of(tensor.wire, TensorProto)
        set_fields(wire, name=tensor.name)
        set_metadata(wire, tensor.metadata)
        was_external = wire.data_location == TensorProto.EXTERNAL
        stored = tensor.load if isinstance(tensor.load, Stored) else None
        if stored is not None and stored.wire is tensor.wire:  # as it was read
            stays = self.external is None if was_external else not wire.HasField("raw_data")
            if stays:
                return wire
            make = stored.bytes
        else:
            describe(tensor.dtype, tensor.shape, wire)
            if tensor.dtype == STRING:
                encode_strings(checked_data(tensor), wire)
                return wire
            make = partial(raw_data, tensor)
        raw = Deferred(raw_size(tensor.dtype, tensor.shape), make)
        if self.external is not None and self.external.wants(was_external, raw):
            self.external.add(wire, raw)
            return wire
        if was_external:
            wire.ClearField("external_data")
            wire.ClearField("data_location")
        if len(raw) < LARGE:
            wire.raw_data = bytes(content(raw.make()))
        else:
            wire.raw_data = self._placeholder()
            self.payloads[wire.raw_data] = raw
        return wire


def raw_data(tensor: Tensor) -> Bytes:
    """The data of a tensor as `raw_data` has it. Raises: ModelError if it is not as declared."""
    return encode_raw(checked_data(tensor))


def checked_data(tensor: Tensor) -> Any:
    """The data of a tensor. Raises: ModelError if its dtype or shape is another than declared."""
    array = tensor.numpy()
    if (array.dtype, array.shape) != (tensor.dtype, tensor.shape):
        raise ModelError(
            f"tensor {quoted(tensor.name)} is {tensor.dtype} of shape {list(tensor.shape)}, but its"
            f" data is {array.dtype} of shape {list(array.shape)}"
        )
    return array


def value_kind(value: Any, old: int) -> int:
    """The attribute type for a value; `old`, where several would do."""
    if isinstance(value, NumberList):
        return LIST_KINDS[value_kind(value[0], old)]
    if isinstance(value, tuple | list):
        if not value:
            return old if old in LIST_TYPES else AttributeProto.INTS
        kinds = {value_kind(entry, AttributeProto.UNDEFINED) for entry in value}
        if kinds == {AttributeProto.INT, AttributeProto.FLOAT}:
            kinds = {AttributeProto.FLOAT}
        if len(kinds) == 1:
            return LIST_KINDS[kinds.pop()]
    for classes, kind in VALUE_KINDS:
        if isinstance(value, classes):
            return kind
    raise ModelError(f"an attribute cannot have the value {value!r}")


VALUE_KINDS: tuple[tuple[Any, int], ...] = (
    (int, AttributeProto.INT),
    (float, AttributeProto.FLOAT),
    ((str, bytes), AttributeProto.STRING),
    (Tensor, AttributeProto.TENSOR),
    (Graph, AttributeProto.GRAPH),
    (SparseTensor, AttributeProto.SPARSE_TENSOR),
    ((TensorType, SequenceType, OptionalType, MapType), AttributeProto.TYPE_PROTO),
)
LIST_KINDS: dict[int, int] = {
    kind: AttributeProto.AttributeType.Value(AttributeProto.AttributeType.Name(kind) + "S")
    for _, kind in VALUE_KINDS
}


def encode_value_info(value: ValueInfo) -> ValueInfoProto:
    """The name and type of a value as a message."""
    wire = copy_of(value.wire, ValueInfoProto)
    set_fields(wire, name=value.name)
    set_type(wire, value.type)
    return wire


def copy_of(old: Message | None, kind: type[M]) -> M:
    """A copy of a message, or an empty one if there is none."""
    wire = kind()
    if old is not None:
        wire.CopyFrom(old)  # type: ignore[arg-type]
    return wire


def set_fields(wire: Message, **fields: object) -> None:
    """Set the fields that differ: one that is set to its default is not the same as one unset."""
    for name, value in fields.items():
        if getattr(wire, name) != value:
            setattr(wire, name, value)


def set_domain(wire: NodeProto | FunctionProto, domain: str) -> None:
    """Sets the domain, unless the message has it under either name."""
    if normal_domain(wire.domain) != domain:
        wire.domain = domain


def set_list(target: Any, values: Sequence[object]) -> None:
    """Replaces the entries of a repeated field, unless they are the same."""
    if tuple(target) != tuple(values):
        del target[:]
        target.extend(values)


def set_messages(target: Any, messages: Iterable[Message]) -> None:
    """Replaces the messages of a repeated field."""
    new = list(messages)
    del target[:]
    target.extend(new)


def set_metadata(wire: ModelProto | NodeProto | TensorProto, metadata: Mapping[str, str]) -> None:
    """Replaces the metadata, unless it is the same."""
    if decode_entries(wire.metadata_props) != metadata:
        del wire.metadata_props[:]
        for key, value in metadata.items():
            wire.metadata_props.add(key=key, value=value)


def set_opsets(target: Any, opsets: Mapping[str, int]) -> None:
    """Replaces the opset imports."""
    del target[:]
    for domain, version in opsets.items():
        target.add(domain=domain, version=version)
