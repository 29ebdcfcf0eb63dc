"""tinygrad. Needs the package `tinygrad`, which has its own reader of ONNX files."""

from __future__ import annotations

import os
from typing import Any

import numpy as np


class Tinygrad:
    """tinygrad on its default device, or another.

    Args:
        device: Such as `CPU`; tinygrad uses clang there, and on `PYTHON` for some models.
    """

    def __init__(self, device: str | None = None) -> None:
        if device is not None:
            os.environ["DEV"] = device
        import tinygrad.nn.onnx

        self.name = "tinygrad"
        self.tinygrad = tinygrad

    def run(self, model: bytes, inputs: dict[str, Any]) -> list[Any]:
        """The outputs in graph order."""
        return [as_numpy(value) for value in self._runner(model)(inputs).values()]

    def vjp(self, model: bytes, inputs: dict[str, Any], cotangents: list[Any]) -> list[Any]:
        """The gradients by the floating inputs, in order, of the outputs times their cotangents."""
        tensors = {name: self.tinygrad.Tensor(value) for name, value in inputs.items()}
        floating = [t for name, t in tensors.items() if inputs[name].dtype.kind == "f"]
        outputs = self._runner(model)(tensors).values()
        weighted = [
            (output * self.tinygrad.Tensor(weights)).sum().cast("float")
            for output, weights in zip(outputs, cotangents)
            if weights is not None
        ]
        return [gradient.numpy() for gradient in sum(weighted).gradient(*floating)]

    def _runner(self, model: bytes) -> Any:
        """The model as a function of its inputs by name."""
        try:
            return self.tinygrad.nn.onnx.OnnxRunner(self.tinygrad.Tensor(model))
        except ValueError as error:
            if "is not a valid OnnxDataType" in str(error):
                raise NotImplementedError(str(error)) from error
            raise


def as_numpy(value: Any) -> Any:
    """A tensor, or a list of them, in numpy."""
    if isinstance(value, list):
        return [as_numpy(item) for item in value]
    return value.numpy() if hasattr(value, "numpy") else np.asarray(value)
