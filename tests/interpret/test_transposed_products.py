"""Products with a transpose: of one row, the transpose is not made; values and gradients stay."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import pytest

import onnxla
from onnxla.interpret.transposed_products import TransposedProduct
from onnxla.testing import OnnxRuntime
from support.small_models import header, make

K, N = 5, 7
RNG = np.random.default_rng(0)
W = RNG.normal(size=(N, K)).astype(np.float32)
MATMUL = "t = Transpose <perm = [1, 0]> (w) y = MatMul (x, t)"
GEMM = "y = Gemm <transB = 1, alpha = 0.5> (x, w, b)"
B = RNG.normal(size=N).astype(np.float32)


def model(nodes: str, shape: str, outputs: str = "", **tensors: np.ndarray) -> bytes:
    text = f"{header()} m (float[{shape}] x) => (float y{outputs}) {{ {nodes} }}"
    return make(text, **(tensors or {"w": W} | ({"b": B} if "Gemm" in nodes else {})))


def turned(module: onnxla.Module, x: np.ndarray) -> bool:
    """Whether no product reads a transpose of the weight."""
    jaxpr = jax.make_jaxpr(lambda params: module.apply(params, {"x": x}))(module.params).jaxpr
    transposed = [
        str(e.outvars[0].aval.shape) for e in jaxpr.eqns if e.primitive.name == "transpose"
    ]
    return str((K, N)) not in transposed


def check(file: bytes, x: np.ndarray) -> onnxla.Module:
    """Compares values with ONNX Runtime, and gradients with those of the nodes as they are."""
    module = onnxla.load(file)
    plain = onnxla.Module(module.params, replace(module.program, recognize=False))
    values = zip(module.run({"x": x}).values(), OnnxRuntime().run(file, {"x": x}), strict=True)
    for got, want in values:
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)

    def gradient(module: onnxla.Module) -> Any:
        def loss(params: Any, x: Any) -> Any:
            return jnp.sum(jnp.sin(jax.tree.leaves(module.apply(params, {"x": x}))[0]))

        return jax.grad(loss, (0, 1))(module.params, x)

    ours, theirs = gradient(module), gradient(plain)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), ours, theirs)
    return module


@pytest.mark.parametrize(
    "shape", [(1, K), (1, 1, K), (1, 1, 1, K), (K,), (2, K), (2, 1, K)], ids=str
)
def test_a_product_with_a_transpose(shape: tuple[int, ...]) -> None:
    x = RNG.normal(size=shape).astype(np.float32)
    module = check(model(MATMUL, ", ".join(map(str, shape))), x)
    assert turned(module, x) == (np.prod(shape) == K)


@pytest.mark.parametrize("rows", [1, 2])
def test_gemm(rows: int) -> None:
    x = RNG.normal(size=(rows, K)).astype(np.float32)
    assert turned(check(model(GEMM, f"{rows}, {K}"), x), x) == (rows == 1)


def test_a_transpose_that_is_read_elsewhere() -> None:
    x = RNG.normal(size=(1, K)).astype(np.float32)
    module = check(model(MATMUL, f"1, {K}", ", float t"), x)
    np.testing.assert_array_equal(module.run({"x": x})["t"], W.T)


@pytest.mark.parametrize("queries", [1, 2])
@pytest.mark.parametrize("batch", [1, 2])
def test_attention_to_keys(batch: int, queries: int) -> None:
    w = RNG.normal(size=(2, 3, N, K)).astype(np.float32)
    x = RNG.normal(size=(batch, 3, queries, K)).astype(np.float32)
    nodes = "t = Transpose <perm = [0, 1, 3, 2]> (w) y = MatMul (x, t)"
    module = check(model(nodes, ", ".join(map(str, x.shape)), w=w), x)
    text = str(jax.make_jaxpr(lambda p: module.apply(p, {"x": x}))(module.params))
    assert (f"[2,3,{K},{N}]" in text) == ((batch, queries) != (2, 1))  # the transposed keys


def test_other_transposes() -> None:
    w = RNG.normal(size=(N, 3, K)).astype(np.float32)
    x = RNG.normal(size=(1, K)).astype(np.float32)
    file = model("t = Transpose <perm = [1, 2, 0]> (w) y = MatMul (x, t)", f"1, {K}", w=w)
    nodes = check(file, x).program.lowered(None).nodes
    assert not any(isinstance(node, TransposedProduct) for node in nodes)


def test_blocks_of_a_loop() -> None:
    lines = " ".join(
        f"t{i} = Transpose <perm = [1, 0]> (w{i}) a{i} = MatMul (x{i}, t{i}) x{i + 1} = Tanh (a{i})"
        for i in range(4)
    )
    tensors = {f"w{i}": RNG.normal(size=(K, K)).astype(np.float32) for i in range(4)}
    file = make(f"{header()} m (float[1, {K}] x0) => (float[1, {K}] x4) {{ {lines} }}", **tensors)
    x = {"x0": RNG.normal(size=(1, K)).astype(np.float32)}
    (want,) = OnnxRuntime().run(file, x)
    for options in ({"roll": True}, {"roll": False}, {"remat": True}):
        np.testing.assert_allclose(onnxla.load(file, **options).run(x)["x4"], want, rtol=1e-5)


@pytest.mark.parametrize("compute_dtype", [None, "bfloat16"])
def test_in_other_precisions(compute_dtype: str | None) -> None:
    x = RNG.normal(size=(1, K)).astype(np.float32)
    module = onnxla.load(model(MATMUL, f"1, {K}"))
    y = (
        module.astype(compute_dtype).run({"x": x})["y"]
        if compute_dtype
        else module.run({"x": x})["y"]
    )
    np.testing.assert_allclose(np.asarray(y, np.float32), x @ W.T, rtol=0.05, atol=0.05)


def test_operands_of_other_ranks_are_as_the_file_says() -> None:
    w = RNG.normal(size=(N, K, 2)).astype(np.float32)
    x = RNG.normal(size=(2, 1, K)).astype(np.float32)
    check(model("t = Transpose (w) y = MatMul (x, t)", f"2, 1, {K}", w=w), x)


@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("names", ["B.T w", "A.T w", "x A.T", "y.T B.T"])
def test_names_of_the_file_are_its_own(names: str, rows: int) -> None:
    x, w = names.split()
    graph = onnx.helper.make_graph(
        [
            onnx.helper.make_node("Transpose", [w], ["t"], perm=[1, 0]),
            onnx.helper.make_node("MatMul", [x, "t"], ["y"]),
        ],
        "g",
        [onnx.helper.make_tensor_value_info(x, 1, [rows, K])],
        [onnx.helper.make_tensor_value_info("y", 1, None)],
        [onnx.numpy_helper.from_array(RNG.normal(size=(K, K)).astype(np.float32), w)],
    )
    opsets = [onnx.helper.make_opsetid("", 17)]
    file = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
    given = {x: RNG.normal(size=(rows, K)).astype(np.float32)}
    (want,) = OnnxRuntime().run(file, given)
    np.testing.assert_allclose(onnxla.load(file).run(given)["y"], want, rtol=1e-5, atol=1e-6)


def test_attributes_of_a_call() -> None:
    """In a function, which axes there are is not known before it is called."""
    text = """<ir_version: 10, opset_import: ["": 18, "own": 1]>
        m (float[1, 3, 4] x, float[4, 4] w) => (float y, float z) {
            y = own.product <p = [1, 0]> (x, w) z = own.centred <k = 0, a = [-1]> (x, w)
        }
        <domain: "own", opset_import: ["": 18]>
        product <p> (x, w) => (y) {
            t = Transpose <perm: ints = @p> (w) s = Constant <value_ints = [1]> ()
            r = ReduceSum (x, s) y = MatMul (r, t)
        }
        <domain: "own", opset_import: ["": 13]>
        centred <k, a> (x, w) => (n) {
            m = ReduceMean <axes: ints = @a, keepdims: int = @k> (w) c = Sub (w, m)
            q = Mul (c, c) v = ReduceMean <axes: ints = @a, keepdims: int = @k> (q)
            e = Constant <value_float = 0.001> () f = Add (v, e) d = Sqrt (f) n = Div (c, d)
        }"""
    file = onnx.parser.parse_model(text).SerializeToString()
    x, w = (RNG.normal(size=shape).astype(np.float32) for shape in ((1, 3, 4), (4, 4)))
    y, z = onnxla.load(file).run({"x": x, "w": w}).values()
    np.testing.assert_allclose(y, x.sum(1, keepdims=True) @ w.T, rtol=1e-5, atol=1e-5)
    centred = w - w.mean(-1)
    deviation = np.sqrt((centred**2).mean(-1) + 0.001)
    np.testing.assert_allclose(z, centred / deviation, rtol=1e-5, atol=1e-5)


def test_a_gradient_by_the_transpose() -> None:
    """Gradient evaluates what is between its inputs and its output again, by their names."""
    text = f"""<ir_version: 10, opset_import: ["": 17, "ai.onnx.preview.training": 1]>
        m (float[1, {K}] x, float[{N}, {K}] w) => (float g) {{
            t = Transpose <perm = [1, 0]> (w) p = MatMul (x, t) y = ReduceSum <keepdims = 0> (p)
            g = ai.onnx.preview.training.Gradient <xs = ["t"], y = "y"> (t)
        }}"""
    file = onnx.parser.parse_model(text).SerializeToString()
    x = RNG.normal(size=(1, K)).astype(np.float32)
    g = onnxla.load(file).run({"x": x, "w": W})["g"]
    np.testing.assert_allclose(g, np.broadcast_to(x.T, (K, N)), rtol=1e-6)


def test_an_error_is_that_of_the_node() -> None:
    module = onnxla.load(model(MATMUL, f"1, {K - 1}"))
    with pytest.raises(onnxla.ModelError, match=r"MatMul -> y .* got \(4,\) and \(5,\)"):
        module.run({"x": np.ones((1, K - 1), np.float32)})
