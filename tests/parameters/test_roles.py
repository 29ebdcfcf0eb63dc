"""Roles of parameters, and what trains and what stays by default and on request."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import optax
import pytest
from onnx import helper

import onnxla
from onnxla import ir
from onnxla.parameters.roles import find_parameters
from support.real_models import FURTHER, LISTED
from support.small_models import graph, header, linear, make

RNG = np.random.default_rng(0)


def f32(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


# Real models, read one by one: how many parameters in each role train; tensors with several
# elements that do not, statistics aside; and the scalars that do not.
RELU6 = {0.0, 3.0, 6.0}
STFT = "stft.forward_basis_buffer"
BY_EYE: dict[str, tuple[dict[str, int], set[str], set[float]]] = {
    "rapidocr/cls": ({"scale": 35, "weight": 54, "bias": 54}, set(), RELU6),
    # 56 blocks of a Mul and an Add with a learned scalar each; 0.258199 is 1 / sqrt(15).
    "rapidocr/rec": (
        {"scale": 67, "weight": 47, "bias": 108},
        set(),
        RELU6 | {1e-06, 1e-05, 1.0, 0.258199},
    ),
    "rapidocr/det": ({"scale": 55, "weight": 64, "bias": 109}, set(), RELU6),
    # 0.00195312 is 1 / 512, the others are of a gelu.
    "magika": (
        {"scale": 2, "weight": 3, "bias": 5},
        set(),
        {-np.inf, 0.0, 1e-06, 0.00195312, 0.044715, 0.5, 0.797885, 1.0},
    ),
    # The constant-Q transform: a low-pass filter, sines and cosines, and their lengths.
    "basic_pitch": (
        {"scale": 1, "weight": 6, "bias": 9},
        {
            *("const_fold_opt__734", "const_fold_opt__664", "const_fold_opt__655"),
            "model_1/cq_t2010v2_1/Sqrt;model_1/cq_t2010v2_1/Sqrt",
        },
        {0.0, 1e-10, 0.434294, 10.0},
    ),
    "silero_vad/vad": (
        {"weight": 14, "bias": 14},
        {f"If_0_{branch}_branch__Inline_0__{STFT}" for branch in ("then", "else")},
        set(),
    ),
    "silero_vad/16k_op15": ({"weight": 7, "bias": 7}, {f"model.{STFT}"}, set()),
    "silero_vad/half": ({"weight": 7, "bias": 7}, {STFT}, set()),
    "silero_vad/op18_ifless": (
        {"weight": 14, "bias": 14},
        # The last two are zeros that no node reads.
        {f"model.{STFT}", f"model_8k.{STFT}", "val_7", "val_7_2"},
        set(),
    ),
    "silero_vad/openvino_16k": (
        {"weight": 7, "bias": 7},
        {f"F0::If_0_then_branch__Inline_0__{STFT}"},
        set(),
    ),
    "silero_vad/16k_sequence": ({"weight": 7, "bias": 6}, {STFT}, set()),
    "deepfilternet/enc": ({"weight": 17, "bias": 8}, set(), {-15.0, 0.0, 50.0}),
    "deepfilternet/erb_dec": ({"weight": 17, "bias": 10}, set(), set()),
    "deepfilternet/df_dec": ({"weight": 10, "bias": 4}, set(), {0.0}),
    "ddddocr/common": ({"weight": 24, "bias": 23}, set(), set()),
    "ddddocr/common_det": ({"weight": 83, "bias": 83}, set(), set()),
    "light/densenet121": ({"scale": 242, "weight": 121, "bias": 243}, set(), set()),
    "light/inception_v1": ({"weight": 58, "bias": 58}, set(), set()),
    "light/inception_v2": ({"scale": 138, "weight": 70, "bias": 139}, set(), set()),
    "light/resnet50": ({"scale": 53, "weight": 54, "bias": 54}, set(), {0.0}),
    "light/shufflenet": ({"scale": 49, "weight": 50, "bias": 51}, set(), set()),
    "light/squeezenet": ({"weight": 26, "bias": 26}, set(), set()),
    "opennsfw": ({"weight": 54, "bias": 54}, set(), set()),
    "openwakeword/embedding": ({"weight": 20, "bias": 19}, set(), {-0.4}),
    "openwakeword/hey_jarvis": ({"scale": 4, "weight": 6, "bias": 10}, set(), {1e-05}),
    # A spectrogram in mel bands and decibels: nothing of it is learned.
    "openwakeword/melspectrogram": (
        {},
        {"0.stft.conv_real.weight", "0.stft.conv_imag.weight", "1.melW"},
        {0.0, 1e-10, 2.30259, 10.0, 80.0, np.inf},
    ),
    "openwakeword/timer": ({"weight": 3, "bias": 3}, set(), set()),
}


# Chains of Conv and Gemm, of up to half a gigabyte.
PLAIN = {"light/bvlc_alexnet", "light/vgg19", "light/zfnet512"}


def test_every_real_model_was_looked_at() -> None:
    assert {*BY_EYE} == {*LISTED, *FURTHER} - PLAIN


@pytest.mark.parametrize("name", BY_EYE)
def test_roles_of_a_real_model(name: str) -> None:
    trains, constants, scalars = BY_EYE[name]
    found = find_parameters(ir.read({**LISTED, **FURTHER}[name].load()))
    roles = found.roles
    counts = Counter(role for role in roles.values() if role not in STAYING)
    assert counts == trains
    fixed = {name: found.params[name].numpy() for name in roles if roles[name] == "constant"}
    assert {name for name, value in fixed.items() if value.size > 1} == constants
    # To six digits, which is what the table shows.
    rounded = {float(f"{v.item():.6g}") for v in fixed.values() if v.size == 1}
    assert rounded == scalars


STAYING = {"running_statistic", "constant"}


# Small models: one rule each


def roles_of(body: str, shapes: str = "float[N, 8] x", **tensors: np.ndarray) -> dict[str, str]:
    model = make(header() + f" m ({shapes}) => (float y) {{ {body} }}", **tensors)
    return dict(find_parameters(ir.read(model)).roles)


TIME = np.arange(16)
COSINES = np.cos(2 * np.pi * np.outer(np.arange(1, 9), TIME) / 16).astype(np.float32)
HANN = np.hanning(17)[:16].astype(np.float32)
SINUSOIDS = np.concatenate(
    [f(np.outer(np.arange(12), 0.5 ** np.arange(4))) for f in (np.sin, np.cos)], 1
).astype(np.float32)
PATCHES = np.concatenate(  # a two-dimensional position table, of 3 x 4 patches
    [np.repeat(SINUSOIDS[:3], 4, 0), np.tile(SINUSOIDS[:4], (3, 1))], 1
)
MASK = np.where(np.tri(12) > 0, 0, -np.inf).astype(np.float32)
GATHER = "y = Gather (t, x)", "int64[N] x"
SCALAR_MUL = "h = MatMul (x, w) y = Mul (h, t)"

RULES: dict[str, tuple[tuple[str, ...], np.ndarray, str]] = {
    # Elementwise
    "epsilon": (("h = MatMul (x, w) y = Add (h, t)",), np.float32([1e-5]), "constant"),
    "attention scale": ((SCALAR_MUL,), np.float32(8**-0.5), "constant"),
    "a layer's scale": ((SCALAR_MUL,), f32(8), "scale"),
    "a bias [1, C, 1, 1]": (
        ("h = Conv (x, k) y = Add (h, t)", "float[N, 3, 4, 4] x"),
        f32(1, 5, 1, 1),
        "bias",
    ),
    "a bias of the only channel": (
        ("h = ConvTranspose (x, k1) y = Add (h, t)", "float[N, 3, 4, 4] x"),
        f32(1, 1, 1, 1),
        "bias",
    ),
    "a mean to subtract": (("y = Sub (x, t)",), f32(8), "constant"),
    "a deviation to divide by": (("y = Div (x, t)",), f32(8) + 9, "constant"),
    "a window": (("y = Mul (x, t)", "float[N, 16] x"), HANN, "constant"),
    # Tables
    "learned positions": (("y = Add (x, t)", "float[N, 12, 8] x"), f32(1, 12, 8), "embedding"),
    "half-precision positions": (
        ("y = Add (x, t)", "float16[N, 12, 8] x"),
        f32(1, 12, 8).astype(np.float16),
        "embedding",
    ),
    "learned positions, sliced": (
        ("s = Slice (t, from, to, axis) y = Add (x, s)", "float[N, 12, 8] x"),
        f32(1, 20, 8),
        "embedding",
    ),
    "sinusoidal positions": (("y = Add (x, t)", "float[N, 12, 8] x"), SINUSOIDS, "constant"),
    "positions of patches": (("y = Add (x, t)", "float[N, 12, 16] x"), PATCHES, "constant"),
    "a causal mask": (("y = Add (x, t)", "float[N, 12, 12] x"), MASK, "constant"),
    "an empty mask": (("y = Add (x, t)", "float[5, 5, 0] x"), f32(5, 5, 0), "constant"),
    "an empty weight": (("y = MatMul (x, t)", "float[N, 0] x"), f32(0, 8), "constant"),
    "a table of slopes": (
        ("y = Add (x, t)", "float[N, 2, 12] x"),
        np.outer([0.5, 0.25], -np.arange(12.0)).astype(np.float32),
        "constant",
    ),
    "an embedding": (GATHER, f32(20, 8), "embedding"),
    "looked-up sinusoids": (GATHER, SINUSOIDS, "constant"),
    "rotary cosines": (GATHER, SINUSOIDS[:, 4:], "constant"),
    "a schedule": (GATHER, f32(100), "constant"),
    # Weights
    "einsum": (('y = Einsum <equation = "ni,ij->nj"> (x, t)',), f32(8, 4), "weight"),
    "a new layer": (("y = MatMul (x, t)",), np.zeros((8, 8), np.float32), "weight"),
    "a slope": (("y = PRelu (x, t)",), f32(1), "weight"),
    "Fourier as convolution": (
        ("y = Conv (x, t)", "float[N, 1, 99] x"),
        (COSINES * HANN)[:, None],
        "constant",
    ),
    "Fourier as product": (("y = MatMul (x, t)", "float[N, 16] x"), COSINES.T.copy(), "constant"),
    "a blur": (
        ("y = Conv <group = 2> (x, t)", "float[N, 2, 9, 9] x"),
        np.tile(np.outer([1, 2, 1], [1, 2, 1]), (2, 1, 1, 1)).astype(np.float32),
        "constant",
    ),
    "frequencies of rotary positions": (
        ("y = MatMul (t, x)", "float[N, 1, 9] x"),
        (1e4 ** (-np.arange(8) / 8)).astype(np.float32)[:, None],
        "constant",
    ),
    "the sum of a distribution": (
        ("y = Conv (x, t)", "float[N, 16, 4, 4] x"),
        np.arange(16, dtype=np.float32).reshape(1, 16, 1, 1),
        "constant",
    ),
}


# What structure leaves open, the name, the numbers and the kind of constant tell. `h` is made by a
# layer; "t" says nothing, and what is not decided does not train.
OPEN = "h = MatMul (x, w) "
ONES_8, EYE = np.ones(8, np.float32), np.eye(8, dtype=np.float32)
EVIDENCE: dict[str, tuple[str, str, np.ndarray, str]] = {
    "a temperature": (OPEN + "y = Mul (h, {t})", "t", np.float32(2.6591932), "scale"),
    "a temperature under Exp": (
        OPEN + "e = Exp ({t}) y = Mul (h, e)",
        "t",
        np.float32(2.6591932),
        "scale",
    ),
    "a temperature of 1": (OPEN + "y = Div (h, {t})", "t", np.float32(1), "undecided"),
    "a root": (OPEN + "y = Div (h, {t})", "t", np.float32(384**0.5), "constant"),
    "a variable of TensorFlow": (
        OPEN + "y = Add (h, {t})",
        "layer/ReadVariableOp/resource:0",
        np.zeros((2, 1, 8), np.float32),
        "embedding",
    ),
    "a literal of TensorFlow": (
        OPEN + "y = Sub ({t}, h)",
        "layer/sub/x:0",
        np.float32(1),
        "constant",
    ),
    "a divisor": (OPEN + "y = Div (h, {t})", "t", np.float32(1.3172693), "scale"),
    "a centre": (OPEN + "y = Sub (h, {t})", "t", f32(8), "bias"),
    "centres": ("y = Sub (x, {t})", "t", f32(5, 1, 8), "embedding"),
    "the mean of inputs": ("y = Sub (x, {t})", "t", f32(8), "constant"),
    "a scale of ones": (OPEN + "y = Mul (h, {t})", "t", ONES_8, "undecided"),
    "a scale of ones by name": (OPEN + "y = Mul (h, {t})", "norm.weight", ONES_8, "scale"),
    "a bias of zeros of a layer": (OPEN + "y = Add (h, {t})", "t", 0 * ONES_8, "bias"),
    "gates of several axes": (
        "h = MatMul (x, w) y = Mul (h, {t})",
        "t",
        f32(3, 1, 8),
        "scale",
    ),
    "noise": (
        "h = MatMul (x, w) n = RandomNormalLike (h) s = Mul (n, {t}) y = Add (h, s)",
        "t",
        np.float32(0.0317462),
        "scale",
    ),
    "a mask of features": (
        OPEN + "y = Mul (h, {t})",
        "t",
        np.float32([1, 0, 1, 1, 0, 0, 1, 0]),
        "constant",
    ),
    "a mask of a weight": ("m = Mul (w, {t}) y = MatMul (x, m)", "t", EYE, "constant"),
    "A_log": (
        OPEN + "e = Exp ({t}) a = Neg (e) y = Mul (h, a)",
        "layer.A_log",
        np.log(np.tile(np.arange(1, 9), (4, 1))).astype(np.float32),
        "weight",
    ),
    "one plus a scale": (
        "o = Constant <value = float {1}> () s = Add ({t}, o) y = RMSNormalization (x, s)",
        "t",
        f32(8),
        "scale",
    ),
    "an initial state": (
        "s = Expand ({t}, to) y, l = RNN <hidden_size = 8> (xs, ww, rr, , , s)",
        "t",
        f32(1, 1, 8),
        "bias",
    ),
    "an initial state of zeros": (
        "s = Expand ({t}, to) y, l = RNN <hidden_size = 8> (xs, ww, rr, , , s)",
        "t",
        np.zeros((1, 1, 8), np.float32),
        "constant",
    ),
}


@pytest.mark.parametrize("number", [1.23456789e-100, 1.23456789e200, 5e-324, np.nan, -np.inf])
def test_numbers_that_no_layer_learns(number: float) -> None:
    text = '<ir_version: 9, opset_import: ["": 17]> m (double[N, 2] x) => (double[N, 2] y) '
    body = "{ h = MatMul (x, w) y = Mul (h, t) }"
    tensors = {"w": np.array([[1.5, 2.25], [3.1, 4.7]]), "t": np.asarray(number)}
    assert find_parameters(ir.read(make(text + body, **tensors))).roles["t"] == "constant"


@pytest.mark.parametrize("what", EVIDENCE)
def test_evidence(what: str) -> None:
    body, name, value, role = EVIDENCE[what]
    tensors = {
        "w": f32(8, 8),
        "to": np.array([1, 2, 8]),
        "xs": f32(3, 2, 8),
        "ww": f32(1, 8, 8),
        "rr": f32(1, 8, 8),
    }
    used = {k: v for k, v in tensors.items() if re.search(rf"[ (]{k}[,)]", body)}
    header_23 = '<ir_version: 11, opset_import: ["": 23]>'
    text = f"{header_23} m (float[N, 8] x) => (float y) {{ {body.replace('{t}', 't')} }}"
    proto = onnx.load_from_string(make(text, t=np.asarray(value), **used))
    for tensor in proto.graph.initializer:
        tensor.name = name if tensor.name == "t" else tensor.name
    for node in proto.graph.node:
        node.input[:] = [name if read == "t" else read for read in node.input]
    found = find_parameters(ir.read(proto))
    assert found.roles[name] == ("constant" if role == "undecided" else role)
    assert (name in found.undecided) is (role == "undecided")
    noted = [note for note in onnxla.check(proto).notes if f"train=[\"*\", '{name}']" in note]
    assert len(noted) == (role == "undecided")


@pytest.mark.parametrize("what", RULES)
def test_rule(what: str) -> None:
    body, value, role = RULES[what]
    others = {
        "w": f32(8, 8),
        "k": f32(5, 3, 1, 1),
        "k1": f32(3, 1, 2, 2),
        "from": np.array([0]),
        "to": np.array([12]),
        "axis": np.array([1]),
    }
    used = {k: v for k, v in others.items() if f" {k}," in body[0] or f" {k})" in body[0]}
    assert roles_of(*body, t=value, **used)["t"] == role


def test_a_mel_basis_is_told_by_what_it_sums() -> None:
    distances = np.abs(np.arange(9)[:, None] - [2, 4, 6])
    bands = np.maximum(0, 1 - distances).astype(np.float32)
    body = "h = Conv (x, f) q = Mul (h, h) p = Transpose <perm = [0, 2, 1]> (q) y = MatMul (p, t)"
    spectrum = np.concatenate([COSINES[:1] ** 0, COSINES])[:, None]
    kinds = roles_of(body, "float[N, 1, 99] x", f=spectrum, t=bands)
    assert kinds == {"f": "constant", "t": "constant"}
    learned = roles_of(body, "float[N, 1, 99] x", f=f32(9, 1, 16), t=bands)
    assert learned == {"f": "weight", "t": "weight"}


def test_scalars_that_scale_and_shift_what_is_learned() -> None:
    body = "h = MatMul (x, w) m = Mul (h, s) y = Add (m, b)"
    learned, formula = np.float32(0.58607715), np.float32(0.5)
    for s, b, expected in [
        (learned, learned + 1, {"s": "scale", "b": "bias"}),
        (learned, formula, {"s": "scale", "b": "constant"}),
        (formula, learned, {"s": "constant", "b": "bias"}),
    ]:
        kinds = roles_of(body, w=f32(8, 8), s=np.asarray(s), b=np.asarray(b))
        assert {k: kinds[k] for k in "sb"} == expected
    body = "m = Mul (x, s) h = Add (m, b) y = MatMul (h, w)"  # a normalization of the input
    kinds = roles_of(body, w=f32(8, 8), s=np.asarray(learned), b=np.asarray(learned + 1))
    assert kinds == {"s": "constant", "b": "constant", "w": "weight"}


def test_a_weight_that_is_computed() -> None:
    body = """n = ReduceL2 (v, axis) u = Div (v, n) w = Mul (u, g) y = Gemm <transB = 1> (x, w)"""
    kinds = roles_of(body, v=f32(4, 8), g=f32(4, 1), axis=np.array([1]))
    assert kinds == {"v": "weight", "g": "scale"}


def test_decomposed_layer_normalization_in_a_function() -> None:
    text = """<ir_version: 9, opset_import: ["": 20, "local": 1]>
    m (float[N, 8] x) => (float[N, 8] y) { y = local.norm (x, g, b, e) }
    <domain: "local", opset_import: ["": 20]>
    norm (x, g, b, e) => (y) {
        m = ReduceMean (x) d = Sub (x, m) q = Mul (d, d) v = ReduceMean (q) w = Add (v, e)
        s = Sqrt (w) n = Div (d, s) h = Mul (n, g) y = Add (h, b)
    }"""
    model = ir.read(make(text, g=f32(8), b=f32(8), e=np.float32(1e-5)))
    expected = {"g": "scale", "b": "bias", "e": "constant"}
    assert dict(find_parameters(model).roles) == expected


# Tied weights


def tied() -> bytes:
    """A language model's shape: one table that embeds tokens, and scores them at the end."""
    return make(
        header()
        + """ m (int64[N, S] x) => (float[N, S, 20] y) {
            e = Gather (table, x)
            h = MatMul (e, w)
            t = Transpose <perm = [1, 0]> (table)
            y = MatMul (h, t)
        }""",
        table=f32(20, 8),
        w=f32(8, 8),
    )


