"""Reports: their sums, and each of the forms that they are written in."""

from __future__ import annotations

import contextlib
import dataclasses
import html.parser
import io
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jsonschema
import ml_dtypes
import numpy as np
import onnx
import pytest

from onnxla.peers.difference import Tolerance, difference
from onnxla.testing import About, Case, FuzzReport, Isolated, Reference, Typed, example
from onnxla.testing.element_types import element_type
from onnxla.testing.fuzzing import Fuzzed
from onnxla.testing.reports.formats import FORMS
from onnxla.testing.reports.matrix import cells
from support.fuzzed import Odd, Silent, fuzzed

ONE = np.ones(2, np.float32)
ABOUT = About.of_run([Odd(), "onnxla", "reference"], ["onnxla", "fuzz", "a b"], seconds=1.5)


@pytest.fixture(scope="module")
def report() -> FuzzReport:
    """Failures, agreement, and what was not compared, for each reason that there is."""
    return FuzzReport(
        "odd",
        ("onnxla", "reference", "silent"),
        [
            fuzzed([example("Neg", 13, ONE), example("Neg", 6, 0 * ONE)]),
            fuzzed([example("Not", 1, np.array([True]))]),
            fuzzed([example("Abs", 13, np.ones(n, np.float32)) for n in (1, 200)]),
            fuzzed([example("Relu", 14, x) for x in (ONE, ONE.astype(np.float64))]),
            fuzzed([example("Exp", 13, ONE)], [Silent()]),
            dataclasses.replace(
                Fuzzed("com.microsoft.Add", Counter({"failed": 3})), further=3, cut="no time"
            ),
        ],
        7,
        ABOUT,
    )


def test_sums_pass_over_nothing(report: FuzzReport) -> None:
    assert report.title == (
        "odd against onnxla and reference and silent: 11 cases of 6 operators, seed 7: 3 of 6 "
        "operators fail, 2 findings, 3 failures without a finding, 1 operator cut short, but 2 "
        "that no case could compare"
    )
    assert [result.name for result in report.not_compared] == ["Abs", "Exp"]
    assert not report.ok
    right = [result for result in report.results if result.name == "Relu"]
    assert FuzzReport("odd", ("reference",), right).ok
    short = dataclasses.replace(right[0], cut="no time")
    assert "1 operator cut short" in FuzzReport("odd", ("reference",), [short]).title


def test_reasons_are_grouped_by_who_gives_them(report: FuzzReport) -> None:
    (reason,) = report.reasons("unsupported")
    assert (reason.who, reason.cases, reason.operators) == ("odd", 2, ("Abs",))
    assert re.fullmatch(r"NotSupported: no kernel for \['X'\] of \d+ bytes", reason.text)
    details = {"a: no (1); b: x; y": 2, "a: no (2)": 3, "there is no judge": 1}
    counts = Counter({f"not judged: {detail}": n for detail, n in details.items()})
    silent = Fuzzed("Exp", reasons=counts)
    found = FuzzReport("c", ("a", "b"), [silent]).reasons("not judged")
    assert [(r.who, r.text, r.cases) for r in found] == [
        ("a", "no (1)", 5),
        ("b", "x; y", 2),
        ("", "there is no judge", 1),
    ]
    # What a judge says may look like what another one says.
    told = report.reasons("not judged")
    assert [(r.who, r.cases) for r in told] == [("silent", 1), ("silent", 1)]


def test_what_judges_say_is_told() -> None:
    counts, details = Counter({"judges differ": 2, "agreed": 3}), {"judges differ": "1, not 2"}
    judged = Counter({"b": 1, "a": 2})
    report = FuzzReport("c", ("a", "b"), [Fuzzed("Neg", counts, judged, details)])
    assert "Judges differ:\n  Neg, 2 cases: 1, not 2\n" in str(report)
    assert "Agreed with:\n  2 cases: a\n  1 case: b\n" in str(report)


def test_about_a_run() -> None:
    assert ABOUT.versions["odd"] == About.of_run([Isolated(Odd())]).versions["odd"] == "0.3"
    assert ABOUT.versions["onnx"] == ABOUT.versions["reference"] == onnx.__version__
    assert {"onnxla", "numpy", "hypothesis", "Python"} <= ABOUT.versions.keys()
    assert ABOUT.command == "onnxla fuzz 'a b'"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", ABOUT.date)
    assert "nobody" not in About.of_run(["nobody"]).versions
    assert not About().lines


