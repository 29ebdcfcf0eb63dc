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

WEIGHT = np.arange(2.0**16, dtype=np.float32).reshape(256, 256)


def product() -> onnx.ModelProto:
    """A product with a weight."""
    ends = [helper.make_tensor_value_info(name, 1, ["N", 256]) for name in "xy"]
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    weight = numpy_helper.from_array(WEIGHT, "w")
    graph = helper.make_graph([node], "g", ends[:1], ends[1:], [weight])
    opsets = [helper.make_opsetid("", 20)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


@pytest.mark.parametrize("external", [False, True])
def test_a_loaded_module_does_not_change_with_its_file(tmp_path, external) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(product(), path, save_as_external_data=external, location="data")
    module = onnxla.load(path)
    held = tmp_path / "data" if external else path
    with held.open("r+b") as file:
        file.write(bytes(held.stat().st_size))
    np.testing.assert_array_equal(module.params["w"], WEIGHT)


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
