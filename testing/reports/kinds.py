"""The kinds of outcome in the order in which reports tell them, and how cases are counted."""

from __future__ import annotations

from collections.abc import Sequence

from onnxla.testing.fuzzing import Fuzzed

# Each with a colour that can be seen on white and on black.
KINDS = {
    "agreed": "#2e8b57",
    "disagreed": "#d9413a",
    "failed": "#9c1f3b",
    "known fault": "#d98a1f",
    "judges differ": "#8a6fc4",
    "not judged": "#7d8a99",
    "unsupported": "#b3b8bf",
}


def kinds_in(results: Sequence[Fuzzed]) -> list[str]:
    """The kinds that occur."""
    return [kind for kind in KINDS if any(result.counts[kind] for result in results)]


def cases(count: int) -> str:
    """A number of cases, such as `1 case`."""
    return amount(count, "case")


def how_often(count: int) -> str:
    """How many of the cases that were drawn a finding explains."""
    return f"{cases(count)} like it" if count else "met in the search for a simpler case"


def amount(count: int, thing: str, things: str = "") -> str:
    """A number of things, such as `1 entry` or `2 entries`."""
    return f"{count} {thing if count == 1 else things or f'{thing}s'}"
