"""Control flow, sequences and optionals: against ONNX Runtime, and what becomes of a loop."""

from __future__ import annotations

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import onnxruntime
import pytest
from jax.test_util import check_grads

import onnxla
from onnxla.interpret import eval as evaluation
from onnxla.ir.errors import StaticOperandError
from onnxla.ops import control
from support.control_models import HEAD, MODELS, OPSETS, X, model_of


def as_tuple(values: Any) -> tuple[Any, ...]:
    return values if isinstance(values, tuple) else (values,)


@pytest.mark.parametrize(
    ("name", "opset", "inputs"),
    [
        pytest.param(name, opset, inputs, id=f"{name}-{opset}")
        for name, first, _, inputs, _ in MODELS
        for opset in (first, *OPSETS.get(name, ()))
    ],
)
def test_equals_onnx_runtime(name: str, opset: int, inputs: tuple[Any, ...]) -> None:
    model = model_of(name, opset=opset)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    expected = session.run(
        None, {v.name: x for v, x in zip(model.graph.input, inputs, strict=True)}
    )
    module = onnxla.load(model)
    for got in (module(*inputs), module.apply(module.params, *inputs)):
        for ours, theirs in zip(map(np.asarray, as_tuple(got)), expected, strict=True):
            assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
            np.testing.assert_allclose(ours, theirs, 1e-5, 1e-6)


@pytest.mark.parametrize(
    ("name", "inputs", "grad"), [pytest.param(m[0], *m[3:], id=m[0]) for m in MODELS if m[4]]
)
def test_gradients(name: str, inputs: tuple[Any, ...], grad: tuple[int, ...]) -> None:
    with jax.enable_x64(True):
        module = onnxla.load(model_of(name, double=True))
        values = [x.astype(np.float64) if x.dtype == np.float32 else x for x in inputs]

        def function(*chosen: jax.Array) -> list[jax.Array]:
            given = dict(enumerate(values)) | dict(zip(grad, chosen, strict=True))
            outputs = as_tuple(module.apply(module.params, *given.values()))
            return [y for y in outputs if y.dtype == np.float64]

        check_grads(function, tuple(values[i] for i in grad), order=1, modes=("fwd", "rev"))


@pytest.mark.parametrize(
    ("name", "primitive"),
    [
        ("if traced", "cond"),
        ("loop as a scan", "scan"),
        ("loop whose state grows", None),
        ("loop over slices of different sizes", None),
        ("loop that ends early", "scan"),
        ("loop that ends by its counter", "scan"),
        ("loop without a trip count", "while"),
        ("loop with a traced trip count", "while"),
        ("scan with axes and directions", "scan"),
        ("scan of a batch", "scan"),
    ],
)
def test_primitive(name: str, primitive: str | None) -> None:
    """What control flow on traced values becomes."""
    module, inputs = onnxla.load(model_of(name)), next(m[3] for m in MODELS if m[0] == name)
    jaxpr = jax.make_jaxpr(lambda *xs: module.apply(module.params, *xs))(*inputs).jaxpr
    found = {eqn.primitive.name for eqn in jaxpr.eqns} & {"cond", "scan", "while"}
    assert found == ({primitive} if primitive else set())


@pytest.mark.parametrize(
    ("name", "kind", "reason"),
    [
        ("loop as a scan", "scan", "no step ends it"),
        ("loop whose state grows", "unrolled", "its steps differ: .*float32.2, 3.* to .*4, 3"),
        ("loop over slices of different sizes", "unrolled", "its steps differ: operand 'starts'"),
        ("loop that ends early", "masked scan", "traced values may end it early"),
        ("loop that ends by its counter", "scan", "known values of its state end it"),
        ("loop without a trip count", "while", "no small bound"),
        ("loop with a traced trip count", "while", "no small bound"),
        ("loop of no steps", "unrolled", "no steps"),
        ("scan with axes and directions", "scan", "no step ends it"),
    ],
)
def test_form(monkeypatch: pytest.MonkeyPatch, name: str, kind: str, reason: str) -> None:
    """In which form a loop runs, and why."""
    found: list[control.Form] = []
    form = control.Steps.form
    monkeypatch.setattr(
        control.Steps, "form", lambda self: (found.append(form(self)), found[-1])[1]
    )
    module, inputs = onnxla.load(model_of(name)), next(m[3] for m in MODELS if m[0] == name)
    jax.eval_shape(lambda *xs: module.apply(module.params, *xs), *inputs)
    assert [f.kind for f in found] == [kind]
    assert re.search(reason, found[0].reason)


