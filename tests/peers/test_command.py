"""Programs as runtimes: the files that they get and give, and how they end."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxla.peers.command import CommandRuntime
from onnxla.peers.isolation import RuntimeCrashed
from onnxla.peers.protocol import NotSupported, RuntimeFailed
from onnxla.testing.types import type_proto

REST = "sh {model} {inputs} {outputs}"  # a shell's $0, $1, $2 and $3
COPY = f"sh -c 'cp $2/input_0.pb $3/output_0.pb' {REST}"
X = {"x": np.array([1, 2], np.float32)}
KINDS: dict[str, tuple[str, Any]] = {
    "float": ("tensor(float)", np.array([1.5, np.nan, -0.0], np.float32)),
    "scalar": ("tensor(int64)", np.array(-3)),
    "empty": ("tensor(double)", np.zeros((2, 0))),
    "complex": ("tensor(complex64)", np.array([1 + 2j], np.complex64)),
    "texts": ("tensor(string)", np.array([["a"], ["é"]], object)),
    "bfloat16": ("tensor(bfloat16)", np.array([1, 0.5]).astype(ml_dtypes.bfloat16)),
    "int4": ("tensor(int4)", np.array([1, -8, 7]).astype(ml_dtypes.int4)),
    "sequence": ("seq(tensor(float))", [np.float32([1, 2]), np.zeros((0, 1), np.float32)]),
    "empty sequence": ("seq(tensor(float))", []),
    "map": ("map(int64,tensor(float))", {1: 0.5, -3: 2.0}),
    "map of texts": ("map(string,tensor(int64))", {"é": 1}),
    "maps": ("seq(map(int64,tensor(float)))", [{7: 0.25}, {8: 0.5}]),
    "optional": ("optional(tensor(float))", np.float32([3])),
    "no optional": ("optional(tensor(float))", None),
    "optional sequence": ("optional(seq(tensor(float)))", [np.float32([3])]),
}


def identity(kind: str = "tensor(float)") -> bytes:
    """A model that copies a value of a type."""
    values = [helper.make_value_info(name, type_proto(kind)) for name in "xy"]
    node = helper.make_node("Identity", ["x"], ["y"])
    graph = helper.make_graph([node], "g", values[:1], values[1:])
    return helper.make_model(graph).SerializeToString()


@pytest.mark.parametrize("name", KINDS)
def test_values_go_through_files_exactly(name: str) -> None:
    kind, value = KINDS[name]
    (got,) = CommandRuntime(COPY).run(identity(kind), {"x": value})
    assert type(got) is type(value)
    if isinstance(value, np.ndarray):
        assert (got.dtype, got.shape) == (value.dtype, value.shape)
        assert got.tolist() == value.tolist() or got.tobytes() == value.tobytes()
    elif isinstance(value, list) and value and isinstance(value[0], np.ndarray):
        assert [item.tolist() for item in got] == [item.tolist() for item in value]
    else:
        assert got == value


def test_the_files_of_a_case(tmp_path: Path) -> None:
    names = ("x", "half", "text", "absent")
    kinds = ("tensor(float)", "tensor(bfloat16)", "tensor(string)", "optional(tensor(float))")
    values = [helper.make_value_info(n, type_proto(k)) for n, k in zip(names, kinds, strict=True)]
    outputs = [helper.make_value_info(name, type_proto("tensor(float)")) for name in ("y", "z")]
    node = helper.make_node("Any", ["x"], ["y", "z"])
    model = helper.make_model(helper.make_graph([node], "g", values, outputs)).SerializeToString()
    inputs = {
        **X,
        "half": np.array([1]).astype(ml_dtypes.bfloat16),
        "text": np.array("a", object),
        "absent": None,
    }
    answer = "cp $2/input_0.npy $3/output_0.npy; cp $2/input_0.pb $3/output_1.pb"
    runtime = CommandRuntime(f"sh -c 'cp -r $1 $2 {tmp_path}; {answer}' {REST}")
    got = runtime.run(model, inputs)
    assert [output.tolist() for output in got] == [[1, 2], [1, 2]]
    assert (tmp_path / "model.onnx").read_bytes() == model
    assert {path.name for path in (tmp_path / "inputs").iterdir()} == {
        "names.json",
        "input_0.npy",
        *(f"input_{i}.pb" for i in range(4)),
    }
    assert json.loads((tmp_path / "inputs" / "names.json").read_text()) == {
        "inputs": [
            {"name": "x", "type": "tensor", "dtype": "float32"},
            {"name": "half", "type": "tensor", "dtype": "bfloat16"},
            {"name": "text", "type": "tensor", "dtype": "string"},
            {"name": "absent", "type": "optional"},
        ],
        "outputs": ["y", "z"],
    }
    tensor = TensorProto.FromString((tmp_path / "inputs" / "input_1.pb").read_bytes())
    assert (tensor.name, tensor.data_type) == ("half", TensorProto.BFLOAT16)
    assert numpy_helper.to_array(tensor).tolist() == [1]
    optional = onnx.OptionalProto.FromString((tmp_path / "inputs" / "input_3.pb").read_bytes())
    assert (optional.name, optional.elem_type) == ("absent", onnx.OptionalProto.UNDEFINED)


@pytest.mark.parametrize(
    ("script", "error", "message"),
    [
        ("echo no kernel >&2; exit 3", NotSupported, "exit code 3; standard error: no kernel"),
        ("echo printed; exit 1", RuntimeFailed, "^exit code 1; standard error: printed$"),
        ("echo bad >&2; kill -SEGV $$", RuntimeCrashed, "sh crashed: SIGSEGV; standard error: bad"),
        ("exit 0", RuntimeFailed, "there is no output_0.pb or output_0.npy"),
        ("echo rubbish > $3/output_0.pb", RuntimeFailed, "output_0 cannot be read: DecodeError"),
        ("echo rubbish > $3/output_0.npy", RuntimeFailed, "ValueError: the magic string is not"),
        ("mkfifo $3/output_0.pb", RuntimeFailed, "there is no output_0.pb or output_0.npy"),
        ("ulimit -v; exit 3", NotSupported, "standard error: 102400$"),
    ],
    ids=["unsupported", "failed", "crashed", "nothing", "no tensor", "no array", "pipe", "limited"],
)
def test_how_programs_end(script: str, error: type[Exception], message: str) -> None:
    if "ulimit" in script and sys.platform != "linux":
        pytest.skip("other systems do not limit addresses")
    runtime = CommandRuntime(f"sh -c '{script}' {REST}", memory=100 if "ulimit" in script else None)
    with pytest.raises(error, match=message):
        runtime.run(identity(), X)


def test_a_program_that_hangs_ends_with_what_it_started(tmp_path: Path) -> None:
    beside = tmp_path / "alive"
    script = f"(sleep 1; touch {beside}) & echo waiting >&2; wait"
    runtime = CommandRuntime(f"sh -c '{script}' {REST}", timeout=0.3)
    with pytest.raises(RuntimeCrashed, match=r"did not end in 0\.3 s; standard error: waiting"):
        runtime.run(identity(), X)
    with pytest.raises(RuntimeCrashed):
        CommandRuntime(f"sh -c 'sleep 60' {REST}", timeout=1.0).run(identity(), X)
    assert not beside.exists()


def test_a_program_has_a_name() -> None:
    assert CommandRuntime("/bin/sh --fast {model} --in={inputs} {outputs}").name == "sh --fast"