def test_a_tied_weight_is_one_parameter_through_training_and_saving(tmp_path: Path) -> None:
    module = onnxla.load(tied())
    assert dict(module.roles) == {"table": "weight", "w": "weight"}
    tokens = np.array([[3, 4]])

    def loss(params: dict[str, jax.Array]) -> jax.Array:
        return module.apply(params, tokens)[0, 0, 7]

    gradient = jax.grad(loss)(module.params)["table"]
    touched = {int(row) for row in np.flatnonzero(np.abs(np.asarray(gradient)).sum(1))}
    assert touched == {3, 7}  # as an embedding of the token, and as its score
    params = jax.tree.map(lambda p, g: p - 0.1 * g, module.params, jax.grad(loss)(module.params))
    tuned = module.replace(params)
    tuned.save(tmp_path / "m.onnx", check={"x": tokens})
    again = ir.read(tmp_path / "m.onnx")
    assert [tensor.name for tensor in again.graph.initializers] == ["table", "w"]
    assert [node.op_type for node in again.graph.nodes] == [
        *("Gather", "MatMul", "Transpose", "MatMul")
    ]


# Choosing


def encoder_and_head() -> onnxla.Module:
    nodes = [
        helper.make_node("MatMul", ["x", "encoder.w"], ["a"]),
        helper.make_node(
            "BatchNormalization",
            ["a", "encoder.bn.scale", "encoder.bn.bias", "encoder.bn.mean", "encoder.bn.var"],
            ["b"],
        ),
        helper.make_node("Mul", ["b", "encoder.factor"], ["c"]),
        helper.make_node("Gemm", ["c", "head.w", "head.b"], ["y"]),
    ]
    tensors = {
        "encoder.w": f32(8, 8),
        "encoder.bn.scale": f32(8),
        "encoder.bn.bias": f32(8),
        "encoder.bn.mean": f32(8),
        "encoder.bn.var": f32(8) ** 2 + 1,
        "encoder.factor": np.float32(0.5),
        "head.w": f32(8, 2),
        "head.b": f32(2),
    }
    return onnxla.load(graph(nodes, {"x": (1, [None, 8])}, ["y"], tensors=tensors))


