"""How messages spell the names of a file, and what to say where there is no such name.

A file may give names of any length, with any characters. So a message shows the beginning of a long
one, a few of many, and no character that a terminal would act on.
"""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Callable, Collection, Iterable

SHOWN = 8  # names that a message lists,
ROOM = 240  # as long as they do not take more characters
TELLING = 3  # characters of a name's part that tell it from most others
# Names come from files: comparing very many, or very long ones, would take long.
COMPARED = 10_000
LONGEST = 200


def shortened(text: str, longest: int = LONGEST) -> str:
    """The text, or its beginning and its length if it is longer than `longest`."""
    if len(text) <= longest:
        return text
    return f"{text[: longest // 2]}... ({len(text):,} characters)"


def plain(name: object) -> str:
    """A name as one short line; what cannot be printed is escaped, as in Python."""
    text = name.decode(errors="backslashreplace") if isinstance(name, bytes) else str(name)
    text = shortened(text)
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


def quoted(name: object) -> str:
    """A name as one short line, in quotes."""
    return f"'{plain(name)}'"


def number_of(count: int, noun: str) -> str:
    """A count and its noun: 1 node, 1,000 nodes."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


def first(names: Iterable[object], spell: Callable[[object], str], room: int) -> list[str]:
    """The first of some names as texts, at least one, that together take little room."""
    texts: list[str] = []
    for text in map(spell, itertools.islice(names, SHOWN)):
        room -= len(text)
        if texts and room < 0:
            break
        texts.append(text)
    return texts


def listed(
    names: Collection[object], spell: Callable[[object], str] = quoted, room: int = ROOM
) -> str:
    """The first of some names, and how many more there are."""
    texts = first(names, spell, room)
    more = f" and {len(names) - len(texts):,} more" if len(names) > len(texts) else ""
    return ", ".join(texts) + more


def as_names(given: str | Iterable[str] | None) -> tuple[str, ...] | None:
    """Names that somebody gave: one, or several."""
    return (given,) if isinstance(given, str) else None if given is None else tuple(given)


def no_such(what: str, name: object, known: Iterable[str]) -> str:
    """A message such as `no input is named 'imge'; did you mean 'image'?`."""
    return f"no {what} is named {quoted(name)}; {nearest(name, known)}"


def nearest(name: object, known: Iterable[str]) -> str:
    """The question whether the nearest of the known names was meant, or the first of them."""
    known = list(known)
    comparable = [each for each in itertools.islice(known, COMPARED) if len(each) <= LONGEST]
    if close := difflib.get_close_matches(str(name)[:LONGEST], comparable, 1):
        return f"did you mean {quoted(close[0])}?"
    part = str(name)[:LONGEST].strip("*?").lower()
    if len(part) >= TELLING and (holding := [n for n in comparable if part in n.lower()]):
        return f"did you mean {quoted(holding[0])}?"
    texts = first(known, plain, ROOM)
    more = ", ..." if len(known) > len(texts) else ""
    return f"there are {', '.join(texts)}{more}" if known else "there are none"