def test_json_lines_are_all_of_it(report: FuzzReport, tmp_path: Path) -> None:
    path = tmp_path / "report.jsonl"
    report.save(path)
    again = FuzzReport.load(path)
    assert (again.title, again.about, again.seed) == (report.title, report.about, 7)
    for ending in set(FORMS) - {".jsonl"}:
        report.save(tmp_path / f"a{ending}")
        again.save(tmp_path / f"b{ending}")
        assert (tmp_path / f"a{ending}").read_bytes() == (tmp_path / f"b{ending}").read_bytes()
    first, second = json.loads(path.read_text().splitlines()[0]), path.read_text().splitlines()[1]
    assert first["about"]["versions"]["odd"] == "0.3"
    assert json.loads(second)["findings"][0]["signature"]["operator"] == "Neg"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[:-30], "line 7: JSONDecodeError"),
        (lambda text: text.replace("report 1", "report 9"), "line 1: ValueError: the format is"),
        (lambda text: text.replace('"by_type"', '"kind"', 1), "line 2: KeyError"),
        (lambda text: "", "line 1: JSONDecodeError"),
        (lambda text: "[]", "line 1: TypeError"),
    ],
    ids=["cut", "format", "field", "empty", "list"],
)
def test_a_file_that_is_no_report(
    change: Any, message: str, report: FuzzReport, tmp_path: Path
) -> None:
    path = tmp_path / "report.jsonl"
    report.save(path)
    path.write_text(change(path.read_text()))
    with pytest.raises(ValueError, match=message):
        FuzzReport.load(path)


def test_endings(report: FuzzReport, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"ends in one of .*\.jsonl.*, got '.*r.pdf'"):
        report.save(tmp_path / "r.pdf")
    report.save(tmp_path / "R.TXT")
    assert (tmp_path / "R.TXT").read_text() == str(report)


@pytest.mark.parametrize("ending", sorted(FORMS))
def test_nothing_is_cut_and_no_control_character_is_written(
    ending: str, report: FuzzReport
) -> None:
    written = FORMS[ending](report)
    # Of a file of JSON what a reader finds in it; in lines of JSON it is as the runtime said it.
    if ending not in (".jsonl", ".svg", ".matrix.json", ".matrix.html"):
        assert "is the cause" in written
        assert "fault" not in written
        assert all(c.isprintable() or c in "\n\t" for c in written)
        assert ("no kernel for" in written) is (ending != ".md")
    if "json" in ending and ending != ".jsonl":
        assert "\\u001b" not in written
    assert "\x1b" not in written


def test_text(report: FuzzReport) -> None:
    text = str(report)
    assert "expected as onnxla says; reference confirms it" in text
    assert "helper.make_node('Neg'" in text
    assert "command: onnxla fuzz 'a b'" in text
    assert "Operators cut short:\n  com.microsoft.Add: no time" in text
    assert "Failures without a finding:\n  com.microsoft.Add: 3 cases" in text


ATTRIBUTES = {
    "testsuites": {"tests", "failures", "errors", "name", "time"},
    "testsuite": {"tests", "failures", "errors", "name", "time", "skipped", "timestamp"},
    "properties": set(),
    "property": {"name", "value"},
    "testcase": {"name", "classname", "time"},
    "failure": {"type", "message"},
    "skipped": {"message"},
    "system-out": set(),
}
CHILDREN = {
    "testsuites": r"testsuite",
    "testsuite": r"properties( testcase)*",
    "properties": r"property( property)*",
    "testcase": r"(skipped |(failure )*)system-out",
}


def test_junit_is_as_its_schema_has_it(report: FuzzReport) -> None:
    root = ElementTree.fromstring(FORMS[".xml"](report).encode())
    for element in root.iter():
        assert set(element.attrib) <= ATTRIBUTES[element.tag]
        tags = " ".join(child.tag for child in element)
        assert re.fullmatch(CHILDREN.get(element.tag, ""), tags), element.tag
        assert re.fullmatch(r"\d*\.\d{3}", element.get("time", "0.000"))
    (suite,) = root
    counts = {name: suite.get(name) for name in ("tests", "failures", "errors", "skipped")}
    assert counts == {"tests": "6", "failures": "3", "errors": "0", "skipped": "2"}
    cases = {case.get("name"): case for case in suite.iter("testcase")}
    assert cases["Add"].get("classname") == "com.microsoft"
    (failure,) = cases["Neg"].findall("failure")
    assert failure.get("type") == "disagreed"
    assert "helper.make_node('Neg'" in (failure.text or "")
    reason = cases["Abs"].find("skipped")
    assert reason is not None
    assert "no kernel for" in reason.get("message", "")
    assert not [*cases["Relu"].iter("failure"), *cases["Relu"].iter("skipped")]
    properties = {each.get("name"): each.get("value") for each in suite.iter("property")}
    assert "onnx " in (properties["versions"] or "")
    assert properties["seed"] == "7"