LEARNED = {"encoder.w", "encoder.bn.scale", "encoder.bn.bias", "head.w", "head.b"}


@pytest.mark.parametrize(
    ("patterns", "roles", "train"),
    [
        ((), None, LEARNED),
        (("*",), None, LEARNED),  # a pattern leaves constants and statistics alone
        (("encoder.*",), None, {n for n in LEARNED if n.startswith("encoder")}),
        (("encoder.factor", "head.*"), None, {"encoder.factor", "head.w", "head.b"}),
        ((), ["bias"], {"encoder.bn.bias", "head.b"}),
        (("head.*",), ["bias"], {"head.b"}),
        (("*",), ["running_statistic"], {"encoder.bn.mean", "encoder.bn.var"}),
    ],
)
def test_partition(patterns: tuple[str, ...], roles: list[str] | None, train: set[str]) -> None:
    module = encoder_and_head()
    found, frozen = module.partition(*patterns, roles=roles)
    assert {*found} == train
    assert {*frozen} == {*module.params} - train
    order = [*module.params]
    assert [*found] == sorted(found, key=order.index)


@pytest.mark.parametrize(
    ("patterns", "roles", "kept"),
    [
        ((), None, set()),
        (("encoder.*",), None, {n for n in LEARNED if n.startswith("encoder")}),
        (("head.b", "encoder.w"), None, {"head.b", "encoder.w"}),
        ((), ["bias", "scale"], {"encoder.bn.scale", "encoder.bn.bias", "head.b"}),
        (("encoder.*",), ["weight"], {"encoder.w"}),
    ],
)
def test_freeze(patterns: tuple[str, ...], roles: list[str] | None, kept: set[str]) -> None:
    module = encoder_and_head()
    train, frozen = module.freeze(*patterns, roles=roles)
    assert {*train} == LEARNED - kept
    assert {*train} | {*frozen} == {*module.params}
    assert not {*train} & {*frozen}


