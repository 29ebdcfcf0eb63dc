"""A model computed in another precision than its file's, as a whole: `Module.astype`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import pytest
from jax.test_util import check_grads
from onnx import TensorProto

import onnxla
from support.small_models import graph, header, linear, make

RNG = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray:
    return RNG.normal(0, 0.5, shape).astype(np.float32)


# Nodes in which a type is stated or made in some way; {T} and {n} are the type's name and number.
STATED = {
    "Cast": "i = Size (x) f = Cast <to = {n}> (i) y = Div (x, f)",
    "Cast there and back": "h = Cast <to = 10> (x) f = Cast <to = {n}> (h) y = Sin (f)",
    "CastLike": "i = Size (x) f = CastLike (i, x) y = Div (x, f)",
    "Constant": "c = Constant <value = {T}[1] {{0.625}}> () y = Mul (x, c)",
    "ConstantOfShape": """n = Shape (x) c = ConstantOfShape <value = {T}[1] {{0.625}}> (n)
                          e = Exp (c) y = Mul (x, e)""",
    "EyeLike": "e = EyeLike <dtype = {n}> (x) s = Sin (e) y = Add (x, s)",
    "Range": """a, b, d = Split <num_outputs = 3> (r) a0 = Squeeze (a) b0 = Squeeze (b)
                d0 = Squeeze (d) s = Range (a0, b0, d0) z = Sin (s) t = ReduceSum (z)
                y = Mul (x, t)""",
    "HannWindow": """n = Constant <value_int = 3> () h = HannWindow <output_datatype = {n}> (n)
                     y = Mul (x, h)""",
    "LayerNormalization": """z, m, d = LayerNormalization <stash_type = {n}> (x, g)
                             a = Add (z, m) y = Mul (a, d)""",
    "DequantizeLinear": "y0 = DequantizeLinear <axis = 0> (q, g) y = Mul (x, y0)",
    "If": """c = Constant <value = bool {{1}}> () y = If (c) <
               then_branch = a () => ({T}[N, 3] b) {{ k = Constant <value = {T}[1] {{0.625}}> ()
                                                      b = Mul (x, k) }},
               else_branch = e () => ({T}[N, 3] f) {{ f = Identity (x) }}>""",
    "Loop": """n = Constant <value_int = 3> () y = Loop (n, , x) <
                 body = b (int64 i, bool c, {T}[N, 3] s) => (bool d, {T}[N, 3] t) {{
                   d = Identity (c) f = Cast <to = {n}> (i) g1 = Sin (f) t = Add (s, g1) }}>""",
    "Scan": """s0 = Identity (g) s1, y = Scan <num_scan_inputs = 1, body =
                 b ({T}[3] s, {T}[3] v) => ({T}[3] t, {T}[3] u) {{ t = Add (s, v) u = Tanh (t) }}>
               (s0, x)""",
    "a function": "y = f.scale <to = {n}> (x)",
}
IMPORTS = '<ir_version: 9, opset_import: ["": 20, "f": 1]>'
FUNCTION = """<domain: "f", opset_import: ["": 20]> scale <to> (x) => (y) {
    i = Size (x) f = Cast <to: int = @to> (i) y = Div (x, f) }"""


def stated(what: str, kind: str, number: int, dtype: Any) -> bytes:
    """A model in one of the types, with the same numbers."""
    nodes = STATED[what].format(T=kind, n=number)
    text = f"{IMPORTS} m ({kind}[N, 3] x) => ({kind}[N, 3] y) {{ {nodes} }} {FUNCTION}"
    floats = {"g": np.float32([1.1, 0.7, 0.3]), "r": np.float32([0, 1, 0.1])}
    tensors = {"q": np.int8([1, -2, 3])} | {k: v.astype(dtype) for k, v in floats.items()}
    return make(text, **tensors)


@pytest.mark.parametrize("what", STATED)
def test_it_is_the_model_that_states_the_type_everywhere(what: str) -> None:
    narrow = onnxla.load(stated(what, "float", TensorProto.FLOAT, np.float32))
    wide = onnxla.load(stated(what, "double", TensorProto.DOUBLE, np.float64))
    x = normal(2, 3)
    got, expected = narrow.astype("float64")(x), wide(x.astype(np.float64))
    assert got.dtype == np.float64
    tolerance = 1e-3 if "back" in what else 1e-14
    np.testing.assert_allclose(got, expected, tolerance, tolerance)
    assert np.abs(np.asarray(narrow(x)) - np.asarray(expected)).max() > 1e-10  # so it is another


# Operators of ai.onnx.ml, whose results ONNX states to be float32 whatever the operands are.
SCORES = {
    "LinearRegressor": "LinearRegressor <coefficients = [0.3, 0.1, 0.7]>",
    "SVMRegressor": """SVMRegressor <kernel_type = "RBF", kernel_params = [0.3, 0.0, 0.0],
        n_supports = 1, support_vectors = [0.1, 0.3, 0.7], coefficients = [0.3], rho = [0.1]>""",
    "Scaler": "Scaler <scale = [0.3], offset = [0.1]>",
    "Normalizer": 'Normalizer <norm = "L2">',
    "FeatureVectorizer": "FeatureVectorizer",
}


@pytest.mark.parametrize("name", SCORES)
def test_scores_are_not_rounded_in_between(name: str) -> None:
    text = f"""<ir_version: 9, opset_import: ["": 20, "ai.onnx.ml": 3]>
        m (float[N, 3] x) => (float[N, M] y) {{ s = Sin (x) y = ai.onnx.ml.{SCORES[name]} (s) }}"""
    module = onnxla.load(make(text)).astype("float64")
    x = normal(4, 3).astype(np.float64)
    with jax.enable_x64(True):
        check_grads(lambda x: module.apply({}, x), (x,), 1, atol=1e-7, rtol=1e-7, eps=1e-5)
        y = module.apply({}, x)
    assert (np.asarray(y) != np.asarray(y).astype(np.float32)).any()


# Gradients, to the accuracy of float64.

CONVOLUTIONS = make(
    header()
    + """ net (float[N, 2, 6, 6] x) => (float[N, 3] y) {
        c = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (x, w0, b0)
        n = BatchNormalization (c, s, b, m, v)
        r = Gelu (n)
        p = AveragePool <kernel_shape = [2, 2], strides = [2, 2]> (r)
        d = Conv <kernel_shape = [3, 3], group = 4> (p, w1)
        f = Flatten (d)
        y = Gemm (f, w2, b2)
    }""",
    w0=normal(4, 2, 3, 3),
    b0=normal(4),
    s=np.float32([1, 2, 0.5, 1.5]),
    b=normal(4),
    m=normal(4),
    v=np.float32([1, 2, 0.5, 1.5]),
    w1=normal(4, 1, 3, 3),
    w2=normal(4, 3),
    b2=normal(3),
)
RECURRENT = make(
    header()
    + """ net (float[5, N, 3] x) => (float[N, 2] y) {
        h, last, c = LSTM <hidden_size = 4> (x, w, r, b)
        z = Squeeze (last)
        y = MatMul (z, o)
    }""",
    w=normal(1, 16, 3),
    r=normal(1, 16, 4),
    b=normal(1, 32),
    o=normal(4, 2),
)
TRANSFORMER = make(
    header(23)
    + """ net (float[N, 5, 8] x) => (float[N, 5, 8] y) {
        n = LayerNormalization (x, g, b)
        q = MatMul (n, wq)
        k = MatMul (n, wk)
        a = Attention <q_num_heads = 2, kv_num_heads = 2, softmax_precision = 1> (q, k, n)
        h = Add (x, a)
        n1 = RMSNormalization (h, g)
        u = MatMul (n1, w1)
        t = Gelu (u)
        d = MatMul (t, w2)
        y = Add (h, d)
    }""",
    g=np.ones(8, np.float32),
    b=normal(8),
    wq=normal(8, 8),
    wk=normal(8, 8),
    w1=normal(8, 16),
    w2=normal(16, 8),
)
NETWORKS = {
    "convolutions": (CONVOLUTIONS, normal(2, 2, 6, 6)),
    "LSTM": (RECURRENT, normal(5, 2, 3)),
    "transformer": (TRANSFORMER, normal(2, 5, 8)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_have_the_accuracy_of_double_precision(name: str) -> None:
    data, x = NETWORKS[name]
    module = onnxla.load(data).astype("float64")
    train, frozen = module.partition()

    @jax.jit
    def loss(train: Any) -> Any:
        y, _ = module.apply_train({**train, **frozen}, x, freeze_statistics=True)
        return (y * jnp.cos(y)).sum()

    with jax.enable_x64(True):
        check_grads(loss, (train,), 1, ("fwd", "rev"), atol=1e-7, rtol=1e-7, eps=1e-5)
        expected = module.apply(module.params, x)
    y = jax.jit(module.apply)(module.params, x)  # a caller without 64 bits
    assert y.dtype == np.float64
    np.testing.assert_allclose(np.asarray(y), np.asarray(expected), 1e-13, 1e-14)


# Types that stand for one another.


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("source", [TensorProto.FLOAT16, TensorProto.FLOAT, TensorProto.DOUBLE])
def test_any_precision_stands_for_any_other(source: int, dtype: str) -> None:
    kind = onnx.helper.tensor_dtype_to_np_dtype(source)
    nodes = [
        onnx.helper.make_node("MatMul", ["x", "w"], ["h"]),
        onnx.helper.make_node("Cast", ["h"], ["c"], to=TensorProto.FLOAT),
        onnx.helper.make_node("Softmax", ["c"], ["s"]),
        onnx.helper.make_node("Cast", ["s"], ["y"], to=source),
    ]
    tensors = {"w": normal(3, 2).astype(kind)}
    module = onnxla.load(graph(nodes, {"x": (source, ["N", 3])}, ["y"], tensors=tensors))
    other = module.astype(dtype)
    x = normal(4, 3)
    values = other.apply(other.params, x, outputs=["h", "c", "s", "y"])
    assert {str(value.dtype) for value in (*values, *other.params.values())} == {dtype}
    tolerance = 0.03 if "16" in dtype or kind == np.float16 else 1e-6
    np.testing.assert_allclose(values[-1].astype(float), module(x).astype(float), tolerance)
    again = other.astype(None)
    assert again(x).dtype == kind
    assert onnxla.load(linear()).astype("float32").astype(None)(x).dtype == np.float32


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_sizes_are_those_of_the_file(dtype: str) -> None:
    text = """ m (float[N, M] x) => (float[N, K] y) {
        s = Shape (x)
        f = Cast <to = 1> (s)
        g = Mul (f, factors)
        r = Floor (g)
        i = Cast <to = 7> (r)
        e = Expand (x, i)
        y0 = Resize <mode = "linear"> (e, , scales)
        c = Constant <value = float[1] {0.5}> ()
        t = ReduceMean (y0)
        flat = Squeeze (t)
        yes = Greater (flat, half)
        z = If (yes) <then_branch = p () => (float[1] u) { u = Identity (c) },
                      else_branch = q () => (float[1] v) { v = Add (c, flat) }>
        y = Add (y0, z)
    }"""
    tensors = {"factors": [1, 1001.5], "scales": [1, 1.003], "half": 0.5}
    arrays = {name: np.float32(numbers) for name, numbers in tensors.items()}
    module, x = onnxla.load(make(header() + text, **arrays)), np.ones((2, 1), np.float32)
    got, expected = module.astype(dtype)(x), module(x)
    assert got.dtype == dtype
    assert got.shape == expected.shape
    np.testing.assert_allclose(got.astype(float), expected, 0.02)


def test_a_sequence_and_what_stands_beside_it_have_one_type(tmp_path: Path) -> None:
    text = " m (seq(float[N, 2]) s) => (float[M, 2] y) { y = ConcatFromSequence <axis = 0> (s) }"
    x = normal(2, 2)
    assert onnxla.load(make(header() + text)).astype("float64")([x, x]).dtype == np.float64
    adapted = onnxla.load(linear()).astype("float64").lora("w", rank=1)
    adapted.save_adapters(tmp_path / "adapters.safetensors")
    plain = onnxla.load(linear()).load_adapters(tmp_path / "adapters.safetensors")
    assert plain.params["w.lora_A"].dtype == np.float32


def test_what_is_no_precision_is_refused() -> None:
    with pytest.raises(ValueError, match="float64, not in int32"):
        onnxla.load(linear()).astype("int32")
    nodes = " m (float[N] x) => (int32[N] y) { y = BitCast <to = 6> (x) }"
    with pytest.raises(onnxla.UnsupportedError, match=r"(?s)BitCast -> y .*bits of numbers"):
        onnxla.load(make(header(26) + nodes)).astype("float64")(np.ones(2, np.float32))


# What else there is to do with a module.


def test_the_file_keeps_its_own_types(tmp_path: Path) -> None:
    data = linear()
    module = onnxla.load(data)
    for dtype in ("float64", "bfloat16"):  # in which its numbers are rounded
        module.astype(dtype).save(tmp_path / "same.onnx", check=True)
        assert (tmp_path / "same.onnx").read_bytes() == data
    double = module.astype("float64")
    with jax.enable_x64(True):
        changed = double.replace({"b": double.params["b"] + 1e-3})
    changed.save(tmp_path / "changed.onnx", check=True)
    again = onnxla.load(tmp_path / "changed.onnx")
    np.testing.assert_array_equal(again.params["w"], module.params["w"])
    np.testing.assert_array_equal(again.params["b"], np.float32(changed.params["b"]))


def test_edits_have_the_files_types_and_are_computed_in_the_modules() -> None:
    double = onnxla.load(linear()).astype("float64")
    x = normal(2, 3)
    for edited in (
        double.lora("w", rank=1),
        double.lora("w", rank=1).merge(),
        double.replace_head("h", 4),
        double.insert_dropout("h"),
        double.cut(outputs=["h"]),
        double.specialize(x=x),
        double.batched(),
        double.inference(),
    ):
        assert {value.dtype for value in edited.params.values()} == {np.dtype(np.float64)}
        given = [] if not edited.input_names else [x[None] if edited.program.batched else x]
        assert edited(*given).dtype == np.float64
        types = {tensor.dtype for tensor in edited.program.parameters.params.values()}
        assert types == {np.dtype(np.float32)}
    assert onnxla.compare(double).ok


def test_narrower_parameters_of_a_model_in_double_precision_are_refused() -> None:
    module = onnxla.load(linear()).astype("float64")
    narrow = {name: np.asarray(value, np.float32) for name, value in module.params.items()}
    with pytest.raises(TypeError, match=r"parameter 'w' is float64 .* float32: .*enable_x64"):
        module.apply(narrow, normal(2, 3))
    with pytest.raises(TypeError, match=r"parameter 'w' is float64"):
        module.replace(narrow)(normal(2, 3))
