"""Quantization-aware training: gradients through quantized numbers, and latent weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import onnx
import onnxruntime
import pytest
from onnxruntime import quantization as ort

import onnxla
from onnxla import ir
from onnxla.ops import lookup
from onnxla.ops.quantize import dequantize_linear, quantize_linear
from support.samples import Sample, samples
from support.small_models import header, make

pytestmark = pytest.mark.quickly

RNG = np.random.default_rng(0)
F8 = np.dtype(ml_dtypes.float8_e4m3fn)


def f32(*shape: int) -> np.ndarray:
    """Weights of unit gain: [..., inputs, outputs], or for a convolution [outputs, inputs, ...]."""
    fan_in = np.prod(shape[1:]) if len(shape) > 2 else shape[0]
    return (RNG.standard_normal(shape) / np.sqrt(fan_in)).astype(np.float32)


# Operators


def quantizing() -> Iterator[Any]:
    """Samples of the operators that read or make quantized numbers: of each one a type."""
    names = ("QLinear", "QuantizeLinear", "Dequantize", "DynamicQuantize", "QGemm", "QAttention")
    names = (*names, "QEmbed", "MatMulInteger", "ConvInteger")
    seen = set()
    for index, sample in enumerate(samples()):
        if not sample.op_type.startswith(names):
            continue
        kind = sample.domain, sample.op_type, sample.inputs[0].dtype
        if kind not in seen:
            seen.add(kind)
            yield pytest.param(sample, id=f"{sample.op_type}-{index}")


def as_list(outputs: Any) -> list[Any]:
    return [*outputs] if isinstance(outputs, tuple) else [outputs]


@pytest.mark.one_in(3)
@pytest.mark.parametrize("sample", list(quantizing()))
def test_an_operator_in_training_has_the_values_it_otherwise_has(sample: Sample) -> None:
    operator = lookup(sample.domain, sample.op_type, max(sample.versions or [99]))
    assert operator is not None
    names = [operator.input_name(i) for i in range(len(sample.inputs))]
    attributes = {k: v for k, v in sample.attributes.items() if not isinstance(v, list)}
    attributes |= {k: tuple(v) for k, v in sample.attributes.items() if isinstance(v, list)}
    trains = {"train": True} if "train" in operator.reserved else {}

    def held(name: str, x: Any) -> Any:
        """Quantized numbers as training has them: in floating point."""
        narrow = x is not None and x.dtype.itemsize <= 2 and x.dtype.kind in "iuV"
        return x.astype(np.float32) if narrow and "zero_point" not in name else x

    # Groups of integers, scale and zero point.
    if sample.op_type == "QLinearConcat":
        names = [*names[:2], *(("x", "x_scale", "x_zero_point") * 9)][: len(names)]
    floats = [held(name, x) for name, x in zip(names, sample.inputs, strict=True)]
    with jax.enable_x64(True):
        expected = as_list(operator.function(*sample.inputs, **attributes))
        found = as_list(operator.function(*floats, **attributes, **trains))
    for one, other in zip(expected, found, strict=True):
        if one is None or (one.dtype == np.int32 and sample.op_type.startswith("QEmbed")):
            continue
        assert jnp.issubdtype(other.dtype, jnp.floating)
        # Where sums are not exact, a number may be rounded to the other side.
        step = 0 if one.dtype == np.float32 else 1
        tolerance = {"rtol": 1e-6, "atol": 1e-6 + step * (sample.op_type[:3] in ("QLi", "QGe"))}
        np.testing.assert_allclose(other, np.asarray(one).astype(other.dtype), **tolerance)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "uint4", F8])
def test_the_gradient_is_that_of_a_learned_step_size(dtype: Any) -> None:
    dtype = np.dtype(getattr(ml_dtypes, dtype, dtype) if isinstance(dtype, str) else dtype)
    zero = np.asarray(3 if dtype.kind == "u" or "uint" in dtype.name else 0).astype(dtype)
    limits = (ml_dtypes.finfo if dtype == F8 else ml_dtypes.iinfo)(dtype)
    low, high = float(limits.min), float(limits.max)
    scale = np.asarray(0.25, np.float32)
    steps = np.asarray([low - 9, low, -1.4, 0.3, 2.5, 3.5, high - float(zero), high + 9])
    x = (steps * scale).astype(np.float32)

    def fake(x: Any, scale: Any) -> Any:
        y = quantize_linear(x, scale, zero, train=True)
        return dequantize_linear(y, scale, zero)

    # What is compared with is without `train`: integers.
    integers = quantize_linear(x, scale, zero)

    @jax.jit
    def run(x: Any, scale: Any) -> Any:
        y, tangent = jax.jvp(lambda x: fake(x, scale), (x,), (jnp.ones_like(x),))
        by_x = jax.grad(lambda x: fake(x, scale).sum())(x)
        return y, tangent, by_x, jax.jacfwd(lambda scale: fake(x, scale))(scale)

    with jax.enable_x64(True):
        y, tangent, by_x, by_scale = run(x, scale)
    np.testing.assert_array_equal(y, dequantize_linear(integers, scale, zero))
    v = x / scale
    rounded = v.astype(F8).astype(np.float32) if dtype == F8 else np.rint(v)
    inside = (rounded + float(zero) >= low) & (rounded + float(zero) <= high)
    inside = (v >= low) & (v <= high) if dtype == F8 else inside
    assert (
        inside.tolist() == [False, *[True] * 6, False] or dtype.kind == "u" or "uint" in str(dtype)
    )
    np.testing.assert_array_equal(tangent, inside)
    np.testing.assert_array_equal(by_x, inside)
    # Esser et al. 2020, equation 3: the error of rounding inside, the limit outside.
    limit = np.where(v < 0, low, high) - float(zero)
    np.testing.assert_allclose(by_scale, np.where(inside, rounded - v, limit), atol=1e-3)


def test_every_granularity_has_gradients() -> None:
    x = f32(4, 6)
    for shape, axis, block in (((), 0, 0), ((4,), 0, 0), ((4, 2), 1, 3)):
        scale = np.full(shape, 0.05, np.float32)

        def fake(scale: Any, axis: int = axis, block: int = block) -> Any:
            keywords = {"axis": axis, "block_size": block}
            y = quantize_linear(x, scale, output_dtype=3, train=True, **keywords)
            return dequantize_linear(y, scale, **keywords).sum()

        gradient = jax.jit(jax.grad(fake))(scale)
        error = np.rint(x / np.float32(0.05)) - x / np.float32(0.05)
        expected = {(): error.sum(), (4,): error.sum(1)}.get(shape)
        expected = error.reshape(4, 2, 3).sum(2) if expected is None else expected
        np.testing.assert_allclose(gradient, expected, atol=1e-4)


# What stands between QuantizeLinear and DequantizeLinear

BETWEEN = {
    "Reshape": "r = Reshape (q, shape)",
    "Transpose": "r = Transpose (q)",
    "Gather": "r = Gather (q, places)",
    "Pad": "r = Pad (q, pads, three)",
    "Concat": "r = Concat <axis = 0> (q, row)",
    "Clip": "r = Clip (q, three, high)",
    "Where": "r = Where (mask, q, row)",
    "Max": "r = Max (q, row)",
    "Min": "r = Min (row, q)",
    "Slice": "r = Slice (q, places, shape)",
    "Split": "r, s = Split <axis = 1, num_outputs = 2> (q)",
    "MaxPool": "w = Unsqueeze (q, places) r = MaxPool <kernel_shape = [2]> (w)",
    "Resize": "r = Resize (q, , , size)",
    "Expand": "r = Expand (q, big)",
    "Identity": "r = Identity (q)",
}


@pytest.mark.parametrize("name", BETWEEN)
def test_what_stands_between_takes_floats_that_hold_integers(name: str) -> None:
    text = (
        header(21)
        + f""" m (float[3, 4] x) => (r, float[] y) {{
        q = QuantizeLinear (x, scale, zero)
        {BETWEEN[name]}
        d = DequantizeLinear (r, scale, zero)
        y = ReduceSum <keepdims = 0> (d)
    }}"""
    )
    module = onnxla.load(
        make(
            text,
            scale=np.float32(0.02),
            zero=np.asarray(100, np.uint8),
            shape=np.int64([2, 6]),
            places=np.int64([0, 1][: 1 + (name == "Gather")] + [1] * (name == "Slice")),
            pads=np.int64([1, 0, 0, 1]),
            three=np.asarray(3, np.uint8),
            high=np.asarray(120, np.uint8),
            row=np.full((1, 4), 101, np.uint8),
            mask=np.tri(3, 4, dtype=bool),
            size=np.int64([6, 4]),
            big=np.int64([2, 3, 4]),
        )
    )

    @jax.jit
    def run(x: Any) -> Any:
        def train(x: Any) -> Any:
            (numbers, y), _ = module.apply_train(module.params, x)
            return y, numbers

        return module.apply(module.params, x), jax.value_and_grad(train, has_aux=True)(x)

    (r, y), ((y_train, numbers), gradient) = run(f32(3, 4) * 2)
    assert r.dtype == np.uint8
    # The output's type is not stated in this file, so the numbers stay floats.
    assert numbers.dtype == np.float32
    np.testing.assert_array_equal(numbers, r)
    np.testing.assert_allclose(y_train, y, rtol=1e-5)
    assert np.abs(gradient).max() >= 1


def test_outputs_that_are_integers_are_integers_in_training() -> None:
    text = """ m (float[3, 4] x) => (uint8[3, 4] q, float8e4m3fn[3, 4] f) {
        q = QuantizeLinear (x, scale, zero)
        f = QuantizeLinear (x, scale, zero8)
    }"""
    module = onnxla.load(
        make(
            header(21) + text,
            scale=np.float32(0.02),
            zero=np.asarray(100, np.uint8),
            zero8=np.zeros((), F8),
        )
    )
    x = f32(3, 4) * 3
    for batched in (module, module.batched()):
        given = x[None] if batched is not module else x

        @jax.jit
        def run(x: Any, batched: onnxla.Module = batched) -> Any:
            return batched.apply(module.params, x), batched.apply_train(module.params, x)[0]

        expected, found = run(given)
        assert [y.dtype for y in found] == [np.uint8, F8]
        for one, other in zip(expected, found, strict=True):
            np.testing.assert_array_equal(np.float32(one), np.float32(other))


# Files that ONNX Runtime's quantizer writes


def conv_net() -> tuple[bytes, list[np.ndarray]]:
    text = """ net (float[N, 3, 12, 12] x) => (float[N, 5] y) {
        c = Conv <pads = [1, 1, 1, 1]> (x, w1, b1)
        r = Relu (c)
        m = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (r)
        d = Conv <group = 4> (m, w2, b2)
        s = Sigmoid (d)
        g = GlobalAveragePool (s)
        f = Flatten (g)
        y = Gemm (f, w3, b3)
    }"""
    weights = {"w1": f32(8, 3, 3, 3), "w2": f32(8, 2, 3, 3), "w3": f32(8, 5)}
    weights |= {"b1": f32(8) / 5, "b2": f32(8) / 5, "b3": f32(5) / 5}
    xs = [RNG.standard_normal((4, 3, 12, 12)).astype(np.float32) for _ in range(3)]
    return make(header(21) + text, **weights), xs


def transformer() -> tuple[bytes, list[np.ndarray]]:
    text = """ net (int64[N, 6] x) => (float[N, 6, 4] y) {
        e = Gather (table, x)
        h = LayerNormalization (e, gain, shift)
        q0 = MatMul (h, wq)
        q = Add (q0, bq)
        k = MatMul (h, wk)
        v = MatMul (h, wv)
        kt = Transpose <perm = [0, 2, 1]> (k)
        logits = MatMul (q, kt)
        scaled = Mul (logits, c)
        a = Softmax <axis = -1> (scaled)
        o = MatMul (a, v)
        z = Add (o, e)
        f0 = MatMul (z, w1)
        f1 = Add (f0, b1)
        f = Gelu (f1)
        y = MatMul (f, w2)
    }"""
    D = 8
    weights = {name: f32(D, D) for name in ("wq", "wk", "wv")}
    weights |= {"w1": f32(D, 16), "w2": f32(16, 4), "b1": f32(16), "bq": f32(D), "shift": f32(D)}
    weights |= {"table": f32(20, D) * 4, "gain": np.ones(D, np.float32), "c": np.float32([0.3])}
    return make(header(21) + text, **weights), [RNG.integers(0, 20, (4, 6)) for _ in range(3)]


class Calibration(ort.CalibrationDataReader):
    def __init__(self, xs: list[np.ndarray]) -> None:
        self.remaining = iter({"x": x} for x in xs)

    def get_next(self) -> Any:
        return next(self.remaining, None)


def static(
    form: str, activations: str = "QUInt8", weights: str = "QInt8", per_channel: bool = False
) -> Callable[..., None]:
    def quantize(model: onnx.ModelProto, path: Path, xs: list[np.ndarray]) -> None:
        ort.quantize_static(
            model,
            path,
            Calibration(xs),
            quant_format=ort.QuantFormat[form],
            per_channel=per_channel,
            activation_type=ort.QuantType[activations],
            weight_type=ort.QuantType[weights],
        )

    return quantize


def dynamic(model: onnx.ModelProto, path: Path, xs: list[np.ndarray]) -> None:
    ort.quantize_dynamic(model, path, weight_type=ort.QuantType.QInt8, per_channel=True)


def fused(model: onnx.ModelProto, path: Path, xs: list[np.ndarray]) -> None:
    """As ONNX Runtime's optimizer writes it, with operators of its own."""
    plain = path.with_name("plain.onnx")
    ort.quantize_dynamic(model, plain, weight_type=ort.QuantType.QUInt8)
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(path)
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    onnxruntime.InferenceSession(plain, options)


