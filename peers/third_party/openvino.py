"""OpenVINO. Needs the package `openvino`."""

from __future__ import annotations

from typing import Any


class OpenVino:
    """OpenVINO, in the precision of the model.

    Args:
        device: Such as `CPU` or `GPU`.
    """

    def __init__(self, device: str = "CPU") -> None:
        import openvino

        self.name = "openvino"
        self.device = device
        self.core = openvino.Core()
        self.core.set_property(device, {"INFERENCE_PRECISION_HINT": "f32"})

    def run(self, model: bytes, inputs: dict[str, Any]) -> list[Any]:
        """The outputs in graph order."""
        try:
            compiled = self.core.compile_model(self.core.read_model(model, b""), self.device)
        except RuntimeError as error:
            if "No conversion rule found" in str(error):
                raise NotImplementedError(str(error)) from error
            raise
        result = compiled(inputs)
        return [result[output] for output in compiled.outputs]
