"""Ways to break a file, by what is wrong with it then."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import strategies as st
from onnx import ModelProto

# Breaks a model in place; an edit of bytes returns others.
Edit = Callable[[st.DrawFn, ModelProto], None]
BytesEdit = Callable[[st.DrawFn, bytes], bytes]

BYTES_PREFIX = "bytes: "  # before the names of ways to damage bytes
EDITS: dict[str, Edit] = {}
BYTES_EDITS: dict[str, BytesEdit] = {}


class NotHere(Exception):
    """A model has nothing that an edit could break."""


def ways() -> list[str]:
    """The ways in which files are broken."""
    return [*EDITS, *BYTES_EDITS]


def breaks(how: str) -> Callable[[Edit], Edit]:
    """Registers an edit of a model."""

    def decorate(edit: Edit) -> Edit:
        EDITS[how] = edit
        return edit

    return decorate


def damages(how: str) -> Callable[[BytesEdit], BytesEdit]:
    """Registers an edit of a file's bytes."""

    def decorate(edit: BytesEdit) -> BytesEdit:
        BYTES_EDITS[BYTES_PREFIX + how] = edit
        return edit

    return decorate