FILES = {
    "conv-QDQ": (conv_net, static("QDQ")),
    "conv-QDQ-int16-int4": (conv_net, static("QDQ", "QUInt16", "QInt4")),
    "conv-QOperator-channels": (conv_net, static("QOperator", per_channel=True)),
    "transformer-QDQ": (transformer, static("QDQ")),
    "transformer-QOperator": (transformer, static("QOperator", "QInt8")),
    "transformer-dynamic": (transformer, dynamic),
    "transformer-fused": (transformer, fused),
}


def without_tensors(path: Path) -> onnx.ModelProto:
    """A model without its initializers' data."""
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        for field in ("raw_data", "int32_data", "float_data"):
            tensor.ClearField(field)
    return model


def fit(
    module: onnxla.Module, x: np.ndarray, roles: list[str] | None = None, rate: float = 0.02
) -> tuple[onnxla.Module, list[float], np.ndarray]:
    """Trains on one batch; returns the trained module, the losses, and the first step's outputs.

    Each step follows the gradient's signs, and is a share of the size of a parameter.
    """
    train, frozen = module.partition(roles=roles)
    target = f32(4 * 6 * 5).ravel() * 10

    def loss(train: Any) -> Any:
        y, _ = module.apply_train({**train, **frozen}, x)
        return jnp.mean((y - target[: y.size].reshape(y.shape)) ** 2), y

    step = jax.jit(jax.value_and_grad(loss, has_aux=True))
    outputs, losses = [], []
    for _ in range(12):
        (value, y), slope = step(train)
        losses.append(float(value))
        outputs.append(np.asarray(y))
        train = {k: p - rate * jnp.sign(slope[k]) * jnp.abs(p).max() for k, p in train.items()}
    return module.replace(train), losses, outputs[0]


