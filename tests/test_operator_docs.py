"""docs/operators.md says what the operator table and the tests say."""

from __future__ import annotations

import importlib.util
from pathlib import Path

TOOL = Path(__file__).resolve().parent.parent / "tools" / "generate_operator_table.py"


def test_the_table_is_up_to_date() -> None:
    spec = importlib.util.spec_from_file_location("generate_operator_table", TOOL)
    assert spec is not None
    assert spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    assert tool.TABLE.read_text() == tool.generate(), f"run python tools/{TOOL.name}"
