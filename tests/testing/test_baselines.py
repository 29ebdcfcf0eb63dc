"""Baselines: failures that are known, entries that must leave, and files that can be compared."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxla.testing import About, Baseline, FuzzReport, example
from onnxla.testing.baselines import KnownFailure
from onnxla.testing.findings import FailureSignature
from onnxla.testing.fuzzing import Fuzzed
from onnxla.testing.reports.formats import FORMS
from support.fuzzed import fuzzed

ONE = np.ones(2, np.float32)
HERE = About({"odd": "0.3"}, system="linux")


@pytest.fixture(scope="module")
def results() -> list[Fuzzed]:
    """`Neg` disagrees for floats and integers, `Not` fails, `Relu` agrees."""
    return [
        fuzzed([example("Neg", 13, ONE), example("Neg", 13, np.array([3]))], "reference"),
        fuzzed([example("Not", 1, np.array([True]))], "reference"),
        fuzzed([example("Relu", 14, ONE)], "reference"),
    ]


def report_of(results: list[Fuzzed], *failures: KnownFailure, about: About = HERE) -> FuzzReport:
    """A report with a baseline of some entries."""
    return FuzzReport("odd", ("reference",), results, 0, about, Baseline("odd", failures))


def known(results: list[Fuzzed], **fields: Any) -> list[KnownFailure]:
    """An entry for each finding."""
    return [KnownFailure(f.signature, **fields) for each in results for f in each.findings]


def test_what_is_known_is_no_reason_to_stop(results: list[Fuzzed]) -> None:
    assert not report_of(results).ok
    report = report_of(results, *known(results))
    assert report.ok
    assert report.verdict == "nothing new, 3 findings as the baseline says"
    assert not [finding for each in results for finding in report.unexpected(each)]
    some = report_of(results, *known(results)[:2])
    assert not some.ok
    assert some.verdict == "1 of 3 operators fail, 1 finding, 2 findings as the baseline says"


def test_the_operator_that_has_most_entries_decides_how_many_are_searched_for(
    results: list[Fuzzed],
) -> None:
    assert Baseline("odd", known(results)).most == 2
    assert Baseline("odd").most == 0


def test_an_entry_explains_what_has_all_its_features(results: list[Fuzzed]) -> None:
    floats, integers, fails = known(results)
    # Both double; the one of integers has that in addition.
    assert floats.signature.features < integers.signature.features
    general = report_of(results, dataclasses.replace(floats, note="doubles"), fails)
    assert general.ok
    assert {entry.note for entry in general.applied.expected.values()} == {"doubles", ""}
    assert not report_of(results, integers, fails).ok


def test_failures_without_a_finding_are_never_expected(results: list[Fuzzed]) -> None:
    more = dataclasses.replace(results[0], counts=results[0].counts + Counter(disagreed=2))
    changed = [dataclasses.replace(more, further=2), *results[1:]]
    report = report_of(changed, *known(results))
    assert not report.ok
    assert "2 failures without a finding" in report.verdict


@pytest.mark.parametrize(
    ("change", "stale"),
    [
        ({}, True),
        ({"operator": "Exp"}, False),  # was not run
        ({"version": 6}, False),
        ({"version": 14}, True),
    ],
    ids=["run", "operator", "version", "explains nothing"],
)
def test_an_entry_that_explains_nothing_must_leave(
    change: dict[str, Any], stale: bool, results: list[Fuzzed]
) -> None:
    signature = FailureSignature("Relu", 14, "disagreed", "output", frozenset())
    entry = KnownFailure(dataclasses.replace(signature, **change), "once")
    report = report_of(results, *known(results), entry)
    assert report.ok is not stale
    assert [*report.applied.stale] == [entry] * stale
    assert ("remove them" in str(report)) is stale
    assert ("(once)" in FORMS[".xml"](report)) is stale
    after = report.baseline and report.baseline.update(results, "0.3", "linux")
    assert after is not None
    assert (entry in after.failures) is not stale
    assert report.updated_baseline() == after
    # Those of an operator that was not run to its end may still fail.
    cut = [dataclasses.replace(each, cut="no time") for each in results]
    assert report_of(cut, *known(results), entry).ok


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ({}, True),
        ({"versions": ">=0.3,<0.4"}, True),
        ({"versions": ">=0.4"}, False),
        ({"platform": "linux"}, True),
        ({"platform": "win32"}, False),
        ({"platform": "linux", "versions": "<0.3"}, False),
    ],
    ids=str,
)
def test_conditions(condition: dict[str, str], holds: bool, results: list[Fuzzed]) -> None:
    entries = known(results, **condition)
    report = report_of(results, *entries)
    assert report.ok is holds
    # One whose condition does not hold need not explain anything.
    assert not report.applied.stale
    gone = KnownFailure(FailureSignature("Relu", 14, "disagreed", "y", frozenset()), **condition)
    assert bool(report_of(results, *known(results), gone).applied.stale) is holds


def test_what_is_not_known_of_a_run(results: list[Fuzzed]) -> None:
    # Of no version is known whether it is one of those; the system is then this one.
    entries = known(results, versions=">=7", platform=sys.platform)
    assert report_of(results, *entries, about=About()).ok


def test_update_keeps_notes_and_conditions(results: list[Fuzzed], tmp_path: Path) -> None:
    start = Baseline("odd")
    first = start.update(results[:1], "0.3")
    assert len(first.failures) == 2
    noted = dataclasses.replace(
        first, failures=[dataclasses.replace(f, note="why", versions="<9") for f in first.failures]
    )
    path = tmp_path / "baseline.json"
    noted.update(results, "0.3").save(path)
    again = Baseline.load(path)
    assert [(f.signature.operator, f.note, f.versions) for f in again.failures] == [
        ("Neg", "why", "<9"),
        ("Neg", "why", "<9"),
        ("Not", "", ""),
    ]
    assert report_of(results, *again.failures).ok
    # What of another version is known stays, and what fails there now is added.
    later = again.update(results, "9.1")
    assert len(later.failures) == 5


def test_the_file_is_sorted(results: list[Fuzzed], tmp_path: Path) -> None:
    entries = known(results, note="é")
    Baseline("odd", entries).save(tmp_path / "a.json")
    Baseline("odd", entries[::-1]).save(tmp_path / "b.json")
    text = (tmp_path / "a.json").read_text()
    assert text == (tmp_path / "b.json").read_text()
    assert text.endswith("}\n")
    assert "é" in text
    record = json.loads(text)
    assert [entry["operator"] for entry in record["failures"]] == ["Neg", "Neg", "Not"]
    assert {*record["failures"][0]} == {
        "operator",
        "version",
        "outcome",
        "place",
        "features",
        "note",
    }
    assert {*Baseline.load(tmp_path / "a.json").failures} == {*entries}


ENTRY = {"operator": "Neg", "version": 13, "outcome": "failed", "place": "", "features": []}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is no JSON file"),
        ("[]", "is no baseline: it needs"),
        ('{"runtime": "odd"}', "is no baseline: it needs"),
        ('{"runtime": 3, "failures": []}', "is no baseline: it needs"),
        ([ENTRY, {**ENTRY, "why": "x"}], "entry 2: an entry has no 'why'"),
        ([{**ENTRY, "version": "13"}], "entry 1: 'version' is of type int, got '13'"),
        ([{k: v for k, v in ENTRY.items() if k != "place"}], "entry 1: 'place' is missing"),
        ([{**ENTRY, "versions": "1.2"}], "entry 1: '1.2' is no limit of versions"),
        ([{**ENTRY, "platform": "beos"}], "entry 1: platform is one of linux, darwin, win32, got"),
        (["Neg"], "entry 1: it is no object, but 'Neg'"),
        ([{**ENTRY, "features": [["axis"]]}], "entry 1: 'features' are texts, got"),
        ("[" * 100_000, "is no JSON file"),
    ],
    ids=[f"{i}" for i in range(12)],
)
def test_mistakes_in_a_file_name_the_entry(text: Any, message: str, tmp_path: Path) -> None:
    path = tmp_path / "baseline.json"
    whole = json.dumps({"runtime": "odd", "failures": text}) if isinstance(text, list) else text
    path.write_text(whole)
    with pytest.raises(ValueError, match=message):
        Baseline.load(path)


def test_a_baseline_of_another_runtime_is_refused() -> None:
    with pytest.raises(ValueError, match="the baseline is of 'tiny', and the report of 'odd'"):
        FuzzReport("odd", ("reference",), [], baseline=Baseline("tiny"))


def test_a_name_may_end_with_a_version(results: list[Fuzzed]) -> None:
    """As that of a runtime in another environment does."""
    about = About.of_run(["odd 1.32.0"])
    assert about.versions["odd 1.32.0"] == "1.32.0"
    report = FuzzReport("odd 1.32.0", ("reference",), results, about=about)
    baseline = report.updated_baseline()
    assert baseline.runtime == "odd"
    assert len(baseline.failures) == 3
    assert FuzzReport("odd 1.33.0", ("reference",), results, baseline=baseline).ok
    of_others = Baseline("odd", known(results, versions=">=1.33"))
    assert not dataclasses.replace(report, baseline=of_others).ok


def test_each_form_tells_what_is_known(results: list[Fuzzed]) -> None:
    report = report_of(results, *known(results, note="an old story"))
    assert "an old story" in str(report)
    assert "helper.make_node" not in str(report)
    assert '<skipped message="fails as the baseline says" />' in FORMS[".xml"](report)
    assert "<failure" not in FORMS[".xml"](report)
    found = json.loads(FORMS[".sarif"](report))["runs"][0]["results"]
    assert [each["suppressions"][0]["justification"] for each in found] == ["an old story"] * 3
    page = FORMS[".html"](report)
    assert "<h2>Failures</h2>" not in page
    assert "<dd>an old story</dd>" in page
    assert "Known failure: an old story" in FORMS[".md"](report)
