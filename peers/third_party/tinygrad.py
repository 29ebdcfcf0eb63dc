"""tinygrad. Needs the package `tinygrad`, which has its own reader of ONNX files."""

from __future__ import annotations

import os
from typing import Any

import numpy as np


class Tinygrad:
    """tinygrad on its default device, or another.

    Args:
        device: Such as `CPU`, which needs clang, or `PYTHON`, which needs nothing and is slow.
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

    def _runner(self, model: bytes) -> Any:
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
