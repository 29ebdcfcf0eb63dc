"""What a runtime is: anything with a `name` and a `run`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from onnxla.ir.errors import OnnxlaError


class NotSupported(OnnxlaError):
    """A runtime says that it does not implement what a model asks for.

    For example:

        class Small:
            name = "small"

            def run(self, model, inputs):
                raise onnxla.testing.NotSupported("any operator, so far")

        case = onnxla.testing.example("Neg", 13, x)
        assert onnxla.testing.compare(case, Small(), "reference").kind == "unsupported"
    """


class RuntimeFailed(OnnxlaError):
    """A runtime raised an error of its own; the message has its type and what it says."""


@runtime_checkable
class Runtime(Protocol):
    """What runs a model.

    For example:

        class Wrong:
            name = "wrong"

            def run(self, model, inputs):
                return [value * 2 for value in inputs.values()]

        case = onnxla.testing.example("Neg", 13, x)
        assert onnxla.testing.compare(case, Wrong(), "reference").kind == "disagreed"

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