def test_choosing_what_is_not_there() -> None:
    module = encoder_and_head()
    for choose in (module.partition, module.freeze):
        with pytest.raises(ValueError, match=r"no parameter matches 'decoder\.\*'"):
            choose("decoder.*")
    with pytest.raises(ValueError, match=r"'\*\.mean' .* running_statistic, such as 'encoder"):
        module.partition("*.mean")
    with pytest.raises(ValueError, match="no running statistic matches 'head"):
        module.apply_train(module.params, f32(4, 8), freeze_statistics="head.*")


def test_labels_for_optax() -> None:
    module = encoder_and_head()
    labels = module.labels({"head.*": "fast", "*": "slow"})
    assert {*labels} == {*module.params}
    assert {name for name, label in labels.items() if label == "slow"} == {
        n for n in LEARNED if n.startswith("encoder")
    }
    assert {name for name, label in labels.items() if label == "frozen"} == {
        *("encoder.bn.mean", "encoder.bn.var", "encoder.factor")
    }
    optimizer = optax.multi_transform(
        {"fast": optax.sgd(1.0), "slow": optax.sgd(0.1), "frozen": optax.set_to_zero()}, labels
    )
    ones = jax.tree.map(jnp.ones_like, module.params)
    with jax.numpy_dtype_promotion("standard"):
        updates, _ = optimizer.update(ones, optimizer.init(module.params), module.params)
    steps = {"fast": -1, "slow": -0.1, "frozen": 0}
    for name, update in updates.items():
        np.testing.assert_allclose(update, np.full(update.shape, steps[labels[name]]), rtol=1e-6)


