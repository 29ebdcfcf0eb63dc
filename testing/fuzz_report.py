"""What fuzzing found, as text and as a page."""

from __future__ import annotations

import collections
import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from onnxla.tables import Table
from onnxla.testing.fuzzing import Fuzzed

KINDS = {
    "agreed": "#2e7d32",
    "disagreed": "#c62828",
    "failed": "#8e0000",
    "known fault": "#ef9a3c",
    "judges differ": "#8d6e63",
    "not judged": "#9e9e9e",
    "unsupported": "#bdbdbd",
}
COMPARED = ("agreed", "disagreed", "failed", "known fault")
STYLE = (
    "body{font-family:sans-serif;margin:2em;max-width:70em}table{border-collapse:collapse}"
    "td,th{padding:.2em .8em;text-align:right}td:first-child,th:first-child{text-align:left}"
    ".bar{display:flex;width:14em;height:1em}pre{background:#f5f5f5;padding:1em;overflow:auto}"
)


@dataclass(frozen=True)
class FuzzReport:
    """What came of fuzzing some operators.

    Attributes:
        runtime: Name of the runtime under test.
        against: Name of the one that it was compared with.
        results: One for each operator.
        seed: What the cases were drawn from.
    """

    runtime: str
    against: str
    results: Sequence[Fuzzed]
    seed: int = 0

    @property
    def ok(self) -> bool:
        """Whether cases were compared, and none disagreed or failed."""
        return all(result.ok for result in self.results) and bool(self.compared)

    @property
    def compared(self) -> int:
        """How many operators have a case that both sides could run."""
        return sum(any(result.counts[kind] for kind in COMPARED) for result in self.results)

    @property
    def title(self) -> str:
        """What was done, in one line."""
        cases = sum(result.counts.total() for result in self.results)
        wrong = sum(not result.ok for result in self.results)
        skipped = len(self.results) - self.compared
        verdict = f"{wrong} of {len(self.results)} operators differ" if wrong else "all agree"
        if skipped:
            verdict = f"{verdict}, but {skipped} that no case could compare"
        if not self.compared:
            verdict = "no case could be compared"
        return (
            f"{self.runtime} against {self.against}: {cases} cases of {len(self.results)} "
            f"operators, seed {self.seed}: {verdict}"
        )

    @property
    def known(self) -> collections.Counter[str]:
        """How many cases met each fault on record."""
        return sum((result.known for result in self.results), collections.Counter())

    @property
    def not_applied(self) -> collections.Counter[str]:
        """How many cases met a fault on record of other versions than those installed."""
        return sum((result.not_applied for result in self.results), collections.Counter())

    def table(self) -> Table:
        """Counts by operator and outcome."""
        kinds = [kind for kind in KINDS if any(result.counts[kind] for result in self.results)]
        rows = [
            (result.name, *(str(result.counts[kind] or "") for kind in kinds))
            for result in self.results
        ]
        return Table(self.title, ("operator", *kinds), rows)

    def __str__(self) -> str:
        parts = [str(self.table())]
        parts += [f"known fault, {n} cases: {title}" for title, n in self.known.items()]
        parts += [f"not applied, {n} cases: {title}" for title, n in self.not_applied.items()]
        for result in self.results:
            # What one side cannot do is worth a line; what is wrong, the whole case.
            for kind in ("judges differ", "not judged", "unsupported"):
                if detail := result.details.get(kind):
                    parts.append(f"{result.name}: {kind}: {detail}")
            parts += [
                f"\n{result.name}, {each.count} cases, {each.title}\n{each.reproducer}"
                for each in result.findings
            ]
        return "\n".join(parts)

    def html(self) -> str:
        """A page: a bar for each operator, and the simplest case of each that differs."""
        rows = "".join(
            f"<tr><td>{html.escape(result.name)}</td><td>{result.counts.total()}</td>"
            f"<td>{bar(result)}</td>"
            + "".join(f"<td>{result.counts[kind] or ''}</td>" for kind in KINDS)
            + "</tr>"
            for result in self.results
        )
        head = "".join(f"<th style='color:{color}'>{kind}</th>" for kind, color in KINDS.items())
        wrong = "".join(
            f"<h3>{html.escape(result.name)}</h3><p>{html.escape(finding.title)}</p>"
            f"<pre>{html.escape(finding.reproducer)}</pre>"
            for result in self.results
            for finding in result.findings
        )
        return (
            f"<!doctype html><meta charset='utf-8'><title>{html.escape(self.title)}</title>"
            f"<style>{STYLE}</style><h2>{html.escape(self.title)}</h2>{wrong}"
            f"<table><tr><th>operator</th><th>cases</th><th></th>{head}</tr>{rows}</table>"
            + listing("Faults on record", self.known)
            + listing("Faults of other versions or machines, not applied", self.not_applied)
        )

    _repr_html_ = html

    def save(self, path: str | Path) -> None:
        """Writes the page if the path ends in `.html`, else the text."""
        path = Path(path)
        path.write_text(self.html() if path.suffix in (".html", ".htm") else f"{self}\n")


def listing(title: str, counts: collections.Counter[str]) -> str:
    """A part of the page that lists faults; empty if there are none."""
    items = "".join(f"<li>{html.escape(text)} ({n} cases)</li>" for text, n in counts.items())
    return f"<h3>{title}</h3><ul>{items}</ul>" if items else ""


def bar(result: Fuzzed) -> str:
    """The shares of the outcomes as one coloured bar."""
    parts = "".join(
        f"<div style='flex:{result.counts[kind]};background:{color}' title='{kind}'></div>"
        for kind, color in KINDS.items()
        if result.counts[kind]
    )
    return f"<div class='bar'>{parts}</div>"
