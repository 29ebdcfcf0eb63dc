"""What a runtime is: anything with a `name` and a `run`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from onnxla.ir.errors import OnnxlaError


class NotSupported(OnnxlaError):
    """A runtime says that it does not implement what a model asks for."""


class RuntimeFailed(OnnxlaError):
    """A runtime raised an error of its own; the message has its type and what it says."""


@runtime_checkable
class Runtime(Protocol):
    """What runs a model.

    Attributes:
        name: How reports call it.
    """

    name: str

    def run(self, model: bytes, inputs: Mapping[str, Any]) -> list[Any]:
        """The outputs in graph order.

        Args:
            model: An `.onnx` file.
            inputs: By name: numpy arrays (strings with dtype object), lists of them for sequences,
                dicts for maps, None for an optional without a value.

        Raises:
            NotSupported: The runtime does not implement what the model asks for. Any other
                exception counts as a failure of the runtime.
        """
        ...
