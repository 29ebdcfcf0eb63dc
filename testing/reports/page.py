"""A report as a page: failures first, then counts, reasons, and each finding with its script."""

from __future__ import annotations

from collections.abc import Iterator

from onnxla.testing.findings import Finding
from onnxla.testing.fuzzing import Fuzzed
from onnxla.testing.reports.document import document, facts, listing, said
from onnxla.testing.reports.evidence import said_by, script_of
from onnxla.testing.reports.kinds import KINDS, amount, cases, how_often, kinds_in
from onnxla.testing.reports.remarks import remarks
from onnxla.testing.reports.results import FuzzResults


def page(report: FuzzResults) -> str:
    """The report as a page that needs no other file."""
    against = " and ".join(report.judges)
    drawn = f"{cases(report.counts.total())} of {amount(len(report.results), 'operator')}"
    lines = {"compared with": against, "drawn": f"{drawn}, seed {report.seed}"}
    return document(
        f"{report.runtime}: {report.verdict}",
        facts({**lines, **report.about.lines}),
        failures(report),
        operators(report),
        *remark_parts(report),
        *finding_parts(report),
    )


def anchors(report: FuzzResults) -> dict[int, str]:
    """The place of each finding on the page, by the identity of the finding."""
    return {id(finding): f"finding-{i}" for i, finding in enumerate(report.findings, 1)}


def failures(report: FuzzResults) -> str:
    """The table at the top: each failure, with a link to where all of it is told."""
    places = anchors(report)
    rows = "".join(
        f"<tr><td><a href='#{places[id(finding)]}'>{said(name_of(finding))}</a></td>"
        f"<td>{cases(finding.count)}</td><td class='text'>{dot(finding.signature.outcome)}</td>"
        f"<td class='text wrap'>{said(finding.detail)}</td></tr>"
        for result in report.results
        for finding in report.unexpected(result)
    )
    if not rows:
        return ""
    head = "<tr><th>operator</th><th>like it</th><th class='text'>outcome</th><th></th></tr>"
    table = f"<table class='failures'>{head}{rows}</table>"
    return f"<h2>Failures</h2><div class='scroll'>{table}</div>"


def name_of(finding: Finding) -> str:
    """The operator with its schema version."""
    return f"{finding.signature.operator}-{finding.signature.version}"


def dot(kind: str) -> str:
    """A kind of outcome with its colour."""
    return f"<span class='dot' style='background:{KINDS[kind]}'></span>{kind}"


def operators(report: FuzzResults) -> str:
    """Counts by operator and kind of outcome, with a bar; names lead to the first finding."""
    kinds, places = kinds_in(report.results), anchors(report)
    head = "".join(f"<th>{dot(kind)}</th>" for kind in kinds)
    rows = "".join(
        f"<tr><td>{linked(result, places)}</td><td>{bar(result)}</td>"
        f"<td>{result.counts.total()}</td>"
        + "".join(f"<td>{result.counts[kind] or ''}</td>" for kind in kinds)
        + "</tr>"
        for result in report.results
    )
    head = f"<tr><th>operator</th><th></th><th>cases</th>{head}</tr>"
    return f"<h2>Operators</h2><div class='scroll'><table>{head}{rows}</table></div>"


def linked(result: Fuzzed, places: dict[int, str]) -> str:
    """An operator's name, with a link to its first finding if it has one."""
    name = said(result.name)
    first = next(iter(result.findings), None)
    return f"<a href='#{places[id(first)]}'>{name}</a>" if first else name


def bar(result: Fuzzed) -> str:
    """The shares of the outcomes as one coloured bar."""
    parts = "".join(
        f"<div style='flex:{result.counts[kind]};background:{colour}' title='{kind}'></div>"
        for kind, colour in KINDS.items()
        if result.counts[kind]
    )
    return f"<div class='bar'>{parts}</div>"


def remark_parts(report: FuzzResults) -> Iterator[str]:
    """What limits the result."""
    for title, items in remarks(report).items():
        yield f"<h2>{said(title)}</h2>{listing(items)}"


def finding_parts(report: FuzzResults) -> Iterator[str]:
    """Each finding in full."""
    places = anchors(report)
    if report.findings:
        yield "<h2>Findings</h2>"
    for finding in report.findings:
        entry, source = report.known_failure(finding), said_by(finding)
        lines = {
            "how often": how_often(finding.count),
            "expected": source,
            "features": ", ".join(sorted(finding.signature.features)),
            "baseline": (entry.note or "known, without a note") if entry else "",
        }
        yield (
            f"<h3 id='{places[id(finding)]}'>{said(name_of(finding))} "
            f"{dot(finding.signature.outcome)}</h3><p>{said(finding.detail)}</p>"
            f"{facts({title: text for title, text in lines.items() if text})}"
            f"<p><code>{said(repr(finding.case))}</code></p>"
            f"<details open><summary>script</summary>"
            f"<pre>{said(script_of(finding))}</pre></details>"
        )
