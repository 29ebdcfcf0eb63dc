"""Reading a model: from bytes to the dataclasses of `onnxla.ir.model`."""

from __future__ import annotations

import codecs
import contextlib
import os
from collections.abc import Collection, Iterable, Sized
from itertools import count
from pathlib import Path, PurePath
from typing import Any, TypeVar

import numpy as np
from google.protobuf.message import DecodeError

from onnxla.ir.dtypes import dtype_of
from onnxla.ir.entries import allowed, check_file, check_number
from onnxla.ir.errors import ModelError
from onnxla.ir.external import DataFolder
from onnxla.ir.files import Bytes, OpenFile, content
from onnxla.ir.folders import Folder
from onnxla.ir.model import (
    Attribute,
    AttributeReference,
    Function,
    Graph,
    Model,
    Node,
    SparseTensor,
    Tensor,
    ValueInfo,
)
from onnxla.ir.names import SHOWN, plain, quoted
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
from onnxla.ir.order import in_order
from onnxla.ir.splice import MAX_MESSAGE, extract
from onnxla.ir.tensors import Files, element_count, store
from onnxla.ir.wire import (
    ATTRIBUTE_FIELDS,
    MESSAGE_LISTS,
    MESSAGE_TYPES,
    PLAIN_DECODERS,
    attribute_type,
    decode_entries,
    decode_opsets,
    decode_type,
    decode_value,
    imported_opsets,
    normal_domain,
    text,
    texts,
)

S = TypeVar("S", bound=Sized)


def read(source: Any, *, folder: str | os.PathLike[str] | None = None) -> Model:
    """Read a model, with its nodes in an order in which they can be run.

    Tensor data is left where it is until it is used.

    For example:

        model = onnxla.ir.read("model.onnx")
        print([node.op_type for node in model.graph.nodes])

    Args:
        source: A path, the bytes of a model, a binary file, or anything with `SerializeToString()`
            such as an `onnx.ModelProto`.
        folder: Where external data is looked up; if `source` is a path, its folder by default.

    Raises:
        OSError: A path cannot be opened.
        ModelError: This is not a model, or a tensor in it is wrong.
    """
    where = Path(folder) if folder is not None else None
    if isinstance(source, str | os.PathLike):
        return read_file(Path(source), where)
    folders = () if where is None else (Folder(where),)
    return decode_model(memoryview(source_bytes(source)), DataFolder(folders))


def read_file(path: Path, folder: Path | None) -> Model:
    """The model in a file, with external data in `folder`, or beside it. Raises: as `read`."""
    try:
        beside = Folder(path.parent)
        file = OpenFile(path, lambda: beside.open(PurePath(path.name), follow=True))
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    folders = (beside if folder is None else Folder(folder), *folder_behind(path, file))
    try:
        return decode_model(file.content, DataFolder(folders, file))
    except ModelError as error:
        raise ModelError(f"'{path}': {error}") from error


def folder_behind(path: Path, file: OpenFile) -> tuple[Folder, ...]:
    """The folder of the open `file`, if `path` is a link to it, as it is in download caches."""
    if not path.is_symlink():
        return ()
    real = Path(os.path.realpath(path))
    folder = Folder(real.parent)
    behind = OpenFile(real, lambda: folder.open(PurePath(real.name)))
    if not os.path.samestat(behind.status, file.status):
        raise ModelError(f"'{path}' is a link that has changed while it was read")
    return (folder,)


def source_bytes(source: Any) -> bytes:
    """The bytes of a model that is not read from a path. Raises: TypeError or ModelError."""
    if hasattr(source, "SerializeToString"):
        try:
            return bytes(source.SerializeToString())
        except Exception as error:  # protobuf's kinds differ: too large, a required field, ...
            raise ModelError(f"the model cannot be serialized: {error}") from error
    data = source.read() if hasattr(source, "read") else source
    if isinstance(data, bytes | bytearray | memoryview):
        return bytes(data)
    raise TypeError(
        "a model is read from a path, bytes, a binary file or something with SerializeToString(),"
        f" not from {type(source).__name__}"
    )


def decode_model(data: Bytes, folder: DataFolder) -> Model:
    """The model in `data`. Raises: ModelError if there is none, or a tensor is wrong."""
    reduced, payloads = extract(data)
    source = Files(payloads, folder, set())
    model = ModelReader(source, len(reduced)).model(parse_model(reduced, data))
    if source.used != payloads.keys():
        # There is tensor data where we read no tensors, such as training information. Nobody would
        # put it back when the model is written, so leave it where it is.
        model = ModelReader(Files({}, folder, set()), len(data)).model(parse_model(data, data))
    return in_order(model)