# Statistics that stay


def two_norms(training_mode: int = 0) -> onnxla.Module:
    outputs = ["m1", "v1"] if training_mode else []
    nodes = [
        helper.make_node(
            "BatchNormalization",
            [source, f"{name}.scale", f"{name}.bias", f"{name}.mean", f"{name}.var"],
            [target, *(f"{name}.{out}" for out in outputs)],
            training_mode=training_mode,
        )
        for name, source, target in (("bn1", "x", "h"), ("bn2", "h", "y"))
    ]
    tensors = {
        f"bn{i}.{part}": np.full(4, value, np.float32)
        for i in (1, 2)
        for part, value in (("scale", 2), ("bias", 1), ("mean", 0.5), ("var", 4))
    }
    return onnxla.load(graph(nodes, {"x": (1, [None, 4])}, ["y"], 15, tensors))


@pytest.mark.parametrize("training_mode", [0, 1])
@pytest.mark.parametrize("batched", [False, True])
def test_statistics_that_stay(training_mode: int, batched: bool) -> None:
    module, x = two_norms(training_mode), f32(16, 4)
    if batched:
        module, x = module.batched(), f32(3, 16, 4)
    step = jax.jit(module.apply_train, static_argnames="freeze_statistics")
    frozen = 2 * (x - 0.5) / np.sqrt(4 + 1e-5) + 1
    axes = tuple(range(x.ndim - 1))
    mean, var = frozen.mean(axes), frozen.var(axes)
    h = 2 * (frozen - mean) / np.sqrt(var + 1e-5)
    y, updates = step(module.params, x, freeze_statistics=("bn1.*",))
    assert {*updates} == {"bn2.mean", "bn2.var"}
    np.testing.assert_allclose(y, h + 1, rtol=1e-3, atol=1e-4)
    twice = 2 * (frozen - 0.5) / np.sqrt(4 + 1e-5) + 1
    for everything in (True, "*", ("bn1.mean", "bn2.var")):
        y, updates = step(module.params, x, freeze_statistics=everything)
        assert not updates
        np.testing.assert_allclose(y, twice, rtol=1e-4, atol=1e-4)
    assert {*step(module.params, x)[1]} == {*module.partition("*", roles=["running_statistic"])[0]}


