"""What a built distribution contains, and what the core depends on."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROOMS = (
    "api",
    "commands",
    "edit",
    "interpret",
    "ir",
    "ops",
    "parameters",
    "peers",
    "testing",
    "train",
)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_every_source_folder_is_a_package() -> None:
    folders = PROJECT["tool"]["setuptools"]["package-dir"]
    assert set(folders.values()) == {*ROOMS}
    found = set()
    for package, folder in folders.items():
        for path in (ROOT / folder).rglob("*.py"):
            inside = path.parent.relative_to(ROOT / folder).parts
            found.add(".".join((package, *inside)))
    # A subfolder that is not listed would be missing from a wheel.
    assert found == set(PROJECT["tool"]["setuptools"]["packages"])


def test_runtime_dependencies_have_lower_bounds_only() -> None:
    dependencies = PROJECT["project"]["dependencies"]
    assert [re.split(r"\W", d)[0] for d in dependencies] == ["jax", "jaxlib", "numpy", "protobuf"]
    extras = PROJECT["project"]["optional-dependencies"].values()
    for requirement in [*dependencies, *(r for extra in extras for r in extra)]:
        assert re.fullmatch(r"onnxla\[[\w,]+\]|[\w-]+>=[\d.]+", requirement), requirement
