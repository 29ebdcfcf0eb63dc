"""The interpreter: binding times, scopes, functions, opsets, errors."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import pytest

import onnxla
from onnxla.ops.table import lookup
from support.small_models import graph, header, make


def test_shape_arithmetic_is_gone_before_xla_sees_the_graph() -> None:
    module = onnxla.load(
        make(
            header()
            + """ m (float[N, 4] x) => (float[A, B] y) {
                shape = Shape (x)
                half = Constant <value = float {0.5}> ()
                floats = Cast <to = 1> (shape)
                halved = Mul (floats, half)
                target = Cast <to = 7> (halved)
                y = ConstantOfShape (target)
            }"""
        )
    )
    program = jax.make_jaxpr(module.apply)(module.params, jnp.ones((6, 4)))
    assert "mul" not in str(program)
    assert module(np.ones((6, 4), np.float32)).shape == (3, 2)


def test_shapes_are_not_remembered_between_calls() -> None:
    module = onnxla.load(
        make(
            header()
            + """ m (float[N, 4] x) => (float[M, 2] y) {
                n = Shape <start = 0, end = 1> (x)
                two = Constant <value = int64[1] {2}> ()
                rows = Mul (n, two)
                shape = Concat <axis = 0> (rows, two)
                y = Reshape (x, shape)
            }"""
        )
    )
    for n in (3, 5, 3):
        assert module(np.ones((n, 4), np.float32)).shape == (2 * n, 2)


def test_numbers_that_decide_a_shape_are_no_parameters() -> None:
    module = onnxla.load(
        make(
            header()
            + """ m (float[1, 1, N] x) => (float[A, B, C] y) {
                scaled = Mul (x, gain)
                y = Resize <mode = "nearest"> (scaled, , scales)
            }""",
            scales=np.array([1, 1, 2], np.float32),
            gain=np.array([0.5], np.float32),
        )
    )
    assert set(module.params) == {"gain"}
    assert jax.jit(module.apply)(module.params, jnp.ones((1, 1, 3))).shape == (1, 1, 6)


BRANCHES = (
    header()
    + """ m (float[N] x, bool c) => (float[N] y) {
    inner = Add (x, w)
    y = If (c) <
        then_branch = doubled () => (float[N] a) { a = Mul (inner, two) },
        else_branch = shifted () => (float[N] b) { t = Sub (inner, two) b = Mul (t, v) }
    >
}"""
)


def branches() -> onnxla.Module:
    return onnxla.load(
        make(
            BRANCHES,
            w=np.array([1, 2], np.float32),
            v=np.array([3, 4], np.float32),
            two=np.float32(2),
        )
    )


@pytest.mark.parametrize("condition", [True, False])
def test_if_with_a_known_and_with_a_traced_condition(condition: bool) -> None:
    module, x = branches(), np.array([5, 6], np.float32)
    inner = x + np.float32([1, 2])
    expected = inner * 2 if condition else (inner - 2) * [3, 4]
    known = module.apply(module.params, jnp.asarray(x), np.array(condition))
    traced = jax.jit(module.apply)(module.params, x, jnp.array(condition))
    for y in (known, traced, module(x, condition)):
        np.testing.assert_allclose(y, expected)
    gradient = jax.jit(jax.grad(lambda p: module.apply(p, x, jnp.array(condition)).sum()))(
        module.params
    )
    np.testing.assert_allclose(gradient["w"], [2, 2] if condition else [3, 4])
    np.testing.assert_allclose(gradient["v"], [0, 0] if condition else inner - 2)


def test_a_branch_that_decides_a_shape_makes_its_condition_known() -> None:
    module = onnxla.load(
        make(
            header()
            + """ m (float[N] x, int64 rate) => (float[M] y) {
                limit = Constant <value = int64 {8000}> ()
                high = Greater (rate, limit)
                y = If (high) <
                    then_branch = all () => (float[M] a) { a = Concat <axis = 0> (x, x) },
                    else_branch = same () => (float[M] b) { b = Identity (x) }
                >
            }"""
        )
    )
    x = np.ones(3, np.float32)
    assert module(x, 16000).shape == (6,)
    assert module(x, 8000).shape == (3,)
    assert module.program.static == {"rate"}
    assert module.specialize(rate=16000)(x).shape == (6,)
    with pytest.raises(onnxla.StaticOperandError, match="'rate'"):
        jax.jit(module.apply)(module.params, x, jnp.array(8000))


def test_weights_of_subgraphs_have_names_of_their_own() -> None:
    value = onnx.numpy_helper.from_array
    branches = [
        onnx.helper.make_graph(
            [
                onnx.helper.make_node("Constant", [], ["k"], value=value(np.float32([k, k]))),
                onnx.helper.make_node("Mul", ["x", "k"], ["out"]),
            ],
            "branch",
            [],
            [onnx.helper.make_tensor_value_info("out", 1, [2])],
        )
        for k in (2.0, 3.0)
    ]
    node = onnx.helper.make_node(
        "If", ["c"], ["y"], name="switch", then_branch=branches[0], else_branch=branches[1]
    )
    module = onnxla.load(graph([node], {"x": (1, [2]), "c": (9, [])}, ["y"]))
    assert set(module.params) == {"switch/then_branch/k", "switch/else_branch/k"}
    tuned = module.replace({"switch/else_branch/k": np.float32([5, 7])})
    again = onnxla.load(onnxla.ir.write(tuned.to_ir()))
    for m in (tuned, again):
        np.testing.assert_allclose(m(np.ones(2, np.float32), False), [5, 7])
        np.testing.assert_allclose(m(np.ones(2, np.float32), True), [2, 2])


FUNCTION = """<ir_version: 9, opset_import: ["" : 20, "local" : 1]>
m (float[N] x) => (float[N] y) {
    h = local.scale <factor = 3.0> (x, w)
    y = local.scale <factor = 2.0> (h, w)
}
<domain: "local", opset_import: ["" : 12]>
scale <factor> (a, b) => (c) {
    f = Constant <value_float: float = @factor> ()
    row = Unsqueeze <axes = [0]> (a)
    t = Mul (row, f)
    s = Squeeze <axes = [0]> (t)
    c = Add (s, b)
}"""


def test_functions_are_scopes_with_opsets_of_their_own() -> None:
    module = onnxla.load(make(FUNCTION, w=np.array([1, 2], np.float32)))
    assert dict(module.roles) == {"w": "bias"}
    x = np.array([1, 1], np.float32)
    np.testing.assert_allclose(module(x), (x * 3 + [1, 2]) * 2 + [1, 2])
    gradient = jax.grad(lambda p: module.apply(p, x).sum())(module.params)
    np.testing.assert_allclose(gradient["w"], [3, 3])


def test_what_a_function_needs_known_is_told_in_the_callers_terms() -> None:
    text = """<ir_version: 9, opset_import: ["" : 20, "local" : 1]>
    m (float[N] x, int64[K] dims) => (float[M] y) { y = local.view (x, dims) }
    <domain: "local", opset_import: ["" : 20]>
    view (data, target) => (out) { out = Reshape (data, target) }"""
    module = onnxla.load(make(text))
    with pytest.raises(onnxla.StaticOperandError, match="graph inputs 'dims'") as caught:
        jax.jit(module.apply)(module.params, jnp.ones(4), jnp.array([2, 2]))
    notes = "\n".join(caught.value.__notes__)
    assert "Reshape -> out" in notes
    assert "local.view -> y" in notes
    assert module(np.ones(4, np.float32), [2, 2]).shape == (2, 2)


def test_functions_that_call_functions_twice_cannot_hang_the_interpreter() -> None:
    layers = "\n".join(
        f"""<domain: "local", opset_import: ["" : 20, "local" : 1]>
        f{i} (a) => (c) {{ b = local.f{i - 1} (a) c = local.f{i - 1} (b) }}"""
        for i in range(1, 60)
    )
    text = f"""<ir_version: 9, opset_import: ["" : 20, "local" : 1]>
    m (float[N] x) => (float[N] y) {{ y = local.f59 (x) }}
    <domain: "local", opset_import: ["" : 20]> f0 (a) => (c) {{ c = Neg (a) }}
    {layers}"""
    with pytest.raises(onnxla.ModelError, match=r"has over 10\^18 nodes"):
        onnxla.load(onnx.parser.parse_model(text))


def test_a_newer_opset_uses_the_latest_operator_known() -> None:
    assert lookup("", "Add", 999) is lookup("", "Add", 14)
    assert lookup("", "Add", 6) is not lookup("", "Add", 7)
    assert lookup("", "Squeeze", 12) is not lookup("", "Squeeze", 13)
    assert lookup("", "Gelu", 19) is None


def test_integers_divide_toward_zero_and_wrap() -> None:
    module = onnxla.load(
        make(
            header()
            + """ m (int32[N] a, int32[N] b) => (int32[N] q, int32[N] p) {
                q = Div (a, b)
                p = Mul (a, b)
            }"""
        )
    )
    a, b = np.array([-7, 7, 2**30], np.int32), np.array([2, -2, 4], np.int32)
    for q, p in (module(a, b), module.apply(module.params, a, b)):
        np.testing.assert_array_equal(q, [-3, -3, 2**28])
        np.testing.assert_array_equal(p, [-14, -14, 0])


def test_node_names_show_in_the_compiled_program() -> None:
    node = onnx.helper.make_node("Sin", ["x"], ["y"], name="encoder/wave")
    module = onnxla.load(graph([node], {"x": (1, [2])}, ["y"]))
    lowered = jax.jit(module.apply).lower(module.params, jnp.ones(2))
    assert "encoder/wave" in lowered.as_text(debug_info=True)


def test_large_integer_tensors_are_not_compiled_in() -> None:
    codes = np.arange(5000, dtype=np.int32)
    module = onnxla.load(
        make(header() + " m (int64[N] i) => (int32[N] y) { y = Gather (codes, i) }", codes=codes)
    )
    assert set(module.program.buffers) == {"codes"}
    assert module(np.array([4321]))[0] == 4321


def test_a_graph_whose_shapes_depend_on_data_still_runs() -> None:
    module = onnxla.load(
        make(
            header()
            + """ m (float[N] x) => (float[M] y) {
                i = NonZero (x)
                t = Transpose (i)
                y = GatherND (x, t)
            }"""
        )
    )
    np.testing.assert_array_equal(module(np.float32([0, 3, 0, 5])), [3, 5])
    np.testing.assert_array_equal(module(np.float32([1, 3, 0, 5])), [1, 3, 5])
    with pytest.raises(onnxla.StaticOperandError, match=r"NonZero -> i.*graph inputs 'x'"):
        jax.jit(module.apply)(module.params, jnp.ones(3))


def test_an_axis_that_is_out_of_range_is_named() -> None:
    gather = onnx.helper.make_node("Gather", ["x", "i"], ["y"], axis=5)
    module = onnxla.load(graph([gather], {"x": (1, [2]), "i": (7, [1])}, ["y"]))
    with pytest.raises(onnxla.ModelError, match="Gather -> y has an axis or index that is out of"):
        module(np.ones(2, np.float32), np.zeros(1, np.int64))


def test_bounds_of_a_loop_are_no_parameters() -> None:
    """As Keras exports a recurrent layer: its loop goes on while a counter is below a length."""
    module = onnxla.load(
        make(
            header()
            + """ m (float[N, 4] x) => (float[4] y) {
                n = Shape <start = 0, end = 1> (x)
                steps = Cast <to = 1> (n)
                more = Less (zero, steps)
                i, y = Loop (, more, zero, start) <
                    body = b (int64 t, bool c, float[1] j, float[4] h)
                    => (bool d, float[1] k, float[4] g) {
                        row = Gather (x, t)
                        scaled = Mul (row, weight)
                        g = Add (h, scaled)
                        k = Add (j, one)
                        d = Less (k, steps)
                    }
                >
            }""",
            zero=np.float32([0]),
            one=np.float32([1]),
            start=np.zeros(4, np.float32),
            weight=np.float32([1, 2, 3, 4]),
        )
    )
    assert set(module.params) == {"start", "weight"}
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    gradient = jax.jit(jax.grad(lambda p: module.apply(p, jnp.asarray(x)).sum()))(module.params)
    np.testing.assert_allclose(gradient["weight"], x.sum(0))


def gradients(body: str, outputs: str) -> onnxla.Module:
    head = '<ir_version: 9, opset_import: ["": 20, "ai.onnx.preview.training": 1]>'
    text = f"{head} m (float[3] w, float[3] x) => ({outputs}) {{ {body} }}"
    text = text.replace("Gradient", "ai.onnx.preview.training.Gradient")
    return onnxla.load(onnx.parser.parse_model(text))


W, V = np.float32([1, 2, 3]), np.float32([4, 5, 6])


def test_gradient_by_intermediate_values_and_at_others() -> None:
    module = gradients(
        """h = Mul (w, x)
        y = Mul (h, h)
        dw = Gradient <xs = ["w"], zs = ["x"], y = "y"> (w, x)
        dh = Gradient <xs = ["h"], y = "y"> (h)
        there = Gradient <xs = ["w"], zs = ["x"], y = "y"> (x, w)""",
        "float[3] dw, float[3] dh, float[3] there",
    )
    expected = (2 * W * V**2, 2 * W * V, 2 * V * W**2)
    for got in (module(W, V), jax.jit(module.apply)({}, W, V), module.apply({}, W, V)):
        for ours, theirs in zip(got, expected, strict=True):
            np.testing.assert_allclose(ours, theirs)


def test_gradient_of_a_gradient() -> None:
    module = gradients(
        """y = Mul (w, w)
        cubes = Mul (y, w)
        d = Gradient <xs = ["w"], y = "cubes"> (w)
        dd = Gradient <xs = ["w"], y = "d"> (w)""",
        "float[3] dd",
    )
    np.testing.assert_allclose(module(W, V), 6 * W)
    slope = jax.grad(lambda w: module.apply({}, w, V).sum())(jnp.asarray(W))
    np.testing.assert_allclose(slope, [6, 6, 6])


def test_gradient_of_random_values_is_that_of_the_values_drawn() -> None:
    module = gradients(
        """r = RandomUniformLike (w)
        y = Mul (r, w)
        d = Gradient <xs = ["w"], y = "y"> (w)""",
        "float[3] y, float[3] d",
    )
    y, d = module(W, V, key=jax.random.key(0))
    np.testing.assert_allclose(y, d * W, rtol=1e-6)


def test_gradient_of_what_is_not_there() -> None:
    module = gradients('d = Gradient <xs = ["w"], y = "loss"> (w)', "float[3] d")
    with pytest.raises(onnxla.ModelError, match="'loss' is not computed before this node"):
        module(W, V)
