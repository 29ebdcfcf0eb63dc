"""The form of a report that a file's ending names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from onnxla.ir.names import quoted
from onnxla.testing.reports.badge import badge
from onnxla.testing.reports.json_lines import json_lines
from onnxla.testing.reports.junit import junit
from onnxla.testing.reports.markdown import markdown
from onnxla.testing.reports.matrix import matrix_json
from onnxla.testing.reports.matrix_page import matrix_page
from onnxla.testing.reports.page import page
from onnxla.testing.reports.results import FuzzResults
from onnxla.testing.reports.sarif import sarif
from onnxla.testing.reports.text import text

# A longer ending stands before those that it ends in.
FORMS: dict[str, Callable[[FuzzResults], str]] = {
    ".matrix.json": matrix_json,
    ".matrix.html": matrix_page,
    ".sarif.json": sarif,
    ".sarif": sarif,
    ".txt": text,
    ".jsonl": json_lines,
    ".xml": junit,
    ".html": page,
    ".htm": page,
    ".md": markdown,
    ".svg": badge,
}


def form_of(path: str | Path) -> Callable[[FuzzResults], str]:
    """The function that writes a report in the form of a path's ending.

    Raises:
        ValueError: There is no form of that ending.
    """
    name = Path(path).name.lower()
    for ending, form in FORMS.items():
        if name.endswith(ending):
            return form
    raise ValueError(f"a report's name ends in one of {', '.join(FORMS)}, got {quoted(path)}")
