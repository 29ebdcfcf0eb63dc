"""onnxla behind the interface `onnx.backend.base`, as a module: `onnxla.backend.prepare(model)`.

`onnx.backend.test.BackendTest(onnxla.backend, __name__)` tests it. Needs the package `onnx`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
import onnx
from onnx import helper
from onnx.backend.base import Backend, BackendRep, Device, DeviceType

from onnxla.findings import check
from onnxla.inputs import by_name
from onnxla.module import Module, load
from onnxla.ops.values import Value, as_known

PLATFORMS = {DeviceType.CPU: "cpu", DeviceType.CUDA: "gpu"}


def find_device(name: str) -> Any:
    """The JAX device that ONNX calls `CPU`, `CUDA` or `CUDA:1`.

    For example:

        device = onnxla.backend.find_device("CPU")

    Raises:
        ValueError: There is none.
    """
    try:
        device = Device(name)
        return jax.devices(PLATFORMS[device.type])[device.device_id]
    except (AttributeError, RuntimeError, IndexError) as error:
        raise ValueError(f"there is no device '{name}'; JAX has {jax.devices()}") from error


class Prepared(BackendRep):
    """A model that is ready to run on a device.

    For example:

        prepared = onnxla.backend.prepare(onnx.load("model.onnx"))
        (y,) = prepared.run([x])
    """

    def __init__(self, module: Module, device: Any) -> None:
        self.module = jax.device_put(module, device)
        self.device = device

    def run(self, inputs: Any, **kwargs: Any) -> tuple[Value, ...]:
        """Outputs as numpy for inputs in the model's order, or by name; or for one input alone."""
        named = by_name(self.module.program, inputs)
        with jax.default_device(self.device):
            return tuple(map(as_known, self.module.run(named, **kwargs).values()))


class OnnxlaBackend(Backend):
    """Models and nodes, run by JAX.

    For example:

        assert onnxla.backend.is_compatible(onnx.load("model.onnx"))
        assert onnxla.backend.supports_device("CPU")
        node = onnx.helper.make_node("Neg", ["x"], ["y"])
        (y,) = onnxla.backend.run_node(node, [x])
    """

    @classmethod
    def is_compatible(cls, model: onnx.ModelProto, device: str = "CPU", **kwargs: Any) -> bool:
        """Whether the model is valid, all its operators are supported, and the device is there."""
        return cls.supports_device(device) and check(model).ok

    @classmethod
    def prepare(cls, model: onnx.ModelProto, device: str = "CPU", **kwargs: Any) -> Prepared:
        """The model, loaded. Raises: ModelError if it is wrong; ValueError for an absent device.

        For example:

            (y,) = onnxla.backend.prepare(onnx.load("model.onnx")).run([x])
        """
        return Prepared(load(model), find_device(device))

    @classmethod
    def run_node(
        cls,
        node: onnx.NodeProto,
        inputs: Any,
        device: str = "CPU",
        outputs_info: Sequence[tuple[np.dtype, tuple[int, ...]]] | None = None,
        **kwargs: Any,
    ) -> tuple[Value, ...]:
        """Outputs of one node, of opset `opset_version` or the newest one.

        An operator of another domain than `ai.onnx` is of that domain's version `opset_version`.
        """
        arrays = [np.asarray(x) for x in (inputs if isinstance(inputs, list | tuple) else [inputs])]
        named = dict(zip(filter(None, node.input), arrays, strict=True))
        values = [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)
            for name, x in named.items()
        ]
        outputs = [onnx.ValueInfoProto(name=name) for name in node.output if name]
        version = kwargs.pop("opset_version", onnx.defs.onnx_opset_version())
        model = helper.make_model(
            helper.make_graph([node], "node", values, outputs),
            opset_imports=[helper.make_opsetid(node.domain, version)],
        )
        return cls.prepare(model, device).run(named, **kwargs)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Whether JAX has the device: `CPU`, `CUDA`, `CUDA:1`."""
        try:
            return find_device(device) is not None
        except ValueError:
            return False


is_compatible = OnnxlaBackend.is_compatible
prepare = OnnxlaBackend.prepare
run_model = OnnxlaBackend.run_model
run_node = OnnxlaBackend.run_node
supports_device = OnnxlaBackend.supports_device
