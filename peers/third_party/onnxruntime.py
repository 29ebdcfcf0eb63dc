"""ONNX Runtime in another environment. Needs the package `onnxruntime`."""

from __future__ import annotations

from typing import Any

CPU = "CPUExecutionProvider"


class OnnxRuntimeAlone:
    """ONNX Runtime without its graph optimizations, whose interface takes no narrow types.

    Args:
        provider: Which execution provider runs a node if it can; the CPU's runs the others.
    """

    def __init__(self, provider: str = CPU) -> None:
        import onnxruntime

        there = onnxruntime.get_available_providers()
        if provider not in there:
            raise ValueError(f"there is no provider {provider} in this build, but {there}")
        self.name = f"onnxruntime {onnxruntime.__version__}"
        self.providers = [provider] if provider == CPU else [provider, CPU]

    def run(self, model: bytes, inputs: dict[str, Any]) -> list[Any]:
        """The outputs in graph order."""
        import onnxruntime
        from onnxruntime.capi import onnxruntime_pybind11_state as errors

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = 1
        levels = onnxruntime.GraphOptimizationLevel
        options.graph_optimization_level = levels.ORT_DISABLE_ALL
        try:
            session = onnxruntime.InferenceSession(model, options, providers=self.providers)
        except (errors.NotImplemented, errors.Fail, errors.InvalidGraph) as error:
            raise NotImplementedError(str(error)) from error
        return list(session.run(None, inputs))
