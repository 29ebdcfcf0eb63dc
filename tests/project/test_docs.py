"""The documentation is up to date."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from onnxla import Module
from onnxla.ops import rows

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "benchmarks")]

from number_journeys import PAGE, STEP, numbered  # noqa: E402

import run  # noqa: E402


def test_journeys_have_the_lines_of_today() -> None:
    text = PAGE.read_text()
    assert len(STEP.findall(text)) > 30
    assert text == numbered(text), "run `make generate`"


def test_the_guide_names_every_file_that_an_operator_touches() -> None:
    text = (ROOT / "docs" / "adding_an_operator.md").read_text()
    family = "index"  # of the worked example
    for folder in ("ops", "tests/support/samples", "testing/strategies", "testing/known_faults"):
        assert (ROOT / folder / f"{family}.py").is_file()
        assert f"{folder}/" in text
    assert ("", "Gather") in {(operator.domain, operator.name) for _, operator in rows()}


def test_contributing_names_every_generated_file() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    tools = sorted(path.name for path in (ROOT / "tools").glob("generate_*.py"))
    makefile = (ROOT / "Makefile").read_text()
    assert tools
    for tool in (*tools, "number_journeys.py"):
        assert f"tools/{tool}" in makefile
        assert f"tools/{tool}" in text


def test_every_member_of_a_module_is_in_one_group_of_the_reference() -> None:
    page = (ROOT / "docs" / "reference" / "module.md").read_text()
    _, *groups = page.split("\n## ")
    found = [re.findall(r"^::: onnxla\.Module\.(\w+)$", group, re.MULTILINE) for group in groups]
    assert max(map(len, found)) <= 12
    members = ["__call__", *(name for name in vars(Module) if not name.startswith("_"))]
    assert sorted(name for group in found for name in group) == sorted(members)


def test_ratios_of_the_summary_are_those_that_were_measured() -> None:
    summary, measurements = run.SUMMARY.read_text(), run.PAGE.read_text()
    assert len(summary.split()) < 1200
    assert run.summarized(summary, measurements) == summary
    other = re.sub(r"\| \d+\.\d\d \|", "| 99.99 |", summary)
    assert other != summary
    assert run.summarized(other, measurements) == summary
    linked = re.findall(r"\| \[(.*)\]\(measurements\.md#", summary)
    there = {name for name in run.PARTS.values() if "| ratio" in section(measurements, name)}
    assert {*linked} == there


def section(page: str, heading: str) -> str:
    """The text below a heading."""
    return page.split(f"\n## {heading}\n")[1].split("\n## ")[0]
