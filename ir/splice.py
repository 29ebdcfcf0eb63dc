"""Tensor data stays where it is: it is cut out of a file before protobuf parses it.

Protobuf copies every `bytes` field that it parses, so a model of 500 MB would be read, copied and
kept twice. Here the large `raw_data` fields are replaced by placeholders first; what protobuf sees
is the graph, and the data are parts of the file, read when they are used. Writing splices the data
back in.

Both directions are one walk over protobuf's wire format, which descends only where data is.
"""

from __future__ import annotations

import math
import os
import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TypeAlias, cast

from google.protobuf.descriptor import Descriptor

from onnxla.ir.errors import ModelError
from onnxla.ir.files import WINDOW, Bytes, FilePart, content, windows
from onnxla.ir.onnx_pb2 import ModelProto, TensorProto

LARGE = 16 * 1024  # bytes from which data is worth cutting out, and a message worth entering
TOKEN_SIZE = 16
PLACEHOLDER_SIZE = TOKEN_SIZE + 8
MAX_DEPTH = 100  # messages within messages; protobuf's parsers stop there too
MAX_FIELDS = 1_000_000  # to look at; a file of more tiny fields would keep us busy for long
MAX_MESSAGE = 2**31 - 1  # bytes; what every protobuf library can read and write

LONGEST_VARINT = 10  # bytes
VARINT, FIXED64, DELIMITED, GROUP_START, GROUP_END, FIXED32 = range(6)


@dataclass(frozen=True, eq=False)
class Deferred:
    """Bytes that are made when they are written, so that those of one tensor at a time are there.

    Attributes:
        size: How many they are, which is known before.
        make: Makes them.
    """

    size: int
    make: Callable[[], Bytes]

    def __len__(self) -> int:
        return self.size


Piece: TypeAlias = Bytes | Deferred


def contents(pieces: Iterable[Piece]) -> Iterator[bytes | memoryview]:
    """The bytes of pieces, in order; of those in a file, some at a time."""
    for piece in pieces:
        data = piece.make() if isinstance(piece, Deferred) else piece
        yield from windows(data) if isinstance(data, FilePart) else [data]


def placeholders() -> Callable[[], bytes]:
    """A maker of placeholders. They are random, so that no file can contain one by design."""
    token, count = os.urandom(TOKEN_SIZE), 0

    def make() -> bytes:
        nonlocal count
        count += 1
        return token + count.to_bytes(8, "little")

    return make


def extract(file: Bytes) -> tuple[Bytes, dict[bytes, Bytes]]:
    """A serialized model without its large data, and the data by placeholder.

    What does not look like protobuf is copied as it is, for protobuf's parser to complain about.
    """
    data: dict[bytes, Bytes] = {}
    make = placeholders()

    def replace(start: int, end: int) -> bytes:
        placeholder = make()
        data[placeholder] = file[start:end]
        return placeholder

    pieces = replace_data(file, lambda start, end: end - start >= LARGE, replace, MAX_FIELDS)
    return (b"".join(contents(pieces)), data) if data else (file, data)


def splice(reduced: bytes, data: Mapping[bytes, Piece]) -> list[Piece]:
    """The pieces of a serialized model in which each placeholder is its data again.

    Raises:
        ModelError: A placeholder is nested too deeply to be reached.
    """
    found = sorted(
        place
        for token in {placeholder[:TOKEN_SIZE] for placeholder in data}
        for place in occurrences(reduced, token)
    )

    def holds_data(start: int, end: int) -> bool:
        index = bisect_left(found, start)
        return index < len(found) and found[index] < end

    replaced = 0

    def replace(start: int, end: int) -> Piece:
        nonlocal replaced
        replaced += 1
        return data[reduced[start:end]]

    pieces = replace_data(memoryview(reduced), holds_data, replace)
    if replaced != len(found):  # or we would write a file without its weights
        raise ModelError("the model is nested too deeply to be written")
    return pieces


def occurrences(text: bytes, token: bytes) -> list[int]:
    """Every place of `token` in `text`, overlapping ones included."""
    places = []
    place = text.find(token)
    while place >= 0:
        places.append(place)
        place = text.find(token, place + 1)
    return places


class NotProtobufError(Exception):
    """Not protobuf, or too much of it."""


@cache
def fields_to_enter(message: Descriptor) -> dict[int, Descriptor | None]:
    """By field number: the messages to descend into, and None for tensor data."""
    fields: dict[int, Descriptor | None] = {
        field.number: field.message_type for field in message.fields if field.message_type
    }
    if message.full_name == TensorProto.DESCRIPTOR.full_name:
        fields[TensorProto.RAW_DATA_FIELD_NUMBER] = None
    return fields


def tags(wire_type: int) -> bytes:
    """A pattern of the tags of fields of a wire type, which is the lowest three bits."""
    long = bytes(byte for byte in range(128, 256) if byte & 7 == wire_type)
    return rb"(?:[%b]|[%b][\x80-\xff]*[\x00-\x7f])" % (
        re.escape(short_tags(wire_type)),
        re.escape(long),
    )


def short_tags(wire_type: int) -> bytes:
    """The tags of one byte of fields of a wire type."""
    return bytes(byte for byte in range(8, 128) if byte & 7 == wire_type)


