"""Which operators graphs have, and which dtypes these take, at an opset."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import onnx

from onnxla.ir import STRING, dtypes
from onnxla.ops import lookup
from onnxla.testing.operator_cases import operators
from onnxla.testing.schemas import Schema, schema
from onnxla.testing.types import tensor_type

OPSET = onnx.defs.onnx_opset_version()
SUBGRAPHS = ("If", "Loop", "Scan")
# Operators that make a value of any shape, for a node that asks for one that the graph lacks.
PRODUCERS = ("Add", "Mul", "Sub", "Relu", "Tanh", "Neg", "Abs", "Sigmoid", "And", "Not")
USUAL = (np.dtype(np.float32), np.dtype(np.int64), np.dtype(np.bool_))


@functools.cache
def schema_at(name: str, opset: int) -> Schema:
    """The schema of one of ONNX's own operators in an opset."""
    return schema(name, int(onnx.defs.get_schema(name, opset).since_version))


@functools.cache
def graph_operators(opset: int = OPSET) -> tuple[str, ...]:
    """Operators that graphs have: tensors of numbers go in and come out, and none is random.

    So those are left out that need strings, sequences, optionals or maps, and those with
    subgraphs. If, Loop and Scan, whose subgraphs are drawn as graphs, are not listed.
    """
    names = []
    for (domain, name), versions in operators().items():
        if domain or not onnx.defs.has(name, opset) or versions[0] > opset:
            continue
        described = onnx.defs.get_schema(name, opset)
        found = schema_at(name, opset)
        operator = lookup("", name, found.version)
        if (
            not described.deprecated
            and not (operator and "key" in operator.reserved)
            and all(a.type != a.type.GRAPH for a in described.attributes.values())
            and all(any(map(is_number, found.allowed(n))) for n in (*found.inputs, *found.outputs))
        ):
            names.append(name)
    return tuple(sorted(names, key=lambda n: PRODUCERS.index(n) if n in PRODUCERS else 99))


@functools.cache
def numbers(opset: int) -> tuple[np.dtype[Any], ...]:
    """The dtypes of numbers that an opset has."""
    every = [d for number in range(1, 27) if (d := dtypes.dtype_of(number)) != STRING]
    return tuple(dtype for dtype in every if can_make("Identity", dtype, opset))


def is_number(text: str) -> bool:
    """Whether a type string is that of a tensor of numbers."""
    return text.startswith("tensor(") and text != "tensor(string)"


@functools.cache
def takes(name: str, dtype: np.dtype[Any], opset: int) -> bool:
    """Whether an operator's first operand may have a dtype."""
    found = schema_at(name, opset)
    return bool(found.inputs) and tensor_type(dtype) in found.allowed(next(iter(found.inputs)))


@functools.cache
def can_make(name: str, dtype: np.dtype[Any], opset: int) -> bool:
    """Whether an operator may make values of a dtype."""
    found = schema_at(name, opset)
    return tensor_type(dtype) in found.allowed(next(iter(found.outputs)))
