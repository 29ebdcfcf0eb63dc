import functools

import numpy as np

from support.samples import Sample, f32

# What is rounded may be one step away from the other runtime's, which computes in another order.
Microsoft = functools.partial(Sample, domain="com.microsoft")


def u8(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).integers(0, 256, shape).astype(np.uint8)


def i8(*shape: int, seed: int = 0) -> np.ndarray:
    # Seven bits: where a processor has no VNNI, ONNX Runtime's sums of two products of 8 bits each
    # saturate at 16.
    return (u8(*shape, seed=seed).astype(np.int16) // 2 - 64).astype(np.int8)


def real(*x: float) -> np.ndarray:
    return np.asarray(x if len(x) > 1 else x[0], np.float32)


def byte(x: int) -> np.ndarray:
    return np.asarray(x, np.uint8)


def sbyte(x: int) -> np.ndarray:
    return np.asarray(x, np.int8)


A, B = u8(2, 3, 4), u8(3, 4, seed=1)
SA, SB = i8(2, 3, 4), i8(3, 4, seed=1)
ONE = {"atol": 1.0}
TO = (real(0.02), byte(128))
SIGNED_TO = (real(0.02), sbyte(3))
FROM = (real(0.01), byte(100))
SIGNED_FROM = (real(0.01), sbyte(-10))
IMAGE, KERNEL = u8(1, 4, 5, 5), i8(6, 2, 3, 3)
LAST = np.ascontiguousarray(np.moveaxis(IMAGE, 1, -1))


def lstm(directions: int, *initial: np.ndarray | None, each: bool = False, signed: int = 1) -> list:
    """Inputs of a layer of T = 5, N = 1, I = 4, H = 3."""
    shape = (directions, 12) if each else (directions,)
    number = i8 if signed else u8
    zero = np.full(shape, 0 if signed else 120, np.int8 if signed else np.uint8)
    return [
        f32(5, 1, 4),
        number(directions, 4, 12),
        number(directions, 3, 12, seed=1),
        f32(directions, 24),
        *(initial or (None, None, None)),
        None,
        f32(*shape, low=0.003, high=0.01),
        zero,
        f32(*shape, low=0.003, high=0.01, seed=1),
        zero,
    ]


STATES = (np.int32([3]), f32(1, 1, 3), f32(1, 1, 3, seed=1))


def embed(signed: bool, segments: bool = True, mask: np.ndarray | None = None) -> list:
    """Inputs of QEmbedLayerNormalization."""
    number, zero = (i8, sbyte(-3)) if signed else (u8, byte(120))
    part = segments or None
    tables = (number(6, 8), number(4, 8), part and number(2, 8), number(8), number(8, seed=1))
    ids = (np.int32([[1, 4, 0], [2, 2, 5]]), part and np.int32([[0, 0, 1], [0, 1, 1]]))
    scales = (real(0.2), real(0.3), part and real(0.1), real(0.1), real(0.5))
    zeros = (zero, zero, part and zero, zero, zero)
    return [*ids, *tables, mask, *scales, *zeros]


def embedded(ids: np.ndarray, segments: np.ndarray, *inputs: np.ndarray) -> np.ndarray:
    """The first output of QEmbedLayerNormalization of `inputs` from `embed`."""
    quantized, scales, zeros = inputs[:5], inputs[6:11], inputs[11:]
    words, positions, kinds, gamma, beta = (
        (x.astype(np.float32) - zero) * scale
        for x, scale, zero in zip(quantized, scales, zeros, strict=True)
    )
    x = words[ids] + positions[: ids.shape[1]] + kinds[segments]
    return (x - x.mean(-1, keepdims=True)) / x.std(-1, keepdims=True) * gamma + beta


SAMPLES = [
    Microsoft("QuantizeLinear", (f32(2, 3), real(0.01), byte(128))),
    Microsoft("QuantizeLinear", (f32(2, 3), real(0.01, 0.02), np.int8([3, -3])), {"axis": 0}),
    Microsoft("QuantizeLinear", (f32(2, 3), real(0.001), np.asarray(9, np.int16)), {"axis": 0}),
    Microsoft("DequantizeLinear", (A, *FROM), grad=(1,)),
    Microsoft("DequantizeLinear", (SA, real(0.1, 0.2), np.int8([3, -3])), {"axis": 0}),
    Microsoft("DequantizeLinear", (SA.astype(np.int16), real(0.1), np.asarray(9, np.int16))),
    Microsoft("QLinearAdd", (A, *FROM, B, *FROM, *TO), **ONE),
    Microsoft("QLinearAdd", (SA, *SIGNED_FROM, SB, *SIGNED_FROM, *SIGNED_TO), **ONE),
    Microsoft("QLinearAdd", (A, real(0.01), byte(0), B[:1], *FROM, *TO), **ONE),
    Microsoft("QLinearMul", (A, *FROM, B, *FROM, *TO), **ONE),
    Microsoft("QLinearMul", (SA, *SIGNED_FROM, SB, *SIGNED_FROM, *SIGNED_TO), **ONE),
    Microsoft("QLinearMul", (A, real(0.01), byte(0), B[:1], *FROM, *TO), **ONE),
    Microsoft("QLinearLeakyRelu", (A, *FROM, *TO), **ONE),
    Microsoft("QLinearLeakyRelu", (SA, *SIGNED_FROM, *SIGNED_TO), {"alpha": 0.3}, **ONE),
    Microsoft("QLinearLeakyRelu", (A, real(0.01), None, *TO), {"alpha": 0.5}, **ONE),
    Microsoft("QLinearSigmoid", (A, *FROM, real(1 / 256), byte(0)), **ONE),
    Microsoft("QLinearSigmoid", (SA, *SIGNED_FROM, real(1 / 256), sbyte(-128)), **ONE),
    Microsoft("QLinearSigmoid", (A, real(0.01), None, real(0.01), byte(5)), **ONE),
    Microsoft("QLinearSoftmax", (A, *FROM, real(1 / 256), byte(0)), {"opset": 13}, **ONE),
    Microsoft(
        "QLinearSoftmax", (A, *FROM, real(1 / 256), byte(0)), {"opset": 12, "axis": 1}, **ONE
    ),
    Microsoft(
        "QLinearSoftmax",
        (SA, *SIGNED_FROM, real(1 / 256), sbyte(-128)),
        {"opset": 13, "axis": 1},
        **ONE,
    ),
    Microsoft(
        "QLinearSoftmax", (u8(0, 1), *FROM, real(1 / 256), byte(0)), {"opset": 12, "axis": 1}
    ),
    Microsoft("QLinearWhere", (B > 99, A, *FROM, B, *FROM, *TO), **ONE),
    Microsoft("QLinearWhere", (SB > 0, SA, *SIGNED_FROM, SB, *SIGNED_FROM, *SIGNED_TO), **ONE),
    Microsoft("QLinearWhere", (A > 99, B[:1], *FROM, A, real(0.03), byte(7), *TO), **ONE),
    Microsoft("QLinearConcat", (*TO, A, *FROM, A, real(0.03), byte(7)), {"axis": 1}, **ONE),
    Microsoft("QLinearConcat", (*TO, A, *TO, u8(2, 3, 1), *FROM), {"axis": -1}, **ONE),
    Microsoft("QLinearConcat", (*SIGNED_TO, SA, *SIGNED_FROM), {"axis": 0}, **ONE),
    Microsoft("QLinearGlobalAveragePool", (IMAGE, *FROM, *TO), **ONE),
    Microsoft("QLinearGlobalAveragePool", (LAST, *FROM, *TO), {"channels_last": 1}, **ONE),
    Microsoft("QLinearGlobalAveragePool", (i8(1, 4, 5, 5), *SIGNED_FROM, *SIGNED_TO), **ONE),
    Microsoft("QLinearAveragePool", (IMAGE, *FROM, *TO), {"kernel_shape": [2, 2]}, **ONE),
    Microsoft(
        "QLinearAveragePool",
        (LAST, *FROM, *TO),
        {"kernel_shape": [3, 3], "channels_last": 1, "strides": [2, 2], "pads": [1, 1, 1, 1]},
        **ONE,
    ),
    Microsoft(
        "QLinearAveragePool",
        (IMAGE, *FROM, *TO),
        {"kernel_shape": [3, 3], "count_include_pad": 1, "pads": [1, 0, 1, 1], "ceil_mode": 1},
        **ONE,
    ),
    Microsoft("NhwcMaxPool", (LAST,), {"kernel_shape": [2, 2]}),
    Microsoft(
        "NhwcMaxPool",
        (i8(1, 6, 7, 3),),
        {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 0, 1, 1], "ceil_mode": 1},
    ),
    Microsoft("NhwcMaxPool", (LAST,), {"kernel_shape": [2, 2], "dilations": [2, 2]}),
    Microsoft("NhwcMaxPool", (u8(2, 9, 3),), {"kernel_shape": [3], "auto_pad": "SAME_UPPER"}),
    Microsoft(
        "QLinearConv",
        (IMAGE, *FROM, KERNEL, real(0.02), sbyte(0), real(0.2), byte(100)),
        {"group": 2},
        **ONE,
    ),
    Microsoft(
        "QLinearConv",
        (
            LAST,
            *FROM,
            KERNEL,
            f32(6, low=0.01, high=0.03),
            np.zeros(6, np.int8),
            real(0.2),
            byte(9),
            np.arange(6, dtype=np.int32) * 99,
        ),
        {"group": 2, "channels_last": 1, "pads": [1, 1, 1, 1], "strides": [2, 2]},
        **ONE,
    ),
    Microsoft(
        "QLinearConv",
        (IMAGE, *FROM, u8(6, 4, 3, 3), real(0.02), byte(99), real(0.2), byte(100)),
        {"dilations": [2, 2], "kernel_shape": [3, 3]},
        **ONE,
    ),
    Microsoft("QGemm", (u8(2, 4), *FROM, i8(4, 3), real(0.02), sbyte(0)), rtol=1e-5, grad=(1, 4)),
    Microsoft(
        "QGemm",
        (
            u8(4, 2),
            *FROM,
            i8(3, 4),
            f32(3, low=0.01, high=0.03),
            np.int8([0, 0, 0]),
            np.int32([100, -2000, 3]),
            real(0.05),
            byte(77),
        ),
        {"transA": 1, "transB": 1, "alpha": 0.5},
        **ONE,
    ),
    Microsoft(
        "QGemm",
        (u8(2, 4), *FROM, i8(4, 3), real(0.02), sbyte(0), np.int32([[100, -2000, 3]])),
        {"alpha": 2.0},
    ),
    Microsoft("MatMulIntegerToFloat", (u8(2, 3, 4), i8(4, 5), real(0.01), real(0.02)), grad=(2, 3)),
    Microsoft(
        "MatMulIntegerToFloat",
        (u8(3, 4), i8(4, 2), real(0.01), real(0.02, 0.03), byte(120), np.int8([2, -5]), f32(2)),
        grad=(6,),
    ),
    Microsoft(
        "MatMulIntegerToFloat",
        (u8(3, 4), u8(4, 2), real(0.01), real(0.02), byte(120), byte(100)),
    ),
    # ONNX Runtime has no parameters for each column of A.
    Microsoft(
        "MatMulIntegerToFloat",
        (u8(3, 2), i8(2, 4), real(0.01, 0.03), real(0.02), np.uint8([120, 7])),
        expected=lambda a, b, a_scale, b_scale, zero: (
            ((a.astype(np.float32) - zero) * a_scale) @ b.astype(np.float32) * b_scale
        ),
        grad=(2, 3),
    ),
    Microsoft("DynamicQuantizeMatMul", (f32(2, 3, 4), i8(4, 5), real(0.02))),
    Microsoft("DynamicQuantizeMatMul", (f32(3, 4), i8(4, 2), real(0.02, 0.03), np.int8([2, -5]))),
    Microsoft(
        "DynamicQuantizeMatMul", (f32(3, 4), u8(4, 2), real(0.02), byte(120), f32(2)), grad=(2, 4)
    ),
    Microsoft("DynamicQuantizeLSTM", lstm(1), {"hidden_size": 3}, 3, rtol=1e-4, atol=1e-5),
    Microsoft(
        "DynamicQuantizeLSTM",
        lstm(2, each=True),
        {"hidden_size": 3, "direction": "bidirectional"},
        3,
        rtol=1e-4,
        atol=1e-5,
    ),
    Microsoft(
        "DynamicQuantizeLSTM",
        lstm(1, *STATES, signed=0),
        {"hidden_size": 3, "direction": "reverse", "clip": 0.8},
        3,
        rtol=1e-4,
        atol=1e-5,
    ),
    Microsoft(
        "DynamicQuantizeLSTM",
        lstm(1, None, *STATES[1:]),
        {"hidden_size": 3, "input_forget": 1, "activations": ["HardSigmoid", "Tanh", "Softsign"]},
        3,
        rtol=1e-4,
        atol=1e-5,
    ),
    Microsoft(
        "QEmbedLayerNormalization",
        embed(signed=False, mask=np.int32([[1, 1, 0], [1, 1, 1]])),
        outputs=2,
        rtol=1e-4,
        atol=1e-4,
    ),
    Microsoft(
        "QEmbedLayerNormalization",
        embed(signed=False),
        # ONNX Runtime wants both outputs, of which one has no gradient.
        expected=embedded,
        grad=(8, 9, 10, 11, 12),
        rtol=1e-4,
        atol=1e-4,
    ),
    Microsoft(
        "QEmbedLayerNormalization", embed(signed=True), {"epsilon": 0.1}, 2, rtol=1e-4, atol=1e-4
    ),
    Microsoft(
        "QEmbedLayerNormalization",
        embed(signed=False, segments=False),
        outputs=2,
        rtol=1e-4,
        atol=1e-4,
    ),
]
