"""Low-rank adapters: the same outputs at first, trained alone, merged or kept on save."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import onnx
import onnxruntime
import optax
import pytest
from onnx import TensorProto, helper, numpy_helper

import onnxla
from onnxla import ir
from support.small_models import graph, header, linear, make

RNG = np.random.default_rng(0)


def f32(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def one(
    op: str, x: Any, w: np.ndarray, *, opset: int = 20, swap: bool = False, **attributes: Any
) -> tuple[bytes, np.ndarray]:
    """A model of one node with the weight `w`, and its input."""
    inputs = ["w", "x"] if swap else ["x", "w"]
    if op == "Gemm" and opset < 11:
        inputs.append("c")
    node = helper.make_node(op, inputs, ["y"], **attributes)
    tensors = {"w": w} | ({"c": f32(1)} if "c" in inputs else {})
    kind = (helper.np_dtype_to_tensor_dtype(x.dtype), [None] * x.ndim)
    return graph([node], {"x": kind}, ["y"], opset, tensors), x


def text(body: str, x: np.ndarray, opset: int = 20, **tensors: np.ndarray) -> tuple:
    kind = {np.dtype(np.int64): "int64"}.get(x.dtype, "float")
    sizes = ", ".join(f"D{i}" for i in range(x.ndim))
    return make(header(opset) + f" m ({kind}[{sizes}] x) => (y) {{ {body} }}", **tensors), x


CASES: dict[str, tuple[bytes, np.ndarray]] = {
    "MatMul": one("MatMul", f32(4, 6), f32(6, 5)),
    "MatMul, opset 7": one("MatMul", f32(4, 6), f32(6, 5), opset=7),
    "MatMul of sequences": one("MatMul", f32(2, 4, 6), f32(6, 5)),
    "MatMul of a vector": one("MatMul", f32(6), f32(6, 5)),
    "MatMul, batched weight": one("MatMul", f32(3, 4, 6), f32(3, 6, 5)),
    "MatMul from the left": one("MatMul", f32(6, 4), f32(5, 6), swap=True),
    "MatMul from the left, batched": one("MatMul", f32(2, 6, 4), f32(2, 5, 6), swap=True),
    "MatMul in double": one("MatMul", f32(4, 6).astype(np.float64), f32(6, 5).astype(np.float64)),
    "MatMul in half": one("MatMul", f32(4, 6).astype(np.float16), f32(6, 5).astype(np.float16)),
    "Gemm": one("Gemm", f32(4, 6), f32(6, 5)),
    "Gemm, opset 7": one("Gemm", f32(4, 6), f32(6, 5), opset=7, alpha=0.5),
    "Gemm, transposed": one("Gemm", f32(4, 6), f32(5, 6), transB=1, alpha=0.5, beta=2.0),
    "Gemm, both transposed": one("Gemm", f32(6, 4), f32(5, 6), transA=1, transB=1),
    "Gemm from the left": one("Gemm", f32(6, 4), f32(5, 6), swap=True, alpha=3.0),
    "Gemm from the left, transposed": one(
        "Gemm", f32(4, 6), f32(6, 5), swap=True, transA=1, transB=1
    ),
    "Conv": one("Conv", f32(2, 4, 7, 6), f32(5, 4, 3, 2), kernel_shape=[3, 2]),
    "Conv, opset 7": one("Conv", f32(2, 4, 7, 6), f32(5, 4, 3, 2), opset=7),
    "Conv, groups": one("Conv", f32(2, 4, 7, 6), f32(6, 2, 3, 2), group=2, pads=[1, 0, 1, 2]),
    "Conv, depthwise": one("Conv", f32(2, 4, 7, 6), f32(8, 1, 3, 3), group=4, strides=[2, 1]),
    "Conv, dilated": one(
        "Conv", f32(1, 4, 9, 8), f32(5, 4, 3, 3), dilations=[2, 1], pads=[2, 1, 2, 1]
    ),
    "Conv, padded by name": one("Conv", f32(1, 4, 9), f32(5, 4, 3), auto_pad="SAME_UPPER"),
    "Conv over one axis": one("Conv", f32(2, 4, 7), f32(5, 4, 3), strides=[2]),
    "ConvTranspose": one("ConvTranspose", f32(2, 4, 5, 4), f32(4, 3, 3, 2), strides=[2, 1]),
    "ConvTranspose, groups": one("ConvTranspose", f32(2, 4, 5), f32(4, 2, 3), group=2),
    "ConvTranspose, biased": text(
        "y = ConvTranspose (x, w, b)", f32(2, 4, 5), w=f32(4, 2, 3), b=f32(2)
    ),
    "Gather": one("Gather", RNG.integers(-9, 9, (4, 3)), f32(9, 5), swap=True),
    "Transpose": text("t = Transpose (w) y = MatMul (x, t)", f32(4, 6), w=f32(5, 6)),
    "Transpose of kernels": text(
        "t = Transpose <perm = [3, 2, 0, 1]> (w) y = Conv (x, t)",
        f32(1, 4, 6, 6),
        w=f32(3, 2, 4, 5),
    ),
    "Reshape": text(
        "r = Reshape (w, s) t = Transpose (r) y = MatMul (x, t)",
        f32(4, 6),
        w=f32(5, 2, 3),
        s=np.array([0, -1]),
    ),
    "Squeeze and Identity": text(
        "s = Squeeze (w, axes) i = Identity (s) y = MatMul (x, i)",
        f32(4, 6),
        w=f32(6, 1, 5),
        axes=np.array([1]),
    ),
    "Cast": text(
        "c = Cast <to = 1> (w) y = MatMul (x, c)", f32(4, 6), w=f32(6, 5).astype(np.float16)
    ),
    "tied": text("a = MatMul (x, w) y = MatMul (a, w)", f32(4, 5), w=f32(5, 5)),
    "tied, once transposed": text(
        "a = Gather (w, x) t = Transpose <perm = [1, 0]> (w) y = MatMul (a, t)",
        RNG.integers(0, 9, (2, 3)),
        w=f32(9, 5),
    ),
    "tied to both sides": text("a = MatMul (x, w) y = MatMul (w, a)", f32(6, 6), w=f32(6, 6)),
    "If": text(
        """n = Shape (x) two = Constant <value = int64[2] {2, 6}> () e = Equal (n, two)
        m = ReduceMin <keepdims = 0> (i) c = Cast <to = 9> (m)
        y = If (c) <
            then_branch = a () => (p) { p = MatMul (x, w) },
            else_branch = b () => (q) { h = MatMul (x, w) q = Neg (h) }
        >""",
        f32(2, 6),
        w=f32(6, 5),
        i=np.array([1, 0]),
    ),
}


def constant_node() -> tuple[bytes, np.ndarray]:
    weight = helper.make_node("Constant", [], ["w"], value=numpy_helper.from_array(f32(6, 5)))
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    return graph([weight, node], {"x": (1, [None, 6])}, ["y"]), f32(4, 6)


CASES["Constant node"] = constant_node()


def with_random_factors(module: onnxla.Module) -> onnxla.Module:
    rng = np.random.default_rng(1)
    random = {
        name: rng.standard_normal(value.shape).astype(value.dtype)
        for name, value in module.params.items()
        if module.roles[name] == "adapter"
    }
    return module.replace(random)


def without_data(model: bytes, *names: str) -> onnx.ModelProto:
    """A model whose tensors `names` have lost their values."""
    proto = onnx.load_from_string(model)
    constants = [
        a.t for node in proto.graph.node for a in node.attribute if node.output[0] in names
    ]
    for tensor in [*(t for t in proto.graph.initializer if t.name in names), *constants]:
        tensor.ClearField("raw_data")
    return proto


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name", CASES)
def test_outputs_stay_and_merging_changes_the_weight_alone(name: str) -> None:
    source, x = CASES[name]
    base = onnxla.load(source)
    module = base.lora("w", rank=2, alpha=3)
    np.testing.assert_array_equal(module(x), base(x))
    assert {module.roles[f"w.lora_{part}"] for part in "AB"} == {"adapter"}

    module = with_random_factors(module)
    adapted = np.asarray(module(x))
    assert np.abs(adapted - np.asarray(base(x))).max() > 0.1
    tolerance = {"float16": 2e-2}.get(str(base.params["w"].dtype), 1e-4)
    scale = np.abs(adapted).max() * tolerance
    np.testing.assert_allclose(module.merge()(x), adapted, atol=scale, rtol=tolerance)

    merged = ir.write(module.to_ir())
    assert without_data(merged, "w") == without_data(source, "w")
    assert module.merge().roles == base.roles

    kept = ir.write(module.to_ir(merge=False))
    inferred = onnx.shape_inference.infer_shapes(kept, strict_mode=True)  # with output types
    onnx.checker.check_model(inferred)
    for model in (kept, merged):
        session = onnxruntime.InferenceSession(model)
        np.testing.assert_allclose(
            session.run(None, {"x": x})[0], adapted, atol=scale, rtol=tolerance
        )
    again = onnxla.load(kept)
    np.testing.assert_allclose(again(x), adapted, rtol=1e-6)
    assert ir.write(again.to_ir()) == merged


def test_no_training_saves_the_very_file() -> None:
    # Also with data in typed fields, and nodes named like their outputs.
    proto = onnx.load_from_string(linear())
    proto.graph.initializer[0].CopyFrom(helper.make_tensor("w", 1, [3, 2], f32(6)))
    assert proto.graph.initializer[0].float_data
    for node in proto.graph.node:
        node.name = node.output[0]
    module = onnxla.load(proto).lora(rank=1)
    assert ir.write(module.to_ir()) == proto.SerializeToString()
    onnxruntime.InferenceSession(ir.write(module.to_ir(merge=False)))


def test_bfloat16() -> None:
    weight = f32(6, 5).astype(ml_dtypes.bfloat16)
    base = onnxla.load(one("MatMul", np.ones((4, 6), ml_dtypes.bfloat16), weight)[0])
    module = with_random_factors(base.lora(rank=2))
    assert module.params["w.lora_A"].dtype == ml_dtypes.bfloat16
    x = f32(4, 6).astype(ml_dtypes.bfloat16)
    np.testing.assert_allclose(
        module.merge()(x).astype(np.float32), module(x).astype(np.float32), rtol=0.1, atol=0.1
    )


def test_the_first_factor_is_normal_and_the_scale_is_alpha_by_rank() -> None:
    base = onnxla.load(one("MatMul", f32(1, 400), f32(400, 300))[0])
    module = base.lora(rank=50, alpha=25, key=jax.random.key(3))
    a = np.asarray(module.params["w.lora_A"])
    assert a.shape == (400, 50)
    assert a.std() == pytest.approx(400**-0.5, rel=0.05)
    assert not np.any(module.params["w.lora_B"])
    assert module.params["w.lora_scale"] == 0.5
    assert "w.lora_scale" not in base.lora(rank=50).params
    same = base.lora(rank=50, key=jax.random.key(3))
    np.testing.assert_array_equal(a, same.params["w.lora_A"])
    assert np.any(a != np.asarray(base.lora(rank=50).params["w.lora_A"]))


def test_rows_of_an_embedding_that_are_not_seen_stay() -> None:
    source, _ = one("Gather", np.array([1]), f32(9, 5), swap=True)
    base = onnxla.load(source)
    module = base.lora("w", rank=2)
    train, frozen = module.partition()
    seen = np.array([1, 4])
    slope = jax.grad(lambda p: (module.apply({**p, **frozen}, seen) ** 2).sum())(train)
    assert float(jnp.abs(slope["w.lora_A"]).max()) > 0
    stepped = module.replace(jax.tree.map(lambda p, g: p - 0.1 * g, train, slope)).merge()
    changed = np.any(np.asarray(stepped.params["w"]) != np.asarray(base.params["w"]), axis=1)
    assert np.flatnonzero(changed).tolist() == [1, 4]


def two_layers(opset: int = 20) -> bytes:
    return make(
        header(opset)
        + """ m (float[N, 12] x) => (float[N, 12] y) {
            h = Gemm (x, in_weight, in_bias)
            a = Relu (h)
            y = MatMul (a, out_weight)
        }""",
        **{"in_weight": f32(12, 16), "in_bias": f32(16), "out_weight": f32(16, 12)},
    )


def test_only_adapters_train_by_default() -> None:
    module = onnxla.load(two_layers()).lora("out*", rank=2)
    train, frozen = module.partition()
    assert set(train) == {"out_weight.lora_A", "out_weight.lora_B"}
    summary = " ".join(str(module.summary()).split())
    assert "adapter 2 56 trainable" in summary
    assert "weight 2 384 not trained by default" in summary
    assert set(frozen) == {"in_weight", "in_bias", "out_weight"}
    assert set(module.partition("in_*", "*lora*")[0]) == {"in_weight", "in_bias", *train}

    x, target = f32(32, 12), f32(32, 12)

    def loss(p: Any) -> jax.Array:
        return ((module.apply({**p, **frozen}, x) - target) ** 2).mean()

    first = loss(train)
    with jax.numpy_dtype_promotion("standard"):
        optimizer = optax.adam(0.05)
        state = optimizer.init(train)
        step = jax.jit(lambda p, s: optimizer.update(jax.grad(loss)(p), s))
        for _ in range(30):
            updates, state = step(train, state)
            train = optax.apply_updates(train, updates)
    assert loss(train) < 0.6 * first
    merged = module.replace(train).merge()
    np.testing.assert_allclose(((merged(x) - target) ** 2).mean(), loss(train), rtol=1e-4)
    np.testing.assert_array_equal(merged.params["in_weight"], module.params["in_weight"])


def test_defaults_are_the_weights_larger_than_their_path() -> None:
    base = onnxla.load(two_layers())
    assert set(base.lora(rank=6).partition()[0]) == {
        f"{name}_weight.lora_{part}" for name in ("in", "out") for part in "AB"
    }
    with pytest.raises(
        ValueError, match=r"nothing in the role weight is larger than its path of rank 7; what"
    ):
        base.lora(rank=7)
    assert base.lora("*_weight", rank=7).params["out_weight.lora_A"].shape == (16, 7)


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("head.*", r"no weight matches 'head.\*'; there are in_weight, out_weight"),
        (
            "in_bias",
            r"'in_bias': Gemm -> h uses it, beside .*; what can be adapted: in_weight, out_weight",
        ),
    ],
)
def test_a_pattern_that_chooses_nothing_is_an_error(pattern: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        onnxla.load(two_layers()).lora(pattern)


REFUSED = {
    "y is, or is in, a model-local function": """<ir_version: 9, opset_import: ["": 20, "l": 1]>
        m (float[N, 6] x) => (y) { y = l.f (x, w) }
        <domain: "l", opset_import: ["": 19]> f (a, b) => (c) { c = MatMul (a, b) }""",
    "uses it, beside which": header() + " m (float[N, 6] x) => (y, z) {"
    " y = MatMul (x, w) z = Neg (w) }",
    "in different ways": header() + " m (float[N, 6] x) => (y, z) { y = MatMul (x, w)"
    " s = Constant <value = int64[4] {6, 6, 1, 1}> () k = Reshape (w, s)"
    " t = Constant <value = int64[4] {0, 6, 1, 1}> () v = Reshape (x, t) z = Conv (v, k) }",
    "both factors of": header() + " m (float[N, 6] x) => (y) { p = MatMul (w, u)"
    " y = MatMul (x, p) }",
    "in a shape that is computed": header() + " m (float[N, 6] x, int64[2] s) => (y) {"
    " r = Reshape (w, s) y = MatMul (x, r) }",
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_cannot_be_adapted_is_refused_with_the_reason(message: str) -> None:
    module = onnxla.load(make(REFUSED[message], w=f32(6, 6), u=f32(6, 6)))
    with pytest.raises(ValueError, match=message):
        module.lora("w")


def test_other_refusals() -> None:
    module = onnxla.load(linear())
    adapted = module.lora("w", rank=1)
    with pytest.raises(ValueError, match="'w': it has an adapter already"):
        adapted.lora("w")
    with pytest.raises(ValueError, match=r"'w.lora_A': it is part of an adapter"):
        adapted.lora("w.lora_A")
    with pytest.raises(ValueError, match="at least 1, got 0"):
        module.lora("w", rank=0)
    old = onnxla.load(one("MatMul", f32(4, 6), f32(6, 5), opset=6)[0])
    with pytest.raises(onnxla.UnsupportedError, match=r"needs opset 7 or newer .* has 6"):
        old.lora("w")


def test_a_file_of_ir_version_3_has_its_initializers_among_the_inputs() -> None:
    proto = onnx.load_from_string(one("MatMul", f32(4, 6), f32(6, 5), opset=8)[0])
    proto.ir_version = 3
    proto.graph.input.append(helper.make_tensor_value_info("w", 1, [6, 5]))
    proto.graph.output[0].type.CopyFrom(helper.make_tensor_value_info("y", 1, [None, 5]).type)
    module = onnxla.load(proto).lora("w", rank=2)
    assert module.input_names == ("x",)
    onnx.checker.check_model(ir.write(module.to_ir(merge=False)), full_check=True)
    assert ir.write(module.to_ir()) == proto.SerializeToString()


def test_adapters_of_several_ranks_and_in_a_cut_model() -> None:
    module = onnxla.load(two_layers()).lora("in_*", rank=1).lora("out_*", rank=3, alpha=1)
    module = with_random_factors(module)
    x = f32(4, 12)
    np.testing.assert_allclose(module.merge()(x), module(x), rtol=1e-4, atol=1e-4)
    part = module.cut(outputs=["a"])
    assert {n for n in part.params if "lora" in n} == {"in_weight.lora_A", "in_weight.lora_B"}
    np.testing.assert_allclose(part.merge()(x), part(x), rtol=1e-4, atol=1e-4)


def test_batched_and_specialized_modules_stay_so() -> None:
    module = with_random_factors(onnxla.load(two_layers()).batched().lora(rank=2))
    x = f32(3, 4, 12)
    assert module(x).shape == (3, 4, 12)
    np.testing.assert_allclose(module.merge()(x), module(x), rtol=1e-4, atol=1e-4)


# Quantized weights


def dequantizing(bits: int) -> bytes:
    """x [N, 32] @ W + Conv-free bias; W int8 by column, or int4 in blocks of 16 rows."""
    weight = RNG.integers(-7, 8, (32, 8)).astype(np.int8)
    if bits == 8:
        scales, attributes = RNG.uniform(0.1, 0.2, 8).astype(np.float32), {"axis": 1}
        quantized = numpy_helper.from_array(weight, "q")
    else:
        scales = RNG.uniform(0.1, 0.2, (2, 8)).astype(np.float32)
        attributes = {"axis": 0, "block_size": 16}
        quantized = numpy_helper.from_array(weight.astype(ml_dtypes.int4), "q")
    nodes = [
        helper.make_node("DequantizeLinear", ["q", "s"], ["w"], **attributes),
        helper.make_node("MatMul", ["x", "w"], ["y"]),
    ]
    proto = onnx.load_from_string(graph(nodes, {"x": (1, [None, 32])}, ["y"], 21, {"s": scales}))
    proto.graph.initializer.insert(0, quantized)
    proto.ir_version = 10
    return proto.SerializeToString()


def packed() -> bytes:
    """The same as a MatMulNBits node of ONNX Runtime."""
    node = helper.make_node(
        "MatMulNBits", ["x", "q", "s"], ["y"], K=32, N=8, bits=4, block_size=16,
        domain="com.microsoft",
    )  # fmt: skip
    tensors = {
        "q": RNG.integers(0, 256, (8, 2, 8)).astype(np.uint8),
        "s": RNG.uniform(0.1, 0.2, (8, 2)).astype(np.float32),
    }
    proto = onnx.load_from_string(graph([node], {"x": (1, [None, 32])}, ["y"], 21, tensors))
    proto.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    return proto.SerializeToString()


@pytest.mark.parametrize("source", [dequantizing(8), dequantizing(4), packed()])
def test_adapters_of_quantized_weights_train_and_stay(source: bytes, tmp_path: Path) -> None:
    base = onnxla.load(source)
    module = base.lora(rank=4)
    x, target = f32(16, 32), f32(16, 8)
    np.testing.assert_array_equal(module(x), base(x))
    train, frozen = module.partition()
    assert set(train) == {"q.lora_A", "q.lora_B"}

    def loss(p: Any) -> jax.Array:
        return ((module.apply_train({**p, **frozen}, x)[0] - target) ** 2).mean()

    first, step = loss(train), jax.jit(jax.grad(loss))
    for _ in range(80):
        train = jax.tree.map(lambda p, g: p - 0.02 * g, train, step(train))
    assert loss(train) < 0.8 * first
    tuned = module.replace(train)
    path = tmp_path / "tuned.onnx"
    tuned.save(path)
    saved = onnx.load(path)
    assert "q.lora_A" in {tensor.name for tensor in saved.graph.initializer}
    assert saved.graph.initializer[0] == onnx.load_from_string(source).graph.initializer[0]
    # What ONNX Runtime fuses multiplies integers, with activations rounded to 8 bits.
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    (y,) = onnxruntime.InferenceSession(path, options).run(None, {"x": x})
    np.testing.assert_allclose(y, tuned(x), rtol=1e-3, atol=1e-3)
    np.testing.assert_array_equal(onnxla.load(path)(x), tuned(x))


def test_float_weights_are_merged_beside_quantized_ones() -> None:
    proto = onnx.load_from_string(dequantizing(8))
    proto.graph.node[1].output[0] = "h"
    proto.graph.node.append(helper.make_node("MatMul", ["h", "v"], ["y"]))
    proto.graph.initializer.append(numpy_helper.from_array(f32(8, 8), "v"))
    module = with_random_factors(onnxla.load(proto).lora(rank=2))
    x = f32(4, 32)
    merged = module.merge()
    assert set(merged.partition()[0]) == {"q.lora_A", "q.lora_B"}
    np.testing.assert_allclose(merged(x), module(x), rtol=1e-3, atol=1e-3)


def test_adapters_and_quantization_aware_training_compose() -> None:
    base, x = onnxla.load(dequantizing(8)), f32(4, 32)
    for module in (
        base.lora(rank=2).quantization_aware(),
        base.quantization_aware().lora(rank=2),
    ):
        random = with_random_factors(module)
        again = onnxla.load(ir.write(random.to_ir()))
        np.testing.assert_allclose(again(x), random(x), rtol=1e-4, atol=1e-4)
        assert ir.write(again.to_ir()) == ir.write(random.to_ir())


# Files of adapters


@pytest.fixture
def adapters(tmp_path: Path) -> Path:
    module = onnxla.load(two_layers_fixed()).lora("in_*", rank=1).lora("out_*", rank=3, alpha=1)
    with_random_factors(module).save_adapters(tmp_path / "a.safetensors")
    return tmp_path / "a.safetensors"


def two_layers_fixed(opset: int = 20) -> bytes:
    global RNG
    RNG = np.random.default_rng(7)
    return two_layers(opset)


def test_adapters_are_saved_and_loaded_alone(adapters: Path) -> None:
    base = onnxla.load(two_layers_fixed())
    expected = with_random_factors(base.lora("in_*", rank=1).lora("out_*", rank=3, alpha=1))
    module = base.load_adapters(adapters)
    assert module.roles == expected.roles
    for name, value in expected.params.items():
        np.testing.assert_allclose(module.params[name], value, rtol=1e-6)
    np.testing.assert_array_equal(module(np.eye(12, dtype=np.float32)), expected(np.eye(12)))
    assert adapters.stat().st_size < 2000
    assert [*adapters.parent.iterdir()] == [adapters]


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64])
def test_dtypes_of_adapters(dtype: Any, tmp_path: Path) -> None:
    base = onnxla.load(one("MatMul", np.ones((4, 6), dtype), f32(6, 5).astype(dtype))[0])
    module = with_random_factors(base.lora("w", rank=2))
    module.save_adapters(tmp_path / "a")
    for name, value in base.load_adapters(tmp_path / "a").params.items():
        assert value.dtype == dtype
        np.testing.assert_array_equal(value, module.params[name])


def test_adapters_of_another_model_are_refused(adapters: Path) -> None:
    base = onnxla.load(two_layers_fixed())
    other = {"in_bias": np.zeros(16, np.float32)}
    with pytest.raises(onnxla.ModelError, match="trained beside other weights"):
        onnxla.load(base.replace(other).to_ir()).load_adapters(adapters)
    with pytest.raises(onnxla.ModelError, match=r"adapt 'in_weight', .* has no such constant"):
        onnxla.load(linear()).load_adapters(adapters)
    with pytest.raises(onnxla.ModelError, match=r"adapt 'in_weight', .* has an adapter already"):
        base.lora("in_*").load_adapters(adapters)


def test_what_a_file_of_adapters_cannot_hold(tmp_path: Path) -> None:
    module = onnxla.load(two_layers())
    with pytest.raises(ValueError, match=r"no adapters; make some with lora\(\)"):
        module.save_adapters(tmp_path / "a")
    changed = module.lora(rank=2).replace({"in_bias": np.ones(16, np.float32)})
    with pytest.raises(ValueError, match=r"changed too \(in_bias\)"):
        changed.save_adapters(tmp_path / "a")
    assert not [*tmp_path.iterdir()]


def test_a_file_of_adapters_is_untrusted(adapters: Path) -> None:
    from safetensors.numpy import load_file, save_file

    base = onnxla.load(two_layers_fixed())
    tensors = load_file(adapters)
    import safetensors

    with safetensors.safe_open(adapters, "numpy") as file:
        metadata = file.metadata()

    def message(tensors: Any = tensors, **changes: str) -> str:
        save_file(tensors, adapters, {**metadata, **changes})
        with pytest.raises(onnxla.ModelError) as caught:
            base.load_adapters(adapters)
        return str(caught.value)

    assert "metadata are malformed" in message(adapters="[" * 100_000)
    assert "metadata are malformed" in message(adapters="[1]")
    assert "metadata are malformed" in message(adapters='{"in_weight": {"rank": 1}}')
    assert "format is 'x'" in message(format="x")
    assert "rank 0" in message(adapters='{"in_weight": {"rank": 0, "alpha": 1}}')
    assert "rank 1 and alpha nan" in message(adapters='{"in_weight": {"rank": 1, "alpha": NaN}}')
    huge = metadata["adapters"].replace('"rank": 1', '"rank": 1000000000')
    assert "is F32[12, 1], not F32[12, 1000000000]" in message(adapters=huge)
    assert "missing or too many: x" in message({**tensors, "x": np.ones(1, np.float32)})
    wrong = {**tensors, "in_weight.lora_A": tensors["in_weight.lora_A"].astype(np.float16)}
    assert "is F16[12, 1], not F32[12, 1]" in message(wrong)
    adapters.write_bytes(b"\xff" * 64)
    with pytest.raises(onnxla.ModelError, match=r"cannot load the adapters .*a\.safetensors"):
        base.load_adapters(adapters)


def test_an_adapter_that_was_cut_up_is_an_error() -> None:
    module = onnxla.load(linear()).lora("w", rank=1)
    proto = onnx.load_from_string(ir.write(module.to_ir(merge=False)))
    tensors = {tensor.name: tensor for tensor in proto.graph.initializer}
    tensors["w.lora_A"].CopyFrom(numpy_helper.from_array(f32(3, 2), "w.lora_A"))
    with pytest.raises(onnxla.ModelError, match=r"'w' consists of \['B'\]"):
        onnxla.load(proto).merge()
    metadata = tensors["w.lora_B"].metadata_props
    assert {entry.key for entry in metadata} == {"onnxla.role", "onnxla.adapts", "onnxla.part"}
    assert tensors["w.lora_B"].data_type == TensorProto.FLOAT
