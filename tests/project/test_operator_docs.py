"""The generated documents say what the code and the tests say."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

TOOLS = Path(__file__).resolve().parents[2] / "tools"


def tool(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, TOOLS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_operator_table_is_up_to_date() -> None:
    table = tool("generate_operator_table")
    assert table.TABLE.read_text() == table.generate(), (
        "run python tools/generate_operator_table.py"
    )


def test_the_findings_are_up_to_date() -> None:
    findings = tool("generate_findings")
    others = tool("other_runtimes").PAGE  # of results that are not here
    pages = [path for path in findings.FINDINGS.iterdir() if path != others]
    written = {path.name: path.read_text() for path in pages}
    assert written == findings.generate(), "run tools/generate_findings.py"


def test_scripts_of_issues_run(capsys: pytest.CaptureFixture[str]) -> None:
    page = tool("other_runtimes").PAGE.read_text()
    scripts = re.findall(r"```python\n(.*?)```", page, re.S)
    assert len(scripts) >= 10
    for script in scripts:
        exec(script, {})
        said = capsys.readouterr().out
        assert "expected" in said
        assert "got" in said
        assert "WRONG" not in said  # of the reference, which stands in for the runtime
