"""Findings as Markdown, ready to be pasted into an issue tracker."""

from __future__ import annotations

import re
from pathlib import Path

from onnxla.testing import gradients
from onnxla.testing.findings import Finding
from onnxla.testing.reports.evidence import (
    expected_gradients,
    expected_values,
    said_by,
    script_of,
)
from onnxla.testing.reports.kinds import how_often
from onnxla.testing.reports.printable import printable
from onnxla.testing.reports.results import FuzzResults
from onnxla.testing.script import as_arrays, literal


def markdown(report: FuzzResults) -> str:
    """All findings, below what was done."""
    head = f"# {report.runtime} on ONNX operators\n\n{escaped(report.title)}\n"
    return "\n".join([printable(head), *(issue(report, each) for each in report.findings)])


def issue(report: FuzzResults, finding: Finding) -> str:
    """One finding: what was run, what was expected and what came, versions, and a script."""
    entry = report.known_failure(finding)
    known = f"Known failure: {escaped(entry.note or 'without a note')}\n" if entry else ""
    source = said_by(finding)
    title = f"## {report.runtime}: {title_of(finding)}"
    parts = [
        f"{title}\n",
        known,
        f"**Case.** {code(repr(finding.case))}\n",
        f"**Expected**{f', {source}' if source else ''}:\n",
        fenced(expected_text(finding)),
        f"**What came** ({how_often(finding.count)}):\n",
        fenced(finding.detail),
        "**Script**, which needs onnx and numpy alone, with a place for the call of the runtime:\n",
        fenced(script_of(finding), "python"),
        "**Versions**\n",
        *(f"- {name}: {code(said)}" for name, said in report.about.lines.items()),
        f"- features of the case: {code(', '.join(sorted(finding.signature.features)) or 'none')}",
        "",
    ]
    return printable("\n".join(part for part in parts if part))


def title_of(finding: Finding) -> str:
    """What a finding is, in a few words."""
    signature = finding.signature
    what = "fails" if signature.outcome == "failed" else "is not as expected"
    if finding.judges == gradients.JUDGES:
        what = "fails to differentiate" if what == "fails" else "has another gradient"
    elif finding.judges and signature.outcome == "disagreed":
        what = f"disagrees with {' and '.join(finding.judges)}"
    return f"{signature.operator}-{signature.version} {what}"


def expected_text(finding: Finding) -> str:
    """The outputs, or the gradients, expected, each in a line."""
    if (slopes := expected_gradients(finding)) is not None:
        return "\n".join(
            f"gradient by {name} = {literal(slopes.rounded(name))}" for name in slopes.expected
        )
    values = expected_values(finding.case, finding.judges)
    if values is None:
        return "no error" if finding.signature.outcome == "failed" else "see what came"
    names = [value.name for value in finding.case.proto.graph.output]
    return "\n".join(
        f"{name} = {literal(as_arrays(value))}" for name, value in zip(names, values, strict=True)
    )


def write_each(report: FuzzResults, folder: Path) -> list[Path]:
    """Writes each finding into a file of its own, which is named the same in every run."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for finding in report.findings:
        path = folder / f"{finding.signature.key}.md"
        path.write_text(issue(report, finding), "utf-8")
        paths.append(path)
    return paths


def fenced(text: str, language: str = "") -> str:
    """Text as a block of code; its fence is longer than any run of backticks in it."""
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}\n"


def code(text: str) -> str:
    """Text in one line as code, whatever backticks it has."""
    text = " ".join(text.split())
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence, space = "`" * (longest + 1), " " if longest else ""
    return f"{fence}{space}{text}{space}{fence}"


def escaped(text: str) -> str:
    """Text in which no character means anything to Markdown."""
    return re.sub(r"([\\`*_\[\]<>#|])", r"\\\1", text)