def serve(path: Path, x: np.ndarray) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    # It would fuse layers into integer arithmetic that rounds to other steps in between.
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    # Where a processor has no VNNI, sums of two products of 8 bits would saturate at 16.
    options.add_session_config_entry("session.x64quantprecision", "1")
    return np.asarray(onnxruntime.InferenceSession(path, options).run(None, {"x": x})[0])


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name", FILES)
def test_a_quantized_file_trains_and_stays_quantized(name: str, tmp_path: Path) -> None:
    build, quantize = FILES[name]
    content, xs = build()
    path, tuned_path, x = tmp_path / "quantized.onnx", tmp_path / "tuned.onnx", xs[0]
    quantize(onnx.load_from_string(content), path, xs)
    module = onnxla.load(path)
    aware = module.quantization_aware()
    expected = {"w1", "w2", "w3"} if build is conv_net else {"wq", "wk", "wv", "w1", "w2", "table"}
    assert expected <= set(aware.partition()[0])

    # The same values, to the last bit, and the same file.
    y, apply = np.asarray(jax.jit(module.apply)(module.params, x)), jax.jit(aware.apply)
    np.testing.assert_array_equal(apply(aware.params, x), y)
    assert ir.write(aware.to_ir()) == path.read_bytes()

    tuned, losses, first = fit(aware, x)
    np.testing.assert_allclose(first, y, rtol=1e-5, atol=1e-5)
    assert losses[-1] < 0.8 * losses[0]
    tuned.save(tuned_path)
    assert without_tensors(tuned_path) == without_tensors(path)
    served, scale = serve(tuned_path, x), np.abs(y).max()
    assert np.abs(served - y).max() > 0.1 * scale
    np.testing.assert_allclose(served, apply(tuned.params, x), atol=1e-3 * scale)