def parse_model(reduced: Bytes, data: Bytes) -> ModelProto:
    """The message in `reduced`. Raises: ModelError with a guess what `data` is if not a model."""
    if len(reduced) > MAX_MESSAGE:
        raise ModelError(
            f"not an ONNX model: {guess_kind(data[:1024]) or 'it is larger than 2 GiB'}"
        )
    message = bytes(content(reduced))
    check_file(message)
    try:
        wire = ModelProto.FromString(message)
    except DecodeError as error:
        reason = guess_kind(data) or "it is cut off, damaged, nested too deeply or of another kind"
        raise ModelError(f"not an ONNX model: {reason}") from error
    if not wire.HasField("graph"):
        raise ModelError(f"not an ONNX model: {guess_kind(data) or 'it has no graph'}")
    return wire


def guess_kind(data: Bytes) -> str | None:
    """What a file is that is no model, if we can tell."""
    start = bytes(content(data[:1024]))
    if not start:
        return "it is empty"
    if start.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer; fetch the file itself with 'git lfs pull'"
    if start.startswith(b"PK\3\4"):
        return "it is a zip archive (PyTorch files are, too)"
    if start.startswith(b"\x1f\x8b"):
        return "it is compressed with gzip"
    if start.startswith(b"\x93NUMPY"):
        return "it is a numpy array"
    if start[4:8] in (b"ORTM", b"TFL3"):
        return "it is in ONNX Runtime's or TensorFlow Lite's own format"
    if start.lstrip().lower().startswith((b"<!doctype", b"<html")):
        return "it is an HTML page, perhaps the answer to a failed download"
    if looks_like_text(start):
        return f"it is a text file that begins with {start[:60].decode(errors='ignore')!r}"
    with contextlib.suppress(DecodeError):
        if (
            TensorProto.FromString(bytes(content(data))).data_type
            in TensorProto.DataType.values()[1:]
        ):
            return "it looks like a single tensor (TensorProto)"
    return None


def looks_like_text(start: bytes) -> bool:
    """Whether the start of a file is printable UTF-8."""
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(start)  # the end may be cut
    except UnicodeDecodeError:
        return False
    return all(char.isprintable() or char in "\t\n\r" for char in text)


def error_about(what: str, name: object, error: ModelError) -> ModelError:
    """`error`, saying what it is about."""
    return ModelError(f"{what} {quoted(name)}: {error}")


