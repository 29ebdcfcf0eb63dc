"""The reference evaluator of the `onnx` package."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from onnxla.peers.protocol import NotSupported


class Reference:
    """The reference evaluator of the `onnx` package.

    For example:

        case = onnxla.testing.example("Neg", 13, x)
        (y,) = onnxla.testing.Reference().run(case.model, case.inputs)

    Args:
        new_ops: Implementations of operators that it lacks: subclasses of its `OpRun`.
    """

    def __init__(self, new_ops: Sequence[type] = ()) -> None:
        self.name = "reference"
        self.new_ops = list(new_ops)

    def run(self, model: bytes, inputs: Mapping[str, Any]) -> list[Any]:
        """The outputs in graph order."""
        import onnx
        from onnx.reference import ReferenceEvaluator
        from onnx.reference.op_run import RuntimeContextError, RuntimeImplementationError

        try:
            with np.errstate(all="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of numpy and others: its answer counts
                evaluator = ReferenceEvaluator(onnx.load_from_string(model), new_ops=self.new_ops)
                return list(evaluator.run(None, dict(inputs)))
        except (NotImplementedError, RuntimeContextError, RuntimeImplementationError) as error:
            raise NotSupported(str(error)) from error
        except RuntimeError as error:
            if "No implementation for operator" in str(error):
                raise NotSupported(str(error)) from error
            raise
