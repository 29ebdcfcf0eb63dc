"""Protobuf's wire format: messages as fields, also of files that are damaged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from onnxla.ir.splice import encode_varint

# Number, wire type and payload.
Field: TypeAlias = tuple[int, int, bytes]


def fields_of(data: bytes) -> list[Field]:
    """Number, wire type and payload of the fields of a message; none if it is no message."""
    fields, place = [], 0
    while place < len(data):
        tag, place = varint_at(data, place)
        kind = tag & 7
        if kind == 0:
            value, place = varint_at(data, place)
            payload = encode_varint(value)
        elif kind in (1, 2, 5):
            size = {1: 8, 5: 4}.get(kind)
            if size is None:
                size, place = varint_at(data, place)
            payload = data[place : place + size]
            place += size
        else:
            return []
        if place > len(data) or not tag >> 3:
            return []
        fields.append((tag >> 3, kind, payload))
    return fields


def message_of(fields: Sequence[Field]) -> bytes:
    """The bytes of a message with these fields."""
    return b"".join(
        encode_field(number, payload) if kind == 2 else encode_tag(number, kind) + payload
        for number, kind, payload in fields
    )


def encode_field(number: int, payload: bytes) -> bytes:
    """A field with a length."""
    return encode_tag(number, 2) + encode_varint(len(payload)) + payload


def encode_tag(number: int, kind: int) -> bytes:
    """The number and the wire type that precede a field."""
    return encode_varint(number << 3 | kind)


def varint_at(data: bytes, place: int) -> tuple[int, int]:
    """A number and where it ends; past the end of the data if it does not."""
    value = shift = 0
    while place < len(data):
        value |= (data[place] & 127) << shift
        shift += 7
        place += 1
        if data[place - 1] < 128:
            return value & (2**64 - 1), place
    return 0, len(data) + 1
