"""Adapters beside products of integers, and beside weights that are kept as integers."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper
from onnxruntime import quantization as ort

import onnxla
from onnxla import ir
from support.small_models import header, make

pytestmark = pytest.mark.quickly

# Sums of two products of 8 bits saturate at 16 bits on processors without VNNI.
REDUCED = {"reduce_range": True}
RNG = np.random.default_rng(0)


def f32(*shape: int) -> np.ndarray:
    """Weights of unit gain: [inputs, outputs], or of a convolution [outputs, inputs, ...]."""
    fan_in = np.prod(shape[1:]) if len(shape) > 2 else shape[0]
    return (RNG.standard_normal(shape) / np.sqrt(fan_in)).astype(np.float32)


def perceptron() -> tuple[bytes, np.ndarray]:
    text = """ net (float[N, 12] x) => (float[N, 5] y) {
        h = MatMul (x, w1)
        a = Tanh (h)
        y = MatMul (a, w2)
    }"""
    return make(header() + text, w1=f32(12, 16), w2=f32(16, 5)), f32(1, 12).repeat(8, 0) * f32(8, 1)


def convolutions() -> tuple[bytes, np.ndarray]:
    text = """ net (float[N, 3, 8, 8] x) => (float[N, 5] y) {
        c = Conv <pads = [1, 1, 1, 1]> (x, w1, b1)
        r = Relu (c)
        d = Conv <group = 2, strides = [2, 2], kernel_shape = [3, 3]> (r, w2)
        f = Flatten (d)
        y = MatMul (f, w3)
    }"""
    weights = {"w1": f32(8, 3, 3, 3), "b1": f32(8) / 5, "w2": f32(6, 4, 3, 3), "w3": f32(54, 5)}
    return make(header() + text, **weights), RNG.standard_normal((4, 3, 8, 8)).astype(np.float32)


def embedding() -> tuple[bytes, np.ndarray]:
    text = """ net (int64[N, 6] x) => (float[N, 6, 5] y) {
        e = Gather (w1, x)
        t = Tanh (e)
        y = MatMul (t, w2)
    }"""
    return make(header() + text, w1=f32(9, 8), w2=f32(8, 5)), RNG.integers(0, 9, (4, 6))


def dynamic(float_model: bytes, x: np.ndarray, path: Path, **options: Any) -> None:
    operators = ["MatMul", "Conv", "Gather"]
    options = {"weight_type": ort.QuantType.QUInt8, **options}
    model = onnx.load_from_string(float_model)
    ort.quantize_dynamic(model, path, op_types_to_quantize=operators, **options)


def signed(float_model: bytes, x: np.ndarray, path: Path) -> None:
    dynamic(float_model, x, path, weight_type=ort.QuantType.QInt8, per_channel=True, **REDUCED)


def in_constant_nodes(float_model: bytes, x: np.ndarray, path: Path) -> None:
    """All tensors in Constant nodes, as several exporters put them."""
    dynamic(float_model, x, path)
    model = onnx.load(path)
    constants = [
        helper.make_node("Constant", [], [t.name], value=t) for t in model.graph.initializer
    ]
    nodes = [*constants, *model.graph.node]
    del model.graph.node[:]
    del model.graph.initializer[:]
    model.graph.node.extend(nodes)
    onnx.save(model, path)


def fused(float_model: bytes, x: np.ndarray, path: Path) -> None:
    """As ONNX Runtime's optimizer writes it: DynamicQuantizeMatMul, MatMulIntegerToFloat."""
    dynamic(float_model, x, path.with_name("plain.onnx"))
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(path)
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    onnxruntime.InferenceSession(path.with_name("plain.onnx"), options)


class Calibration(ort.CalibrationDataReader):
    def __init__(self, x: np.ndarray) -> None:
        self.remaining = iter([{"x": 2 * x}])  # so that nothing saturates

    def get_next(self) -> Any:
        return next(self.remaining, None)


def operators(float_model: bytes, x: np.ndarray, path: Path) -> None:
    """QLinearConv and QLinearMatMul, whose neighbours are quantized too."""
    ort.quantize_static(
        onnx.load_from_string(float_model),
        path,
        Calibration(x),
        quant_format=ort.QuantFormat.QOperator,
        activation_type=ort.QuantType.QUInt8,
        weight_type=ort.QuantType.QInt8,
        per_channel=True,
        **REDUCED,
    )