def test_scales_are_learned_when_asked(tmp_path: Path) -> None:
    content, xs = conv_net()
    path, x = tmp_path / "quantized.onnx", xs[0]
    static("QDQ", "QInt8", per_channel=True)(onnx.load_from_string(content), path, xs)
    aware = onnxla.load(path).quantization_aware()
    assert not any(name.endswith("scale") for name in aware.partition()[0])
    roles = ["weight", "bias", "quantization_scale"]
    learned = {"x_scale", "w1_scale", "y_scale"}
    assert learned <= set(aware.partition(roles=roles)[0])
    tuned, losses, _ = fit(aware, x, roles, 0.01)
    assert losses[-1] < 0.95 * losses[0]
    for name in learned:
        assert (np.asarray(tuned.params[name]) != np.asarray(aware.params[name])).any()
    tuned.save(path)
    # Runtimes take the scale of a bias for this product.
    saved = {t.name: t.numpy() for t in ir.read(path).graph.initializers}
    product = (saved["x_scale"] * saved["w1_scale"]).ravel()
    np.testing.assert_allclose(saved["b1_quantized_scale"].ravel(), product, rtol=1e-6)
    served = serve(path, x)
    ours = jax.jit(tuned.apply)(tuned.params, x)
    np.testing.assert_allclose(served, ours, atol=0.02 * np.abs(served).max())


