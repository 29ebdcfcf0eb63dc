"""Every notebook runs from a fresh kernel, and the committed one shows its pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


def shown(path: Path) -> Any:
    """The notebook as a parameter: those that train and sample take minutes."""
    marks = [pytest.mark.more] if path.stem in ("finetune", "jax_around_a_module") else []
    return pytest.param(path, id=path.stem, marks=marks)


@pytest.mark.parametrize("path", [shown(path) for path in NOTEBOOKS])
def test_runs_from_a_fresh_kernel(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(FOLDER)}})
    client.execute()
    errors = [
        output
        for cell in notebook.cells
        for output in cell.get("outputs", ())
        if output.output_type == "error"
        or (output.get("name") == "stderr" and "Error" in output.text)
    ]
    assert not errors


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_committed_outputs_have_pictures(path: Path) -> None:
    cells = nbformat.read(path, as_version=4).cells
    kinds = {k for c in cells for o in c.get("outputs", ()) for k in o.get("data", {})}
    assert "image/png" in kinds
    assert all(cell.execution_count for cell in cells if cell.cell_type == "code")
