"""Saving: element types, external data, the check by ONNX Runtime, and what a failure leaves."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

import onnxla
from onnxla import ir
from onnxla.commands.main import main
from onnxla.ir import writer
from onnxla.peers.onnx_runtime import OnnxRuntime
from support.small_models import BIAS, WEIGHT, graph, header, linear, make

X = np.arange(12, dtype=np.float32).reshape(4, 3)
SIZE = 128  # a weight of 64 KiB, which counts as large
LARGE_WEIGHT = np.random.default_rng(0).standard_normal((SIZE, SIZE)).astype(np.float32)


def wide() -> bytes:
    """y = x @ w + b, with a large w."""
    text = " m (float[N, 128] x) => (float[N, 128] y) { h = MatMul (x, w) y = Add (h, b) }"
    return make(header() + text, w=LARGE_WEIGHT, b=np.arange(SIZE, dtype=np.float32))


def write_pair(folder: Path, model: str = "model.onnx", data: str = "weights.bin") -> Path:
    """The wide model with its large weight in a data file."""
    folder.mkdir(exist_ok=True)
    onnx.save(
        onnx.load_from_string(wide()),
        folder / model,
        save_as_external_data=True,
        location=data,
        size_threshold=4096,
    )
    return folder / model


def run(path: Path, x: np.ndarray) -> np.ndarray:
    return onnxruntime.InferenceSession(path).run(None, {"x": x})[0]


def files(folder: Path) -> list[str]:
    """The names in a folder, the tokens of data files left out."""
    return sorted(re.sub(r"\.[0-9a-f]{12}\.data$", ".data", name) for name in os.listdir(folder))


ROWS = np.random.default_rng(1).standard_normal((2, SIZE)).astype(np.float32)


FLOATS = [
    *("float16", "float32", "float64", "bfloat16", "float8_e4m3fn", "float8_e4m3fnuz"),
    *("float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu", "float4_e2m1fn"),
]


@pytest.mark.parametrize("name", FLOATS)
def test_each_parameter_is_written_in_the_files_own_type(name: str, tmp_path: Path) -> None:
    dtype = np.dtype(getattr(ml_dtypes, name, None) or name)
    old = np.array([1, 2, 4, 0.5], np.float32).astype(dtype)
    module = onnxla.load(
        ir.write(
            ir.Model(
                ir.Graph(
                    (ir.Node("Identity", ("w",), ("y",)),),
                    outputs=(ir.ValueInfo("y", ir.TensorType(dtype, (4,))),),
                    initializers=(ir.Tensor.of("w", old),),
                ),
                {"": 25},
                ir_version=13,
            )
        )
    )
    assert module.params["w"].dtype == dtype
    trained = jnp.array([2, 4, 1, 0.5], jnp.float32)  # float32 is what a master copy is kept in
    module.replace({"w": trained}).save(tmp_path / "tuned.onnx")
    (stored,) = onnx.load(tmp_path / "tuned.onnx").graph.initializer
    assert stored.data_type == ir.number_of(dtype)
    again = onnxla.load(tmp_path / "tuned.onnx").params["w"]
    assert again.dtype == dtype
    np.testing.assert_array_equal(np.asarray(again, np.float32), trained)


# External data


def test_external_data_stays_external_and_the_original_stays_as_it_is(tmp_path: Path) -> None:
    path = write_pair(tmp_path / "old")
    before = {name: (path.parent / name).read_bytes() for name in files(path.parent)}
    module = onnxla.load(path)
    tuned = module.replace({"w": module.params["w"] + 1})
    tuned.save(tmp_path / "tuned.onnx")
    assert files(tmp_path) == ["old", "tuned.onnx", "tuned.onnx.data"]
    np.testing.assert_allclose(run(tmp_path / "tuned.onnx", ROWS), tuned(ROWS), rtol=1e-4)
    assert {name: (path.parent / name).read_bytes() for name in files(path.parent)} == before


def test_saving_over_the_pair_that_the_module_reads(tmp_path: Path) -> None:
    path = write_pair(tmp_path)
    module = onnxla.load(path)
    for step in range(1, 4):
        module = module.replace({"b": module.params["b"] + 1})
        with pytest.warns(match=r"'weights\.bin'") if step == 1 else contextlib.nullcontext():
            module.save(path)
        assert files(tmp_path) == ["model.onnx", "model.onnx.data", "weights.bin"]
        expected = ROWS @ LARGE_WEIGHT + np.arange(SIZE) + step
        np.testing.assert_allclose(run(path, ROWS), expected, rtol=1e-4, atol=1e-4)


def test_data_that_another_model_uses_is_kept(tmp_path: Path) -> None:
    path = write_pair(tmp_path)
    other = tmp_path / "other.onnx"
    other.write_bytes(path.read_bytes())
    with pytest.warns(match=r"'weights\.bin'"):
        onnxla.load(path).save(path)
    assert files(tmp_path) == ["model.onnx", "model.onnx.data", "other.onnx", "weights.bin"]
    np.testing.assert_array_equal(run(other, ROWS), run(path, ROWS))


def test_from_external_to_one_file_and_back(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnxla.load(wide()).save(path, external_data=True)
    onnxla.load(path).save(path, external_data=False)
    assert files(tmp_path) == ["model.onnx"]
    onnxla.load(path).save(path, external_data="weights.bin")
    assert files(tmp_path) == ["model.onnx", "weights.bin"]
    with pytest.warns(match=r"'weights\.bin'"):  # the user's own name: it stays
        onnxla.load(path).save(path, external_data="weights.bin")
    assert files(tmp_path) == ["model.onnx", "weights.1.bin", "weights.bin"]
    assert (tmp_path / "weights.1.bin").read_bytes() == LARGE_WEIGHT.tobytes()
    np.testing.assert_allclose(run(path, ROWS), onnxla.load(wide())(ROWS), rtol=1e-4)
    stored = {t.name: t for t in onnx.load(path, load_external_data=False).graph.initializer}
    entries = {entry.key: entry.value for entry in stored["w"].external_data}
    assert entries == {"location": "weights.1.bin", "offset": "0", "length": str(SIZE * SIZE * 4)}
    assert not stored["b"].external_data
    onnx.checker.check_model(str(path))


@pytest.mark.parametrize(
    "name", ["../weights.bin", "a/b", "/weights.bin", "..", ".", "a\\b", "m.onnx", "a\0b", ""]
)
def test_external_data_is_a_plain_file_name(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"must be the name of a file beside 'm\.onnx'"):
        onnxla.load(wide()).save(tmp_path / "m.onnx", external_data=name)
    assert not files(tmp_path)


def test_more_than_one_file_can_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "MAX_MESSAGE", 60_000)
    module = onnxla.load(wide())
    with pytest.raises(onnxla.ModelError, match=r"2 GiB.*external_data=True"):
        module.save(tmp_path / "m.onnx", external_data=False)
    assert not files(tmp_path)
    module.save(tmp_path / "m.onnx", check=True)
    assert files(tmp_path) == ["m.onnx", "m.onnx.data"]


# The check by ONNX Runtime


@pytest.mark.parametrize("check", [True, {"x": X}, (X,), X])
def test_a_check_that_passes(check: object, tmp_path: Path) -> None:
    onnxla.load(linear()).save(tmp_path / "m.onnx", check=check)
    onnxla.load(wide()).save(tmp_path / "wide.onnx", external_data=True, check=True)
    assert files(tmp_path) == ["m.onnx", "wide.onnx", "wide.onnx.data"]


def test_a_check_that_fails_replaces_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_pair(tmp_path)
    before = path.read_bytes()
    module = onnxla.load(path)
    wrong = module.replace({"b": module.params["b"] + 0.5})
    monkeypatch.setattr(onnxla.Module, "to_ir", lambda self, **_: wrong._with_values())
    with pytest.raises(onnxla.OnnxlaError, match=r"output 'y' .* differs by 0.5, .* tolerance="):
        module.save(path, check={"x": ROWS})
    assert files(tmp_path) == ["model.onnx", "weights.bin"]
    assert path.read_bytes() == before
    with pytest.warns(match=r"'weights\.bin'"):
        module.save(path, check={"x": ROWS}, tolerance=0.5)


def test_a_check_sees_fixed_inputs_and_every_element_of_a_batched_module(tmp_path: Path) -> None:
    text = " m (float[1, 3] x, float[1] s) => (float[1, 3] y) { h = Mul (x, s) y = Add (h, b) }"
    module = onnxla.load(make(header() + text, b=X[0]))
    fixed = module.specialize(s=np.float32([2])).batched()
    fixed.save(tmp_path / "m.onnx", check=True)
    fixed.save(tmp_path / "m.onnx", check={"x": X[:1]})


def test_what_fails_in_onnx_runtime_replaces_nothing(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    text = " m (float[3] x, int64[N] i) => (float[N] y) { y = Gather (x, i) }"
    module = onnxla.load(make(header() + text))
    module.save(path)
    before = path.read_bytes()
    with pytest.raises(onnxla.OnnxlaError, match=r"onnxruntime: InvalidArgument: .*Gather"):
        module.save(path, check=(X[0], np.array([9])))
    assert files(tmp_path) == ["m.onnx"]
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [None, b"", b"no model"])
def test_files_that_onnx_runtime_does_not_take(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(onnxla.OnnxlaError, match=r"m\.onnx"):
        OnnxRuntime().run_file(path, {})


def test_a_check_needs_onnx_runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ImportError, match="extra 'compare'"):
        onnxla.load(linear()).save(tmp_path / "m.onnx", check=True)
    assert not files(tmp_path)


# What a failure leaves


@pytest.mark.parametrize("external_data", [False, True])
def test_a_full_disk_loses_nothing(
    external_data: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_pair(tmp_path)
    before = {name: (tmp_path / name).read_bytes() for name in files(tmp_path)}
    module = onnxla.load(path)
    real, written = os.fsync, []

    def full(descriptor: int) -> None:
        written.append(descriptor)
        if len(written) == (3 if external_data else 1):  # data, its folder, the model
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        module.save(path, external_data=external_data)
    assert {name: (tmp_path / name).read_bytes() for name in files(tmp_path)} == before


LIMITED = """
import resource, sys
from onnxla import ir
path, limit = sys.argv[1], int(sys.argv[2])
model = ir.read(path)
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
for external_data in (None, False):
    try:
        ir.save(model, path, external_data=external_data)
    except OSError as error:
        print(error.errno)
