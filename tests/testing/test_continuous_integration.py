"""The GitHub Action does what its page says, and the page's examples run."""

from __future__ import annotations

import json
import os
import re
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


# Stand for the command, which notes its words, writes a report, and fails; and for Python, whose
# program the test runs itself, since it has all that is to be imported.
COMMANDS = {
    "onnxla": """#!/bin/sh
printf '%s\\n' "$@" > words
test -f made.jsonl || exit 2
cp made.jsonl out/report.jsonl
exit 1
""",
    "python": "#!/bin/sh\nprintf '%s\\n' \"$@\" > arguments; cat > program.py; echo said\n",
}


@pytest.mark.parametrize("mistaken", [False, True])
def test_the_action_runs_the_command_and_writes_reports(
    mistaken: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    results = [fuzzed([example("Neg", 13, np.ones(2, np.float32))], "reference")]
    if not mistaken:
        FuzzReport("odd", ("reference",), results, 0, About()).save("made.jsonl")
    Baseline("odd").save("known.json")
    Path("bin").mkdir()
    for name, text in COMMANDS.items():
        command = tmp_path / "bin" / name
        command.write_text(text)
        command.chmod(0o755)
    Path("Reduce.txt").touch()  # is no operator
    values = {name: str(described["default"]) for name, described in ACTION["inputs"].items()}
    values |= {"operators": "Neg Reduce*", "runtime": "a b", "report": "out"}
    values |= {"options": "--specials", "baseline": "known.json"}
    given = {
        name: values[re.findall(r"inputs\.(\w+)", text)[0]]
        for name, text in step("Fuzz")["env"].items()
    }
    given |= {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "GITHUB_STEP_SUMMARY": "summary"}
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step("Fuzz")["run"]],
        env={**os.environ, **given},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == (2 if mistaken else 1), done.stderr
    assert Path("words").read_text().splitlines() == [
        *("fuzz", "Neg", "Reduce*", "--runtime", "a b", "--examples", "100", "--seed", "0"),
        *("--baseline", "known.json", "--report", "out/report.jsonl", "--specials"),
    ]
    assert Path("program.py").exists() is not mistaken
    if mistaken:
        return
    assert Path("summary").read_text() == "said\n"
    monkeypatch.setattr(sys, "argv", Path("arguments").read_text().splitlines())
    exec(Path("program.py").read_text(), {})
    assert "1 of 1 operator fail" in capsys.readouterr().out
    forms = {"html", "xml", "sarif", "md", "matrix.html", "matrix.json", "svg", "jsonl"}
    each = {f"{results[0].findings[0].signature.key}.md"}
    assert {path.name for path in Path("out").rglob("*.*")} == {f"report.{f}" for f in forms} | each


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
