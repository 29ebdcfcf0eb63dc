"""No gradient is NaN because of a value that nobody uses."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import onnxla
from onnxla.ops.chain_rule import product, singular
from support.compiling import TWO_DEVICES
from support.sample_models import ROWS, build
from support.samples import Sample, i64
from support.small_models import header, make

pytestmark = pytest.mark.quickly

INF = np.inf
MICROSOFT = "com.microsoft"


def real(*values: Any, dtype: Any = np.float32) -> np.ndarray:
    return np.asarray(values, dtype)


def derivatives(function: Any, *points: Any) -> tuple[Any, ...]:
    """The value of a scalar function, its gradient, derivative along ones, and that of these."""
    every = tuple(range(len(points)))
    ones = tuple(map(jnp.ones_like, points))

    @jax.jit
    def compute(*points: Any) -> tuple[Any, ...]:
        gradient = jax.grad(function, every)
        value, along = jax.jvp(function, points, ones)
        return value, *jax.jvp(gradient, points, ones), along

    with jax.enable_x64(True):
        return compute(*map(jnp.asarray, points))


def assert_finite(*values: Any) -> None:
    for value in jax.tree.leaves(values):
        assert np.isfinite(np.asarray(value, np.float64)).all()


# What is computed where the condition fails is infinite or no number, and so is its derivative.
GUARDED = {
    "Sqrt": ("Greater (x, zero)", "Sqrt (x)", lambda x: 0.5 / np.sqrt(x)),
    "Log": ("Greater (x, zero)", "Log (x)", lambda x: 1 / x),
    "Reciprocal": ("Greater (x, zero)", "Reciprocal (x)", lambda x: -1 / x**2),
    "Div": ("Greater (x, zero)", "Div (one, x)", lambda x: -1 / x**2),
    "Div by itself": ("Greater (x, zero)", "Div (x, x)", lambda x: 0 * x),
    "Mod": ("Greater (x, zero)", "Mod <fmod = 1> (one, x)", lambda x: -np.trunc(1 / x)),
    "Pow 0.5": ("Greater (x, zero)", "Pow (x, half)", lambda x: 0.5 / np.sqrt(x)),
    "Pow -1": ("Greater (x, zero)", "Pow (x, less)", lambda x: -1 / x**2),
    "Pow of pows": ("Greater (x, zero)", "Pow (x, x)", lambda x: x**x * (np.log(x) + 1)),
    "Exp": ("Less (x, most)", "Exp (x)", np.exp),
    "Sinh": ("Less (x, most)", "Sinh (x)", np.cosh),
    "Cosh": ("Less (x, most)", "Cosh (x)", np.sinh),
    "Asin": ("Less (x, one)", "Asin (x)", lambda x: 1 / np.sqrt(1 - x**2)),
    "Acos": ("Less (x, one)", "Acos (x)", lambda x: -1 / np.sqrt(1 - x**2)),
    "Atanh": ("Less (x, one)", "Atanh (x)", lambda x: 1 / (1 - x**2)),
    "Acosh": ("Greater (x, one)", "Acosh (x)", lambda x: 1 / np.sqrt(x**2 - 1)),
    "ReduceLogSum": ("Greater (x, zero)", "ReduceLogSum <keepdims = 1> (x, axis)", lambda x: 1 / x),
}
POINTS = {
    **dict.fromkeys(GUARDED, real([0], [0.7], [-1], [2])),
    **dict.fromkeys(("Exp", "Sinh", "Cosh"), real([100], [0.7], [-1], [2])),
    **dict.fromkeys(("Asin", "Acos", "Atanh"), real([1], [0.7], [-0.2], [0.1])),
    "Acosh": real([1], [2], [-1], [3]),
}


NUMBERS = {"zero": 0, "one": 1, "half": 0.5, "less": -1, "most": 50}
KEPT = {"Less (x, most)": 50, "Less (x, one)": 1, "Greater (x, one)": 1, "Greater (x, zero)": 0}


@pytest.mark.parametrize("name", GUARDED)
def test_where_hides_what_is_no_number(name: str) -> None:
    condition, chosen, slope = GUARDED[name]
    text = f"""{header()} guarded (float[4, 1] x) => (float[4, 1] y) {{
        c = {condition}
        v = {chosen}
        y = Where (c, v, zero)
    }}"""
    tensors = {name: np.float32(number) for name, number in NUMBERS.items()}
    module = onnxla.load(make(text, **tensors, axis=i64(-1)))

    def total(x: jax.Array) -> jax.Array:
        return jnp.sum(module.apply(module.params, x))

    x = POINTS[name]
    assert_finite(derivatives(total, x))
    with np.errstate(all="ignore"):
        kept = x < KEPT[condition] if "Less" in condition else x > KEPT[condition]
        expected = np.where(kept, slope(x), 0)
    with jax.enable_x64(True):
        both = jax.vmap(jax.grad(total))(jnp.stack([x, x]))
        np.testing.assert_allclose(both, np.stack([expected, expected]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("x", [[0.0, 0.0, 0.0], [3.0, 0.0, -4.0]])
def test_a_norm_in_parts_has_no_gradient_at_zero(x: list[float]) -> None:
    """As exporters write it: what is then infinite are only factors of zero."""
    text = f"""{header()} norm (float[3] x) => (float y) {{
        two = Constant <value = float {{2}}> ()
        squares = Pow (x, two)
        total = ReduceSum <keepdims = 0> (squares)
        y = Sqrt (total)
    }}"""
    module = onnxla.load(make(text))
    _, (gradient,), _, _ = derivatives(lambda x: module.apply(module.params, x), real(*x))
    np.testing.assert_allclose(gradient, np.divide(x, max(np.linalg.norm(x), 1)), rtol=1e-6)


def test_a_factor_may_be_infinite() -> None:
    """A division in parts: the cotangent of its first factor is 0, the second one infinite."""
    text = f"""{header()} quotient (float[2] x, float[2] z) => (float[2] y) {{
        c = Greater (z, zero)
        r = Reciprocal (z)
        q = Mul (x, r)
        y = Where (c, q, zero)
    }}"""
    module = onnxla.load(make(text, zero=np.float32(0)))
    value, gradients, *more = derivatives(
        lambda x, z: jnp.sum(module.apply(module.params, x, z)), real(3, 3), real(0, 2)
    )
    assert_finite(value, gradients, *more)
    np.testing.assert_allclose(gradients, [[0, 0.5], [0, -0.75]])


@pytest.mark.parametrize(("op", "instead"), [("Softmax", 0.0), ("LogSoftmax", -1.0)])
def test_softmax_of_a_row_that_is_masked(op: str, instead: float) -> None:
    """The softmax of minus infinities is NaN, as in ONNX Runtime, which exporters replace."""
    text = f"""{header()} safe (float[2, 3] x, float[2, 3] mask) => (float[2, 3] y) {{
        m = Add (x, mask)
        s = {op} (m)
        c = IsNaN (s)
        y = Where (c, instead, s)
    }}"""
    module = onnxla.load(make(text, instead=np.float32(instead)))
    mask = real([-INF, -INF, -INF], [0, 0, 0])

    def first(x: jax.Array, mask: jax.Array) -> jax.Array:
        y = module.apply(module.params, x, mask)
        return jnp.sum(y[:, 0]), y

    def total(x: jax.Array) -> jax.Array:
        return first(x, jnp.asarray(mask))[0]

    x = real([1, 2, 3], [1, 2, 3])
    value, (gradient,), (second,), along = derivatives(total, x)
    assert_finite(value, gradient, second, along)
    assert not gradient[0].any()
    assert gradient[1].all()


def only(y: Any, used: Any) -> jax.Array:
    """The sum of the elements that are used, weighted."""
    weights = jnp.arange(1, np.size(used) + 1, dtype=y.dtype).reshape(np.shape(used))
    return jnp.sum(jnp.where(used, y * weights, 0))


ZEROS, ROWS_OF_ZEROS = np.zeros((2, 4), np.float32), np.zeros((1, 2, 4), np.float32)
PER_CHANNEL = (real(1, 2), real(1, 2))
GAMMA = real(1, 2, 3, 4)
LARGE = real(-3e38, -1e4, -100, -50, 0, 50, 100, 1e4, 3e38)
LARGE_16 = real(-6e4, -1e3, -50, 0, 50, 1e3, 6e4, dtype=np.float16)
HIDING = np.where([[1, 1, 1, 1, 1], [0, 0, 0, 0, 0], [0, 0, 1, 0, 1]], 0, -INF).astype(np.float32)
Q, K, V = (np.random.default_rng(i).normal(size=(1, 2, n, 4)) for i, n in enumerate((3, 5, 5)))
Q, K, V = (x.astype(np.float32) for x in (Q, K, V))
PACKED = [x.swapaxes(1, 2).reshape(1, -1, 8) for x in (Q, K, V)]
LOGITS = real([-INF, 0, -INF], [-1, -2, -INF], [-INF, -INF, -INF])
LABELS, IGNORED = i64(1, 0, -100), {"ignore_index": -100}


def sequences(gates: int, steps: int, *lengths: int) -> list[Any]:
    """X, W, R, an absent bias, and lengths, of a recurrent layer with 5 units."""
    rng = np.random.default_rng(0)
    shapes = ((steps, 2, 4), (1, gates * 5, 4), (1, gates * 5, 5))
    arrays = [rng.normal(size=shape).astype(np.float32) for shape in shapes]
    return [*arrays, None, np.asarray(lengths, np.int32)] if lengths else arrays


def case(op: str, *inputs: Any, by: Any = (0,), used: Any = None, **more: Any) -> Any:
    """A sample whose outputs count where they are `used`, by default all."""
    domain, outputs = more.pop("domain", ""), more.pop("outputs", 1)
    sample = Sample(op, inputs, more, outputs, grad=by, domain=domain)
    return pytest.param(sample, used, id=op)


CASES = [
    *(
        case(op, x)
        for op in ("Gelu", "Softplus", "Mish", "Elu", "Selu", "Celu", "Sigmoid", "Softsign")
        for x in (LARGE[1:-1], LARGE_16[1:-1])
    ),
    *(case("Gelu", x, approximate="tanh") for x in (LARGE[1:-1], LARGE_16[1:-1])),
    *(case(op, LARGE) for op in ("Tanh", "HardSigmoid")),
    *(case(op, LARGE[1:-1]) for op in ("Swish", "HardSwish")),
    # Norms of zero
    *(case("LpNormalization", ZEROS, p=p) for p in (1, 2)),
    *(case(op, ZEROS, i64(1)) for op in ("ReduceL1", "ReduceL2")),
    case("LayerNormalization", ZEROS, GAMMA, GAMMA, by=(0, 1, 2)),
    case("RMSNormalization", ZEROS, GAMMA, by=(0, 1)),
    case("InstanceNormalization", ROWS_OF_ZEROS, *PER_CHANNEL, by=(0, 1, 2)),
    case("GroupNormalization", ROWS_OF_ZEROS, *PER_CHANNEL, by=(0, 1, 2), num_groups=1),
    case("MeanVarianceNormalization", ZEROS, axes=[1]),
    case("LRN", ROWS_OF_ZEROS, size=3),
    case("GlobalLpPool", ROWS_OF_ZEROS),
    case("LpPool", ROWS_OF_ZEROS, kernel_shape=[2]),
    *(case("Normalizer", ZEROS, norm=n, domain="ai.onnx.ml") for n in ("L1", "L2", "MAX")),
    case("CDist", ZEROS, ZEROS, by=(0, 1), metric="euclidean", domain=MICROSOFT),
    case(
        "SkipLayerNormalization",
        *(ROWS_OF_ZEROS, ROWS_OF_ZEROS, GAMMA, GAMMA),
        by=(0, 1, 2, 3),
        domain=MICROSOFT,
    ),
    case(
        "SkipSimplifiedLayerNormalization",
        *(ROWS_OF_ZEROS, ROWS_OF_ZEROS, GAMMA),
        by=(0, 1, 2),
        domain=MICROSOFT,
    ),
    # Sums of nothing but zeros
    case("ReduceLogSumExp", real([-INF, -INF], [0, -INF]), i64(1), used=[[0], [1]]),
    case("ReduceLogSumExp", real([-INF, -INF], [0, -INF]), i64(1), used=[[0], [0]]),
    case("ReduceProd", real([0, 0, 3], [0, 1, 2]), i64(1)),
    case("CumProd", real(2, 0, 3, 0, 5), np.asarray(0)),
    # Powers
    case("Pow", real(-2, 0, 3), np.float32(2)),
    case("Pow", real(-2, 0, 3), real(2, 2, 2), by=(0, 1)),
    case("Pow", real(0, 0, 0, -1), real(0, 1, 3, 2), by=(0, 1)),
    # Attention to nothing
    case("Attention", Q, K, V, HIDING, by=(0, 1, 2, 3)),
    case("Attention", Q, K, V, HIDING == 0, by=(0, 1, 2)),
    case("Attention", Q, K, V, HIDING == 0, by=(0, 1, 2), softcap=1.0),
    *(
        case("MultiHeadAttention", *PACKED, *mask, by=by, num_heads=2, domain=MICROSOFT)
        for mask, by in (
            ((None, np.zeros((1, 5), np.int32)), (0, 1, 2)),
            ((None, None, HIDING[None, None]), (0, 1, 2, 5)),
        )
    ),
    case(
        "GroupQueryAttention",
        *(PACKED[0], PACKED[1][:, :3], PACKED[2][:, :3], None, None),
        *(np.asarray([2], np.int32), np.asarray(3, np.int32), None, None, None),
        HIDING[None, None, :, 2:],
        by=(0, 1, 2, 10),
        outputs=3,
        num_heads=2,
        kv_num_heads=2,
        domain=MICROSOFT,
    ),
    # Labels that are ignored
    case("NegativeLogLikelihoodLoss", LOGITS, LABELS, **IGNORED),
    case("NegativeLogLikelihoodLoss", LOGITS, LABELS, real(1, 2, 0), by=(0, 2), **IGNORED),
    case("SoftmaxCrossEntropyLoss", LOGITS, i64(1, 1, -100), **IGNORED),
    case("SoftmaxCrossEntropyLoss", LOGITS, i64(1, 1, -100), real(1, 2, 0), by=(0, 2), **IGNORED),
    case("SoftmaxCrossEntropyLoss", LOGITS, i64(-100, -100, -100), **IGNORED, reduction="sum"),
    # Sequences of no steps
    *(
        case(op, *sequences(gates, *sizes), by=(0, 1, 2), hidden_size=5)
        for op, gates in (("LSTM", 4), ("GRU", 3), ("RNN", 1))
        for sizes in ((3, 0, 2), (0,))
    ),
    # Signals of silence, places outside of an image
    case("STFT", np.zeros((1, 16, 1), "f4"), np.asarray(4), np.zeros(8, "f4"), by=(0, 2)),
    *(
        case("Resize", Q, None, real(1, 1, 2, 1.5), mode=mode)
        for mode in ("nearest", "linear", "cubic")
    ),
    case("GridSample", Q, np.full((1, 2, 2, 2), 3, np.float32), by=(0, 1)),
    case("RoiAlign", Q, real([-9, -9, -8, -8]), i64(0), by=(0, 1), sampling_ratio=2),
    case("MaxPool", np.full((1, 1, 4), -INF, "f4"), used=np.zeros((1, 1, 3)), kernel_shape=[2]),
]


@pytest.mark.one_in(3)
@pytest.mark.parametrize(("sample", "used"), CASES)
def test_derivatives_are_finite(sample: Sample, used: Any) -> None:
    version = ROWS[sample.domain, sample.op_type][-1][0]
    arrays = list(sample.inputs)
    module = onnxla.load(build(sample, version, arrays))

    def total(*traced: jax.Array) -> jax.Array:
        values = dict(zip(sample.grad, traced, strict=True))
        inputs = [values.get(i, x) for i, x in enumerate(arrays)]
        y, *_ = jax.tree.leaves(module.apply(module.params, *(x for x in inputs if x is not None)))
        return only(y, np.ones(y.shape) if used is None else np.asarray(used))

    assert_finite(derivatives(total, *(arrays[i] for i in sample.grad)))


@pytest.mark.parametrize("op", ["Asin", "Acos", "Atanh", "Sqrt", "Log"])
def test_an_infinite_slope_stays_infinite(op: str) -> None:
    x = real(0 if op in ("Sqrt", "Log") else 1)
    module = onnxla.load(build(Sample(op, (x,)), ROWS["", op][-1][0], [x]))
    _, (gradient,), _, along = derivatives(lambda x: jnp.sum(module.apply(module.params, x)), x)
    assert np.isinf(gradient).all()
    assert np.isinf(along)


def test_products_are_bilinear_and_zero_absorbs() -> None:
    a, b = real(0, 0, 2, INF), real(INF, np.nan, 3, 0)
    np.testing.assert_array_equal(product(jnp.asarray(a), jnp.asarray(b)), [0, 0, 6, 0])
    for axes in ((0, None), (None, 0), (0, 0), (1, 0)):
        shapes = [(3, 3) if axis is not None else (3,) for axis in axes]
        x, y = (np.random.default_rng(0).normal(size=shape) for shape in shapes)
        with jax.enable_x64(True):
            got = jax.vmap(product, axes)(x, y)
            np.testing.assert_allclose(got, jax.vmap(jnp.multiply, axes)(x, y))


def test_a_singular_function_is_differentiated_by_what_it_is_asked_for() -> None:
    power = singular(jnp.power)
    with jax.enable_x64(True):
        x, y = jnp.asarray([-2.0, 3.0]), jnp.asarray(2.0)
        gradient = jax.grad(lambda x: jnp.sum(power(x, y)))(x)
        np.testing.assert_allclose(gradient, [-4, 6])  # no logarithm of -2
        third = jax.grad(jax.grad(jax.grad(lambda x: power(x, y + 1))))(jnp.asarray(5.0))
        np.testing.assert_allclose(third, 6)


SHARDED = """
import jax
import jax.numpy as jnp
from onnxla.ops.chain_rule import singular
from onnxla.ops.normalize import layer_normalization