def behind_cast_and_mul(float_model: bytes, x: np.ndarray, path: Path) -> None:
    """Weights as int8 or uint8, of which Cast, Sub and Mul make numbers."""
    model = onnx.load_from_string(float_model)
    nodes = []
    for index, tensor in enumerate([*model.graph.initializer]):
        weight = numpy_helper.to_array(tensor)
        name, scale = tensor.name, np.abs(weight).max(0, keepdims=True) / np.float32(127)
        numbers, zero = np.rint(weight / scale), np.float32(128 * index)
        stored = (numbers + zero).astype(np.uint8 if index else np.int8)
        tensor.CopyFrom(numpy_helper.from_array(stored, f"{name}_quantized"))
        model.graph.initializer.append(numpy_helper.from_array(scale, f"{name}_scale"))
        model.graph.initializer.append(numpy_helper.from_array(zero, f"{name}_zero"))
        nodes += [
            helper.make_node("Cast", [f"{name}_quantized"], [f"{name}_float"], to=1),
            helper.make_node("Sub", [f"{name}_float", f"{name}_zero"], [f"{name}_centred"]),
            helper.make_node("Mul", [f"{name}_scale", f"{name}_centred"], [name]),
        ]
    nodes += model.graph.node
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.save(model, path)


FILES: dict[str, tuple[Callable[[], tuple[bytes, np.ndarray]], Callable[..., None], set[str]]] = {
    "MatMulInteger": (perceptron, dynamic, {"MatMulInteger"}),
    "MatMulInteger, by column": (perceptron, signed, {"MatMulInteger"}),
    "MatMulInteger, Constant nodes": (perceptron, in_constant_nodes, {"MatMulInteger"}),
    "fused": (perceptron, fused, {"DynamicQuantizeMatMul"}),
    "ConvInteger": (convolutions, dynamic, {"ConvInteger", "MatMulInteger"}),
    "QLinearConv": (convolutions, operators, {"QLinearConv", "QLinearMatMul"}),
    "QLinearMatMul": (perceptron, operators, {"QLinearMatMul"}),
    "Gather": (embedding, dynamic, {"Gather", "MatMulInteger"}),
    "Cast and Mul": (perceptron, behind_cast_and_mul, {"Cast", "MatMul"}),
}


@functools.cache
def quantized(name: str, folder: Path) -> tuple[bytes, bytes, np.ndarray]:
    """A float model, the quantized one, and inputs."""
    make_model, quantize, expected = FILES[name]
    float_model, x = make_model()
    path = folder / f"{name}.onnx"
    logging.disable(logging.WARNING)
    quantize(float_model, x, path)
    logging.disable(logging.NOTSET)
    met = {node.op_type for node in onnx.load(path).graph.node}
    assert expected <= met, met
    return float_model, path.read_bytes(), x


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("quantized")


def with_random_factors(module: onnxla.Module, size: float = 0.3) -> onnxla.Module:
    rng = np.random.default_rng(1)
    return module.replace(
        {
            name: (size * rng.standard_normal(value.shape)).astype(value.dtype)
            for name, value in module.params.items()
            if module.roles[name] == "adapter" and not np.any(value)
        }
    )


