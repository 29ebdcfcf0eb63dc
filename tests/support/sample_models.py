"""Models of one node: what a sample of an operator looks like at a schema version."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import onnx
from onnx import helper

import onnxla
from onnxla.ops import Operator, rows
from support.samples import Sample

ROWS: dict[tuple[str, str], list[tuple[int, Operator]]] = {}
for _version, _operator in rows():
    ROWS.setdefault((_operator.domain, _operator.name), []).append((_version, _operator))


def build(sample: Sample, version: int, arrays: list[Any]) -> bytes:
    """A model of one node."""
    names = [f"x{i}" if array is not None else "" for i, array in enumerate(arrays)]
    asked = [True] * sample.outputs if isinstance(sample.outputs, int) else sample.outputs
    outputs = [f"y{i}" if ask else "" for i, ask in enumerate(asked)]
    node = helper.make_node(sample.op, names, outputs, domain=sample.domain, **sample.attributes)
    inputs = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
        for name, a in zip(names, arrays, strict=True)
        if name
    ]
    graph = helper.make_graph(
        [node], "sample", inputs, [onnx.ValueInfoProto(name=name) for name in outputs if name]
    )
    opsets = [helper.make_opsetid(sample.domain, version)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    return onnx.shape_inference.infer_shapes(model).SerializeToString()


def in_double_precision(
    sample: Sample, version: int
) -> tuple[Callable[..., Any], tuple[np.ndarray, ...]]:
    """The outputs as a function of the inputs that `sample.grad` lists, and these inputs."""
    arrays = [
        x.astype(np.float64) if x is not None and x.dtype == np.float32 else x
        for x in sample.inputs
    ]
    module = onnxla.load(build(sample, version, arrays))

    def function(*traced: jax.Array) -> Any:
        values = dict(zip(sample.grad, traced, strict=True))
        inputs = [values.get(i, x) for i, x in enumerate(arrays)]
        return module.apply(module.params, *(x for x in inputs if x is not None))

    return function, tuple(arrays[i] for i in sample.grad)
