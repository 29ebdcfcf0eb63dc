"""TVM. Needs the packages `apache-tvm` and `onnx`."""

from __future__ import annotations

from typing import Any


class Tvm:
    """TVM: a model becomes a Relax module, which is compiled and run.

    Args:
        target: What it is compiled for.
    """

    def __init__(self, target: str = "llvm") -> None:
        import tvm.relax.frontend.onnx

        self.name = "tvm"
        self.version = tvm.__version__
        self.tvm = tvm
        self.target = target

    def run(self, model: bytes, inputs: dict[str, Any]) -> list[Any]:
        """The outputs in graph order."""
        import onnx

        relax = self.tvm.relax
        shapes = {name: list(value.shape) for name, value in inputs.items()}
        if any(value.dtype.kind == "O" for value in inputs.values()):
            raise NotImplementedError("texts")
        dtypes = {name: value.dtype.name for name, value in inputs.items()}
        proto = onnx.load_from_string(model)
        try:
            module = relax.frontend.onnx.from_onnx(
                proto, shapes, dtypes, sanitize_input_names=False
            )
        except Exception as error:
            if "not supported" in str(error) or "not implemented" in str(error):
                raise NotImplementedError(str(error)) from error
            raise
        device = self.tvm.device("cpu" if self.target == "llvm" else self.target, 0)
        machine = relax.VirtualMachine(self.tvm.compile(module, self.target), device)
        arrays = [self.tvm.runtime.tensor(value, device) for value in inputs.values()]
        outputs = machine["main"](*arrays)
        if not hasattr(outputs, "numpy"):
            return [output.numpy() for output in outputs]
        return [outputs.numpy()]