def unoptimized(model: bytes, **feeds: np.ndarray) -> Any:
    """The output in ONNX Runtime, whose optimizer would round activations once more."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(model, options).run(None, feeds)[0]


@pytest.mark.parametrize("name", FILES)
def test_outputs_stay_and_a_saved_file_is_the_same_in_onnx_runtime(
    name: str, folder: Path, tmp_path: Path
) -> None:
    float_model, source, x = quantized(name, folder)
    base = onnxla.load(source)
    weights = [t.name for t in onnx.load_from_string(float_model).graph.initializer if t.dims[1:]]
    module = base.lora(*(f"{weight}*" for weight in weights), rank=2, alpha=3)
    adapted = {n for n, role in module.roles.items() if role == "adapter"}
    assert len(adapted) == 2 * len(weights), adapted
    np.testing.assert_allclose(module(x), base(x), rtol=1e-5, atol=1e-6)

    module = with_random_factors(module)
    y = np.asarray(module(x))
    step = np.abs(y).max() / 100
    assert np.abs(y - np.asarray(base(x))).max() > 5 * step
    module.save(tmp_path / "tuned.onnx")
    saved = (tmp_path / "tuned.onnx").read_bytes()
    # Where activations are rounded to 8 bits, sums in another order may end up a step apart.
    found = unoptimized(saved, x=x)
    np.testing.assert_allclose(found, y, atol=step)
    assert np.mean(np.abs(found - y) > step / 50) < 0.05
    np.testing.assert_allclose(onnxla.load(saved)(x), y, atol=step)
    onnx.checker.check_model(onnx.load_from_string(saved), full_check="fused" not in name)

    module.save_adapters(tmp_path / "adapters.safetensors")
    loaded = base.load_adapters(tmp_path / "adapters.safetensors")
    np.testing.assert_array_equal(loaded(x), y)
    assert {n for n, role in module.merge().roles.items() if role == "adapter"} == adapted


@pytest.mark.parametrize("name", FILES)
def test_gradients_of_all_adapters_are_those_of_the_float_model(name: str, folder: Path) -> None:
    float_model, source, x = quantized(name, folder)
    weights = [t.name for t in onnx.load_from_string(float_model).graph.initializer if t.dims[1:]]
    patterns = [f"{weight}*" for weight in weights]
    modules = [onnxla.load(model).lora(*patterns, rank=2) for model in (float_model, source)]
    modules = [with_random_factors(module, 0.1) for module in modules]

    def slopes(module: onnxla.Module) -> list[np.ndarray]:
        train, frozen = module.partition()
        target = np.ones(1, np.float32)

        def loss(p: Any) -> jax.Array:
            y, _ = module.apply_train({**p, **frozen}, x)
            return ((y - target) ** 2).mean()

        found = jax.jit(jax.grad(loss))(train)
        return [np.asarray(found[name]).ravel() for name in sorted(found)]

    for wanted, found in zip(*map(slopes, modules), strict=True):
        assert wanted.shape == found.shape
        cosine = wanted @ found / np.linalg.norm(wanted) / np.linalg.norm(found)
        assert cosine > 0.98, cosine
        assert np.linalg.norm(found) == pytest.approx(np.linalg.norm(wanted), rel=0.1)


def test_the_last_gradient_is_that_of_finite_differences(folder: Path) -> None:
    _, source, x = quantized("MatMulInteger", folder)
    module = with_random_factors(onnxla.load(source).lora("w2*", rank=2))
    train, frozen = module.partition()

    def loss(p: Any) -> jax.Array:
        return (module.apply_train({**p, **frozen}, x)[0] ** 2).sum()

    slope, rng = jax.jit(jax.grad(loss))(train), np.random.default_rng(2)
    along = {name: rng.standard_normal(v.shape).astype(np.float32) for name, v in train.items()}
    ahead, behind = (
        jax.jit(loss)({name: v + step * along[name] for name, v in train.items()})
        for step in (1e-2, -1e-2)
    )
    expected = sum(float((slope[name] * along[name]).sum()) for name in train)
    assert (ahead - behind) / 2e-2 == pytest.approx(expected, rel=1e-2)


# Nodes by themselves

U8 = RNG.integers(0, 256, (4, 6), np.uint8)
W8 = RNG.integers(-9, 9, (6, 5), np.int8)
SX, ZX, SW, ZW = np.float32(0.02), np.uint8(100), np.float32(0.1), np.int8(1)
GRIDS = {"sx": SX, "zx": ZX, "sw": SW, "zw": ZW, "sy": np.float32(0.3), "zy": np.uint8(120)}
NUMBERS = (U8 - np.float32(ZX)) * SX
BYTES = RNG.integers(0, 256, 16 * 5 // 2, np.uint8)

NODES: dict[str, tuple[str, dict[str, np.ndarray], np.ndarray, np.ndarray]] = {
    # The node's text, the weight w and others, the model's input, and what the path reads.
    "QGemm": ("y = com.microsoft.QGemm (x, sx, zx, w, sw, zw)", {"w": W8}, U8, NUMBERS),
    "QGemm, transposed": (
        "y = com.microsoft.QGemm <transA = 1, transB = 1, alpha = 2.0> (x, sx, zx, w, sw, zw)",
        {"w": W8.T.copy()},
        U8.T.copy(),
        2 * NUMBERS,
    ),
    "MatMulIntegerToFloat": (
        "y = com.microsoft.MatMulIntegerToFloat (x, w, sx, sw, zx, zw)",
        {"w": W8},
        U8,
        NUMBERS,
    ),
    "DynamicQuantizeMatMul": (
        "y = com.microsoft.DynamicQuantizeMatMul (x, w, sw, zw)",
        {"w": W8},
        NUMBERS,
        NUMBERS,
    ),
    "MatMulBnb4": (
        "y = com.microsoft.MatMulBnb4 <K = 16, N = 5, block_size = 16, quant_type = 1> (x, w, m)",
        {"w": BYTES, "m": np.ones(5, np.float32)},
        f32(4, 16),
        f32(0, 16),
    ),
}


@pytest.mark.parametrize("name", NODES)
def test_a_node_gets_the_product_of_its_input_and_both_factors(name: str) -> None:
    text, tensors, x, seen = NODES[name]
    kind = "uint8" if x.dtype == np.uint8 else "float"
    opsets = '<ir_version: 9, opset_import: ["": 20, "com.microsoft": 1]>'
    used = {k: v for k, v in GRIDS.items() if f" {k}" in text}
    head = f"{opsets} m ({kind}{list(x.shape)} x) => (float[4, 5] y)"
    model = make(f"{head} {{ {text} }}", **tensors, **used)
    base = onnxla.load(model)
    module = with_random_factors(base.lora("w", rank=2, alpha=3))
    a, b = (np.asarray(module.params[f"w.lora_{part}"]) for part in "AB")
    expected = np.asarray(base(x)) + 1.5 * (seen if len(seen) else x) @ a @ b
    np.testing.assert_allclose(module(x), expected, rtol=1e-4, atol=1e-5)
    saved = unoptimized(ir.write(module.to_ir()), x=x)
    np.testing.assert_allclose(saved, expected, rtol=1e-2, atol=np.abs(expected).max() / 50)


REFUSED = {
    "is not scaled by a Cast and a Mul of its own": "q, s, z = DynamicQuantizeLinear (x)"
    " i = MatMulInteger (q, w, z) f = Cast <to = 1> (i) y = Mul (f, sx)",
    "reads integers that no quantizing node makes": "q = Cast <to = 2> (x)"
    " i = MatMulInteger (q, w) f = Cast <to = 1> (i) y = Mul (f, sx)",
    "subtracts another zero point than": "q, s, z = DynamicQuantizeLinear (x)"
    " i = MatMulInteger (q, w) f = Cast <to = 1> (i) b = Mul (s, sw) y = Mul (f, b)",
    "looks up integers that no DequantizeLinear": "n = Cast <to = 7> (x) g = Gather (w, n)"
    " y = Cast <to = 1> (g)",
    "has kernels with different zero points": "q = QuantizeLinear (x, sx, zx)"
    " v = Unsqueeze (q, last) k = Unsqueeze (w, last)"
    " c = QLinearConv (v, sx, zx, k, sw, zk, sy, zy) y = Cast <to = 1> (c)",
}


@pytest.mark.parametrize("message", REFUSED)
def test_a_product_of_integers_that_is_written_otherwise_is_refused(message: str) -> None:
    weight = RNG.integers(-9, 9, (6, 6), np.int8)
    tensors = {**GRIDS, "w": weight, "last": np.int64([-1]), "zk": np.arange(6, dtype=np.int8)}
    text = f" m (float[4, 6] x) => (y) {{ {REFUSED[message]} }}"
    used = {k: v for k, v in tensors.items() if f" {k}" in text or f"({k}" in text}
    module = onnxla.load(make(header() + text, **used))
    with pytest.raises(ValueError, match=message):
        module.lora("w")
