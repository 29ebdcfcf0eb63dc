"""How many messages a file may have: a message of two bytes takes hundreds of them in memory.

Nodes, attributes, types and their dimensions are messages; numbers and tensor data are none.
"""

from __future__ import annotations

import contextlib
from typing import cast

from google.protobuf.descriptor import Descriptor

from onnxla.ir.errors import ModelError
from onnxla.ir.onnx_pb2 import ModelProto
from onnxla.ir.splice import (
    DELIMITED,
    NotProtobufError,
    Scanner,
    fields_to_enter,
)

FEW = 300_000  # that any file may have
TEXTS = 4  # fields with text or data that it may have for each of these
SIZE = 32  # bytes beside tensor data, for each of which a file may have one more
# Smaller files are parsed at once; what comes of them fits into memory in any case.
LARGE = 16 * 2**20


def allowed(size: int) -> int:
    """How many messages a file may have that has so many bytes beside tensor data."""
    return FEW + size // SIZE


def check_number(number: int, size: int) -> None:
    """Raises: ModelError if a file of `size` bytes may not have so many messages."""
    if number > allowed(size):
        raise ModelError(
            f"it has more than {allowed(size):,} nodes, values, attributes and the like in"
            f" {size:,} bytes"
        )


def check_file(file: bytes) -> None:
    """Raises: ModelError if a large file has too many messages. Stops where it is no protobuf."""
    if len(file) < LARGE:
        return
    number, steps, most = 0, 0, TEXTS * allowed(len(file))
    window = Scanner(file)
    waiting = [(0, len(file), cast(Descriptor, ModelProto.DESCRIPTOR))]
    with contextlib.suppress(NotProtobufError):  # for protobuf's parser to complain about
        while waiting:
            place, end, kind = waiting.pop()
            messages = fields_to_enter(kind)
            while place < end:
                steps += 1
                tag, start = window.varint(place, end)
                if tag & 7 != DELIMITED:
                    place = window.after_numbers(place, end)
                    continue
                size, start = window.varint(start, end)
                place = start + size
                if place > end:
                    raise NotProtobufError
                if child := messages.get(tag >> 3):
                    number += TEXTS
                    if size:
                        waiting.append((start, place, child))
                elif (after := window.after_texts(place, end, kind)) > place:
                    steps += window.count_texts(place, after, kind)
                    place = after
                if number > most or steps > most:
                    check_number(max(number, steps), len(file))
