"""A report as JUnit XML, which most CI systems show."""

from __future__ import annotations

from xml.etree import ElementTree

from onnxla.testing.findings import Finding
from onnxla.testing.fuzzing import Fuzzed
from onnxla.testing.reports.evidence import reproducer, said_by
from onnxla.testing.reports.kinds import cases
from onnxla.testing.reports.printable import printable
from onnxla.testing.reports.remarks import entry_text, remarks
from onnxla.testing.reports.results import FuzzResults


def junit(report: FuzzResults) -> str:
    """One test case for each operator, and one for each entry of the baseline that must leave.

    Findings are failures. An operator that is unsupported throughout, or fails only as the baseline
    says, is skipped.
    """
    suites = ElementTree.Element("testsuites")
    suite = ElementTree.SubElement(suites, "testsuite")
    properties = ElementTree.SubElement(suite, "properties")
    about = {"title": report.title, "seed": str(report.seed), **report.about.lines}
    for name, value in {**about, **lists(report)}.items():
        put(properties, "property", name=name, value=value)
    for result in report.results:
        add_operator(suite, report, result)
    for entry in report.applied.stale:
        case = put(suite, "testcase", classname="baseline", name=entry_text(entry), time="0")
        put(case, "failure", type="stale", message="this entry of the baseline explains nothing")
    cases = suite.findall("testcase")
    sums = {
        "tests": len(cases),
        "failures": sum(case.find("failure") is not None for case in cases),
        "errors": 0,
    }
    for name, count in sums.items():
        suites.set(name, str(count))
        suite.set(name, str(count))
    suite.set("name", f"onnxla fuzz {printable(report.runtime)}")
    suite.set("skipped", str(sum(case.find("skipped") is not None for case in cases)))
    suite.set("time", f"{sum(result.seconds for result in report.results):.3f}")
    if report.about.date:
        suite.set("timestamp", report.about.date.partition("+")[0])  # in UTC
    ElementTree.indent(suites)
    head = '<?xml version="1.0" encoding="UTF-8"?>\n'
    return f"{head}{ElementTree.tostring(suites, 'unicode')}\n"


def lists(report: FuzzResults) -> dict[str, str]:
    """What limits the result, as text by title."""
    return {title: "\n".join(items) for title, items in remarks(report).items()}


def add_operator(suite: ElementTree.Element, report: FuzzResults, result: Fuzzed) -> None:
    """Adds the test case of an operator."""
    domain, _, name = result.name.rpartition(".")
    fields = {"classname": domain or "ai.onnx", "name": name, "time": f"{result.seconds:.3f}"}
    case = put(suite, "testcase", **fields)
    for finding in report.unexpected(result):
        kind, message = finding.signature.outcome, finding.title
        put(case, "failure", finding_text(finding), type=kind, message=message)
    if untold := report.untold(result):
        message = f"{cases(untold)} without a finding"
        put(case, "failure", type="without a finding", message=message)
    if reason := "" if report.fails(result) else skipped(report, result):
        put(case, "skipped", message=reason)
    counts = [f"{kind}: {count}" for kind, count in result.counts.items()]
    counts += [f"cut short: {result.cut}"] if result.cut else []
    put(case, "system-out", "\n".join(counts))


def skipped(report: FuzzResults, result: Fuzzed) -> str:
    """Why an operator that does not fail cannot be said to pass either; empty if it can."""
    if result in report.not_compared:
        details = [d for kind, d in result.details.items() if result.counts[kind]]
        return "\n".join(details) or "there is no case"
    if result.findings:
        return "fails as the baseline says"
    return ""


def finding_text(finding: Finding) -> str:
    """Who says what is expected, and the case as a script."""
    source = said_by(finding)
    expected = f"expected {source}\n" if source else ""
    return f"{finding.title}\n{expected}{reproducer(finding)}"


def put(
    parent: ElementTree.Element, tag: str, text: str = "", **fields: str
) -> ElementTree.Element:
    """A new element; XML has no control characters, not even escaped ones."""
    found = ElementTree.SubElement(parent, tag, {k: printable(v) for k, v in fields.items()})
    found.text = printable(text) or None
    return found
