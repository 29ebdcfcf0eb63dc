"""Sets of characters: the code points at which a set begins and ends, in turns."""

from __future__ import annotations

import functools
import itertools
import unicodedata
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterator
from typing import TypeAlias

Characters: TypeAlias = tuple[int, ...]

END = 0x110000  # after the last code point
LAST_CASED = 0x1E943
DOTLESS_I = "\u0131"  # is no other case of i, though its capital is I


def span(first: str, last: str = "") -> Characters:
    """The characters from `first` to `last`, or `first` alone."""
    return ord(first), ord(last or first) + 1


def spans(*pairs: str) -> Characters:
    """The characters of spans such as "az", or single ones."""
    return union(*(span(pair[0], pair[-1]) for pair in pairs))


def ranges(characters: Characters) -> Iterator[tuple[int, int]]:
    """The begin and end of each run of characters in a set."""
    return zip(characters[::2], characters[1::2], strict=True)


def union(*sets: Characters) -> Characters:
    """The characters that are in one of the sets."""
    merged: list[int] = []
    for first, end in sorted(pair for each in sets for pair in ranges(each)):
        if merged and first <= merged[-1]:
            merged[-1] = max(merged[-1], end)
        else:
            merged += (first, end)
    return tuple(merged)


def others(characters: Characters) -> Characters:
    """The characters that are not in a set."""
    start = characters[1:] if characters[:1] == (0,) else (0, *characters)
    return start[:-1] if start[-1:] == (END,) else (*start, END)


def contains(characters: Characters, character: str) -> bool:
    """Whether a character is in a set."""
    return bisect_right(characters, ord(character)) % 2 == 1


@functools.cache
def cases() -> dict[int, tuple[int, ...]]:
    """By code point, in order: those of its other cases, itself included."""
    groups: dict[str, list[int]] = defaultdict(list)
    for character in map(chr, range(LAST_CASED + 1)):
        upper = character.upper()
        lower = (upper if len(upper) == 1 else character).lower()
        if len(lower) == 1 and character != DOTLESS_I:
            groups[lower].append(ord(character))
    found = {code: tuple(group) for group in groups.values() if len(group) > 1 for code in group}
    return dict(sorted(found.items()))


@functools.lru_cache(1024)
def folded(characters: Characters) -> Characters:
    """The characters of a set in every case."""
    groups = cases()
    codes = [*groups]
    cased = (
        codes[bisect_left(codes, first) : bisect_left(codes, end)]
        for first, end in ranges(characters)
    )
    more = {code for code in itertools.chain(*cased) for code in groups[code]}
    return union(characters, *((code, code + 1) for code in more))


@functools.cache
def categories() -> dict[str, Characters]:
    """The characters of each general category of Unicode, such as Lu, and of each group, as L."""
    found: dict[str, list[Characters]] = defaultdict(list)
    start = 0
    for name, run in itertools.groupby(map(unicodedata.category, map(chr, range(END)))):
        end = start + sum(1 for _ in run)
        found[name].append((start, end))
        found[name[0]].append((start, end))
        start = end
    return {"Any": (0, END)} | {name: union(*sets) for name, sets in found.items()}
