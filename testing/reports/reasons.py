"""Why cases were not compared, by who says so and what."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from onnxla.testing.fuzzing import Fuzzed
from onnxla.testing.reports.kinds import cases


@dataclass(frozen=True)
class Reason:
    """Why cases were not compared.

    Attributes:
        who: The runtime that says so; empty if none is named.
        text: What it says of the first of the cases, in full.
        cases: How many cases it says that of, their own names and numbers aside.
        operators: Whose cases they are.
    """

    who: str
    text: str
    cases: int
    operators: tuple[str, ...]

    def __str__(self) -> str:
        who = f"{self.who}: " if self.who else ""
        return f"{cases(self.cases)} of {', '.join(self.operators)}: {who}{self.text}"


def reasons(results: Sequence[Fuzzed], kind: str, names: Sequence[str]) -> list[Reason]:
    """Why cases have an outcome of a kind, the most frequent reason first.

    Where several judges have no answer, each one's reason is told, so a case may count for several.

    Args:
        results: What came of the cases.
        kind: `unsupported` or `not judged`.
        names: Names of the runtimes that may say so.
    """
    found: dict[tuple[str, str], Reason] = {}
    for result in results:
        for key, count in result.reasons.items():
            of, _, detail = key.partition(": ")
            for who, text in said(detail, names) if of == kind else ():
                alike = who, general(text)
                before = found.get(alike, Reason(who, text, 0, ()))
                operators = tuple(dict.fromkeys((*before.operators, result.name)))
                found[alike] = Reason(who, before.text, before.cases + count, operators)
    return sorted(found.values(), key=lambda reason: (-reason.cases, reason.who, reason.text))


def said(detail: str, names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Who says what, of `name: text; name: text`."""
    known = "|".join(map(re.escape, names)) or "(?!)"
    for part in re.split(rf"; (?=(?:{known}): )", detail):
        who = re.match(rf"({known}): ", part)
        yield (who[1], part[who.end() :]) if who else ("", part)


def general(text: str) -> str:
    """A reason without what is the case's own: quoted names, shapes, numbers."""
    text = re.sub(r"'[^']*'", "'…'", text)
    return re.sub(r"(?<![A-Za-z_\d])[-+]?\d[\w.+-]*", "#", re.sub(r"\[[\d, ]*\]", "[…]", text))
