"""Runtimes that cases are run in. Anything with a `name` and a `run` is one."""

from __future__ import annotations

import functools
import importlib
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import ml_dtypes
import numpy as np


class NotSupported(Exception):
    """A runtime says that it does not implement what a model asks for."""


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


class Onnxla:
    """This package. By default as a user calls it: compiled where shapes allow.

    Args:
        known: Evaluate on known values instead, as shape arithmetic is.
    """

    def __init__(self, known: bool = False) -> None:
        self.name = "onnxla"
        self.known = known

    def run(self, model: bytes, inputs: Mapping[str, Any]) -> list[Any]:
        """The outputs in graph order."""
        import jax

        import onnxla

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


class Reference:
    """The reference evaluator of the `onnx` package.

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


class OnnxRuntime:
    """ONNX Runtime on the CPU, without its graph optimizations unless asked for.

    Its Python interface takes no arrays of the narrow types. Such inputs and outputs go through a
    Cast from and to a wider type, which changes no value.

    Args:
        optimized: Whether to apply its graph optimizations.
    """

    def __init__(self, optimized: bool = False) -> None:
        self.name = "onnxruntime"
        self.optimized = optimized

    def run(self, model: bytes, inputs: Mapping[str, Any]) -> list[Any]:
        """The outputs in graph order."""
        import onnxruntime as ort
        from onnxruntime.capi import onnxruntime_pybind11_state as errors  # pyright: ignore

        options = ort.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = 1  # a pool of threads costs more than it saves
        if not self.optimized:
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        wide, narrow = widened(model)
        feeds = {name: _wide(value) for name, value in inputs.items()}
        try:
            session = ort.InferenceSession(wide, options, providers=["CPUExecutionProvider"])
        except (errors.Fail, errors.InvalidGraph, errors.NotImplemented) as error:
            raise NotSupported(str(error)) from error
        try:
            outputs: list[Any] = list(session.run(None, feeds))
        except errors.NotImplemented as error:
            raise NotSupported(str(error)) from error
        return [
            value if dtype is None else value.astype(dtype)
            for value, dtype in zip(outputs, narrow, strict=True)
        ]


# Types that ONNX Runtime's Python interface lacks, and the one that holds all their values.
_WIDE = {
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


def _wide(value: Any) -> Any:
    if isinstance(value, np.ndarray) and value.dtype in _WIDE:
        return value.astype(_WIDE[value.dtype])
    return value


def widened(model: bytes) -> tuple[bytes, list[np.dtype[Any] | None]]:
    """A model whose inputs and outputs have types that numpy has.

    Returns:
        The model, and for each output the dtype that it was widened from, or None.
    """
    import onnx
    from onnx import helper

    from onnxla.ir import dtypes

    proto = onnx.load_from_string(model)
    graph = proto.graph
    narrow: list[np.dtype[Any] | None] = []
    before: list[onnx.NodeProto] = []
    after: list[onnx.NodeProto] = []
    for values, nodes in ((graph.input, before), (graph.output, after)):
        for value in values:
            kind = value.type.tensor_type
            dtype = dtypes.dtype_of(kind.elem_type) if kind.elem_type else None
            wide = _WIDE.get(dtype) if dtype is not None else None
            if nodes is after:
                narrow.append(dtype if wide is not None else None)
            if wide is None:
                continue
            inner, number = f"{value.name}:narrow", dtypes.number_of(wide)
            for node in graph.node:
                names = node.input if nodes is before else node.output
                names[:] = [inner if name == value.name else name for name in names]
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


@functools.cache
def named(name: str) -> Runtime:
    """The runtime of a name: `onnxla`, `reference` or `onnxruntime` (in a process of its own).

    Raises:
        ValueError: There is none of that name.
    """
    from onnxla.peers.isolation import Isolated

    if name == "onnxla":
        return Onnxla()
    if name == "reference":
        return Reference()
    if name == "onnxruntime":
        return Isolated(OnnxRuntime())
    raise ValueError(f"no runtime '{name}'; there are onnxla, reference and onnxruntime")


def find_runtime(text: str) -> Runtime:
    """The runtime that a name or MODULE:NAME stands for.

    Raises:
        ValueError: There is none.
    """
    module, colon, name = text.partition(":")
    if not colon:
        return named(text)
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"no runtime '{text}': {error}") from error
    made = found() if isinstance(found, type) else found
    if not isinstance(made, Runtime):
        raise ValueError(f"'{text}' is no runtime: it needs `name` and `run(model, inputs)`")
    return made