# Latent weights


def dequantized(
    weight: np.ndarray, scale: np.ndarray, attributes: str = "", **more: np.ndarray
) -> bytes:
    """y = x @ w of a quantized w, with a zero point if one is given."""
    zero = ", zero" * ("zero" in more)
    text = f""" m (float[N, {weight.shape[0]}] x) => (float[N, {weight.shape[1]}] y) {{
        k = DequantizeLinear {attributes} (w_quantized, scale{zero})
        y = MatMul (x, k)
    }}"""
    return make(header(25) + text, w_quantized=weight, scale=scale, **more)


def integers(dtype: Any, *shape: int) -> np.ndarray:
    limits = ml_dtypes.iinfo(dtype)
    return RNG.integers(limits.min, limits.max, shape, endpoint=True).astype(dtype)


S = np.asarray(0.03, np.float32)
CASES = {
    "int4, blocks": (
        integers(ml_dtypes.int4, 6, 4),
        f32(2, 4) ** 2 + 0.1,
        "<axis = 0, block_size = 3>",
        {},
    ),
    "uint4": (
        integers(ml_dtypes.uint4, 6, 4),
        f32(4) ** 2 + 0.1,
        "<axis = -1>",
        {"zero": integers(ml_dtypes.uint4, 4)},
    ),
    "int16": (integers(np.int16, 6, 4), S, "", {"zero": np.asarray(7, np.int16)}),
    "int8 in float16": (integers(np.int8, 6, 4), S.astype(np.float16), "<output_dtype = 1>", {}),
    "float8": (f32(6, 4).astype(F8), S, "", {}),
}


@pytest.mark.parametrize("name", CASES)
def test_weights_of_every_kind(name: str) -> None:
    weight, scale, attributes, more = CASES[name]
    content = dequantized(weight, scale, attributes, **more)
    module, x = onnxla.load(content), f32(5, 6) * 2
    aware = module.quantization_aware()
    assert aware.params["w"].dtype == scale.dtype
    assert aware.roles["w"] == "weight"

    @jax.jit
    def run(params: Any, x: Any) -> Any:
        y, pull = jax.vjp(lambda params: aware.apply_train(params, x)[0], params)
        return module.apply(module.params, x), aware.apply(params, x), y, *pull(jnp.ones_like(y))

    y, same, trained, slope = run(aware.params, x)
    np.testing.assert_allclose(same, y, rtol=1e-5)
    np.testing.assert_allclose(trained, y, rtol=1e-6)
    expected = np.tile(x.sum(0)[:, None], 4)
    np.testing.assert_allclose(slope["w"].astype(np.float32), expected, rtol=1e-2)

    assert ir.write(aware.to_ir()) == ir.write(ir.read(content))
    tuned = aware.replace({"w": np.asarray(aware.params["w"]) * np.asarray(0.5, scale.dtype)})
    (saved, *others), (_, *before) = (
        model.graph.initializers for model in (tuned.to_ir(), ir.read(content))
    )
    assert (saved.name, saved.dtype, saved.shape) == ("w_quantized", weight.dtype, weight.shape)
    assert (saved.numpy() != weight).any()
    for one, other in zip(others, before, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())
    reloaded = onnxla.load(ir.write(tuned.to_ir()))
    np.testing.assert_allclose(
        jax.jit(reloaded.apply)(reloaded.params, x), run(tuned.params, x)[1], rtol=1e-5, atol=1e-6
    )


