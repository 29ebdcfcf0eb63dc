"""The GitHub Action does what its page says, and the page's examples run."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from onnxla.testing import About, Baseline, FuzzReport, example
from onnxla.testing.reports.formats import FORMS
from support.fuzzed import fuzzed

ROOT = Path(__file__).resolve().parents[2]
ACTION = yaml.safe_load((ROOT / ".github/actions/fuzz/action.yml").read_text())
PAGE = (ROOT / "docs" / "testing_ci.md").read_text()
STEPS = ACTION["runs"]["steps"]


def step(name: str) -> dict[str, Any]:
    """The step of a name."""
    (found,) = [each for each in STEPS if each.get("name") == name]
    return dict(found)


def test_inputs_are_used_and_documented() -> None:
    text = yaml.dump(STEPS)
    assert {*re.findall(r"inputs\.(\w+)", text)} == {*ACTION["inputs"]}
    for name, described in ACTION["inputs"].items():
        assert described["description"]
        assert f"`{name}`" in PAGE[PAGE.index("## GitHub Actions") :]
    # Those of a job that uses it are inputs.
    (job,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    (used,) = [s for s in yaml.safe_load(job)["jobs"]["operators"]["steps"] if "with" in s]
    assert {*used["with"]} <= {*ACTION["inputs"]}


def test_no_input_reaches_a_shell_as_its_text() -> None:
    scripts = [each["run"] for each in STEPS if "run" in each]
    assert len(scripts) == 2
    assert not any("${{" in script for script in scripts)


def test_reports_are_uploaded_whatever_came_of_it() -> None:
    uploads = [each for each in STEPS if "upload" in each.get("uses", "")]
    assert len(uploads) == 2
    assert all(each["if"].startswith("${{ always() && ") for each in uploads)


# Stands for the command: notes its words, and writes a report as it would.
COMMAND = """#!{python}
import json, pathlib, shutil, sys
words = sys.argv[1:]
pathlib.Path("words.json").write_text(json.dumps(words))
if {report!r}:
    shutil.copy({report!r}, words[words.index("--report") + 1])
sys.exit({code})
"""


@pytest.mark.parametrize("mistaken", [False, True])
def test_the_action_runs_the_command_and_writes_reports(mistaken: bool, tmp_path: Path) -> None:
    results = [fuzzed([example("Neg", 13, np.ones(2, np.float32))], "reference")]
    FuzzReport("odd", ("reference",), results, 0, About()).save(tmp_path / "made.jsonl")
    Baseline("odd").save(tmp_path / "known.json")
    tools = tmp_path / "bin"
    tools.mkdir()
    report = "" if mistaken else str(tmp_path / "made.jsonl")
    command = tools / "onnxla"
    code = 2 if mistaken else 1
    command.write_text(COMMAND.format(python=sys.executable, report=report, code=code))
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    (tmp_path / "Reduce.txt").touch()  # is no operator
    values = {name: str(described["default"]) for name, described in ACTION["inputs"].items()}
    values |= {
        "operators": "Neg Reduce*",
        "runtime": "a b",
        "report": "out",
        "options": "--specials",
    }
    values["baseline"] = "known.json"
    given = {
        name: values[re.findall(r"inputs\.(\w+)", text)[0]]
        for name, text in step("Fuzz")["env"].items()
    }
    path = os.pathsep.join([str(tools), str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step("Fuzz")["run"]],
        cwd=tmp_path,
        env={**os.environ, **given, "PATH": path, "GITHUB_STEP_SUMMARY": "summary.md"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    words = json.loads((tmp_path / "words.json").read_text())
    assert words == [
        *("fuzz", "Neg", "Reduce*", "--runtime", "a b", "--examples", "100", "--seed", "0"),
        *("--baseline", "known.json", "--report", "out/report.jsonl", "--specials"),
    ]
    made = {each.name for each in (tmp_path / "out").rglob("*.*")}
    forms = {"html", "xml", "sarif", "md", "matrix.html", "matrix.json", "svg", "jsonl"}
    whole = {f"report.{form}" for form in forms} | {"Neg-13-1.md"}
    assert made == (set() if mistaken else whole)
    if not mistaken:
        assert "1 of 1 operators fail" in (tmp_path / "summary.md").read_text()


def test_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    scope: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(block, scope)
    assert "all agree" in (tmp_path / "report.html").read_text()
    # The entry that it shows is one.
    (text,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "shown.json").write_text(text)
    (entry,) = Baseline.load("shown.json").failures
    assert entry.holds("1.32.0", "linux")
    assert entry.record() == json.loads(text)["failures"][0]


def test_the_page_names_every_ending() -> None:
    table = PAGE[: PAGE.index("```python")]
    assert {*FORMS} - {*re.findall(r"`(\.[\w.]+)`", table)} == {".htm", ".sarif.json"}