def test_nothing_to_freeze_is_no_error() -> None:
    module = onnxla.load(linear())
    module.apply_train(module.params, f32(2, 3), freeze_statistics=True)


# What check says


def notes(body: str, shapes: str = "float[N, 3, 8, 8] x", **tensors: np.ndarray) -> str:
    built = make(header() + f" m ({shapes}) => (float y) {{ {body} }}", **tensors)
    return "\n".join(onnxla.check(built).notes)


def test_notes_on_what_the_exporter_left_out() -> None:
    k, b, s = f32(5, 3, 3, 3), f32(5), np.abs(f32(5))
    assert "no BatchNormalization, and 1 conv" in notes("y = Conv (x, k, b)", k=k, b=b)
    assert "BatchNorm" not in notes("y = Conv (x, k)", k=k)  # folding would have made a bias
    body = "h = Conv (x, k, b) y = BatchNormalization (h, s, b, b, s)"
    assert "no BatchNorm" not in notes(body, k=k, b=b, s=s)
    assert "`module.insert_dropout(after)`" in notes("y = Conv (x, k)", k=k)
    assert "no Dropout" not in notes("h = Conv (x, k) y = Dropout (h)", k=k)
    assert "no Dropout" not in notes("y = Relu (x)")


def test_a_note_on_tied_weights_that_were_copied() -> None:
    table = f32(20, 8)
    body = "e = Gather (a, x) h = MatMul (e, w) y = MatMul (h, b)"
    tensors = {"a": table, "w": f32(8, 8), "b": np.ascontiguousarray(table.T)}
    text = "'a' and 'b' hold the same numbers"
    assert text in notes(body, "int64[N] x", **tensors)
    assert "same numbers" not in notes(body, "int64[N] x", **{**tensors, "b": f32(8, 20)})
    same = np.ones((8, 8), np.float32)
    assert "same numbers" not in notes("h = MatMul (x, w) y = MatMul (h, v)", w=same, v=same)


