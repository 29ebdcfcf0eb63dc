"""What to say to somebody who wrote a name that there is not."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Iterable

SHOWN = 8  # names that a message lists
# Names come from files: comparing very many, or very long ones, would take long.
COMPARED = 10_000
LONGEST = 200


def no_such(what: str, name: object, known: Iterable[str]) -> str:
    """A message such as `no input is named 'imge'; did you mean 'image'?`."""
    return f"no {what} is named '{name}'; {nearest(name, known)}"


def nearest(name: object, known: Iterable[str]) -> str:
    """The question whether the nearest of the known names was meant, or the first of them."""
    known = list(known)
    comparable = [each for each in itertools.islice(known, COMPARED) if len(each) <= LONGEST]
    if close := difflib.get_close_matches(str(name)[:LONGEST], comparable, 1):
        return f"did you mean '{close[0]}'?"
    more = ", ..." if len(known) > SHOWN else ""
    return f"there are {', '.join(known[:SHOWN])}{more}" if known else "there are none"
