"""Operators on every element type: known and traced values alike, and conversions between types."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import onnxla
from onnxla.ir.dtypes import dtype_of
from onnxla.ir.errors import ModelError
from onnxla.ops import lookup
from onnxla.ops.cast import E8M0, FLOAT8, NOT_IN_JAX, convert
from onnxla.ops.quantize import dequantize_linear, quantize_linear

UNARY = ("Abs", "Neg", "Sign", "Floor", "Ceil", "Round", "Sqrt", "Reciprocal", "Exp", "Log", "Erf")
UNARY += ("Sin", "Cos", "Tan", "Asin", "Acos", "Atan", "Sinh", "Cosh", "Tanh", "Asinh", "Atanh")
UNARY += ("Relu", "LeakyRelu", "ThresholdedRelu", "Elu", "Selu", "Celu", "Gelu", "Sigmoid", "Swish")
UNARY += ("HardSigmoid", "HardSwish", "Mish", "Softplus", "Softsign", "Softmax", "LogSoftmax")
UNARY += ("Hardmax", "Shrink", "Acosh", "Max", "Min", "Mean", "Sum", "Clip")
BINARY = ("Add", "Sub", "Mul", "Div", "Mod", "Pow", "Max", "Min", "Mean", "Sum", "PRelu", "SwiGLU")
OPERATORS = [*((name, 1) for name in UNARY), *((name, 2) for name in BINARY)]
NUMBERS = [dtype_of(n) for n in (*range(1, 8), *range(9, 14), *range(16, 29))]
TRACEABLE = [dtype for dtype in NUMBERS if dtype not in NOT_IN_JAX]
FLOAT6 = [dtype for dtype in NUMBERS if dtype in NOT_IN_JAX]
HALF = np.float32(0.5)
SPECIAL = np.float32([0, -0.0, 1e9, -1e9, np.inf, -np.inf, np.nan])


def both(function: Callable[..., Any], *args: np.ndarray) -> list[Any]:
    """Results of a function on known values, and on traced ones."""
    with jax.enable_x64(True):
        with jax.ensure_compile_time_eval(), np.errstate(all="ignore"):
            known = jax.tree.map(np.asarray, function(*args))
        return [known, jax.tree.map(np.asarray, jax.jit(function)(*args))]


def fitting(values: np.ndarray, *dtypes: np.dtype) -> np.ndarray:
    """Those of the values that all types can represent."""
    with np.errstate(invalid="ignore"):
        return values[np.all([values.astype(t).astype(float) == values for t in dtypes], axis=0)]


def test_sums_in_half_precision_overflow_only_where_they_end() -> None:
    x = np.float16([65504, 65504, -65504])
    for result in both(lookup("", "ReduceSum", 28).function, x):
        assert result.dtype == np.float16
        assert result == 65504


@pytest.mark.parametrize("dtype", [dtype_of(10), dtype_of(16)], ids=str)
@pytest.mark.parametrize(("name", "operands"), OPERATORS)
def test_narrow_floats_stay_narrow(name: str, operands: int, dtype: np.dtype) -> None:
    function = lookup("", name, 28).function
    x = np.linspace(0.1, 0.9, 12).reshape(3, 4) + (name == "Acosh")
    args = [x.astype(dtype), (1 - x / 2).astype(dtype)][:operands]
    exact = np.asarray(function(*(a.astype(np.float32) for a in args)))
    for result in both(function, *args):
        assert result.dtype == dtype
        tolerance = 8 * float(jnp.finfo(dtype).eps)
        np.testing.assert_allclose(result.astype(np.float32), exact, tolerance, tolerance)


@pytest.mark.parametrize("source", TRACEABLE, ids=str)
def test_cast_keeps_what_fits(source: np.dtype) -> None:
    values = [fitting(np.float64([-2, -1, 0, 1, 2, 3]), source, to) for to in TRACEABLE]
    xs = [v.astype(source) for v in values]
    for results in both(lambda xs: list(map(convert, xs, TRACEABLE)), xs):
        for value, result, to in zip(values, results, TRACEABLE, strict=True):
            assert result.dtype == to
            np.testing.assert_array_equal(result.astype(float), value)


@pytest.mark.parametrize("dtype", FLOAT6, ids=str)
def test_float6_is_known_only(dtype: np.dtype) -> None:
    x = convert(np.float32([0.25, -7, 100]), dtype)
    assert convert(x, np.dtype(ml_dtypes.float8_e5m2)).astype(float)[:2].tolist() == [0.25, -7]
    np.testing.assert_array_equal(convert(x, np.dtype(np.float32))[:2], [0.25, -7])
    with pytest.raises(onnxla.StaticOperandError, match="float6"):
        jax.jit(lambda x: convert(x, dtype))(np.float32([1]))


@pytest.mark.parametrize("dtype", FLOAT6, ids=str)
def test_float6_constants(dtype: np.dtype, tmp_path: Path) -> None:
    numbers = np.linspace(-7, 7, 2000).astype(dtype).reshape(2, 1000)
    weight, scale = numpy_helper.from_array(numbers, "w"), numpy_helper.from_array(HALF, "s")
    nodes = [
        helper.make_node("Transpose", ["w"], ["t"]),
        helper.make_node("DequantizeLinear", ["w", "s"], ["d"]),
        helper.make_node("MatMul", ["x", "d"], ["y"]),
    ]
    kinds = {"x": onnx.TensorProto.FLOAT, "y": onnx.TensorProto.FLOAT, "t": weight.data_type}
    x, y, t = (helper.make_tensor_value_info(name, kind, None) for name, kind in kinds.items())
    graph = helper.make_graph(nodes, "g", [x], [y, t], [weight, scale])
    opset = helper.make_opsetid("", 28)
    module = onnxla.load(helper.make_model(graph, opset_imports=[opset], ir_version=13))
    assert set(module.params) == {"s"}
    y_value, t_value = module(np.ones((3, 2), np.float32))
    exact = np.ones((3, 2)) @ numbers.astype(float) / 2
    np.testing.assert_allclose(y_value, exact, 1e-6)
    assert t_value.dtype == dtype
    np.testing.assert_array_equal(t_value.astype(float), numbers.T.astype(float))
    module.save(tmp_path / "model.onnx")
    assert onnx.load(tmp_path / "model.onnx").graph.initializer[0] == weight


@pytest.mark.parametrize("dtype", FLOAT8, ids=str)
def test_float8_saturates(dtype: np.dtype) -> None:
    limit = float(ml_dtypes.finfo(dtype).max)
    for result in both(lambda x: convert(x, dtype), SPECIAL):
        expected = [0, 0, limit, -limit, limit, -limit, np.nan]
        np.testing.assert_array_equal(result.astype(float), expected)
    beyond = np.inf if dtype == ml_dtypes.float8_e5m2 else np.nan
    for result in both(lambda x: convert(x, dtype, saturate=False), SPECIAL):
        expected = [0, 0, beyond, -beyond, beyond, -beyond, np.nan]
        np.testing.assert_array_equal(result.astype(float), expected)


@pytest.mark.parametrize(
    ("round_mode", "expected"),
    {
        "up": [-127, -127, -126, 0, 1, 1, 1, 127, 127],
        "down": [-127, -127, -127, 0, 0, 0, 0, 127, 127],
        "nearest": [-127, -127, -127, 0, 0, 1, 1, 127, 127],
    }.items(),
)
def test_float8e8m0(round_mode: str, expected: list[int]) -> None:
    x = np.float64([0, 2.0**-127, 1.2 * 2.0**-127, 1, 1.49, 1.5, 1.9, 1.9 * 2.0**127, np.inf])
    for result in both(lambda x: convert(x, E8M0, round_mode=round_mode), x.astype(np.float32)):
        np.testing.assert_array_equal(result.astype(float), 2.0 ** np.asarray(expected))
    x = np.float32([0, np.inf, np.nan, 1.9 * 2.0**127, 4])
    for result in both(lambda x: convert(x, E8M0, False, round_mode), x):
        beyond = 2.0**127 if round_mode == "down" else np.nan
        np.testing.assert_array_equal(result.astype(float), [np.nan] * 3 + [beyond, 4])
    with pytest.raises(ModelError, match="'sideways'"):
        convert(x, E8M0, round_mode="sideways")


def test_integers_lose_their_higher_bits() -> None:
    x = np.int32([200, -9, 17, 7])
    for name, expected in {
        "int8": [-56, -9, 17, 7],
        "int4": [-8, 7, 1, 7],
        "uint4": [8, 7, 1, 7],
        "int2": [0, -1, 1, -1],
        "uint2": [0, 3, 1, 3],
    }.items():
        dtype = np.dtype(getattr(ml_dtypes, name, name))
        for values in (x, x.astype(np.float32))[: 1 if name == "int8" else 2]:
            for result in both(lambda v, t=dtype: convert(v, t), values):
                assert result.astype(int).tolist() == expected


def test_strings() -> None:
    texts = np.asarray([["1e3", "+INF", "-inf"], ["NaN", "-0.5", " 7 "]], object)
    numbers = convert(texts, np.dtype(np.float32))
    np.testing.assert_array_equal(numbers, [[1000, np.inf, -np.inf], [np.nan, -0.5, 7]])
    back = [["1000", "INF", "-INF"], ["NaN", "-0.5", "7"]]
    assert convert(numbers, np.dtype(object)).tolist() == back
    assert convert(np.float64([0.1]).astype(np.float16), np.dtype(object)).tolist() == ["0.1"]
    assert convert(np.asarray(True), np.dtype(object)).tolist() == "1"
    large = np.asarray([str(2**64 - 1)], object)
    assert convert(large, np.dtype(np.uint64)).tolist() == [2**64 - 1]
    assert convert(np.asarray(["2.7"], object), np.dtype(np.int8)).tolist() == [2]


def test_a_model_that_casts_to_strings_runs_on_arrays() -> None:
    node = helper.make_node("Cast", ["x"], ["y"], to=onnx.TensorProto.STRING)
    twice = helper.make_node("Add", ["a", "a"], ["x"])
    graph = helper.make_graph(
        [twice, node],
        "g",
        [helper.make_tensor_value_info("a", onnx.TensorProto.FLOAT, [2])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.STRING, [2])],
    )
    module = onnxla.load(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)]))
    assert np.asarray(module(jnp.asarray([0.25, 3]))).tolist() == ["0.5", "6"]


@pytest.mark.parametrize(
    "dtype",
    # E8M0 is a type of scales alone.
    [t for t in TRACEABLE if t.itemsize == 1 and t.kind != "b" and t != E8M0],
    ids=str,
)
def test_quantized_types(dtype: np.dtype) -> None:
    x = fitting(np.float64([-2, -1, 0, 1, 2, 3]), dtype).astype(np.float32) / 4
    scale, zero = np.float32(0.25), np.zeros((), dtype)

    def through(x: Any) -> tuple[Any, Any]:
        q = quantize_linear(x, np.asarray(scale), zero)
        return q, dequantize_linear(q, np.asarray(scale, np.float16), zero)

    for q, y in both(through, x):
        assert (q.dtype, y.dtype) == (dtype, np.float16)
        np.testing.assert_array_equal(y, x)


def test_quotients_half_way_between_integers_round_to_even() -> None:
    x, scale = np.float32([-2.5, 1.34]), np.asarray(5 / 255, np.float32)
    expected = np.rint(x / scale).astype(int) + 128
    for result in both(lambda x, s: quantize_linear(x, s, np.asarray(128, np.uint8)), x, scale):
        assert result.tolist() == expected.tolist()


def test_scale_that_fits_no_granularity_is_named() -> None:
    with pytest.raises(ModelError, match=r"\[4\] does not fit x of shape \[2, 3\] with axis=1"):
        quantize_linear(np.zeros((2, 3), np.float32), np.ones(4, np.float32))


def test_power_has_no_nan_derivatives() -> None:
    power = lookup("", "Pow", 15).function
    x, y = np.float64([-2, -2, 0, 0, 0, 3]), np.float64([2, 3, 0, 1, 2, 0.5])
    with jax.enable_x64(True):
        by_x, by_y = jax.grad(lambda x, y: power(x, y).sum(), (0, 1))(x, y)
        np.testing.assert_allclose(by_x, [-4, 12, 0, 1, 0, 0.5 * 3**-0.5])
        np.testing.assert_allclose(by_y, [0, 0, 0, 0, 0, 3**0.5 * np.log(3)])
        second = jax.grad(lambda x: jax.grad(lambda x: power(x, y).sum())(x).sum())(x)
        np.testing.assert_allclose(second, [2, -12, 0, 0, 2, -0.25 * 3**-1.5])