"""


def test_a_file_that_cannot_grow_loses_nothing(tmp_path: Path) -> None:
    """What a full disk does, from the operating system itself: files are limited to 40 kB."""
    path = write_pair(tmp_path)
    before = {name: (tmp_path / name).read_bytes() for name in files(tmp_path)}
    command = [sys.executable, "-c", LIMITED, str(path), "40000"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout.split() == [str(errno.EFBIG)] * 2
    assert {name: (tmp_path / name).read_bytes() for name in files(tmp_path)} == before


KILLED = """
import os, sys
from onnxla import ir
model, real = ir.read(sys.argv[1]), os.replace
def replace(source, target):
    if str(target).endswith(".onnx"):
        os._exit(9)  # as by a power cut: nothing is cleaned up
    real(source, target)
os.replace = replace
ir.save(model, sys.argv[1])
"""


def test_killed_between_the_two_renames(tmp_path: Path) -> None:
    path = write_pair(tmp_path)
    expected = onnxla.load(wide())(ROWS)
    result = subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    assert result.returncode == 9
    assert {"model.onnx", "weights.bin", "model.onnx.data"} < {*files(tmp_path)}
    np.testing.assert_allclose(run(path, ROWS), expected, rtol=1e-4, atol=1e-4)
    with pytest.warns(match=r"'weights\.bin'"):
        onnxla.load(path).save(path)  # which cleans up what no model names
    assert files(tmp_path) == ["model.onnx", "model.onnx.data", "weights.bin"]
    np.testing.assert_allclose(run(path, ROWS), expected, rtol=1e-4, atol=1e-4)


# What stays as it was


def test_typed_data_and_shared_constants_survive_training(tmp_path: Path) -> None:
    """Weights as `float_data`, and a Constant node's value, are replaced where they stand."""
    nodes = [
        helper.make_node(
            "Constant", [], ["b"], value=helper.make_tensor("", 1, [2], BIAS.tolist())
        ),
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("Add", ["h", "b"], ["y"]),
    ]
    built = onnx.load_from_string(graph(nodes, {"x": (1, [None, 3])}, ["y"]))
    built.graph.initializer.append(helper.make_tensor("w", 1, [3, 2], WEIGHT.ravel().tolist()))
    module = onnxla.load(built)
    assert dict(module.roles) == {"w": "weight", "b": "bias"}
    module.replace({"w": WEIGHT * 2, "b": BIAS + 1}).save(tmp_path / "m.onnx", check=True)
    again = onnx.load(tmp_path / "m.onnx")
    assert [node.op_type for node in again.graph.node] == ["Constant", "MatMul", "Add"]
    np.testing.assert_allclose(run(tmp_path / "m.onnx", X), X @ WEIGHT * 2 + BIAS + 1, rtol=1e-5)


def test_numbers_that_compare_equal_are_written_too(tmp_path: Path) -> None:
    module = onnxla.load(linear())
    module.replace({"b": np.zeros(2, np.float32)}).save(tmp_path / "m.onnx")
    onnxla.load(tmp_path / "m.onnx").replace({"b": -np.zeros(2, np.float32)}).save(
        tmp_path / "m.onnx"
    )
    assert np.signbit(np.asarray(onnxla.load(tmp_path / "m.onnx").params["b"])).all()


def test_drawn_inputs_are_of_sizes_that_the_graph_takes(tmp_path: Path) -> None:
    text = " m (float[N, 3, H, W] x) => (float[N, 4, h, v] y) { "
    text += "c = Conv (x, w) y = MaxPool <kernel_shape = [9, 9]> (c) }"
    module = onnxla.load(make(header() + text, w=np.ones((4, 3, 3, 3), np.float32)))
    path = tmp_path / "model.onnx"
    module.save(path, check=True)
    assert onnxla.compare(module).ok
    assert main(["run", str(path), "--random", "--output", str(tmp_path / "y.npy")]) == 0
    assert np.load(tmp_path / "y.npy").shape[1] == 4
