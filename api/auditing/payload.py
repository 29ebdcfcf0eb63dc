"""Bytes in a file that no reader looks at: a place to hide something."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator

from google.protobuf.unknown_fields import UnknownFieldSet

from onnxla.auditing.contents import Contents, function_id, named, spell
from onnxla.auditing.remarks import Remark, Severity
from onnxla.ir.dtypes import bits_of
from onnxla.ir.errors import ModelError
from onnxla.ir.names import listed
from onnxla.ir.onnx_pb2 import GraphProto, ModelProto, TensorProto

MUCH = 1024  # bytes; less is no payload


def graded(size: int) -> Severity:
    """How grave so many bytes are that nobody reads."""
    return "warning" if size >= MUCH else "info"


def unknown_fields(contents: Contents) -> Iterator[Remark]:
    """Fields that ONNX does not have, which readers skip."""
    known = ModelProto()
    known.CopyFrom(contents.message)
    known.DiscardUnknownFields()
    size = contents.message.ByteSize() - known.ByteSize()
    if size:
        owners = [spell(owner) for part, owner in contents.parts if len(UnknownFieldSet(part))]
        text = f"{size:,} bytes are in fields that ONNX does not have, and that readers skip"
        where = f"in {len(owners):,} places" if len(owners) > 1 else owners[0]
        yield Remark(graded(size), "unknown-fields", where, text)


def overwritten(contents: Contents) -> Iterator[Remark]:
    """Bytes that mean nothing, such as a field that is given twice, of which one counts."""
    if (size := contents.size - contents.message.ByteSize()) > 0:
        text = (
            f"{size:,} bytes mean nothing: values that later ones replace, or numbers that are"
            " written longer than they need"
        )
        yield Remark(graded(size), "overwritten", "", text)


def unused_data(contents: Contents) -> Iterator[Remark]:
    """Initializers that no node and no output reads."""
    used = {name for node, _ in contents.nodes() for name in node.input}
    for scope in contents.scopes:
        if isinstance(scope.graph, GraphProto):
            used.update(output.name for output in scope.graph.output)
    for scope in contents.scopes:
        tensors = scope.graph.initializer if isinstance(scope.graph, GraphProto) else ()
        unused = [tensor for tensor in tensors if tensor.name not in used]
        if unused:
            size = sum(map(size_of, unused))
            names = listed([tensor.name for tensor in unused], named)
            text = f"{size:,} bytes in {len(unused):,} initializers that nothing reads: {names}"
            yield Remark(graded(size), "unused-data", spell(scope.graph), text)


def size_of(tensor: TensorProto) -> int:
    """Bytes of a tensor's data, as its type and shape say."""
    try:
        bits = bits_of(tensor.data_type)
    except (ModelError, KeyError):
        bits = 8
    return abs(math.prod(tensor.dims)) * bits // 8


def training_info(contents: Contents) -> Iterator[Remark]:
    """Graphs for training, which inference does not run."""
    if count := len(contents.message.training_info):
        text = f"it has training information, {count:,} entries, which onnxla keeps and never runs"
        yield Remark("warning", "training-info", "", text)


def duplicates(contents: Contents) -> Iterator[Remark]:
    """Names that are given twice: readers differ in which one they take."""
    message = contents.message
    metadata = (entry.key for entry in message.metadata_props)
    functions = map(function_id, message.functions)
    groups = [("metadata key", "", metadata), ("function", "", (f[1] for f in functions))]
    for scope in contents.scopes:
        outputs = (name for node in scope.nodes for name in node.output if name)
        groups.append(("value", spell(scope.graph), outputs))
        if isinstance(scope.graph, GraphProto):
            names = (tensor.name for tensor in scope.graph.initializer)
            groups.append(("initializer", spell(scope.graph), names))
    for what, where, given in groups:
        if twice := [name for name, count in Counter(given).items() if count > 1]:
            text = f"a {what} is given more than once: {listed(twice, named)}"
            yield Remark("warning", "duplicate", where, text)