# What readers of SARIF insist on.
LOCATION = {
    "type": "object",
    "required": ["physicalLocation"],
    "properties": {
        "physicalLocation": {
            "required": ["artifactLocation", "region"],
            "properties": {"region": {"required": ["startLine"]}},
        }
    },
}
RESULT = {
    "required": ["ruleId", "ruleIndex", "message", "locations", "partialFingerprints"],
    "properties": {
        "level": {"enum": ["none", "note", "warning", "error"]},
        "message": {"required": ["text", "markdown"]},
        "locations": {"minItems": 1, "items": LOCATION},
        "partialFingerprints": {"additionalProperties": {"type": "string"}},
        "suppressions": {"items": {"properties": {"kind": {"enum": ["inSource", "external"]}}}},
    },
}
SARIF = {
    "required": ["$schema", "version", "runs"],
    "additionalProperties": False,
    "properties": {
        "$schema": {"type": "string"},
        "version": {"const": "2.1.0"},
        "runs": {
            "items": {
                "required": ["tool", "results", "invocations"],
                "properties": {
                    "tool": {"properties": {"driver": {"required": ["name", "version", "rules"]}}},
                    "results": {"items": RESULT},
                },
            }
        },
    },
}


def test_sarif(report: FuzzReport) -> None:
    log = json.loads(FORMS[".sarif"](report))
    jsonschema.validate(log, SARIF)
    (run,) = log["runs"]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert rules == ["Neg", "Not"]
    assert [rules[result["ruleIndex"]] for result in run["results"]] == ["Neg", "Not"]
    negative = run["results"][0]
    assert "as onnxla says; reference confirms it" in negative["message"]["text"]
    assert "helper.make_node('Neg'" in negative["message"]["markdown"]
    prints = {json.dumps(result["partialFingerprints"]) for result in run["results"]}
    assert len(prints) == 2
    assert run["invocations"][0]["commandLine"] == "onnxla fuzz 'a b'"
    assert re.fullmatch(r"[\d-]+T[\d:]+Z", run["invocations"][0]["startTimeUtc"])
    assert run["tool"]["driver"]["version"] == report.about.versions["onnxla"]
    assert "no kernel for" in str(run["properties"]["Unsupported by the runtime under test"])