mesh = jax.make_mesh((2,), ("devices",), axis_types=(jax.sharding.AxisType.Auto,))
one, split = jax.sharding.PartitionSpec(), jax.sharding.PartitionSpec("devices")
function = singular(jnp.multiply)

def total(w, x):
    return jax.lax.psum(jnp.sum(function(x, w)), "devices")

sharded = jax.shard_map(jax.grad(total), mesh=mesh, in_specs=(one, split), out_specs=one)
print(sharded(jnp.ones(1), jnp.arange(1.0, 5.0)))

def normalized(w, x):
    return jnp.sum(layer_normalization(x, w)[0] ** 3)

def turned(w, x):
    return jax.jvp(jax.grad(normalized), (w, x), (w, x))[1]

operands = jnp.ones(3), jnp.arange(12.0).reshape(4, 3) ** 2
sharded = jax.shard_map(turned, mesh=mesh, in_specs=(one, split), out_specs=one)
print(bool(jnp.allclose(sharded(*operands), turned(*operands), rtol=1e-4)))
"""


def test_what_is_the_same_on_all_devices_gets_the_sum_of_their_gradients() -> None:
    command = [sys.executable, "-c", SHARDED]
    result = subprocess.run(
        command, env={**os.environ, **TWO_DEVICES}, capture_output=True, text=True, check=True
    )
    assert result.stdout == "[10.]\nTrue\n"
