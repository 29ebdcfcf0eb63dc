"""Text that harms neither a terminal nor a file: errors of runtimes may hold anything."""

from __future__ import annotations


def printable(text: str) -> str:
    """The text with its lines and tabs; other characters that do not print are escaped."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t" else repr(c)[1:-1] for c in text)
