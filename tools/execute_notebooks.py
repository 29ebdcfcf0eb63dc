"""Executes the notebooks in fresh kernels and keeps their outputs, pictures included.

python tools/execute_notebooks.py [NOTEBOOK ...]
"""

from __future__ import annotations

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parent.parent / "notebooks"


def execute(path: Path) -> nbformat.NotebookNode:
    """The notebook with the outputs of a run in a fresh kernel. Raises if a cell fails."""
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(
        notebook, timeout=600, resources={"metadata": {"path": str(path.parent)}}
    ).execute()
    return notebook


def main(names: list[str]) -> None:
    """Executes the notebooks named, or all."""
    for path in map(Path, names) if names else sorted(FOLDER.glob("*.ipynb")):
        notebook = execute(path)
        for cell in notebook.cells:
            # When a cell ran says nothing to a reader, and would differ each time.
            cell.metadata.pop("execution", None)
        nbformat.write(notebook, path)
        print(f"executed {path.name}")


if __name__ == "__main__":
    main(sys.argv[1:])