class ModelReader:
    """Makes dataclasses of messages, with `source` for tensor data.

    Args:
        source: Where tensors find their data.
        size: Bytes of the file beside that data, which limit how many messages there may be.
    """

    def __init__(self, source: Files, size: int) -> None:
        self.source, self.size = source, size
        self.entries, self.most = 0, allowed(size)
        self.decoders = PLAIN_DECODERS | {
            AttributeProto.TENSOR: self.tensor,
            AttributeProto.TENSORS: self.tensor,
            AttributeProto.SPARSE_TENSOR: self.sparse_tensor,
            AttributeProto.SPARSE_TENSORS: self.sparse_tensor,
            AttributeProto.GRAPH: self.graph,
            AttributeProto.GRAPHS: self.graph,
        }

    def counted(self, entries: S, weight: int = 1) -> S:
        """Messages of a repeated field. Raises: ModelError if the file has too many by now.

        One counts as `weight`, by how much longer it takes to look at than others.
        """
        self.entries += len(entries) * weight
        if self.entries > self.most:
            check_number(self.entries, self.size)
        return entries

    def model(self, wire: ModelProto) -> Model:
        """The model in a message. Raises: ModelError if a part of it is wrong."""
        self.counted(wire.opset_import)
        return Model(
            self.graph(wire.graph),
            imported_opsets(wire),
            tuple(map(self.function, self.counted(wire.functions, 10))),
            wire.ir_version,
            text(wire.producer_name),
            decode_entries(self.counted(wire.metadata_props)),
            wire,
        )

    def graph(self, wire: GraphProto) -> Graph:
        """The graph in a message. Raises: ModelError, which names the graph."""
        try:
            return Graph(
                tuple(map(self.node, self.counted(wire.node, 2), count())),
                decode_value_infos(self.counted(wire.input)),
                decode_value_infos(self.counted(wire.output)),
                (
                    *(
                        self.tensor(tensor, "initializer")
                        for tensor in self.counted(wire.initializer)
                    ),
                    *map(self.sparse_tensor, self.counted(wire.sparse_initializer)),
                ),
                decode_value_infos(self.counted(wire.value_info)),
                text(wire.name),
                wire,
                decode_entries(self.counted(wire.metadata_props)),
            )
        except ModelError as error:
            raise error_about("graph", wire.name, error) from error.__cause__

    def function(self, wire: FunctionProto) -> Function:
        """The function in a message. Raises: ModelError, which names the function."""
        try:
            return Function(
                normal_domain(wire.domain),
                text(wire.name),
                text(wire.overload),
                texts(wire.input),
                texts(wire.output),
                texts(wire.attribute),
                self.attributes(wire.attribute_proto),
                tuple(map(self.node, self.counted(wire.node, 2), count())),
                decode_opsets(self.counted(wire.opset_import)),
                wire,
            )
        except ModelError as error:
            raise error_about("function", wire.name, error) from error.__cause__

    def node(self, wire: NodeProto, place: int) -> Node:
        """The node in a message. Raises: ModelError, which names the node."""
        try:
            return Node(
                text(wire.op_type),
                texts(wire.input),
                texts(wire.output),
                self.attributes(wire.attribute),
                text(wire.name),
                normal_domain(wire.domain),
                text(wire.overload),
                wire,
                decode_entries(self.counted(wire.metadata_props)),
                place,
            )
        except ModelError as error:
            name = wire.name or ", ".join(map(str, wire.output[:SHOWN]))
            raise error_about(f"node {plain(wire.op_type)}", name, error) from error.__cause__

    def attributes(self, wires: Collection[AttributeProto]) -> dict[str, Attribute]:
        """The attributes by name: the first, where a name has several."""
        attributes: dict[str, Attribute] = {}
        for wire in self.counted(wires):
            try:
                name = text(wire.name)
                if name not in attributes:
                    attributes[name] = self.attribute(wire)
            except ModelError as error:
                raise error_about("attribute", wire.name, error) from error.__cause__
        return attributes

    def attribute(self, wire: AttributeProto) -> Attribute:
        """The value of an attribute. Raises: ModelError if it has none."""
        if wire.ref_attr_name:
            return AttributeReference(text(wire.ref_attr_name))
        kind = attribute_type(wire)
        if kind in MESSAGE_TYPES and not wire.HasField(ATTRIBUTE_FIELDS[kind]):
            raise ModelError("it has no value")
        if kind in MESSAGE_LISTS:
            self.counted(getattr(wire, ATTRIBUTE_FIELDS[kind]))
        return decode_value(wire, kind, self.decoders)

    def initializer(self, wire: TensorProto) -> Tensor:
        """The tensor in a message. Raises: ModelError, which names the initializer."""
        return self.tensor(wire, "initializer")

    def tensor(self, wire: TensorProto, what: str = "tensor") -> Tensor:
        """The tensor in a message. Raises: ModelError, which names the tensor as a `what`."""
        try:
            stored = store(wire, self.source)
            return Tensor(
                text(wire.name),
                dtype_of(wire.data_type),
                tuple(wire.dims),
                stored,
                wire,
                decode_entries(self.counted(wire.metadata_props)),
            )
        except ModelError as error:
            raise error_about(what, wire.name, error) from error.__cause__

    def sparse_tensor(self, wire: SparseTensorProto) -> SparseTensor:
        """The sparse tensor in a message. Raises: ModelError, which names its values."""
        try:
            values, indices = self.tensor(wire.values), self.tensor(wire.indices, "indices")
            shape = tuple(wire.dims)
            element_count(shape, values.dtype)
            if not shape:
                raise ModelError("it has no dimensions")
            if len(values.shape) != 1:
                raise ModelError(f"its values have shape {list(values.shape)}, not one dimension")
            if indices.dtype != np.int64:
                raise ModelError(f"its indices are {indices.dtype}, not int64")
            if indices.shape not in (values.shape, (*values.shape, len(shape))):
                raise ModelError(
                    f"its indices have shape {list(indices.shape)} for {values.shape[0]} values"
                    f" in {len(shape)} dimensions"
                )
            return SparseTensor(values, indices, shape, wire)
        except ModelError as error:
            raise error_about("sparse tensor", wire.values.name, error) from error.__cause__


def decode_value_infos(wires: Iterable[ValueInfoProto]) -> tuple[ValueInfo, ...]:
    """The names and types of values, in order."""
    return tuple(map(decode_value_info, wires))


def decode_value_info(wire: ValueInfoProto) -> ValueInfo:
    """The name and type of a value. Raises: ModelError, which names the value."""
    try:
        metadata = decode_entries(wire.metadata_props)
        return ValueInfo(text(wire.name), decode_type(wire.type), wire, metadata)
    except ModelError as error:
        raise error_about("value", wire.name, error) from error.__cause__
