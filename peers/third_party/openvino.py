"""OpenVINO. Needs the package `openvino`."""

from __future__ import annotations

from typing import Any

import numpy as np


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
            if "No conversion rule found" in str(error) or "Unsupported data type" in str(error):
                raise NotImplementedError(str(error)) from error
            raise
        result = compiled({name: self._tensor(value) for name, value in inputs.items()})
        return [as_typed(result[output], output) for output in compiled.outputs]

    def _tensor(self, value: Any) -> Any:
        """An input as OpenVINO takes it.

        Raises:
            NotImplementedError: It is of texts, or of another narrow type.
        """
        import openvino

        name = value.dtype.name
        if value.dtype.type.__module__ == "numpy" and value.dtype.kind != "O":
            return value
        for kind, narrow in NARROW.items():
            if narrow == name:
                value = np.ascontiguousarray(value)
                return openvino.Tensor(
                    value.view(f"u{value.itemsize}"), value.shape, getattr(openvino.Type, kind)
                )
        raise NotImplementedError(f"inputs of type {name}")


# Types that numpy lacks, which OpenVINO gives as others of their size.
NARROW = {"bf16": "bfloat16", "f8e4m3": "float8_e4m3fn", "f8e5m2": "float8_e5m2"}


def as_typed(value: Any, output: Any) -> Any:
    """An array of the type that the output has.

    Raises:
        NotImplementedError: It is of 4 bits, of which OpenVINO packs two into a byte.
    """
    kind = output.get_element_type()
    if kind.get_type_name() in NARROW:
        import ml_dtypes

        return value.view(getattr(ml_dtypes, NARROW[kind.get_type_name()]))
    if kind.get_bitwidth() < 8 and kind.get_type_name() != "boolean":
        raise NotImplementedError(f"packed values of type {kind.get_type_name()}")
    return value
