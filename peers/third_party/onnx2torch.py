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

    def vjp(self, model: bytes, inputs: dict[str, Any], cotangents: list[Any]) -> list[Any]:
        """The gradients by the floating inputs, in order, of the outputs times their cotangents."""
        import torch

        tensors = self._tensors(inputs)
        floating = [tensor.requires_grad_() for tensor in tensors if tensor.is_floating_point()]
        outputs = self._module(model)(*tensors)
        outputs = outputs if isinstance(outputs, (list, tuple)) else [outputs]
        chosen = [(y, torch.from_numpy(c)) for y, c in zip(outputs, cotangents) if c is not None]
        if not any(y.requires_grad for y, _ in chosen):
            return [torch.zeros_like(tensor).cpu().numpy() for tensor in floating]
        values, weights = zip(*((y, w.to(self.device)) for y, w in chosen if y.requires_grad))
        found = torch.autograd.grad(values, floating, weights, materialize_grads=True)
        return [gradient.cpu().numpy() for gradient in found]

    def _module(self, model: bytes) -> Any:
        """The model as a PyTorch module."""
        import onnx

        return self.convert(onnx.load_from_string(model)).to(self.device)

    def _tensors(self, inputs: dict[str, Any]) -> list[Any]:
        """The inputs in order, as PyTorch has them."""
        import torch

        try:
            return [torch.from_numpy(value.copy()).to(self.device) for value in inputs.values()]
        except (AttributeError, TypeError) as error:  # texts, narrow dtypes, sequences
            raise NotImplementedError(str(error)) from error