def test_a_body_is_evaluated_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What decides on a loop's form is what it then runs."""
    evaluated: list[Any] = []
    subgraph = evaluation.eval_graph

    def counting(*args: Any) -> Any:
        evaluated.append(args[0].name)
        return subgraph(*args)

    monkeypatch.setattr(evaluation, "eval_graph", counting)
    for name in ("loop as a scan", "loop that ends early", "loop without a trip count"):
        module, inputs = onnxla.load(model_of(name)), next(m[3] for m in MODELS if m[0] == name)
        jax.eval_shape(lambda *xs, module=module: module.apply(module.params, *xs), *inputs)
    # The early end is found by a step with what is known of the state, and that is not enough.
    assert evaluated == ["body"] * 5


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("loop that its input counts, with scan outputs", "how often a loop runs"),
        ("loop with scan outputs up to where the data says", "how often a loop runs"),
    ],
)
def test_traced_shape_is_refused(name: str, words: str) -> None:
    module, inputs = onnxla.load(model_of(name)), next(m[3] for m in MODELS if m[0] == name)
    with pytest.raises(StaticOperandError, match=words):
        jax.eval_shape(lambda *xs: module.apply(module.params, *xs), *inputs)


def test_branches_of_different_shapes() -> None:
    model = onnx.parser.parse_model(
        HEAD % 13
        + """if (bool c, float[2, 3] x) => (float[N, 3] y) {
            y = If (c) <
                then_branch = then () => (float[2, 3] a) { a = Exp (x) },
                else_branch = else () => (float[4, 3] b) { b = Concat <axis = 0> (x, x) }
            >
        }"""
    )
    module = onnxla.load(model)
    for c, shape in ((True, (2, 3)), (False, (4, 3)), (True, (2, 3))):
        assert module(np.asarray(c), X).shape == shape
    assert not module.program.data_dependent
    assert module.program.static == {"c"}
    with pytest.raises(StaticOperandError, match=r"then: \['float32\[2, 3\]'\].*specialize\(c="):
        jax.eval_shape(lambda c: module.apply(module.params, c, X), jnp.asarray(True))


def test_known_values_stay_known_through_a_traced_condition() -> None:
    """A shape that both branches agree on may reshape what comes after."""
    model = onnx.parser.parse_model(
        HEAD % 13
        + """if (bool c, float[2, 3] x) => (float[N] y) {
            s = If (c) <
                then_branch = then () => (int64[1] a) { a = Constant <value_ints = [-1]> () },
                else_branch = else () => (int64[1] b) { b = Constant <value_ints = [-1]> () }
            >
            y = Reshape (x, s)
        }"""
    )
    module = onnxla.load(model)
    assert module(np.asarray(True), X).shape == (6,)
    assert not module.program.static


def test_a_loop_without_a_bound_has_forward_derivatives_only() -> None:
    text = """loop (bool go, float[2, 3] x) => (float[2, 3] y) {
        y = Loop (, go, x) <
            body = squared (int64 i, bool c_in, float[2, 3] a) => (bool c_out, float[2, 3] b) {
                b = Mul (a, a)
                total = ReduceSum <keepdims = 0> (b)
                limit = Constant <value_float = 1000.0> ()
                c_out = Less (total, limit)
            }
        >
    }"""
    module = onnxla.load(onnx.parser.parse_model(HEAD % 20 + text))

    def function(x: jax.Array) -> jax.Array:
        return module.apply(module.params, jnp.asarray(True), x).sum()

    x = jnp.full((2, 3), 2, np.float32)  # squared three times: 256 in all 6 places is above 1000
    value, slope = jax.jvp(function, (x,), (jnp.ones_like(x),))
    assert (value, slope) == (6 * 2**8, 6 * 8 * 2**7)
    with pytest.raises(onnxla.UnsupportedError, match=r"body 'squared' has no gradient.*M, up to"):
        jax.grad(function)(x)
    assert jax.vmap(function)(jnp.stack([x, x])).shape == (2,)
