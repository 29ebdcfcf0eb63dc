"""Bytes of a file that are lost, changed or added, as a disk or a network might do it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import onnx
from hypothesis import strategies as st
from onnx import ModelProto

from onnxla.ir.splice import encode_varint
from onnxla.testing.malformed.registry import damages
from onnxla.testing.malformed.wire_format import (
    Field,
    encode_field,
    encode_tag,
    fields_of,
    message_of,
)


@damages("cut off")
def cut_off(draw: st.DrawFn, data: bytes) -> bytes:
    """The beginning of the file."""
    return data[: draw(st.integers(0, max(0, len(data) - 1)))]


@damages("flipped bits")
def flipped_bits(draw: st.DrawFn, data: bytes) -> bytes:
    """The file with one to four bits changed."""
    damaged = bytearray(data)
    for place in draw(st.lists(st.integers(0, max(0, len(data) * 8 - 1)), min_size=1, max_size=4)):
        if damaged:
            damaged[place // 8] ^= 1 << place % 8
    return bytes(damaged)


@damages("other bytes")
def other_bytes(draw: st.DrawFn, data: bytes) -> bytes:
    """The file with some bytes replaced, inserted or deleted."""
    place = draw(st.integers(0, len(data)))
    new = draw(
        st.sampled_from((b"", b"\0", b"\xff", b"\x80" * 12, b"\x7f")) | st.binary(max_size=9)
    )
    return data[:place] + new + data[place + draw(st.integers(0, 9)) :]


@damages("more bytes at the end")
def more_bytes(draw: st.DrawFn, data: bytes) -> bytes:
    """The file with more bytes after its end."""
    return data + draw(st.binary(min_size=1, max_size=20))


@damages("a name that is not UTF-8")
def name_not_text(draw: st.DrawFn, data: bytes) -> bytes:
    """The file with a name that is not UTF-8."""
    model = parsed_model(data)
    names = [model.graph.name, "Add", *(v.name for v in model.graph.output), "ai.onnx"]
    names += [name for node in model.graph.node for name in (node.op_type, *node.output)]
    # Some are bytes: of a file with two faults that are both of this kind.
    texts = sorted({n.encode() for n in names if isinstance(n, str) and n})
    texts = [text for text in texts if text in data]
    if not texts:
        return data + b"\x12\x01\xff"  # the producer's name
    name = draw(st.sampled_from(texts))
    wrong = draw(st.sampled_from((b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf8")))
    # Of the same length, so that the file can still be parsed.
    return data.replace(name, (wrong + name)[: len(name)])


@damages("subgraphs nested too deeply")
def deep_subgraphs(draw: st.DrawFn, data: bytes) -> bytes:
    """A file of its own: a graph within a graph, many times."""
    graph = b""
    for _ in range(draw(st.sampled_from((15, 31, 60, 100, 3000)))):
        attribute = encode_field(1, b"g") + encode_tag(20, 0) + b"\x05" + encode_field(6, graph)
        graph = encode_field(
            1, encode_field(2, b"y") + encode_field(4, b"If") + encode_field(5, attribute)
        )
    return encode_tag(1, 0) + b"\x0a" + encode_field(7, graph) + encode_field(8, b"\x10\x14")


@damages("a field of another wire type")
def other_wire_type(draw: st.DrawFn, data: bytes) -> bytes:
    """The file with a field of another wire type."""

    def change(fields: list[Field]) -> list[Field]:
        place = draw(st.integers(0, len(fields) - 1))
        number, _, payload = fields[place]
        kind = draw(st.sampled_from((0, 1, 2, 3, 4, 5, 6, 7)))
        return [*fields[:place], (number, kind, payload), *fields[place + 1 :]]

    return edited(draw, data, change)


@damages("a field of another number")
def other_field_number(draw: st.DrawFn, data: bytes) -> bytes:
    """The file with a field of another number."""

    def change(fields: list[Field]) -> list[Field]:
        place = draw(st.integers(0, len(fields) - 1))
        number = draw(st.integers(0, 30) | st.sampled_from((2**29 - 1, 19000)))
        return [*fields[:place], (number, *fields[place][1:]), *fields[place + 1 :]]

    return edited(draw, data, change)


@damages("a field twice")
def field_twice(draw: st.DrawFn, data: bytes) -> bytes:
    """The file with a field again."""

    def change(fields: list[Field]) -> list[Field]:
        return [*fields, draw(st.sampled_from(fields))]

    return edited(draw, data, change)


@damages("a field is missing")
def field_missing(draw: st.DrawFn, data: bytes) -> bytes:
    """The file without one of its fields."""

    def change(fields: list[Field]) -> list[Field]:
        place = draw(st.integers(0, len(fields) - 1))
        return fields[:place] + fields[place + 1 :]

    return edited(draw, data, change)


@damages("fields in another order")
def shuffled_fields(draw: st.DrawFn, data: bytes) -> bytes:
    """The file with the fields of a message in another order."""
    return edited(draw, data, lambda fields: draw(st.permutations(fields)))


@damages("a number of another value")
def other_number(draw: st.DrawFn, data: bytes) -> bytes:
    """The file with another number in a field."""

    def change(fields: list[Field]) -> list[Field]:
        places = [place for place, field in enumerate(fields) if field[1] == 0]
        if not places:
            return fields
        place = draw(st.sampled_from(places))
        value = draw(st.sampled_from((0, 1, 2, 17, 99, 2**31, 2**63, 2**64 - 1)))
        return [*fields[:place], (fields[place][0], 0, encode_varint(value)), *fields[place + 1 :]]

    return edited(draw, data, change)


def parsed_model(data: bytes) -> ModelProto:
    """The model in a file; an empty one if there is none."""
    try:
        return onnx.load_from_string(data)
    except Exception:  # of several kinds, that differ between protobuf's versions
        return ModelProto()


def edited(
    draw: st.DrawFn,
    data: bytes,
    change: Callable[[list[Field]], Sequence[Field]],
) -> bytes:
    """A message, or one somewhere within it, with its fields changed."""
    fields = fields_of(data)
    if not fields:
        return data + b"\0"
    inner = [i for i, (_, kind, payload) in enumerate(fields) if kind == 2 and fields_of(payload)]
    if inner and draw(st.integers(0, 2)) > 0:
        place = draw(st.sampled_from(inner))
        number, kind, payload = fields[place]
        fields[place] = number, kind, edited(draw, payload, change)
        return message_of(fields)
    return message_of(change(fields))