@pytest.mark.parametrize(
    "steps",
    [
        "d = Sqrt (e) n = Div (c, d) f = Mul (n, g) y = Add (f, b)",
        "d = Sqrt (e) r = Reciprocal (d) n = Mul (c, r) f = Mul (n, g) y = Add (f, b)",
        "d = Sqrt (e) r = Div (one, d) f = Mul (r, g) n = Mul (c, f) y = Add (n, b)",
        "r = Pow (e, half) f = Mul (g, r) n = Mul (c, f) y = Add (b, n)",
    ],
)
def test_ones_and_zeros_after_a_normalization_are_its_scale_and_bias(steps: str) -> None:
    """As a layer begins with them; elsewhere a vector of ones may be anything."""
    text = f""" m (float[N, 4] x) => (float[N, 4] y) {{
        h = MatMul (x, w)
        m = ReduceMean <keepdims = 1> (h, axes)
        c = Sub (h, m)
        s = Mul (c, c)
        v = ReduceMean <keepdims = 1> (s, axes)
        e = Add (v, eps)
        {steps}
    }}"""
    arrays = {"w": f32(4, 4), "g": np.ones(4, np.float32), "b": np.zeros(4, np.float32)}
    constants = {"axes": np.array([-1]), "eps": np.float32(1e-5), "half": np.float32(-0.5)}
    module = onnxla.load(make(header() + text, **arrays, **constants, one=np.float32(1)))
    roles = {name: module.roles[name] for name in arrays}
    assert roles == {"w": "weight", "g": "scale", "b": "bias"}


