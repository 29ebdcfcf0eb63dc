"""What a built distribution contains, and what the core depends on."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = (
    "api",
    "commands",
    "draw",
    "edit",
    "interpret",
    "ir",
    "ops",
    "parameters",
    "generate",
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


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel's contents; the wheel was built from a source distribution of this tree."""
    folder = tmp_path_factory.mktemp("built")
    source = folder / "source"
    source.mkdir()
    for name in (*ROOMS, "pyproject.toml", "README.md", "LICENSE"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, source / name)

    def build(kind: str, where: Path) -> Path:
        code = f"from setuptools import build_meta; build_meta.build_{kind}({str(folder)!r})"
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=where, capture_output=True, text=True, check=False
        )
        assert not done.returncode, done.stdout + done.stderr
        (made,) = folder.glob("*.tar.gz" if kind == "sdist" else "*.whl")
        return made

    shutil.unpack_archive(build("sdist", source), folder / "unpacked", filter="data")
    (unpacked,) = (folder / "unpacked").iterdir()
    zipfile.ZipFile(build("wheel", unpacked)).extractall(folder / "wheel")
    return folder / "wheel"


def test_the_wheel_has_every_file(built: Path) -> None:
    wanted = set()
    for room in ROOMS:
        package = Path("onnxla") if room == "api" else Path("onnxla", room)
        for path in (ROOT / room).rglob("*"):
            if (
                path.suffix in (".py", ".pyi", ".proto", ".css", ".html", ".js")
                or path.name == "py.typed"
            ):
                wanted.add(package / path.relative_to(ROOT / room))
    found = {path.relative_to(built) for path in (built / "onnxla").rglob("*") if path.is_file()}
    assert wanted <= found


@pytest.mark.parametrize("folder", ["root", "elsewhere"])
@pytest.mark.parametrize("kind", ["wheel", "editable"])
def test_it_is_imported_from_any_folder(
    kind: str, folder: str, built: Path, tmp_path: Path
) -> None:
    code = "import onnxla, onnxla.ir; onnxla.load; print(onnxla.__file__, onnxla.ir.__file__)"
    path = {"PYTHONPATH": str(built)} if kind == "wheel" else {}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT if folder == "root" else tmp_path,
        env={**os.environ, **path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.returncode, done.stderr
    home = built / "onnxla" if kind == "wheel" else ROOT
    assert all(Path(file).is_relative_to(home) for file in done.stdout.split())
