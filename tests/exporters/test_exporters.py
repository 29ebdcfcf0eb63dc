"""What real exporters wrote is trained as the framework that wrote it trains it."""

from __future__ import annotations

import pytest

from support import curves
from support.exporters import DOUBLE, FILES, cells, compare, expected_failures

FAILURES = expected_failures()


def parameters() -> list:
    """In single precision, some of what is wrong is too small to tell."""
    return [
        pytest.param(
            cell,
            marks=pytest.mark.xfail(reason=FAILURES[cell], strict=DOUBLE)
            if cell in FAILURES
            else (),
        )
        for cell in cells()
    ]


@pytest.mark.one_in(12)
@pytest.mark.filterwarnings("ignore")  # what is merged or folded is told while loading
@pytest.mark.parametrize("cell", parameters())
def test_training_follows_the_framework(cell: str) -> None:
    found = compare(cell)
    assert max(found.values()) <= 1, found


def test_expected_failures_exist() -> None:
    assert not set(FAILURES).difference(cells())


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
