"""What must be known while tracing is found before anything is traced."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import onnx
import pytest

import onnxla
from onnxla.interpret import program as programs
from support.small_models import make

X = np.arange(12, dtype=np.float32).reshape(3, 4) - 5
HEAD = '<ir_version: 8, opset_import: ["": 18, "local": 1]> '

# A name, a model, its inputs; the inputs that must be known, with words of the reason; the nodes
# that need concrete values, with words of the reason.
GRAPHS: list[tuple[str, str, dict[str, Any], dict[str, str], dict[str, str]]] = [
    (
        "a shape",
        "m (float[N, 4] x, int64[2] s) => (float[A, B] y) { t = Neg (s) u = Neg (t) "
        "y = Reshape (x, u) }",
        {"x": X, "s": np.array([2, 6])},
        {"s": "operand 'shape' ('u') decides a shape"},
        {},
    ),
    (
        "a shape of what is there",
        "m (float[N, 4] x, float[K] z) => (float[A, B] y) { s = Shape (x) one = Neg (s) "
        "two = Neg (one) eye = EyeLike (x) n = Shape (eye) y = Reshape (x, two) }",
        {"x": X, "z": X[0]},
        {},
        {},
    ),
    (
        "several settings of one node",
        "m (float[N, 4] x, int64[1] a, int64[1] b) => (float[A, B] y) { y = Slice (x, a, b) }",
        {"x": X, "a": np.array([1]), "b": np.array([3])},
        {"a": "'starts'", "b": "'ends'"},
        {},
    ),
    (
        "data",
        "m (float[N, 4] x, int64[1] k) => (float[A] v, int64[A] i, float[C] z) {"
        " p = NonZero (x) q = Transpose (p) z = GatherND (x, q)"
        " n = ReduceMax <keepdims = 0> (x) m = Cast <to = 7> (n) l = Unsqueeze (m, zero)"
        " flat = Reshape (x, minus) v, i = TopK (flat, l) }",
        {"x": X, "k": np.array([1])},
        {},
        {"NonZero -> p": "operand 'X' ('x')", "TopK -> v, i": "operand 'K' ('l')"},
    ),
    (
        "a weight",
        "m (float[N, 4] x) => (float[A, B] y) { s = Cast <to = 7> (w) y = Tile (x, s) }",
        {"x": X},
        {},
        {},
    ),
    (
        "branches of stated shapes",
        "m (bool c, float[3, 4] x) => (float[A, B] y) { y = If (c) <"
        " then_branch = a () => (float[3, 4] p) { p = Exp (x) },"
        " else_branch = b () => (float[6, 4] q) { q = Concat <axis = 0> (x, x) }> }",
        {"c": np.array(True), "x": X},
        {"c": "If decides which shapes there are"},
        {},
    ),
    (
        "branches of equal shapes",
        "m (bool c, int64[2] s, float[3, 4] x) => (float[A, B] y) { y = If (c) <"
        " then_branch = a () => (float[A, B] p) { p = Reshape (x, s) },"
        " else_branch = b () => (float[A, B] q) { r = Neg (x) q = Reshape (r, s) }> }",
        {"c": np.array(True), "s": np.array([4, 3]), "x": X},
        {"s": "operand 'shape' ('s')"},
        {},
    ),
    (
        "a loop that collects",
        "m (int64 n, float[3, 4] x) => (float[3, 4] y, float[T, 3, 4] ys) {"
        " y, ys = Loop (n, , x) < body = body (int64 i, bool c, float[3, 4] a)"
        " => (bool c, float[3, 4] b, float[3, 4] d) { b = Sin (a) d = Neg (b) } > }",
        {"n": np.array(3), "x": X},
        {"n": "Loop decides which shapes there are"},
        {},
    ),
    (
        "a loop whose counter is known",
        "m (float[3, 4] x) => (float[A, B] z) { zero_ = Constant <value_int = 0> ()"
        " m = Constant <value_int = 9> () go = Constant <value = bool {1}> ()"
        " k, y = Loop (m, go, zero_, x) < body = body (int64 i, bool c, int64 j, float[3, 4] a)"
        " => (bool d, int64 l, float[3, 4] b) { two = Constant <value_int = 2> ()"
        " l = Add (j, i) d = Less (l, two) b = Sin (a) } >"
        " t = Unsqueeze (k, zero) s = Concat <axis = 0> (t, t) z = Tile (y, s) }",
        {"x": X},
        {},
        {},
    ),
    (
        "a function",
        "m (float[N, 4] x, int64[2] s, int64[1] a) => (float[A, B] y) {"
        " b = Neg (a) z = local.shaped (x, s) y = local.twice (z, b) }"
        ' <domain: "local", opset_import: ["": 18]>'
        " shaped (x, s) => (y) { y = Reshape (x, s) }"
        ' <domain: "local", opset_import: ["": 18]>'
        " twice (x, a) => (y) { y = Add (x, x) }",
        {"x": X, "s": np.array([2, 6]), "a": np.array([0])},
        {"s": "operand 'shape' ('s')"},
        {},
    ),
    (
        "strings within",
        "m (int64[N] i) => (int64[N] y) { t = Gather (labels, i) e = Equal (t, t)"
        " y = Cast <to = 7> (e) }",
        {"i": np.arange(2000) % 3},
        {},
        {"Gather -> t": "operand 'indices' ('i') meets strings", "Equal": "meets strings"},
    ),
]
CONSTANTS = {
    "zero": np.array([0]),
    "minus": np.array([-1]),
    "w": np.float32([1, 2]),
    "labels": np.array(["cat", "dog", "eel"], object),
}


def load(text: str) -> onnxla.Module:
    used = {
        name: value
        for name, value in CONSTANTS.items()
        if f"({name}" in text or f" {name})" in text
    }
    return onnxla.load(make(HEAD + text, **used))


@pytest.mark.parametrize(
    ("text", "inputs", "static", "concrete"), [pytest.param(*g[1:], id=g[0]) for g in GRAPHS]
)
def test_a_first_call_traces_once(
    monkeypatch: pytest.MonkeyPatch,
    text: str,
    inputs: dict[str, Any],
    static: dict[str, str],
    concrete: dict[str, str],
) -> None:
    traces: list[object] = []
    evaluate = programs.eval_graph
    monkeypatch.setattr(
        programs, "eval_graph", lambda *args: (traces.append(args), evaluate(*args))[1]
    )
    module = load(text)
    outputs = module.run(inputs)
    program = module.program
    # With concrete nodes, regions are traced, and the graph as a whole never.
    assert len(traces) == (not concrete)
    assert (program.static, program.data_dependent) == (set(static), bool(concrete))
    expected = module.apply(module.params, *inputs.values())  # known inputs, so nothing is traced
    for ours, theirs in zip(outputs.values(), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    small = [name for name, value in inputs.items() if value.dtype != np.float32]
    candidates = small if all(value.size < 1024 for value in inputs.values()) else []
    plan = program.staging().plan(program.model.graph, inputs, known=(), candidates=candidates)
    assert set(plan.static) == set(static)
    for name, reason in static.items():
        assert reason in plan.static[name]
    found = {str(node): reason for node, reason in plan.concrete.items()}
    assert len(found) == len(concrete)
    for (node, reason), (name, why) in zip(concrete.items(), found.items(), strict=True):
        assert node in name
        assert reason in why


def test_what_only_tracing_finds_is_learned() -> None:
    """Whether branches agree in shapes that are not stated shows when they are traced."""
    text = """m (int64 rate, float[3, 4] x) => (float[A, B] y) {
        eight = Constant <value_int = 8> ()
        c = Equal (rate, eight)
        y = If (c) <
            then_branch = a () => (float[A, B] p) { p = Exp (x) },
            else_branch = b () => (float[A, B] q) { q = Concat <axis = 0> (x, x) }
        >
    }"""
    module = load(text)
    assert module(np.array(8), X).shape == (3, 4)
    assert module.program.static == {"rate"}
    assert module(np.array(16), X).shape == (6, 4)


def test_a_large_input_is_not_part_of_a_key() -> None:
    module = load("m (int64[N] s) => (float[M] y) { y = ConstantOfShape (s) }")
    few = np.array([2, 3])
    assert module(few).shape == (2, 3)
    assert module.program.static == {"s"}
    module = load("m (int64[N] s) => (int64[M] y) { i = NonZero (s) y = Reshape (i, minus) }")
    assert module(np.arange(3000)).shape == (2999,)
    assert module.program.data_dependent
    assert not module.program.static


def test_reasons_are_given_to_a_caller_who_traces() -> None:
    module = load(next(text for name, text, *_ in GRAPHS if name == "data"))
    with pytest.raises(onnxla.StaticOperandError) as caught:
        jax.jit(module.apply)(module.params, X, np.array([1]))
    message = str(caught.value)
    assert "Nodes that need concrete values: NonZero -> p, TopK -> v, i" in message
    assert "module.cut(outputs=['flat', 'l'])" in message


def test_operators_of_other_domains_are_not_taken_for_onnxs() -> None:
    """A custom `Shape` computes with its operand, as far as anybody knows."""

    @onnxla.op("Shape", domain="test.staging", since=(1,))
    def shape(x: Any) -> Any:
        return x.sum(0).astype(np.int64)

    text = """<ir_version: 8, opset_import: ["": 18, "test.staging": 1]>
    m (float[N, 2] x, float[6] z) => (float[A, B] y) {
        s = test.staging.Shape (x)
        y = Reshape (z, s)
    }"""
    module = onnxla.load(onnx.parser.parse_model(text))
    x = np.float32([[1, 1], [1, 2]])
    assert module(x, np.ones(6, np.float32)).shape == (2, 3)
    assert module.program.static == {"x"}


def buffered(past: int) -> bytes:
    """GroupQueryAttention whose total is an input, with a cache of so many slots."""
    cache = f"float[1, 1, {past}, 8]"
    inputs = f"float[1, S, 16] q, {cache} k, {cache} v, int32[1] last, int32 total"
    text = f"""<ir_version: 8, opset_import: ["": 18, "com.microsoft": 1]>
        m ({inputs}) => (float[1, S, 16] y) {{
            new = Slice (q, start, end, axis)
            y, keys, values = com.microsoft.GroupQueryAttention <num_heads = 2, kv_num_heads = 1>
                (q, new, new, k, v, last, total)
        }}"""
    numbers = {"start": np.array([0]), "end": np.array([8]), "axis": np.array([2])}
    return make(text, **numbers)


@pytest.mark.quickly
def test_a_total_within_a_cache_may_be_traced() -> None:
    """It decides no shape there, so that one program is for all; too large a total makes NaN."""
    module = onnxla.load(buffered(6))
    rng = np.random.default_rng(0)
    q, k, v = (rng.standard_normal(s).astype(np.float32) for s in ((1, 2, 16), *[(1, 1, 6, 8)] * 2))
    run = jax.jit(lambda *given: module.apply(module.params, *given))
    for total in (2, 3, 6):
        given = q, k, v, np.int32([total - 1]), np.int32(total)
        np.testing.assert_allclose(run(*given), module(*given), 1e-5)
    assert run._cache_size() == 1
    assert np.isnan(run(q, k, v, np.int32([6]), np.int32(7))).all()
    assert np.isfinite(module(q, k, v, np.int32([6]), np.int32(7))).all()  # whose cache grows


def test_a_total_without_a_cache_must_be_known() -> None:
    module = onnxla.load(buffered(0))
    given = np.ones((1, 2, 16), np.float32), *[np.ones((1, 1, 0, 8), np.float32)] * 2
    run = jax.jit(lambda total: module.apply(module.params, *given, np.int32([1]), total))
    with pytest.raises(onnxla.StaticOperandError, match=r"decides a shape, unless.*total=value"):
        run(np.int32(2))
