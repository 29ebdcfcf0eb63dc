"""What a built distribution contains, and what the core depends on."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_every_source_folder_is_a_package() -> None:
    folders = PROJECT["tool"]["setuptools"]["package-dir"].values()
    assert set(folders) == {"onnxla", "ir", "ops", "interpret"}
    for folder in folders:
        # A subfolder that is not listed would be missing from a wheel.
        for path in (ROOT / folder).rglob("*.py"):
            parts = path.parent.relative_to(ROOT).parts
            name = ".".join(parts if parts[0] == "onnxla" else ("onnxla", *parts))
            assert name in PROJECT["tool"]["setuptools"]["packages"]


def test_runtime_dependencies_have_lower_bounds_only() -> None:
    dependencies = PROJECT["project"]["dependencies"]
    assert [re.split(r"\W", d)[0] for d in dependencies] == ["jax", "jaxlib", "numpy", "protobuf"]
    extras = PROJECT["project"]["optional-dependencies"].values()
    for requirement in [*dependencies, *(r for extra in extras for r in extra)]:
        assert re.fullmatch(r"onnxla\[[\w,]+\]|[\w-]+>=[\d.]+", requirement), requirement


def test_imports_point_one_way() -> None:
    order = ["ir", "ops", "interpret", "onnxla"]
    for i, folder in enumerate(order[:-1]):
        later = [f"onnxla.{name}" for name in order[i + 1 : -1]]
        for path in (ROOT / folder).glob("*.py"):
            for module in re.findall(r"^(?:from|import) (onnxla[\w.]*)", path.read_text(), re.M):
                inside = module.startswith(tuple(f"onnxla.{name}" for name in order[: i + 1]))
                assert inside, f"{path.name} imports {module}"
                assert not module.startswith(tuple(later))