def test_metadata_tell_a_state_and_an_exponent() -> None:
    """Zeros before the first step, and a power, are formulas unless they are parameters."""
    text = """ m (float[4, N, 2] x) => (float[4, 1, N, 3] y) {
        a, b = GRU <hidden_size = 3> (x, w, r, , , h) c = Abs (a) y = Pow (c, p)
    }"""
    arrays = {"w": f32(1, 9, 2), "r": f32(1, 9, 3), "h": np.zeros((1, 1, 3), np.float32)}
    content = make(header() + text, **arrays, p=np.float32(2.5))
    module = onnxla.load(content)
    assert "p" not in module.params
    assert module.roles["h"] == "constant"
    proto = onnx.load_from_string(content)
    entry = proto.graph.metadata_props.add()
    entry.key = "pkg.torch.export.ExportedProgram.graph_signature"
    entry.value = "".join(f"\np: PARAMETER target='{name}'" for name in (*arrays, "p"))
    module = onnxla.load(proto)
    assert {name: module.roles[name] for name in ("h", "p")} == {"h": "bias", "p": "scale"}


def test_there_must_be_such_a_role() -> None:
    with pytest.raises(ValueError, match="no role is named 'weights'; did you mean 'weight'"):
        onnxla.load(linear()).partition(roles=["weights"])
