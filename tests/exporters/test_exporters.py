"""What real exporters wrote is trained as the framework that wrote it trains it."""

from __future__ import annotations

import re

import pytest

import onnxla
from support import curves
from support.exporters import EDITS, FILES, cells, compare, expected_failures

pytestmark = pytest.mark.quickly

LOST = expected_failures()
# By what `check` tells that a file may have been another network.
TOLD = re.compile(
    "no tensor in the file|exporter computed|folded into them|module.(un)?tie|spectral norm"
)


def parameters() -> list:
    return [
        pytest.param(
            cell,
            marks=pytest.mark.xfail(reason=LOST[cell].cause, strict=True) if cell in LOST else (),
        )
        for cell in cells()
    ]


@pytest.mark.one_in(12)
@pytest.mark.filterwarnings("ignore")  # what is merged or folded is told while loading
@pytest.mark.parametrize("cell", parameters())
def test_training_follows_the_framework(cell: str) -> None:
    found = compare(cell)
    assert max(found.values()) <= 1, found


@pytest.mark.parametrize("cell", LOST)
def test_what_was_lost_is_told(cell: str) -> None:
    notes = onnxla.check(FILES / f"{cell}.onnx").notes
    assert any(map(TOLD.search, notes)), notes


@pytest.mark.more
@pytest.mark.parametrize("cell", [cell for cell, lost in LOST.items() if lost.remedy in EDITS])
def test_an_edit_brings_back_what_was_lost(cell: str) -> None:
    found = compare(cell, LOST[cell].remedy)
    assert max(found.values()) <= 1, found


def test_another_export_keeps_what_was_lost() -> None:
    """Its own cell trains as the framework does; for some there is no way."""
    remedies = {lost.remedy for lost in LOST.values()}.difference(EDITS)
    assert remedies == {"torch-export-unoptimized", "torch-script-training", "none"}
    for cell, lost in LOST.items():
        if lost.remedy not in (*EDITS, "none"):
            other = f"{lost.remedy}/{cell.partition('/')[2]}"
            assert other in cells()
            assert other not in LOST


def test_expected_failures_exist() -> None:
    assert not set(LOST).difference(cells())


def test_files_are_small_and_name_no_folder() -> None:
    for cell in cells():
        data = (FILES / f"{cell}.onnx").read_bytes()
        assert len(data) < 100_000, cell
        assert not any(word in data for word in (b"site-packages", b"/tmp/", b".py")), cell


@pytest.mark.parametrize("framework", ["torch", "keras", "sklearn", "jax", "paddle"])
def test_curves_fall(framework: str) -> None:
    paths = sorted((curves.FOLDER / "curves" / framework).glob("*.json"))
    assert paths
    for path in paths:
        curve = curves.read(framework, path.stem)
        for name in ("sgd", "adamw"):
            first, last = curve[name]["losses"][:4], curve[name]["losses"][-4:]
            assert sum(last) < sum(first), (path.stem, name)