class Links(html.parser.HTMLParser):
    """Tags that are open, links, places that they lead to, and addresses of other files."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.places: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        assert "src" not in found
        assert tag not in ("script", "link", "b") or (tag == "b" and "style" in found)
        self.links += [found["href"] or ""] if "href" in found else []
        self.places += [found["id"] or ""] if "id" in found else []
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("ending", [".html", ".matrix.html"])
def test_pages_need_no_other_file(ending: str, report: FuzzReport) -> None:
    page = FORMS[ending](report)
    links = Links()
    links.feed(page.removeprefix("<!doctype html>"))
    assert not links.open
    assert {link.removeprefix("#") for link in links.links} == {*links.places}
    assert len(links.places) == (2 if ending == ".html" else 0)
    assert not re.findall(r"https?:|@import|url\(", page)
    for needed in ("width=device-width", "prefers-color-scheme:dark", "max-width:40rem", "0.3"):
        assert needed in page


def test_failures_can_be_reached_from_the_top(report: FuzzReport) -> None:
    page = FORMS[".html"](report)
    top = page[: page.index("<h2>Operators</h2>")]
    assert re.findall(r"<a href='#(finding-\d)'>(\S+)</a>", top) == [
        ("finding-1", "Neg-13"),
        ("finding-2", "Not-1"),
    ]
    assert page.index("id='finding-1'") > len(top)
    assert "helper.make_node(&#x27;Neg&#x27;" in page
    assert "<li>com.microsoft.Add: no time</li>" in page
    assert report._repr_html_() == page


def test_markdown_for_an_issue_tracker(report: FuzzReport, tmp_path: Path) -> None:
    paths = report.save_findings(tmp_path / "new")
    names = [path.name.rpartition("-")[0] for path in paths]
    assert names == ["Neg-13", "Not-1"]
    assert report.save_findings(tmp_path / "new") == paths
    text = paths[0].read_text()
    assert text.startswith("## odd: Neg-13 disagrees with onnxla and reference\n")
    assert "**Expected**, as onnxla says; reference confirms it:" in text
    assert "np.array([-1.0, -1.0], np.float32)" in text
    assert "-2.0 at [0], not -1.0" in text
    assert "- versions: `odd 0.3" in text
    assert "is the cause" in paths[1].read_text()
    assert "````\nodd: ValueError" in paths[1].read_text()  # longer than the error's own
    everything = FORMS[".md"](report)
    assert everything.startswith("# odd on ONNX operators\n")
    assert all(path.read_text().strip() in everything for path in paths)


def run_script(text: str, call: str = "") -> str:
    """What a script prints, with a call of a runtime in its place."""
    place = "return ReferenceEvaluator(model).run(None, inputs)"
    assert text.count(place) == 1
    if call:
        text = text.replace(place, f"return {call}")
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(text, {})
    return printed.getvalue()


def test_a_script_says_what_is_expected_and_what_came(report: FuzzReport, tmp_path: Path) -> None:
    text = report.save_findings(tmp_path)[0].read_text()
    (script,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert not re.findall(r"^(?:import|from) (?!onnx\b|numpy\b)", script, re.MULTILINE)
    # The file is for others: it has no trace of onnxla but its name.
    assert "onnxla." not in script
    printed = run_script(script)
    assert "y0 expected array([-1., -1.], dtype=float32)\n" in printed
    assert printed.endswith("as expected\n")
    wrong = run_script(script, "[2 * y for y in ReferenceEvaluator(model).run(None, inputs)]")
    assert "y0 got      array([-2., -2.], dtype=float32) WRONG" in wrong


SEQUENCE = example("SequenceConstruct", 11, ONE, ONE, types={"y0": "seq(tensor(float))"})
VALUES = [
    (example("Neg", 13, np.array([1.5, np.nan, -np.inf], np.float32)), "[2 * {}[0]]"),
    (example("Neg", 13, np.array([0.5, 2], ml_dtypes.bfloat16)), "[2 * {}[0]]"),
    (example("Neg", 13, np.array([2**62 + 1, -5])), "[{}[0] + 1]"),
    (example("Neg", 13, np.array([0, 7], np.int8)), "[{}[0].astype('int16')]"),
    (example("Neg", 13, np.float64(3)), "[{}[0].reshape(1)]"),
    (example("Neg", 13, np.zeros((0, 2))), "[{}[0].T]"),
    (example("Not", 1, np.array([True, False])), "[~{}[0]]"),
    (example("Identity", 21, np.array(["a", "é"], object)), "[{}[0][::-1]]"),
    (SEQUENCE, "[{}[0][:1]]"),
    (SEQUENCE, "[[y + 1 for y in {}[0]]]"),
]
NO_ARRAYS = {
    "none": (None, "[None]", "[np.zeros(1)]"),
    "map": ({"a": np.float32(1.5)}, "[{'a': np.float32(1.5)}]", "[{'a': np.float32(2)}]"),
    "maps": ([{1: 1.5}, {}], "[[{1: 1.5}, {}]]", "[[{1: 1.5}, {2: 1.0}]]"),
}


@pytest.mark.parametrize(("case", "wrong"), VALUES, ids=[f"{i}" for i in range(len(VALUES))])
def test_scripts_compare_values_of_all_types(case: Case, wrong: str) -> None:
    expected = Reference().run(case.model, case.inputs)
    script = case.script(expected, "as I say")
    assert "expected value, as I say" in script
    right = "ReferenceEvaluator(model).run(None, inputs)"
    assert run_script(script).endswith("as expected\n")
    assert run_script(script, wrong.format(right)).endswith("WRONG\n")


@pytest.mark.parametrize("kind", NO_ARRAYS)
def test_scripts_compare_what_is_no_array(kind: str) -> None:
    value, right, wrong = NO_ARRAYS[kind]
    script = example("Neg", 13, ONE).script([value])
    assert run_script(script, right).endswith("as expected\n")
    assert run_script(script, wrong).endswith("WRONG\n")


@pytest.mark.parametrize(
    "tolerance",
    [
        Tolerance(),
        Tolerance(scaled=0.25),
        Tolerance(relative=0.25),
        Tolerance(absolute=0.5, steps=None),
        Tolerance(roundings=2, steps=1),
        Tolerance(random=True),
    ],
    ids=["exact", "scaled", "relative", "absolute", "roundings", "random"],
)
@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_a_script_allows_what_the_case_does(tolerance: Tolerance, dtype: Any) -> None:
    case = dataclasses.replace(example("Neg", 13, np.array([1, -4], dtype)), tolerance=tolerance)
    (expected,) = Reference().run(case.model, case.inputs)
    for by in (0, 2e-7, 0.5, 0.75, 1, 2):
        got = (expected + dtype(by)).astype(dtype)
        said = run_script(case.script([expected]), f"[np.array({got.tolist()}, np.{got.dtype})]")
        assert said.endswith("as expected\n") is difference(got, expected, tolerance).ok, by


@pytest.mark.parametrize(
    ("case", "dtype"),
    [
        (example("Neg", 13, ONE), "float32"),
        (example("Where", 16, np.array(True), ONE, ONE), "float32"),  # T comes second
        (example("Cast", 13, ONE, to=6, types={"y0": "tensor(int32)"}), "float32"),
        (example("Constant", 13, value_int=3, types={"y0": "tensor(int64)"}), "int64"),
        (example("SequenceLength", 11, Typed("seq(tensor(string))", [])), "string"),
        (example("Neg", 13, ONE.astype(ml_dtypes.bfloat16)), "bfloat16"),
    ],
    ids=["first", "variable", "other", "output", "sequence", "narrow"],
)
def test_the_dtype_that_counts(case: Case, dtype: str) -> None:
    assert element_type(case) == dtype


def test_the_dtype_of_an_opset_between_two_versions() -> None:
    model = onnx.load_from_string(example("Neg", 13, ONE).model)
    model.opset_import[0].version = 20
    assert element_type(Case(model.SerializeToString(), {})) == "float32"


def test_the_matrix(report: FuzzReport) -> None:
    found = {(c.operator, c.dtype, c.since): (c.until, c.status) for c in cells(report)}
    assert found == {
        ("Neg", "float32", 6): (12, "agrees"),
        ("Neg", "float32", 13): (None, "fails"),
        ("Not", "bool", 1): (None, "fails"),
        ("Abs", "float32", 13): (None, "unsupported"),
        ("Relu", "float32", 14): (None, "agrees"),
        ("Relu", "float64", 14): (None, "agrees"),
        ("Exp", "float32", 13): (None, "not judged"),
    }
    matrix = json.loads(FORMS[".matrix.json"](report))
    assert matrix["operators"] == {"agree": 1, "of": 6}
    assert len(matrix["cells"]) == len(found)
    page = FORMS[".matrix.html"](report)
    assert "<td>6-12</td>" in page
    assert "title='float32: fails (disagreed 1)'" in page


@pytest.mark.parametrize(
    ("counts", "status"),
    [
        ({"agreed": 1, "unsupported": 2}, "in part"),
        ({"agreed": 1, "known fault": 2}, "known fault"),
        ({"agreed": 1, "judges differ": 2}, "judges differ"),
        ({"failed": 1, "agreed": 2}, "fails"),
        ({"unsupported": 1, "not judged": 2}, "unsupported"),
    ],
    ids=str,
)
def test_the_status_of_a_cell(counts: dict[str, int], status: str) -> None:
    by_type = Counter({f"13 float32 {kind}": n for kind, n in counts.items()})
    (cell,) = cells(FuzzReport("a", ("b",), [Fuzzed("Neg", by_type=by_type)]))
    assert cell.status == status
    assert cell.counts == counts


def test_the_badge_counts_operators_at_which_the_runtime_is_never_wrong() -> None:
    agreed = Counter({"agreed": 1, "known fault": 1})
    results = [
        Fuzzed("Abs", counts=agreed, known=Counter({"odd: Abs is wrong": 1})),
        Fuzzed("Neg", counts=agreed, known=Counter({"reference: Neg is wrong": 1})),
        Fuzzed("Exp", counts=Counter({"unsupported": 1})),
    ]
    badge = ElementTree.fromstring(FORMS[".svg"](FuzzReport("odd", ("b",), results)))
    assert badge.get("aria-label") == "ONNX operators: 1/3 (odd)"
    assert "".join(badge.itertext()).endswith("ONNX operators1/3")
    assert "0/0" in FORMS[".svg"](FuzzReport("odd", ("b",), []))
