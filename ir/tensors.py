"""TensorProto: what its data says, and where it is. Everything is checked before it is allocated.

Source: onnx.proto3 of ONNX 1.23, the comments at `TensorProto`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxla.ir.dtypes import STRING, bits_of, dtype_of, number_of
from onnxla.ir.errors import ModelError
from onnxla.ir.external import DataFolder
from onnxla.ir.files import Bytes, FilePart, content, new_memory, windows
from onnxla.ir.onnx_pb2 import TensorProto
from onnxla.ir.wire import MAX_RANK

DATA_FIELDS = (
    "raw_data",
    "float_data",
    "int32_data",
    "string_data",
    "int64_data",
    "double_data",
    "uint64_data",
    "external_data",
    "data_location",
    "segment",
)

TYPED_FIELDS: dict[int, tuple[str, Any]] = {
    TensorProto.FLOAT: ("float_data", np.float32),
    TensorProto.COMPLEX64: ("float_data", np.float32),
    TensorProto.DOUBLE: ("double_data", np.float64),
    TensorProto.COMPLEX128: ("double_data", np.float64),
    TensorProto.INT64: ("int64_data", np.int64),
    TensorProto.UINT32: ("uint64_data", np.uint64),
    TensorProto.UINT64: ("uint64_data", np.uint64),
}
LONG_RUN = 2**14  # bytes that follow each other; to read them alone takes less time than all rows
AT_ONCE = 2**20  # bytes of rows that are read where a part of each is needed
COMPLEX_TYPES = (TensorProto.COMPLEX64, TensorProto.COMPLEX128)


@dataclass(frozen=True)
class Files:
    """Where the tensors of one file find their data.

    Attributes:
        data: What was cut out of the file, by placeholder.
        folder: Where external data is.
        used: The placeholders that belong to a tensor that has been read.
    """

    data: Mapping[bytes, Bytes]
    folder: DataFolder
    used: set[bytes]


@dataclass(frozen=True, eq=False)
class Stored:
    """A tensor's data as its file has it. Calling this decodes it.

    Attributes:
        wire: The tensor as it was read.
        shape: Its shape, which is that of `wire`.
        raw: The bytes, where they are outside `wire`.
    """

    wire: TensorProto
    shape: tuple[int, ...]
    raw: Bytes | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        raw = None if self.raw is None else bytes(content(self.raw))
        return Stored, (self.wire, self.shape, raw)

    def __call__(self) -> np.ndarray:
        """The data. Raises: ModelError if its file has changed."""
        if self.raw is not None or self.wire.HasField("raw_data"):
            return decode_raw(self.bytes(), self.wire.data_type, self.shape)
        decode = decode_strings if self.wire.data_type == TensorProto.STRING else decode_typed
        return decode(self.wire).reshape(self.shape)

    def part(self, index: tuple[slice, ...]) -> np.ndarray:
        """What slices of the axes choose; little else is read of a file. Raises as a call does."""
        number = self.wire.data_type
        if self.raw is None or bits_of(number) < 8:
            return self()[index]
        return decode_part(self.raw, number, self.shape, index)

    @property
    def makes_memory(self) -> bool:
        """Whether the data is in new memory at each call, as it is where a file is read."""
        return isinstance(self.raw, FilePart)

    def bytes(self) -> Bytes:
        """The data as `raw_data` has it."""
        return self.wire.raw_data if self.raw is None else self.raw


def store(wire: TensorProto, source: Files) -> Stored:
    """Find a tensor's data, and check that there is as much as its type and shape need.

    Raises:
        ModelError: Type, shape, size or location is wrong. The message does not name the tensor.
    """
    number, dims = wire.data_type, tuple(wire.dims)
    if number == 0:
        raise ModelError("it has no element type")
    dtype = dtype_of(number)
    count = element_count(dims, dtype)
    if wire.HasField("segment"):
        raise ModelError("it is one segment of a larger tensor, which is not supported")

    if dtype == STRING:
        if wire.HasField("raw_data") or wire.data_location == TensorProto.EXTERNAL:
            raise ModelError("strings must be in string_data")
        expect_count(len(wire.string_data), count, "entries in string_data", dims, dtype)
        return Stored(wire, dims)

    size = raw_size(dtype, dims)
    if wire.data_location == TensorProto.EXTERNAL:
        return Stored(wire, dims, source.folder.locate(wire, size))

    if wire.HasField("raw_data"):
        placeholder = wire.raw_data
        if placeholder in source.data:
            source.used.add(placeholder)
            raw = source.data[placeholder]
            expect_count(len(raw), size, "bytes of raw data", dims, dtype)
            return Stored(wire, dims, raw)
        expect_count(len(placeholder), size, "bytes of raw data", dims, dtype)
        return Stored(wire, dims)

    field, entries = typed_field(number, count)
    expect_count(len(getattr(wire, field)), entries, f"entries in {field}", dims, dtype)
    return Stored(wire, dims)


def element_count(dims: tuple[int, ...], dtype: np.dtype) -> int:
    """How many elements a shape has. Raises: ModelError if no array can have it."""
    if len(dims) > MAX_RANK:
        raise ModelError(f"it has {len(dims)} dimensions; at most {MAX_RANK} are supported")
    if any(dim < 0 for dim in dims):
        raise ModelError(f"it has a negative dimension: {list(dims)}")
    # numpy refuses an empty array, too, if the other dimensions multiply to more than it can count.
    if math.prod(dim or 1 for dim in dims) * max(dtype.itemsize, 1) >= 2**63:
        raise ModelError(f"its dimensions {list(dims)} multiply to more than memory can hold")
    return math.prod(dims)


def raw_size(dtype: np.dtype, shape: tuple[int, ...]) -> int:
    """How many bytes a tensor has in `raw_data`. Not for strings."""
    return -(-math.prod(shape) * bits_of(number_of(dtype)) // 8)


def decode_raw(raw: Bytes, number: int, shape: tuple[int, ...]) -> np.ndarray:
    """An array from bytes in the format of `raw_data`: a view of them where they are in memory.

    Raises:
        ModelError: The file that they are in has changed.
    """
    dtype, bits = dtype_of(number), bits_of(number)
    if bits < 8:
        return decode_packed(raw, dtype, bits, math.prod(shape)).reshape(shape)
    data: np.ndarray = np.frombuffer(content(raw), np.uint8)
    if dtype == np.bool_ and data.size and data.max() > 1:
        data = data.astype(dtype)  # as a numpy bool, a byte that is not 0 or 1 is undefined
    return view_as(data, dtype).reshape(shape)


def decode_part(
    raw: Bytes, number: int, shape: tuple[int, ...], index: tuple[slice, ...]
) -> np.ndarray:
    """What slices without steps choose of an array whose elements have whole bytes.

    Raises:
        ModelError: The file that the bytes are in has changed.
    """
    if not shape:
        return decode_raw(raw, number, shape)
    cuts = [*index, *[slice(None)] * (len(shape) - len(index))]
    bounds = [cut.indices(size)[:2] for cut, size in zip(cuts, shape, strict=True)]
    sizes = tuple(max(0, stop - start) for start, stop in bounds)
    if sizes[1:] == shape[1:]:  # rows that follow each other
        start, size = bounds[0][0], raw_size(dtype_of(number), shape[1:])
        return decode_raw(raw[start * size : (start + sizes[0]) * size], number, sizes)
    memory: np.ndarray = new_memory(raw_size(dtype_of(number), sizes))
    part = view_as(memory, dtype_of(number)).reshape(sizes)
    if part.size:
        decode_rows(part, raw, number, shape, bounds)
    return part


def decode_rows(
    part: np.ndarray,
    raw: Bytes,
    number: int,
    shape: tuple[int, ...],
    bounds: list[tuple[int, int]],
) -> None:
    """Fills `part` with what is between bounds of each axis. Of long runs no more is read."""
    (start, stop), *others = bounds
    size = raw_size(dtype_of(number), shape[1:])
    run = (others[0][1] - others[0][0]) * raw_size(dtype_of(number), shape[2:]) if others else 0
    at_once = 1 if run >= LONG_RUN else max(1, AT_ONCE // size)
    for row in range(start, stop, at_once):
        end = min(row + at_once, stop)
        target, rows = part[row - start : end - start], raw[row * size : end * size]
        if run >= LONG_RUN:
            decode_rows(target[0], rows, number, shape[1:], others)
        else:
            array = decode_raw(rows, number, (end - row, *shape[1:]))
            target[...] = array[(slice(None), *(slice(*each) for each in others))]


def decode_packed(raw: Bytes, dtype: np.dtype, bits: int, count: int) -> np.ndarray:
    """The elements of a type that is packed, along one axis; only they are in memory at once."""
    elements, start = np.empty(count, dtype), 0
    for part in windows(raw):
        target = elements[start : start + len(part) * 8 // bits]
        codes = unpack_codes(np.frombuffer(part, np.uint8), bits, len(target))
        target[:] = decode_codes(codes, dtype, bits)
        start += len(target)
    return elements


def encode_raw(array: np.ndarray) -> memoryview:
    """An array in the format of `raw_data`. Not for strings."""
    bits = bits_of(number_of(array.dtype))
    data: Any = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    if bits < 8:
        data = pack_codes(data, bits)
    return memoryview(data)


def describe(dtype: np.dtype, shape: tuple[int, ...], wire: TensorProto) -> None:
    """Says in `wire` what a tensor is, and nothing of its data.

    Raises:
        ModelError: The dtype has no element type.
    """
    for field in DATA_FIELDS:
        wire.ClearField(field)
    wire.data_type = number_of(dtype)
    del wire.dims[:]
    wire.dims.extend(shape)


def encode_strings(array: np.ndarray, wire: TensorProto) -> None:
    """Puts strings into `wire`. Raises: ModelError if they are not `str`."""
    for text in array.ravel():
        if not isinstance(text, str):
            raise ModelError(f"a tensor of strings holds {text!r}")
        wire.string_data.append(text.encode("utf-8", "surrogateescape"))


def expect_count(
    found: int, needed: int, what: str, dims: tuple[int, ...], dtype: np.dtype
) -> None:
    """Checks that a tensor has as much data as it needs. Raises: ModelError if not."""
    if found != needed:
        raise ModelError(f"it has {found} {what}, but {dtype} of shape {list(dims)} needs {needed}")


def typed_field(number: int, count: int) -> tuple[str, int]:
    """The field for an element type, and how many entries it has for `count` elements."""
    field = TYPED_FIELDS[number][0] if number in TYPED_FIELDS else "int32_data"
    if number in COMPLEX_TYPES:
        return field, 2 * count
    # 4-bit and 2-bit types are packed in the low byte of an entry; 6-bit types are not.
    per_entry = 8 // bits_of(number) if bits_of(number) < 8 else 1
    return field, -(-count // per_entry)


def decode_typed(wire: TensorProto) -> np.ndarray:
    """The elements in the typed field of a tensor, along one axis."""
    number, count = wire.data_type, math.prod(wire.dims)
    dtype, bits = dtype_of(number), bits_of(number)
    if number in TYPED_FIELDS:
        field, storage = TYPED_FIELDS[number]
        data: np.ndarray = np.array(getattr(wire, field), storage)
        return view_as(data, dtype) if number in COMPLEX_TYPES else data.astype(dtype, copy=False)
    data = np.array(wire.int32_data, np.int32)
    if bits in (2, 4):
        return decode_codes(unpack_codes(data.astype(np.uint8), bits, count), dtype, bits)
    if bits < 8:
        return decode_codes(data.astype(np.uint8), dtype, bits)
    if dtype == np.bool_:
        return data.astype(dtype)
    # Floats are stored as their bits; for integers the cast is the conversion.
    return view_as(data.astype(f"u{dtype.itemsize}"), dtype)


def decode_strings(wire: TensorProto) -> np.ndarray:
    """The strings of a tensor, along one axis."""
    # Bytes that are not UTF-8 survive reading and writing as lone surrogates.
    texts = [text.decode("utf-8", "surrogateescape") for text in wire.string_data]
    array = np.empty(len(texts), STRING)
    array[:] = texts
    return array


def whole_byte_group(bits: int) -> tuple[int, Any, np.ndarray, np.ndarray]:
    """The smallest whole bytes that hold whole elements: size, word dtype, both kinds of shifts."""
    size = math.lcm(bits, 8) // 8
    word: Any = np.uint8 if size == 1 else np.uint32
    places = np.arange(8 * size).astype(word)
    return size, word, places[::bits], places[::8]


def unpack_codes(data: np.ndarray, bits: int, count: int) -> np.ndarray:
    """Codes of `bits` bits, one to a byte, from a stream with the first in the lowest bits."""
    size, word, shifts, byte_shifts = whole_byte_group(bits)
    groups: np.ndarray = np.pad(data, (0, -len(data) % size)).reshape(-1, size).astype(word)
    words = np.bitwise_or.reduce(groups << byte_shifts, axis=1, keepdims=True)
    codes: np.ndarray = (words >> shifts) & word(2**bits - 1)
    return codes.astype(np.uint8).reshape(-1)[:count]


def pack_codes(codes: np.ndarray, bits: int) -> np.ndarray:
    """The inverse of `unpack_codes`; the high bits of a code are ignored."""
    _, word, shifts, byte_shifts = whole_byte_group(bits)
    size = -(-len(codes) * bits // 8)
    codes = np.pad(codes, (0, -len(codes) % len(shifts))).reshape(-1, len(shifts)).astype(word)
    words = np.bitwise_or.reduce((codes & word(2**bits - 1)) << shifts, axis=1, keepdims=True)
    stream: np.ndarray = words >> byte_shifts
    return stream.astype(np.uint8).reshape(-1)[:size]


def decode_codes(codes: np.ndarray, dtype: np.dtype, bits: int) -> np.ndarray:
    """Codes as `dtype`, of which ml_dtypes keeps one to a byte."""
    if dtype.name.startswith("int"):
        unused = np.int8(8 - bits)
        return (codes.view(np.int8) << unused >> unused).astype(dtype)
    return view_as(codes, dtype)


def view_as(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """The memory of an array as another dtype."""
    view: np.ndarray = array.view(dtype)  # numpy's own type for this is Any
    return view
