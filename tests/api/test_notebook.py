"""What a notebook shows of errors that are not of onnxla's kinds, in a kernel of its own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from support.small_models import linear

START = """
import jax, jax.numpy as jnp, numpy as np
import onnxla
module = onnxla.load("linear.onnx")
x = np.ones((4, 3), np.float32)
"""
MISTAKES = {
    "module.partition('hed.*')": "ValueError: no parameter matches 'hed.*'",
    "module(1, 2, 3)": "TypeError: the model takes 1 inputs",
    "module.layers['no such']": "KeyError: \"no layer is named 'no such'",
    "jax.grad(lambda p: module.apply(p, x[:, :2]).sum())(module.params)": "ValueError: input 'x'",
    # JAX's, of what an operator asks for.
    "import onnxla.ops.matmul as m\nm.matmul(x, x)": "TypeError: dot_general requires",
}
BEFORE = "try:\n    raise ValueError('mine')\nexcept ValueError:\n    onnxla.load('none.onnx')"
OWN = (
    "def mine():\n    raise ValueError('own')\n\nmine()",
    "jnp.dot(jnp.ones(2), jnp.ones(3))",
    "onnxla.fit(module, (x, x), lambda y, t: jnp.dot(y, jnp.ones(7)), epochs=1)",
    "exec('1 +')",
    "%timeit --bad",
    "{}['none']",
)
WITHOUT = "get_ipython().set_custom_exc((), None)"


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What a notebook shows for each cell, every time that it is run."""
    folder: Path = tmp_path_factory.mktemp("notebook")
    (folder / "linear.onnx").write_bytes(linear())
    cells = [START, *MISTAKES, BEFORE, *OWN, WITHOUT, *OWN]
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    NotebookClient(
        book, timeout=120, allow_errors=True, resources={"metadata": {"path": str(folder)}}
    ).execute()
    found: dict[str, list[str]] = {}
    for cell in book.cells:
        found.setdefault(cell.source, []).append("\n".join(texts(cell)))
    assert found[START] == found[WITHOUT] == [""]
    return found


def texts(cell: nbformat.NotebookNode) -> Iterator[str]:
    """What a cell put out, without colours and numbers of cells."""
    for output in cell.outputs:
        lines = output.get("traceback", [output.get("text", "")])
        yield re.sub(r"\x1b\[[\d;]*m|In ?\[\d+\]|/\d+\.py", "", "\n".join(lines))


@pytest.mark.parametrize("cell", MISTAKES)
def test_a_mistake_is_told_without_frames_of_onnxla(cell: str, shown: dict[str, list[str]]) -> None:
    (text,) = shown[cell]
    assert cell.splitlines()[-1] in text
    assert MISTAKES[cell] in text
    assert "frames within onnxla and JAX" in text
    files = re.findall(r'File "([^"]*)"', text)
    assert files
    assert all("ipykernel" in file for file in files)


@pytest.mark.parametrize("cell", OWN)
def test_other_errors_are_shown_as_ever(cell: str, shown: dict[str, list[str]]) -> None:
    with_onnxla, without = shown[cell]
    assert with_onnxla == without != ""


def test_what_the_reader_caught_before_is_told_too(shown: dict[str, list[str]]) -> None:
    (text,) = shown[BEFORE]
    assert text.index("ValueError: mine") < text.index("and then:") < text.index("none.onnx'")