def test_what_cannot_be_trained_is_said() -> None:
    with pytest.raises(ValueError, match="no quantized weight can be trained: there is none"):
        onnxla.load(
            make(header() + " m (float[2] x) => (float[2] y) { y = Relu (x) }")
        ).quantization_aware()
    text = """ m (uint8[2, 3] x) => (int32[2, 4] y) { y = MatMulInteger (x, w) }"""
    module = onnxla.load(make(header() + text, w=integers(np.int8, 3, 4)))
    with pytest.raises(ValueError, match="the numbers that 'w' stand for are not known"):
        module.quantization_aware()
    # In bfloat16, 100 steps are not told from 100.4.
    scale = np.asarray(0.03, ml_dtypes.bfloat16)
    with pytest.raises(ValueError, match="'w_quantized'"):
        onnxla.load(
            dequantized(integers(np.uint8, 9, 9), scale, "<output_dtype = 1>")
        ).quantization_aware()
    found = onnxla.check(dequantized(integers(np.int8, 6, 4), S))
    assert (
        "1 weights are quantized: `module.quantization_aware()` makes them trainable" in found.notes
    )


def test_a_part_of_the_model_is_saved_with_its_scales(tmp_path: Path) -> None:
    content, xs = conv_net()
    path = tmp_path / "quantized.onnx"
    static("QDQ")(onnx.load_from_string(content), path, xs)
    module = onnxla.load(path)
    part, expected = (m.cut(outputs=["m"]) for m in (module.quantization_aware(), module))
    part.save(path)
    found, wanted = (ir.read(m).graph for m in (path, ir.write(expected.to_ir())))
    assert [str(node) for node in found.nodes] == [str(node) for node in wanted.nodes]
    tensors = {tensor.name: tensor.numpy() for tensor in found.initializers}
    assert tensors.keys() == {tensor.name for tensor in wanted.initializers}
    for tensor in wanted.initializers:
        np.testing.assert_array_equal(tensors[tensor.name], tensor.numpy())
    assert np.isfinite(serve(path, xs[0])).all()


def test_rounding_that_a_file_spells_out() -> None:
    text = """ m (float[N, 4] x) => (float[N, 4] y) {
        v = Div (w, scale)
        r = Round (v)
        c = Clip (r, low, high)
        k = Mul (c, scale)
        y = Mul (x, k)
    }"""
    content = make(
        header() + text,
        w=np.float32([0.31, -0.24, 0.07, 9]),
        scale=np.float32(0.1),
        low=np.float32(-8),
        high=np.float32(7),
    )
    module, x = onnxla.load(content), f32(3, 4)
    marked = module.straight_through("Round")

    def slope(module: onnxla.Module, train: bool) -> np.ndarray:
        def total(params: Any) -> Any:
            y = module.apply_train(params, x)[0] if train else module.apply(params, x)
            return y.sum()

        return np.asarray(jax.jit(jax.grad(total))(module.params)["w"])

    np.testing.assert_allclose(slope(marked, True), x.sum(0) * [1, 1, 1, 0], rtol=1e-5)
    assert not slope(module, True).any()
    assert not slope(marked, False).any()
    np.testing.assert_array_equal(marked.apply_train(marked.params, x)[0], module(x))
    assert ir.write(marked.to_ir()) == ir.write(ir.read(content))
    with pytest.raises(ValueError, match="Relu is not an operator without slope"):
        module.straight_through("Relu")
    with pytest.raises(ValueError, match="the model has no Floor"):
        module.straight_through("Floor")
