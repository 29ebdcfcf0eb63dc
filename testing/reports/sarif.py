"""A report as SARIF 2.1.0, which code scanning services read."""

from __future__ import annotations

import datetime
import json
from typing import Any

from onnxla.testing.findings import Finding
from onnxla.testing.reports.about import package_version
from onnxla.testing.reports.evidence import said_by
from onnxla.testing.reports.markdown import issue
from onnxla.testing.reports.printable import printable
from onnxla.testing.reports.remarks import remarks
from onnxla.testing.reports.results import FuzzResults

SCHEMA = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)


def sarif(report: FuzzResults) -> str:
    """One result for each finding, its rule the operator; the message has the script."""
    rules = sorted({finding.signature.operator for finding in report.findings})
    driver = {
        "name": "onnxla",
        "version": package_version("onnxla") or "unknown",
        "rules": [rule(name) for name in rules],
    }
    run = {
        "tool": {"driver": driver},
        "invocations": [invocation(report)],
        "columnKind": "unicodeCodePoints",
        "results": [result(report, finding, rules) for finding in report.findings],
        "properties": {
            "title": printable(report.title),
            "runtime": report.runtime,
            "judges": list(report.judges),
            "seed": report.seed,
            "versions": dict(report.about.versions),
            "platform": report.about.platform,
            **{title: list(map(printable, items)) for title, items in remarks(report).items()},
        },
    }
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2) + "\n"


def rule(operator: str) -> dict[str, Any]:
    """The rule that an operator computes what its specification says."""
    text = f"{operator} computes what the ONNX specification says."
    return {"id": operator, "name": operator, "shortDescription": {"text": text}}


def invocation(report: FuzzResults) -> dict[str, Any]:
    """The command and when it ran."""
    about = report.about
    found: dict[str, Any] = {"executionSuccessful": True}
    if about.command:
        found["commandLine"] = printable(about.command)
    if about.date:
        began = datetime.datetime.fromisoformat(about.date)
        ended = began + datetime.timedelta(seconds=about.seconds)
        found |= {"startTimeUtc": utc(began), "endTimeUtc": utc(ended)}
    return found


def utc(time: datetime.datetime) -> str:
    """A time as SARIF writes it."""
    return time.astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def result(report: FuzzResults, finding: Finding, rules: list[str]) -> dict[str, Any]:
    """A finding. Its place is the file under which its case is saved, since it is in no source."""
    signature, source = finding.signature, said_by(finding)
    name = f"{signature.operator}-{signature.version}"
    text = f"{report.runtime}, {name}: {finding.title}{f' ({source})' if source else ''}"
    region = {"artifactLocation": {"uri": f"{signature.key}.onnx"}, "region": {"startLine": 1}}
    logical = {"name": name, "fullyQualifiedName": name, "kind": "function"}
    entry = report.known_failure(finding)
    suppressed = {"kind": "external", "justification": entry.note} if entry else None
    return {
        "ruleId": signature.operator,
        "ruleIndex": rules.index(signature.operator),
        "level": "error",
        "message": {"text": printable(text), "markdown": issue(report, finding)},
        "locations": [{"physicalLocation": region, "logicalLocations": [logical]}],
        "partialFingerprints": {"signature/v1": signature.key},
        "suppressions": [suppressed] if suppressed else [],
        "properties": {"cases": finding.count, "features": sorted(signature.features)},
    }
