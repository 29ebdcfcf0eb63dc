"""PyTorch by onnx2torch. Needs the packages `onnx2torch`, `onnx`, `torch` and `torchvision`."""

from __future__ import annotations

from typing import Any


class Onnx2Torch:
    """A model as a PyTorch module, which onnx2torch makes of it.

    Args:
        device: Such as `cpu` or `cuda`.
    """

    def __init__(self, device: str = "cpu") -> None:
        import onnx2torch

        self.name = "onnx2torch"
        self.device = device
        self.convert = onnx2torch.convert

    def run(self, model: bytes, inputs: dict[str, Any]) -> list[Any]:
        """The outputs in graph order."""
        import torch

        with torch.no_grad():
            outputs = self._module(model)(*self._tensors(inputs))
        outputs = outputs if isinstance(outputs, (list, tuple)) else [outputs]
        return [output.cpu().numpy() for output in outputs]

    def _module(self, model: bytes) -> Any:
        import onnx

        return self.convert(onnx.load_from_string(model)).to(self.device)

    def _tensors(self, inputs: dict[str, Any]) -> list[Any]:
        import torch

        try:
            return [torch.from_numpy(value.copy()).to(self.device) for value in inputs.values()]
        except (AttributeError, TypeError) as error:  # texts, narrow dtypes, sequences
            raise NotImplementedError(str(error)) from error
