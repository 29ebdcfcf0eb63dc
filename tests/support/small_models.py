"""Small models made for tests of the interpreter and of `Module`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper, parser


def make(text: str, **tensors: np.ndarray) -> bytes:
    """A model from ONNX's textual syntax, with initializers given as arrays."""
    model = parser.parse_model(text)
    for name, array in tensors.items():
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    return model.SerializeToString()


def header(opset: int = 20, producer: str = "") -> str:
    return f'<ir_version: 9, opset_import: ["" : {opset}], producer_name: "{producer}">'


def graph(
    nodes: Sequence[Any],
    inputs: Mapping[str, Any],
    outputs: Sequence[str],
    opset: int = 20,
    tensors: Mapping[str, np.ndarray] | None = None,
) -> bytes:
    """A model from nodes; `inputs` are (element type, shape) by name."""
    built = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info(name, *kind) for name, kind in inputs.items()],
        [onnx.ValueInfoProto(name=name) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in (tensors or {}).items()],
    )
    opsets = [helper.make_opsetid("", opset)]
    return helper.make_model(built, opset_imports=opsets, ir_version=9).SerializeToString()


WEIGHT = np.random.default_rng(0).standard_normal((3, 2)).astype(np.float32)
BIAS = np.array([0.5, -0.5], np.float32)


def linear() -> bytes:
    """y = x @ w + b, with h = x @ w in between."""
    return make(
        header()
        + """ linear (float[N, 3] x) => (float[N, 2] y) {
            h = MatMul (x, w)
            y = Add (h, b)
        }""",
        w=WEIGHT,
        b=BIAS,
    )
