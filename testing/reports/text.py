"""A report as text, for terminals."""

from __future__ import annotations

from collections.abc import Iterator

from onnxla.tables import Table
from onnxla.testing.findings import Finding
from onnxla.testing.reports.evidence import reproducer, said_by
from onnxla.testing.reports.kinds import how_often, kinds_in
from onnxla.testing.reports.printable import printable
from onnxla.testing.reports.remarks import remarks
from onnxla.testing.reports.results import FuzzResults


def text(report: FuzzResults) -> str:
    """The report as text: counts, what limits them, and each finding with its script."""
    return printable("\n\n".join(blocks(report)) + "\n")


def blocks(report: FuzzResults) -> Iterator[str]:
    """The parts of the text."""
    kinds = kinds_in(report.results)
    rows = [
        (result.name, *(str(result.counts[kind] or "") for kind in kinds))
        for result in report.results
    ]
    yield str(Table(report.title, ("operator", *kinds), rows))
    if report.about.lines:
        yield "\n".join(f"{title}: {said}" for title, said in report.about.lines.items())
    for title, items in remarks(report).items():
        yield "\n".join([f"{title}:", *(f"  {item}" for item in items)])
    for result in report.results:
        yield from map(finding_text, report.unexpected(result))


def finding_text(finding: Finding) -> str:
    """A finding: what it is, who says what is expected, and the case as a script."""
    source = said_by(finding)
    lines = [f"{heading(finding)}: {finding.detail}", how_often(finding.count)]
    lines += [f"expected {source}"] if source else []
    return "\n".join([*lines, reproducer(finding).rstrip()])


def heading(finding: Finding) -> str:
    """The operator, its schema version, and what came of it."""
    signature = finding.signature
    return f"{signature.operator}-{signature.version} {signature.outcome}"
