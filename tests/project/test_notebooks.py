"""Every notebook runs from a fresh kernel, and the committed one shows its pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


# What a test makes smaller: a notebook trains until there is something to see.
SMALLER = {
    "finetune": {"lines(4608": "lines(48", "lines(1536": "lines(16", "steps = 250": "steps = 10"},
    "own_loop": {"steps = 250": "steps = 10"},
    "transfer": {
        "draw(512": "draw(64",
        '"epochs": 200': '"epochs": 2',
        '"epochs": 6': '"epochs": 1',
    },
    "quantized": {"steps = 60": "steps = 3", "chosen[:480]": "chosen[:96]", "[320]": "[64]"},
    "text": {"steps = 100": "steps = 3", "[25:85]": "[25:30]"},
    "decoders": {
        "steps, length, batch = 240": "steps, length, batch = 3",
        "tuning = 60": "tuning = 2",
        "400)": "10)",
    },
}


def make_smaller(notebook: Any, name: str) -> None:
    """Replaces the numbers of a notebook that say how long it takes; each must be there."""
    for number, smaller in SMALLER.get(name, {}).items():
        cells = [cell for cell in notebook.cells if number in cell.source]
        assert cells, number
        for cell in cells:
            cell.source = cell.source.replace(number, smaller)


@pytest.mark.more
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_runs_from_a_fresh_kernel(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    make_smaller(notebook, path.stem)
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
