"""Constants on the device: whose memory they are in."""

import jax
import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import onnxla
from onnxla import ir
from onnxla.ir.rewrite import replace_tensors
from onnxla.ops import transfer
from onnxla.ops.transfer import on_device

RNG = np.random.default_rng(0)
WEIGHT = np.arange(2.0**16, dtype=np.float32).reshape(256, 256)


def product(weight: np.ndarray = WEIGHT) -> onnx.ModelProto:
    """A product with a weight, which may be of another type."""
    ends = [helper.make_tensor_value_info(name, 1, ["N", 256]) for name in "xy"]
    nodes = [
        helper.make_node("Cast", ["w"], ["c"], to=1),
        helper.make_node("MatMul", ["x", "c"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes, "g", ends[:1], ends[1:], [numpy_helper.from_array(weight, "w")]
    )
    opsets = [helper.make_opsetid("", 20)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


@pytest.mark.parametrize("external", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.int8])
def test_a_loaded_module_does_not_change_with_its_file(tmp_path, dtype, external) -> None:
    path = tmp_path / "model.onnx"
    weight = RNG.integers(-9, 9, WEIGHT.shape).astype(dtype)
    onnx.save(product(weight), path, save_as_external_data=external, location="data")
    module = onnxla.load(path)
    held = tmp_path / "data" if external else path
    with held.open("r+b") as file:
        file.write(bytes(held.stat().st_size))
    x = np.eye(256, dtype=np.float32)
    np.testing.assert_array_equal(module(x), weight)


def test_a_loaded_module_does_not_change_with_the_arrays_that_it_was_made_from() -> None:
    model = ir.read(product())
    array = WEIGHT.copy()
    weight = model.graph.initializers[0].with_data(array)
    memory = bytearray(product().SerializeToString())
    modules = [
        onnxla.load(replace_tensors(model, {model.graph.initializers[0]: weight})),
        onnxla.load(memoryview(memory)),
    ]
    array[:] = 0
    memory[:] = bytes(len(memory))
    for module in modules:
        np.testing.assert_array_equal(module.params["w"], WEIGHT)


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="other devices have memory of their own")
def test_the_cpu_keeps_the_memory_that_a_file_is_read_into(tmp_path, monkeypatch) -> None:
    onnx.save(product(), tmp_path / "model.onnx")
    read: list[np.ndarray] = []
    sent = transfer.sent
    monkeypatch.setattr(transfer, "sent", lambda arrays: [read.extend(arrays), *sent(arrays)][1:])
    weight = onnxla.load(tmp_path / "model.onnx").params["w"]
    assert np.shares_memory(np.asarray(weight), read[0])


def test_tensors_that_are_sent_in_groups_keep_their_order(monkeypatch) -> None:
    monkeypatch.setattr(transfer, "AT_ONCE", 100)
    arrays = [np.full(size, size, np.float32) for size in (1, 2, 60, 3, 0, 30, 4)]
    found = [*on_device(ir.Tensor.of("t", array) for array in arrays)]
    for array, value in zip(arrays, found, strict=True):
        np.testing.assert_array_equal(value, array)
