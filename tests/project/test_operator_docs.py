"""The generated documents say what the code and the tests say."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

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
    written = {path.name: path.read_text() for path in findings.FINDINGS.iterdir()}
    assert written == findings.generate(), "run tools/generate_findings.py"
