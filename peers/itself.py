"""This package as a runtime among others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax

import onnxla
from onnxla.peers.protocol import NotSupported


class Onnxla:
    """This package. By default as a user calls it: compiled where shapes allow.

    For example:

        case = onnxla.testing.example("Neg", 13, x)
        (y,) = onnxla.testing.Onnxla().run(case.model, case.inputs)

    Args:
        known: Evaluate on known values instead, as shape arithmetic is.
    """

    def __init__(self, known: bool = False) -> None:
        self.name = "onnxla"
        self.known = known

    def run(self, model: bytes, inputs: Mapping[str, Any]) -> list[Any]:
        """The outputs in graph order."""
        key = jax.random.key(0)  # for what draws random numbers without a seed
        try:
            module = onnxla.load(model)
            if self.known:
                ordered = [inputs[name] for name in module.input_names]
                outputs = module.apply(module.params, *ordered, key=key)
                return [outputs] if len(module.output_names) == 1 else list(outputs)
            return list(module.run(inputs, key).values())
        except onnxla.UnsupportedError as error:
            raise NotSupported(str(error)) from error
