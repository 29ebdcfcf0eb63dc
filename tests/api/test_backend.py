"""`onnxla.backend` as tools that know `onnx.backend.base` use it."""

from __future__ import annotations

import unittest
import warnings

import numpy as np
import onnx
import onnx.backend.test
import pytest
from onnx import helper

import onnxla
import onnxla.backend
from support.small_models import header, make

X = np.arange(6, dtype=np.float32).reshape(2, 3)


def model() -> onnx.ModelProto:
    text = header() + " m (float[N, 3] x, float[3] b) => (float[N, 3] y, int64[2] s)"
    return onnx.load_from_string(make(text + " { y = Add (x, b) s = Shape (x) }"))


def test_a_model_is_prepared_and_run() -> None:
    prepared = onnxla.backend.prepare(model(), device="CPU")
    for inputs in ([X, X[0]], {"x": X, "b": X[0]}):
        y, s = prepared.run(inputs)
        assert isinstance(y, np.ndarray)
        np.testing.assert_array_equal(y, X + X[0])
        np.testing.assert_array_equal(s, [2, 3])
    y, _ = onnxla.backend.run_model(model(), [X, X[0]])
    np.testing.assert_array_equal(y, X + X[0])


def test_a_node_is_run() -> None:
    node = helper.make_node("Softmax", ["x"], ["y"], axis=0)
    (newest,) = onnxla.backend.run_node(node, [X])
    np.testing.assert_allclose(newest.sum(0), 1, rtol=1e-6)
    # At first the operator flattened its input from an axis on.
    node = helper.make_node("Softmax", ["x"], ["y"])
    (oldest,) = onnxla.backend.run_node(node, [X[:, :, None]], opset_version=1)
    np.testing.assert_allclose(oldest.sum((1, 2)), 1, rtol=1e-6)


def test_devices_and_what_is_compatible() -> None:
    assert onnxla.backend.supports_device("CPU")
    assert not onnxla.backend.supports_device("NPU")
    assert not onnxla.backend.supports_device("CPU:99")
    with pytest.raises(ValueError, match="no device 'NPU'"):
        onnxla.backend.prepare(model(), device="NPU")
    assert onnxla.backend.is_compatible(model())
    strange = model()
    strange.graph.node[0].op_type = "Strange"
    assert not onnxla.backend.is_compatible(strange)


class Passed(unittest.TestResult):
    """A result that lists what passed."""

    def __init__(self) -> None:
        super().__init__()
        self.passed: list[str] = []

    def addSuccess(self, test: unittest.TestCase) -> None:
        self.passed.append(test.id())


def test_the_official_runner_accepts_it() -> None:
    """`BackendTest` as it comes; the whole suite is run by test_backend_suite.py."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the suite's own generators divide by zero
        runner = onnx.backend.test.BackendTest(onnxla.backend, __name__)
    names = "^test_(softmax_axis_0|nonzero_example|if_seq|gradient_of_add|string_concat)_cpu$"
    result = Passed()
    runner.include(names).test_suite.run(result)
    assert not result.errors
    assert not result.failures
    assert len(result.passed) == 5