# Fields that are numbers, in a row: there may be millions, which Python would take long to visit.
NUMBERS = re.compile(
    rb"(?s:(?:[%b][\x80-\xff]*+[\x00-\x7f])++|(?:[%b].{4})++|(?:[%b].{8})++"
    rb"|%b[\x80-\xff]*[\x00-\x7f]|%b.{8}|%b.{4})++"
    % (
        *(re.escape(short_tags(wire_type)) for wire_type in (VARINT, FIXED32, FIXED64)),
        *(tags(wire_type) for wire_type in (VARINT, FIXED64, FIXED32)),
    )
)
LONGEST_SHORT = 31  # bytes of a text


@cache
def short_text(message: Descriptor) -> bytes:
    """A pattern of a field with a short text, or data, that is no message and no tensor data."""
    known = bytes(number << 3 | DELIMITED for number in fields_to_enter(message) if number < 16)
    plain = bytes(tag for tag in short_tags(DELIMITED) if tag not in known)
    sized = (rb"%b.{%d}" % (re.escape(bytes([n])), n) for n in range(LONGEST_SHORT + 1))
    return rb"(?s:[%b](?:%b))" % (re.escape(plain), b"|".join(sized))


class Scanner:
    """Bytes that are gone through from front to back; of a file, some at a time are in memory."""

    def __init__(self, data: Bytes) -> None:
        self.data = data
        self.view = memoryview(b"")
        self.start = 0
        self.safe = 0  # how many bytes of the view all bytes of a number follow, too

    def varint(self, place: int, end: int) -> tuple[int, int]:
        """The varint at `place`, and the place after it."""
        at = place - self.start
        if not 0 <= at < self.safe:
            at = self._move(place)
        view = self.view
        value = shift = 0
        while place < end and shift < 7 * LONGEST_VARINT:
            byte = view[at]
            at += 1
            place += 1
            if byte < 0x80:
                return value | byte << shift, place
            value |= (byte & 0x7F) << shift
            shift += 7
        raise NotProtobufError

    def after_numbers(self, place: int, end: int) -> int:
        """The place after fields in a row that are numbers, as far as they are in view.

        Raises:
            NotProtobufError: There is no such field.
        """
        after = self._after(NUMBERS, place, end)
        if after == place:
            raise NotProtobufError
        return after

    def after_texts(self, place: int, end: int, message: Descriptor) -> int:
        """The place after short texts of a message in a row; `place` if there is none.

        As far as they are in view: there may be millions, as of numbers.
        """
        return self._after(re.compile(short_text(message) + b"++"), place, end)

    def count_texts(self, place: int, end: int, message: Descriptor) -> int:
        """How many texts there are between `place` and a place that `after_texts` found."""
        text = re.compile(short_text(message))
        return len(text.findall(self.view, place - self.start, end - self.start))

    def _after(self, pattern: re.Pattern[bytes], place: int, end: int) -> int:
        at = place - self.start
        if not 0 <= at < self.safe:
            at = self._move(place)
        run = pattern.match(self.view, at, min(len(self.view), end - self.start))
        return self.start + run.end() if run else place

    def _move(self, place: int) -> int:
        """Have `place` in view. Returns where."""
        if isinstance(self.data, FilePart):
            self.start = place
            self.view = memoryview(content(self.data[place : place + WINDOW]))
            self.safe = max(len(self.view) - 2 * LONGEST_VARINT, 1)
        else:
            self.view, self.safe = memoryview(self.data), len(self.data)
        return place - self.start


def replace_data(
    file: Bytes,
    enter: Callable[[int, int], bool],
    replace: Callable[[int, int], Piece],
    max_fields: float = math.inf,
) -> list[Piece]:
    """The file as pieces, with tensor data replaced wherever `enter(start, end)` says so."""
    seen, window = 0, Scanner(file)

    def message(start: int, end: int, kind: Descriptor, depth: int) -> list[Piece]:
        nonlocal seen
        if depth > MAX_DEPTH:
            raise NotProtobufError
        pieces: list[Piece] = []
        entries = fields_to_enter(kind)
        copied = place = start
        groups = 0  # ONNX has none, but a field that we do not know may be one
        while place < end:
            seen += 1
            field_start = place
            tag, place = window.varint(place, end)
            wire_type = tag & 7
            if tag < 8 or seen > max_fields:  # there is no field 0
                raise NotProtobufError
            if wire_type == DELIMITED and tag >> 3 not in entries:
                length, place = window.varint(place, end)
                place = window.after_texts(place + length, end, kind)
            elif wire_type == DELIMITED:
                length_start = place
                length, place = window.varint(place, end)
                field_end = place + length
                if not groups and field_end <= end and enter(place, field_end):
                    child = entries[tag >> 3]
                    try:
                        new: list[Piece] = (
                            [replace(place, field_end)]
                            if child is None
                            else message(place, field_end, child, depth + 1)
                        )
                    except NotProtobufError:
                        new = [file[place:field_end]]
                    pieces += (file[copied:length_start], encode_varint(sum(map(len, new))), *new)
                    copied = field_end
                place = field_end
            elif wire_type in (VARINT, FIXED64, FIXED32):
                place = window.after_numbers(field_start, end)
            elif wire_type in (GROUP_START, GROUP_END):
                groups += 1 if wire_type == GROUP_START else -1
            else:
                raise NotProtobufError
        if place != end or groups:
            raise NotProtobufError
        pieces.append(file[copied:end])
        return pieces

    try:
        return message(0, len(file), cast(Descriptor, ModelProto.DESCRIPTOR), 0)
    except NotProtobufError:
        return [file]


def encode_varint(value: int) -> bytes:
    """A number as a varint."""
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
