"""ONNX Runtime, on the CPU unless another provider is asked for."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np

from onnxla.ir import dtypes
from onnxla.peers.protocol import NotSupported, RuntimeFailed

SMALL = 1 << 20  # bytes of a model
CPU = "CPUExecutionProvider"


class OnnxRuntime:
    """ONNX Runtime, without its graph optimizations unless asked for.

    Its Python interface takes no arrays of the narrow types. Such inputs and outputs of a model
    given as bytes go through a Cast from and to a wider type, which changes no value.

    For example:

        case = onnxla.testing.example("Neg", 13, x)
        (y,) = onnxla.testing.OnnxRuntime().run(case.model, case.inputs)

    Args:
        optimized: Whether to apply its graph optimizations.
        exact: Whether to apply but those that hold on every processor, and to ask that products of
            8 bits be exact where the processor has no VNNI, which it does for constant weights.
        threads: How many threads compute an operator; by default one for a small model, for which
            a pool of them costs more than it saves, else as many as there are cores.
        provider: Which execution provider runs a node if it can; the CPU's runs the others. The
            name of the runtime says it, unless it is the CPU's.
    """

    def __init__(
        self,
        optimized: bool = False,
        threads: int | None = None,
        exact: bool = False,
        provider: str = CPU,
    ) -> None:
        self.name = "onnxruntime" if provider == CPU else f"onnxruntime:{provider}"
        self.provider = provider
        self.optimized = optimized
        self.exact = exact
        self.threads = threads

    def run(self, model: bytes, inputs: Mapping[str, Any]) -> list[Any]:
        """The outputs in graph order.

        Raises:
            NotSupported: ONNX Runtime does not take the model, or lacks a kernel for it.
            RuntimeFailed: It takes the model, and fails to run it.
        """
        wide, narrow = widened(model)
        outputs = self._outputs(wide, {name: as_wide(value) for name, value in inputs.items()})
        return [
            value if dtype is None else value.astype(dtype)
            for value, dtype in zip(outputs, narrow, strict=True)
        ]

    def run_file(self, path: str | os.PathLike[str], inputs: Mapping[str, Any]) -> list[Any]:
        """The outputs of a file, which may keep tensors in files beside it, in graph order.

        Raises as `run` does.
        """
        return self._outputs(os.fspath(path), dict(inputs))

    def _outputs(self, model: bytes | str, inputs: dict[str, Any]) -> list[Any]:
        import onnxruntime as ort
        from onnxruntime.capi import onnxruntime_pybind11_state as errors  # pyright: ignore

        options = ort.SessionOptions()
        options.log_severity_level = 4
        small = isinstance(model, bytes) and len(model) < SMALL
        options.intra_op_num_threads = (1 if small else 0) if self.threads is None else self.threads
        if self.exact:
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
            options.add_session_config_entry("session.x64quantprecision", "1")
        elif not self.optimized:
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        if self.provider not in (there := ort.get_available_providers()):
            text = f"there is no provider {self.provider} in this build, but {', '.join(there)}"
            raise RuntimeFailed(f"{self.name}: {text}")
        providers = [self.provider] if self.provider == CPU else [self.provider, CPU]
        unsupported: tuple[type[Exception], ...] = (errors.Fail, errors.InvalidGraph)
        try:
            session = ort.InferenceSession(model, options, providers=providers)
            unsupported = ()
            return list(session.run(None, inputs))
        except (errors.NotImplemented, *unsupported) as error:
            raise NotSupported(str(error)) from error
        except Exception as error:
            raise RuntimeFailed(f"{self.name}: {type(error).__name__}: {error}") from error


# Types that ONNX Runtime's Python interface lacks, and the one that holds all their values.
WIDE = {
    np.dtype(narrow): np.dtype(wide)
    for narrow, wide in (
        (ml_dtypes.bfloat16, np.float32),
        (ml_dtypes.float8_e4m3fn, np.float32),
        (ml_dtypes.float8_e4m3fnuz, np.float32),
        (ml_dtypes.float8_e5m2, np.float32),
        (ml_dtypes.float8_e5m2fnuz, np.float32),
        (ml_dtypes.float8_e8m0fnu, np.float32),
        (ml_dtypes.float4_e2m1fn, np.float32),
        (ml_dtypes.int4, np.int8),
        (ml_dtypes.uint4, np.uint8),
        (ml_dtypes.int2, np.int8),
        (ml_dtypes.uint2, np.uint8),
    )
}


def as_wide(value: Any) -> Any:
    """An array of a narrow type in a wider one; anything else as it is."""
    if isinstance(value, np.ndarray) and value.dtype in WIDE:
        return value.astype(WIDE[value.dtype])
    return value


def widened(model: bytes) -> tuple[bytes, list[np.dtype[Any] | None]]:
    """A model whose inputs and outputs have types that numpy has.

    Returns:
        The model, and for each output the dtype that it was widened from, or None.
    """
    import onnx
    from onnx import helper

    proto = onnx.load_from_string(model)
    graph = proto.graph
    narrow: list[np.dtype[Any] | None] = []
    before: list[onnx.NodeProto] = []
    after: list[onnx.NodeProto] = []
    for values, nodes in ((graph.input, before), (graph.output, after)):
        for value in values:
            kind = value.type.tensor_type
            dtype = dtypes.dtype_of(kind.elem_type) if kind.elem_type else None
            wide = WIDE.get(dtype) if dtype is not None else None
            if nodes is after:
                narrow.append(dtype if wide is not None else None)
            if wide is None:
                continue
            inner, number = f"{value.name}:narrow", dtypes.number_of(wide)
            rename(graph, value.name, inner)
            ends = (value.name, inner) if nodes is before else (inner, value.name)
            to = kind.elem_type if nodes is before else number
            # Without saturation, or infinities would be lost.
            exact: dict[str, Any] = {"saturate": 0} if "float8" in str(dtype) else {}
            nodes.append(helper.make_node("Cast", ends[:1], ends[1:], to=to, **exact))
            kind.elem_type = number
    if not before and not after:
        return model, narrow
    nodes = [*before, *graph.node, *after]
    del graph.node[:]
    graph.node.extend(nodes)
    return proto.SerializeToString(), narrow


def rename(graph: Any, old: str, new: str) -> None:
    """Gives a value another name wherever nodes make or read it, those of subgraphs too."""
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [new if name == old else name for name in names]
        for attribute in node.attribute:
            if attribute.HasField("g"):
                rename(attribute.g, old, new)
