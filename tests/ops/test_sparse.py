"""Sparse tensors: the values they have when dense, in operators that take nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

import onnxla

A = np.float32([[0, 2, 0, -1], [0, 0, 0, 0], [3, 0, 0.5, 0]])
B = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
CASES: list[tuple[np.ndarray, np.ndarray, dict[str, Any]]] = [
    (A, B, {}),
    (A, B.T, {"transB": 1, "alpha": 0.5}),
    (A, B[:3], {"transA": 1, "alpha": -2.0}),
    (A, B[:, :2].reshape(2, 4), {"transA": 0, "transB": 1}),
    (A.astype(np.int64), np.arange(8).reshape(4, 2), {}),
]


def model(a: np.ndarray, b: np.ndarray, attributes: dict[str, Any], initializer: bool) -> bytes:
    """The product of a sparse tensor, an input or an initializer of the file, and an input."""
    node = helper.make_node(
        "SparseToDenseMatMul", ["A", "B"], ["Y"], domain="com.microsoft", **attributes
    )
    kind = helper.np_dtype_to_tensor_dtype(a.dtype)
    inputs = [helper.make_tensor_value_info("B", kind, b.shape)]
    if not initializer:
        inputs.insert(0, helper.make_sparse_tensor_value_info("A", kind, None))
    graph = helper.make_graph([node], "sparse", inputs, [onnx.ValueInfoProto(name="Y")])
    if initializer:
        values, indices = (numpy_helper.from_array(x) for x in (a[a != 0], np.argwhere(a)))
        values.name = "A"
        graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, a.shape))
    opsets = [helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()


@pytest.mark.parametrize(("a", "b", "attributes"), CASES)
def test_product(a: np.ndarray, b: np.ndarray, attributes: dict[str, Any]) -> None:
    asked = model(a, b, attributes, initializer=False)
    sparse = onnxruntime.SparseTensor.sparse_coo_from_numpy(
        np.array(a.shape), a[a != 0], np.argwhere(a).ravel(), onnxruntime.OrtDevice.make("cpu", 0)
    )
    feeds = {
        "A": onnxruntime.OrtValue.ort_value_from_sparse_tensor(sparse),
        "B": onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(b)),
    }
    session = onnxruntime.InferenceSession(asked)
    expected = session.run_with_ort_values(["Y"], feeds)[0].numpy()
    for got in (
        onnxla.load(asked)(a, b),
        onnxla.load(model(a, b, attributes, initializer=True))(b),
    ):
        assert got.dtype == expected.dtype
        np.testing.assert_allclose(got, expected, 1e-5)
