"""Mutation: any file changed at random, with an eye for what its parts are.

Other than the ways to break a file, which are drawn and have names, this is for many files quickly:
the same generator gives the same file.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
from onnx import ModelProto

WHOLE = (0, 1, 2, 3, 7, 11, 127, 255, 2**16, 10**6, 2**31 - 1, 2**31, 2**40, 2**62, 2**63 - 1)
REAL = (0.0, -0.0, 1.0, -1.0, 0.5, 1e-45, 3e38, 1e30, float("inf"), float("-inf"), float("nan"))
TEXT = ("", "x", "é", "\x1b[2J", "\u202e", "a" * 3000, "../../x", "/etc/passwd", "NaN", "(a+)+b")
# The most messages of a file among which one is chosen.
MANY = 5_000


def mutate(data: bytes, rng: random.Random, others: Sequence[bytes] = ()) -> bytes:
    """A file with one to four changes of its parts, now and then of its bytes.

    Args:
        data: A file.
        rng: Decides what changes.
        others: Files whose parts may take the place of some.
    """
    try:
        model = ModelProto.FromString(data)
        parts = messages(model)
        donors = messages(ModelProto.FromString(rng.choice(others))) if others else parts
    except DecodeError:
        return mutate_bytes(data, rng)
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 4))):
        mutate_message(rng.choice(parts), donors, rng)
    data = model.SerializeToString()
    return mutate_bytes(data, rng) if rng.random() < 0.1 else data


def messages(root: Message) -> list[Message]:
    """A message and those within it, the first so many."""
    found = [root]
    for message in found:
        for field, value in message.ListFields():
            if field.message_type is not None and len(found) < MANY:
                found.extend(value if field.is_repeated else [value])
    return found


def mutate_message(message: Message, donors: Sequence[Message], rng: random.Random) -> None:
    """Changes one field of a message, mostly one that is set."""
    fields: list[Any] = [field for field, _ in message.ListFields()]
    if not fields or rng.random() > 0.85:
        fields = list(message.DESCRIPTOR.fields)
    if not fields:
        return
    field = rng.choice(fields)
    if field.is_repeated:
        change_list(message, field, donors, rng)
    elif rng.random() < 0.1:
        message.ClearField(field.name)
    elif field.message_type is None:
        setattr(message, field.name, scalar(field, getattr(message, field.name), donors, rng))
    else:
        getattr(message, field.name).CopyFrom(like(field, donors, rng))


def scalar(field: FieldDescriptor, old: Any, donors: Sequence[Message], rng: random.Random) -> Any:
    """Another value of a field that is no message."""
    kind = field.cpp_type
    if kind in (field.CPPTYPE_FLOAT, field.CPPTYPE_DOUBLE):
        return rng.choice((*REAL, -old, old * 2, rng.uniform(-10, 10)))
    if kind == field.CPPTYPE_STRING:
        if isinstance(old, bytes):
            return rng.choice((mutate_bytes(old, rng), other_text(donors, rng).encode()))
        return rng.choice((*TEXT, other_text(donors, rng), other_text(donors, rng)))
    if field.enum_type is not None:
        return rng.choice([value.number for value in field.enum_type.values])
    bits = 32 if kind in (field.CPPTYPE_INT32, field.CPPTYPE_UINT32) else 64
    unsigned = kind in (field.CPPTYPE_UINT32, field.CPPTYPE_UINT64)
    near = rng.choice((old + 1, old - 1, -old, old * 2, rng.randrange(30)))
    number = rng.choice((near, near, rng.choice(WHOLE), -rng.choice(WHOLE)))
    span = 1 << bits
    number %= span
    return number if unsigned or number < span // 2 else number - span


def other_text(donors: Sequence[Message], rng: random.Random) -> str:
    """A text of some message, such as the name of another value."""
    message = rng.choice(donors)
    texts = [
        text
        for field, value in message.ListFields()
        if field.cpp_type == field.CPPTYPE_STRING
        for text in (value if field.is_repeated else [value])
        if isinstance(text, str)
    ]
    return rng.choice(texts) if texts else "y"


def like(field: FieldDescriptor, donors: Sequence[Message], rng: random.Random) -> Message:
    """A message of a field's type from elsewhere; an empty one if there is none."""
    kind = field.message_type
    assert kind is not None
    found = [message for message in donors if message.DESCRIPTOR.full_name == kind.full_name]
    return rng.choice(found) if found else GetMessageClass(kind)()


def change_list(
    message: Message, field: FieldDescriptor, donors: Sequence[Message], rng: random.Random
) -> None:
    """Takes, adds, changes, repeats or moves entries of a repeated field."""
    entries = getattr(message, field.name)
    old = list(entries)
    place = rng.randrange(len(old) + 1)

    def new() -> Any:
        if field.message_type is not None:
            return like(field, donors, rng)
        return scalar(field, rng.choice(old) if old else default(field), donors, rng)

    changed = rng.choice(
        (
            lambda: old[:place] + old[place + 1 :],
            lambda: [*old[:place], new(), *old[place + 1 :]],
            lambda: [*old[:place], new(), *old[place:]],
            lambda: [*old[:place], new(), *old[place + 1 :]],
            lambda: old[:place] + old[:place] + old[place:],
            lambda: rng.sample(old, len(old)),
            lambda: (old * 200)[:400],
            lambda: old[:place],
        )
    )()
    copies = [
        type(x).FromString(x.SerializeToString()) if isinstance(x, Message) else x for x in changed
    ]
    message.ClearField(field.name)
    getattr(message, field.name).extend(copies)


def default(field: FieldDescriptor) -> Any:
    """The value of a field that is not set."""
    text = {field.TYPE_STRING: "", field.TYPE_BYTES: b""}
    return text.get(field.type, 0)


def mutate_bytes(data: bytes, rng: random.Random) -> bytes:
    """Bytes changed, cut off, put in or repeated."""
    if not data:
        return rng.randbytes(8)
    a, b = sorted(rng.randrange(len(data) + 1) for _ in range(2))
    place = rng.randrange(len(data))
    return rng.choice(
        (
            lambda: data[:a],
            lambda: data[:a] + data[b:],
            lambda: data[:b] + data[a:],
            lambda: data[:place] + bytes([data[place] ^ 1 << rng.randrange(8)]) + data[place + 1 :],
            lambda: data[:a] + rng.randbytes(min(b - a, 16)) + data[b:],
            lambda: data[:a] + rng.choice((b"\xff" * 9 + b"\x01", b"\x80", b"\0")) + data[a:],
        )
    )()
