"""Imports point one way, names mean one thing, and what users import is there."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

import onnxla
from onnxla import public

ROOT = Path(__file__).resolve().parents[2]
# Each room may import those before it; `train`, `peers`, `generate` and `draw` stand side by side.
ORDER = (
    ("ir",),
    ("ops",),
    ("parameters",),
    ("interpret",),
    ("edit",),
    ("api",),
    ("train", "peers", "generate", "draw"),
    ("testing",),
    ("commands",),
)
ROOMS = [room for rooms in ORDER for room in rooms]
# The front door's table of what later rooms define, and the modules that it lists by their names.
FRONT_DOOR = {"api/__init__.py", "api/public.py", "api/loggers.py", "api/losses.py"}


def room_of(module: str) -> str | None:
    """The room that a module of the package lies in."""
    if module.split(".")[0] != "onnxla":
        return None
    parts = module.split(".")[1:]
    return parts[0] if parts and parts[0] in ROOMS else "api"


def imported(path: Path) -> Iterator[str]:
    """Modules that a file imports anywhere, in functions and for type checkers too."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module == "onnxla":
            for alias in node.names:
                yield public.PUBLIC.get(alias.name, f"onnxla.{alias.name}")
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            yield node.module or ""
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            # `import onnxla`, then `onnxla.fit`
            if node.value.id == "onnxla" and node.attr in public.PUBLIC:
                yield public.PUBLIC[node.attr]
        elif isinstance(node, ast.Call) and re.fullmatch(
            r"(importlib\.)?import_module|__import__", ast.unparse(node.func)
        ):
            (name, *_) = node.args
            if isinstance(name, ast.Constant):
                yield str(name.value)


@pytest.mark.parametrize("room", ROOMS)
def test_imports_point_one_way(room: str) -> None:
    position = next(i for i, rooms in enumerate(ORDER) if room in rooms)
    allowed = {room, *(r for rooms in ORDER[:position] for r in rooms)}
    files = sorted((ROOT / room).rglob("*.py"))
    assert files
    for path in files:
        name = path.relative_to(ROOT).as_posix()
        if name in FRONT_DOOR:
            continue
        for module in imported(path):
            other = room_of(module)
            assert other is None or other in allowed, f"{name} imports {module}"


def test_no_test_file_imports_another() -> None:
    folders = {path.name for path in (ROOT / "tests").iterdir() if path.is_dir()} - {"support"}
    files = sorted((ROOT / "tests").rglob("*.py"))
    assert files
    for path in files:
        for module in imported(path):
            parts = module.split(".")
            name = f"{path.relative_to(ROOT)} imports {module}"
            assert parts[0] not in {*folders, "tests", "conftest"}, name
            assert not any(part.startswith("test_") for part in parts if parts[0] != "jax"), name


def defined(path: Path) -> Iterator[str]:
    """Names of the functions, classes and constants at the top of a file."""
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        yield from (target.id for target in targets if isinstance(target, ast.Name))


def test_no_name_at_the_top_of_a_file_is_private() -> None:
    for path in (path for room in ROOMS for path in (ROOT / room).rglob("*.py")):
        if not path.name.endswith("_pb2.py"):
            hidden = [n for n in defined(path) if n.startswith("_") and not n.endswith("_")]
            assert not hidden, f"{path}: {hidden}"


def test_a_type_has_its_name_alone() -> None:
    rooms: dict[str, set[str]] = {}
    for room in ROOMS:
        for path in (ROOT / room).rglob("*.py"):
            for name in defined(path):
                if name[0].isupper() and not name.isupper():
                    rooms.setdefault(name, set()).add(room)
    assert rooms["Module"] == {"api"}
    assert not {name: found for name, found in rooms.items() if len(found) > 1}


def test_no_folder_has_the_name_of_the_package() -> None:
    assert not (ROOT / "onnxla").exists()


def modules() -> list[str]:
    """Every module of the package."""
    package = importlib.import_module("onnxla")
    found = [m.name for m in pkgutil.walk_packages(package.__path__, "onnxla.")]
    for room in ROOMS:
        if room != "api":
            inner = importlib.import_module(f"onnxla.{room}")
            found += [m.name for m in pkgutil.walk_packages(inner.__path__, f"onnxla.{room}.")]
    return sorted({*found})


def test_no_function_takes_the_place_of_its_module() -> None:
    names = modules()
    assert "onnxla.ir.checker" in names
    for name in names:
        if name.endswith("pb2"):
            continue
        importlib.import_module(name)
        parent, _, last = name.rpartition(".")
        found = getattr(sys.modules[parent], last, None)
        assert found is None or isinstance(found, types.ModuleType), name


@pytest.mark.parametrize("name", public.PUBLIC)
def test_public_names_load_on_first_use(name: str) -> None:
    assert getattr(onnxla, name).__module__ == public.PUBLIC[name]
    assert name in dir(onnxla)


def test_both_lists_of_public_names_agree() -> None:
    assert {*onnxla.__all__} == {*public.PUBLIC, "loggers", "losses"}


def test_there_is_no_other_name() -> None:
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        onnxla.lode  # noqa: B018


USES = (
    "import onnxla; onnxla.load; onnxla.Module; onnxla.fit; onnxla.evaluate; onnxla.check",
    "import onnxla; onnxla.compare; onnxla.op; onnxla.ModelError; onnxla.UnsupportedError",
    "import onnxla; onnxla.StaticOperandError; onnxla.OnnxlaError; onnxla.CheckpointError",
    "import onnxla; onnxla.FitResult; onnxla.NonFiniteLossError; onnxla.TrainingInterrupted",
    "import onnxla; onnxla.losses.cross_entropy; onnxla.ir.read; onnxla.testing.cases",
    "import onnxla.losses; onnxla.losses.cross_entropy",
    "import onnxla.backend; onnxla.backend.prepare",
    "import onnxla.ir; onnxla.ir.read; onnxla.ir.Model",
    "import onnxla.testing; onnxla.testing.cases",
    "import onnxla.testing.pytest; onnxla.testing.pytest.for_operators",
    "from onnxla import Module, check, compare, evaluate, fit, ir, load, losses, op, testing",
    "from onnxla import CheckpointError, FitResult, ModelError, NonFiniteLossError, OnnxlaError",
    "from onnxla import StaticOperandError, TrainingInterrupted, UnsupportedError, backend",
    "from onnxla.losses import cross_entropy, binary_cross_entropy, mean_squared_error, ctc",
    "from onnxla.backend import prepare",
    "from onnxla.ir import read, write, check, Model",
    "from onnxla.testing import cases, check, fuzz",
    "from onnxla.testing.pytest import for_operators",
    "import onnxla.testing.plugin",
)


def python(code: str, folder: Path) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )
    assert not done.returncode, done.stderr
    return done.stdout


def test_what_users_import_stays(tmp_path: Path) -> None:
    # Each line in a process of its own, in which nothing of the package is loaded yet.
    code = f"""
import os, jax, onnx, hypothesis, pytest
for use in {USES!r}:
    if os.fork() == 0:
        exec(use, {{}})
        os._exit(0)
    assert os.wait()[1] == 0, use
"""
    python(code, tmp_path)


def test_the_format_needs_no_jax(tmp_path: Path) -> None:
    loaded = python(
        "import sys, onnxla, onnxla.ir; onnxla.ir.read; print('jax' in sys.modules)", tmp_path
    )
    assert loaded == "False\n"
