"""What limits the result of a report, so that nothing is passed over in silence."""

from __future__ import annotations

import collections

from onnxla.testing.baselines import KnownFailure
from onnxla.testing.reports.kinds import cases
from onnxla.testing.reports.results import FuzzResults


def remarks(report: FuzzResults) -> dict[str, list[str]]:
    """What was not compared, not told, or not counted, and why, by title; no title is empty."""
    found = {
        "Operators without a case that was compared": [r.name for r in report.not_compared],
        "Operators cut short": [f"{r.name}: {r.cut}" for r in report.cut],
        "Failures without a finding": [
            f"{r.name}: {cases(count)}" for r in report.results if (count := report.untold(r))
        ],
        "Failures as the baseline says": [
            entry_text(entry) for entry in dict.fromkeys(report.applied.expected.values())
        ],
        "Entries of the baseline that explain nothing: remove them, or update it": [
            entry_text(entry) for entry in report.applied.stale
        ],
        "Judges differ": [
            f"{r.name}, {cases(count)}: {r.details['judges differ']}"
            for r in report.results
            if (count := r.counts["judges differ"])
        ],
        "Unsupported by the runtime under test": [str(r) for r in report.reasons("unsupported")],
        "Not judged, since these have no answer": [str(r) for r in report.reasons("not judged")],
        "Agreed with": counted(report.judged),
        "Faults on record": counted(report.known),
        "Faults on record of other versions or machines, not applied": counted(report.not_applied),
    }
    return {title: items for title, items in found.items() if items}


def entry_text(entry: KnownFailure) -> str:
    """An entry of a baseline in one line, with its note."""
    return f"{entry.signature} ({entry.note})" if entry.note else str(entry.signature)


def counted(found: collections.Counter[str]) -> list[str]:
    """Texts with their cases, the most frequent one first."""
    return [f"{cases(count)}: {text}" for text, count in found.most_common()]
