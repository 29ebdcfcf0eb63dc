"""Control flow, sequences and optionals: against ONNX Runtime, and what becomes of a loop."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import onnxruntime
import pytest
from jax.test_util import check_grads

import onnxla
from onnxla.ir.errors import StaticOperandError

HEAD = '<ir_version: 8, opset_import: ["": %d]> '
X = np.asarray([[1.0, -2.0, 3.0], [0.5, 1.5, -1.0]], np.float32)


def line(*shape: int) -> np.ndarray:
    """Numbers from -1 to 1."""
    return np.linspace(-1, 1, math.prod(shape), dtype=np.float32).reshape(shape)


# A name, the opset, a model, its inputs, and those by which to differentiate the outputs.
MODELS: list[tuple[str, int, str, tuple[Any, ...], tuple[int, ...]]] = [
    (
        "if traced",
        11,
        """if (float[N, 3] x) => (float[N, 3] y, int64[2] s) {
            total = ReduceSum <keepdims = 0> (x)
            zero = Constant <value = float {0}> ()
            c = Greater (total, zero)
            y, s = If (c) <
                then_branch = then () => (float[N, 3] a, int64[2] s1) {
                    a = Exp (x)
                    s1 = Shape (x)
                },
                else_branch = else () => (float[N, 3] b, int64[2] s2) {
                    b = Sin (x)
                    s2 = Shape (x)
                }
            >
        }""",
        (X,),
        (0,),
    ),
    (
        "if of a shape",
        13,
        """if (float[N, 3] x) => (float[N, M] y) {
            n = Size (x)
            seven = Constant <value_int = 7> ()
            c = Less (n, seven)
            y = If (c) <
                then_branch = then () => (float[N, 3] a) { a = Exp (x) },
                else_branch = else () => (float[1, M] b) {
                    flat = Constant <value_ints = [1, -1]> ()
                    b = Reshape (x, flat)
                }
            >
        }""",
        (X,),
        (0,),
    ),
    (
        "loop as a scan",
        13,
        """loop (float[N, 3] x) => (float[N, 3] y, float[T, N, 3] ys) {
            m = Constant <value = int64 {4}> ()
            c = Constant <value = bool {1}> ()
            y, ys = Loop (m, c, x) <
                body = body (int64 i, bool c_in, float[N, 3] a)
                    => (bool c_out, float[N, 3] b, float[N, 3] e) {
                    c_out = Identity (c_in)
                    e = Sin (a)
                    b = Add (a, e)
                }
            >
        }""",
        (X,),
        (0,),
    ),
    (
        "loop whose state grows",
        13,
        """loop (float[N, 3] x) => (float[M, 3] y) {
            m = Constant <value_int = 2> ()
            y = Loop (m, , x) <
                body = body (int64 i, bool c_in, float[P, 3] a) => (bool c_in, float[Q, 3] b) {
                    s = Mul (a, a)
                    b = Concat <axis = 0> (a, s)
                }
            >
        }""",
        (X,),
        (0,),
    ),
    (
        "loop over slices of different sizes",
        13,
        """loop (float[6] x) => (float[3] ys) {
            m = Constant <value_int = 3> ()
            one = Constant <value_ints = [1]> ()
            zero = Constant <value_ints = [0]> ()
            no_state = SequenceEmpty <dtype = 1> ()
            _, ys = Loop (m, , no_state) <
                body = body (int64 i, bool c_in, seq(float) s)
                    => (bool c_in, seq(float) s, float y) {
                    start = Reshape (i, one)
                    end = Add (start, start)
                    stop = Add (end, one)
                    part = Slice (x, start, stop, zero)
                    y = ReduceSum <keepdims = 0> (part)
                }
            >
        }""",
        (X.ravel(),),
        (0,),
    ),
    (
        "loop that ends early",
        13,
        """loop (float[N, 3] x) => (float[N, 3] y) {
            m = Constant <value_int = 20> ()
            yes = Constant <value = bool {1}> ()
            limit = Constant <value = float {40}> ()
            y = Loop (m, yes, x) <
                body = body (int64 i, bool c_in, float[N, 3] a) => (bool c_out, float[N, 3] b) {
                    b = Add (a, a)
                    size = ReduceL1 <keepdims = 0> (b)
                    c_out = Less (size, limit)
                }
            >
        }""",
        (X,),
        (0,),
    ),
    (
        "loop that ends by its counter",
        13,
        """loop (float[N, 3] x) => (float[N, 3] y, float[T, N, 3] ys, float[P, 3] z) {
            m = Constant <value_int = 20> ()
            zero = Constant <value_int = 0> ()
            limit = Constant <value_int = 8> ()
            yes = Constant <value = bool {1}> ()
            n, y, ys = Loop (m, yes, zero, x) <
                body = body (int64 i, bool c_in, int64 j, float[N, 3] a)
                    => (bool c_out, int64 k, float[N, 3] b, float[N, 3] e) {
                    two = Constant <value_int = 2> ()
                    k = Add (j, two)
                    c_out = Less (k, limit)
                    e = Sin (a)
                    b = Add (a, e)
                }
            >
            one = Constant <value_ints = [1]> ()
            times = Reshape (n, one)
            shape = Concat <axis = 0> (times, one)
            z = Tile (x, shape)
        }""",
        (X,),
        (0,),
    ),
    (
        "loop without a trip count",
        13,
        """loop (float[N, 3] x) => (float[N, 3] y) {
            yes = Constant <value = bool {1}> ()
            limit = Constant <value = float {40}> ()
            y = Loop ( , yes, x) <
                body = body (int64 i, bool c_in, float[N, 3] a) => (bool c_out, float[N, 3] b) {
                    b = Add (a, a)
                    size = ReduceL1 <keepdims = 0> (b)
                    c_out = Less (size, limit)
                }
            >
        }""",
        (X,),
        (),
    ),
    (
        "loop with a traced trip count",
        13,
        """loop (int64 m, float[N, 3] x) => (float[N, 3] y) {
            y = Loop (m, , x) <
                body = body (int64 i, bool c_in, float[N, 3] a) => (bool c_in, float[N, 3] b) {
                    b = Add (a, a)
                }
            >
        }""",
        (np.asarray(3), X),
        (),
    ),
    (
        "loop that its input counts, with scan outputs",
        13,
        """loop (int64 m, float[N, 3] x) => (float[N, 3] y, float[T, N, 3] ys) {
            y, ys = Loop (m, , x) <
                body = body (int64 i, bool c_in, float[N, 3] a)
                    => (bool c_in, float[N, 3] b, float[N, 3] b) {
                    b = Add (a, a)
                }
            >
        }""",
        (np.asarray(3), X),
        (1,),
    ),
    (
        "loop of no steps",
        13,
        """loop (float[2, 3] x) => (float[2, 3] y, float[T, 2, 3] ys) {
            m = Constant <value_int = 0> ()
            y, ys = Loop (m, , x) <
                body = body (int64 i, bool c_in, float[2, 3] a)
                    => (bool c_in, float[2, 3] b, float[2, 3] e) {
                    b = Add (a, a)
                    e = Exp (a)
                }
            >
        }""",
        (X,),
        (0,),
    ),
    (
        "loop with scan outputs up to where the data says",
        13,
        """loop (float[N, 3] x) => (float[T, N, 3] ys) {
            yes = Constant <value = bool {1}> ()
            m = Constant <value_int = 9> ()
            limit = Constant <value = float {40}> ()
            y, ys = Loop (m, yes, x) <
                body = body (int64 i, bool c_in, float[N, 3] a)
                    => (bool c_out, float[N, 3] b, float[N, 3] e) {
                    b = Add (a, a)
                    e = Exp (b)
                    size = ReduceL1 <keepdims = 0> (b)
                    c_out = Less (size, limit)
                }
            >
        }""",
        (X,),
        (),
    ),
    (
        "loop in a loop",
        13,
        """loop (float[N, 3] x) => (float[N, 3] y) {
            m = Constant <value_int = 3> ()
            y = Loop (m, , x) <
                body = outer (int64 i, bool c_in, float[N, 3] a) => (bool c_in, float[N, 3] b) {
                    b = Loop (i, , a) <
                        body = inner (int64 j, bool d_in, float[N, 3] e)
                            => (bool d_in, float[N, 3] f) {
                            g = Sin (e)
                            f = Add (g, x)
                        }
                    >
                }
            >
        }""",
        (X,),
        (),
    ),
    (
        "loop that appends to a sequence",
        13,
        """loop (float[N, 3] x) => (float[T, N, 3] y, int64 n) {
            m = Constant <value_int = 3> ()
            none = SequenceEmpty <dtype = 1> ()
            seq = Loop (m, , none) <
                body = body (int64 i, bool c_in, seq(float[N, 3]) a)
                    => (bool c_in, seq(float[N, 3]) b) {
                    s = Sin (x)
                    b = SequenceInsert (a, s)
                }
            >
            y = ConcatFromSequence <axis = 0, new_axis = 1> (seq)
            n = SequenceLength (seq)
        }""",
        (X,),
        (0,),
    ),
    (
        "scan with axes and directions",
        11,
        """scan (float[3] h, float[2, 3, 5] x, float[5, 3] z)
            => (float[3] y, float[3, 5] ys, float[5, 3] zs) {
            y, ys, zs = Scan <
                num_scan_inputs = 2, scan_input_axes = [-1, 0], scan_input_directions = [1, 0],
                scan_output_axes = [1, 0], scan_output_directions = [0, 1],
                body = body (float[3] a, float[2, 3] u, float[3] v)
                    => (float[3] b, float[3] s, float[3] t) {
                    ones = Constant <value = float[2] {1, 1}> ()
                    r = MatMul (ones, u)
                    rv = Mul (r, v)
                    p = Sin (a)
                    b = Add (p, rv)
                    s = Mul (b, v)
                    t = Identity (p)
                }
            > (h, x, z)
        }""",
        (X[0], line(2, 3, 5), line(5, 3) + 2),
        (0, 1, 2),
    ),
    (
        "scan of a batch",
        8,
        """scan (int64[2] n, float[2, 3] h, float[2, 4, 3] x)
            => (float[2, 3] y, float[2, 4, 3] ys) {
            y, ys = Scan <
                num_scan_inputs = 1, directions = [1],
                body = body (float[3] a, float[3] u) => (float[3] b, float[3] s) {
                    p = Sin (a)
                    b = Add (p, u)
                    s = Identity (b)
                }
            > (n, h, x)
        }""",
        (np.asarray([4, 2]), X, line(2, 4, 3)),
        (1, 2),
    ),
    (
        "scan of a batch of full lengths",
        8,
        """scan (float[2, 3] h, float[2, 4, 3] x) => (float[2, 3] y, float[2, 4, 3] ys) {
            y, ys = Scan <
                num_scan_inputs = 1,
                body = body (float[3] a, float[3] u) => (float[3] b, float[3] s) {
                    p = Sin (a)
                    b = Add (p, u)
                    s = Identity (b)
                }
            > ( , h, x)
        }""",
        (X, line(2, 4, 3)),
        (0, 1),
    ),
    (
        "sequences",
        13,
        """sequences (float[N, 3] x, float[N, 3] z)
            => (float[M] y, float[P, 3] c, int64 n, float[N, 3] last) {
            minus = Constant <value = int64 {-2}> ()
            one = Constant <value = int64 {1}> ()
            a = SequenceConstruct (x, z, x)
            b = SequenceInsert (a, z, minus)
            d = SequenceErase (b, one)
            e = SequenceErase (d)
            f = SequenceInsert (e, x)
            n = SequenceLength (f)
            c = ConcatFromSequence <axis = 0> (f)
            last = SequenceAt (f, minus)
            parts = SplitToSequence <axis = 1, keepdims = 0> (c)
            y = SequenceAt (parts, one)
        }""",
        (X, X * 2 + 1),
        (0, 1),
    ),
    (
        "splits",
        13,
        """splits (float[5, 3] x) => (float[A, 3] a, float[B, 3] b, float[C, 3] c, int64 n) {
            two = Constant <value = int64 {2}> ()
            sizes = Constant <value = int64[2] {1, 4}> ()
            one = Constant <value = int64 {1}> ()
            first = Constant <value = int64 {0}> ()
            evenly = SplitToSequence (x, two)
            parts = SplitToSequence <axis = -2> (x, sizes)
            rows = SplitToSequence (x)
            a = SequenceAt (evenly, two)
            b = SequenceAt (parts, one)
            c = SequenceAt (rows, first)
            n = SequenceLength (rows)
        }""",
        (line(5, 3),),
        (0,),
    ),
    (
        "sequence map",
        17,
        """maps (float[N, 3] x, float[3] z) => (float[M, 3] y) {
            rows = SplitToSequence (x)
            mapped = SequenceMap (rows, z) <
                body = body (float[1, 3] a, float[3] b) => (float[1, 3] c) {
                    c = Mul (a, b)
                }
            >
            y = ConcatFromSequence <axis = 0> (mapped)
        }""",
        (X, X[1]),
        (0, 1),
    ),
    (
        "optionals of the first version",
        15,
        """optionals (float[N, 3] x) => (float[N, 3] y, bool some) {
            o = Optional (x)
            some = OptionalHasElement (o)
            y = OptionalGetElement (o)
        }""",
        (X,),
        (0,),
    ),
    (
        "optionals",
        18,
        """optionals (float[N, 3] x) => (float[N, 3] y, bool some, bool none) {
            o = Optional (x)
            some = OptionalHasElement (o)
            none = OptionalHasElement ()
            y = OptionalGetElement (o)
        }""",
        (X,),
        (0,),
    ),
]


# Further opsets, at which a model's operators have other versions.
OPSETS = {
    "if traced": (7, 13, 16, 19, 21, 23, 24, 25),
    "loop as a scan": (7, 11, 16, 19, 21, 23, 24, 25),
    "scan with axes and directions": (9, 16, 19, 21, 23, 24, 25),
    "sequences": (11,),
    "splits": (11, 24),
}


def model_of(name: str, double: bool = False, opset: int | None = None) -> onnx.ModelProto:
    first, text = next(rest[:2] for first, *rest in MODELS if first == name)
    if double:
        text = text.replace("float", "double").replace("dtype = 1", "dtype = 11")
    return onnx.parser.parse_model(HEAD % (opset or first) + text)


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
