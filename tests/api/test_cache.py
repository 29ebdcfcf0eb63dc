"""Compiled programs that are kept on disk: found by another process, in a folder of one's own."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

import onnxla
from onnxla.cache import private
from support.small_models import linear

# Loads a model with a cache and calls it; prints how many of its programs were found there.
PROCESS = """
import sys
import jax, jax.monitoring, numpy as np
import onnxla

found = []
path, *folder = sys.argv[1:]
module = onnxla.load(path, cache=folder[0] if folder else True)
jax.monitoring.register_event_listener(lambda event, **_: found.append(event.rpartition("/")[2]))
module(np.ones((1, 4), np.float32), np.ones(4, np.int64))
print(found.count("cache_hits"), found.count("cache_misses"))
"""


def blocks() -> bytes:
    """Blocks that repeat, a function, a large constant, and inputs of two types."""
    nodes, tensors = [], []
    for i in range(12):
        weight = np.full((4, 4), i, np.float32)
        tensors.append(numpy_helper.from_array(weight, f"w{i}"))
        nodes.append(helper.make_node("MatMul", [f"x{i}", f"w{i}"], [f"m{i}"], name=f"m{i}"))
        nodes.append(helper.make_node("Twice", [f"m{i}"], [f"x{i + 1}"], domain="own"))
    tensors.append(numpy_helper.from_array(np.arange(4096), "table"))
    nodes.append(helper.make_node("Gather", ["table", "at"], ["found"]))
    twice = helper.make_function(
        "own",
        "Twice",
        ["x"],
        ["y"],
        [helper.make_node("Add", ["x", "x"], ["y"])],
        [helper.make_opsetid("", 20)],
    )
    kinds = {"x0": (TensorProto.FLOAT, [1, 4]), "at": (TensorProto.INT64, [4])}
    kinds |= {"x12": (TensorProto.FLOAT, [1, 4]), "found": (TensorProto.INT64, [4])}
    ends = [helper.make_tensor_value_info(name, *kind) for name, kind in kinds.items()]
    graph = helper.make_graph(nodes, "blocks", ends[:2], ends[2:], tensors)
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("own", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9, functions=[twice])
    return model.SerializeToString()


def in_process(*arguments: Path, seed: int, **environment: str) -> tuple[int, int]:
    """Of a process that calls a model: how many programs it found, and how many it did not."""
    own = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")}
    own |= {"PYTHONHASHSEED": str(seed), **environment}
    command = [sys.executable, "-W", "error", "-c", PROCESS, *map(str, arguments)]
    result = subprocess.run(command, env=own, capture_output=True, text=True, check=True)
    hits, misses = map(int, result.stdout.split())
    return hits, misses


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(blocks())
    return path


def test_another_process_finds_the_programs(path: Path, tmp_path: Path) -> None:
    hits, misses = in_process(path, seed=1, XDG_CACHE_HOME=str(tmp_path))
    assert hits == 0
    assert misses > 0
    folder = tmp_path / "onnxla" / "programs"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    kept = {file.name for file in folder.iterdir() if file.name.endswith("-cache")}
    assert any(name.startswith("jit_run") for name in kept)
    assert in_process(path, seed=2, XDG_CACHE_HOME=str(tmp_path)) == (misses, 0)
    assert {file.name for file in folder.iterdir() if file.name.endswith("-cache")} == kept


def test_a_folder_that_is_set_is_used_as_it_is(path: Path, tmp_path: Path) -> None:
    users, own = tmp_path / "users", tmp_path / "own"
    environment = {"JAX_COMPILATION_CACHE_DIR": str(users), "XDG_CACHE_HOME": str(own)}
    in_process(path, seed=1, **environment, JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="0")
    assert any(file.name.startswith("jit_run") for file in users.iterdir())
    assert not own.exists()


def test_there_is_one_folder_in_a_process(tmp_path: Path) -> None:
    current = jax.config.jax_compilation_cache_dir
    assert current is not None  # the tests' own
    with pytest.raises(ValueError, match="one folder for them in a process"):
        onnxla.load(linear(), cache=tmp_path / "other")
    onnxla.load(linear(), cache=current)
    onnxla.load(linear(), cache=True)
    assert jax.config.jax_compilation_cache_dir == current
    assert not (tmp_path / "other").exists()


@pytest.mark.skipif(os.name != "posix", reason="of owners and modes")
def test_a_folder_that_others_may_change_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = private(tmp_path / "deep" / "programs")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for mode in (0o770, 0o702):
        folder.chmod(mode)
        with pytest.raises(PermissionError, match=f"others may write .*mode {mode:o}"):
            private(folder)
    folder.chmod(0o755)
    link = tmp_path / "link"
    link.symlink_to(folder)
    assert private(link) == folder
    monkeypatch.setattr(os, "getuid", lambda: folder.stat().st_uid + 1)
    with pytest.raises(PermissionError, match="belongs to user"):
        private(folder)
