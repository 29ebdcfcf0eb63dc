"""Texts in a file that deceive a reader, or that speak of more than the model."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from onnxla.auditing.contents import Contents, named, spell
from onnxla.auditing.remarks import Remark, Severity
from onnxla.ir.onnx_pb2 import StringStringEntryProto

LONG, LONG_DOCUMENT = 1_000, 100_000  # characters of a name, and of a text for people
SEARCHED = 100_000  # characters of a text that are searched
# Letters after these are shown in another order than they are in.
REORDERING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c")
DOCUMENT = frozenset({"doc_string", "value"})  # fields that may have lines
CODE = re.compile(
    r"\b(?:import os|subprocess|eval\(|exec\(|__import__|os\.system|powershell|cmd\.exe|/bin/sh"
    r"|bash -c|curl http|wget http|rm -rf)|<script|javascript:|#!/|\bdata:[a-z]+/[a-z]+;base64",
    re.IGNORECASE,
)
ADDRESS = re.compile(r"\b[a-z][a-z0-9+.-]{1,10}://[^\s'\"]", re.IGNORECASE)
PATH = re.compile(
    r"(?:^|[\s'\"=:(])(?:/(?:home|root|etc|usr|var|tmp|opt|mnt|Users)/|~/|[A-Za-z]:\\|\\\\\w|\.\./)"
)


def texts(contents: Contents) -> Iterator[Remark]:
    """Every name and text that is strange."""
    for part, owner in contents.parts:
        for field, value in part.ListFields():
            if field.type == FieldDescriptor.TYPE_STRING:
                for text in (value,) if isinstance(value, str | bytes) else value:
                    if isinstance(text, bytes) or len(text) > LONG or not text.isprintable():
                        yield from about_text(text, field.name, owner)
                    if is_for_people(part, field.name):
                        yield from about_speech(str(text)[:SEARCHED], field.name, owner)


def is_for_people(part: Message, field: str) -> bool:
    """Whether a text is one that people read: documentation, metadata, or the producer."""
    if isinstance(part, StringStringEntryProto):
        return part.key != "location"
    return field in ("doc_string", "producer_name", "producer_version")


def about_text(text: str | bytes, field: str, owner: Message) -> Iterator[Remark]:
    """Whether a text is not what it seems."""
    if isinstance(text, bytes):
        yield Remark("warning", "text", spell(owner), f"its {field} is not UTF-8: {named(text)}")
        return
    if len(text) > (LONG_DOCUMENT if field in DOCUMENT else LONG):
        told = f"its {field} has {len(text):,} characters: {named(text)}"
        yield Remark("warning", "long-text", spell(owner), told)
    if text.isprintable():
        return
    odd = {each for each in text if not each.isprintable()}
    if field in DOCUMENT:
        odd -= {*"\n\r\t"}
    if odd & REORDERING:
        told = f"its {field} has characters that show text in another order: {named(text)}"
        yield Remark("danger", "reordered-text", spell(owner), told)
    elif any(unicodedata.category(each) == "Cc" for each in odd):
        told = f"its {field} has control characters, which terminals act on: {named(text)}"
        yield Remark("danger", "control-characters", spell(owner), told)
    elif odd - {"\u00a0", "\u3000"}:
        told = f"its {field} is in part invisible: {named(text)}"
        yield Remark("warning", "invisible-text", spell(owner), told)


def about_speech(text: str, field: str, owner: Message) -> Iterator[Remark]:
    """Whether a text for people has code, addresses or paths, and the beginning of the first."""
    searches: tuple[tuple[re.Pattern[str], Severity, str], ...] = (
        (CODE, "warning", "something like code"),
        (ADDRESS, "info", "an address"),
        (PATH, "info", "a path"),
    )
    for pattern, severity, what in searches:
        if found := pattern.search(text):
            place = text[found.start() : found.start() + 40].strip()
            told = f"its {field} has {what}: {named(place)}"
            yield Remark(severity, "metadata", spell(owner), told)
