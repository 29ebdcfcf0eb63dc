"""Operators of ONNX Runtime's domain on quantized numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from onnxla.testing.draw import Draw
from onnxla.testing.operator_cases import strategy
from onnxla.testing.strategies.conv import draw_operands, draw_window, output_sizes
from onnxla.testing.use import Use

DOMAIN = "com.microsoft"
Array = np.ndarray

# With powers of two no sum is rounded, so that both runtimes see the same ties.
SCALES = (0.5, 0.25, 1.0, 0.1, 0.03, 0.007)


def scale(draw: Draw, shape: tuple[int, ...] = (), dtype: Any = np.float32) -> Array:
    """Positive numbers by which integers are multiplied."""
    if shape == ():
        return np.asarray(draw.choice(SCALES), dtype)
    return draw.array(dtype, shape, 0.0078125, 0.25)


def codes(draw: Draw, operand: str, shape: tuple[int, ...] = ()) -> Array:
    """Integers of the operand's type, in its whole range if that has up to 8 bits."""
    return draw.tensor(operand, shape, -300, 300)


def zero(draw: Draw, operand: str, shape: tuple[int, ...] = ()) -> Array | None:
    """Zero points, or None, at which ONNX Runtime often fails: less often than not."""
    return codes(draw, operand, shape) if draw.choice((False, True, True, True, True)) else None


def steps(*scales: Array) -> int:
    """By how much results may differ: by one, unless all scales are powers of two."""
    return int(any(np.frexp(s)[0].ravel().tolist() != [0.5] * s.size for s in scales))


@strategy("QuantizeLinear", domain=DOMAIN)
def quantize_linear(draw: Draw) -> Use:
    """Input x of any shape; y_scale and y_zero_point are scalars, or of the length of one axis."""
    by_axis = draw.flag()
    shape = draw.shape((1, 4) if by_axis else (0, 4))
    axis = draw.axis(len(shape)) if by_axis else None
    size = () if axis is None else (shape[axis],)
    dtype = draw.dtype("x")
    y_scale = scale(draw, size, dtype)
    zero_point = zero(draw, "y_zero_point", size)
    return draw.use(
        (draw.tensor("x", shape), y_scale, zero_point),
        {"axis": axis},
        types={"y": "tensor(uint8)"} if zero_point is None else {},
        ranks={"y0": len(shape)},
        steps=1 if dtype == np.float16 else steps(y_scale),
    )


@strategy("DequantizeLinear", domain=DOMAIN)
def dequantize_linear(draw: Draw) -> Use:
    """Input x of any shape; x_scale and x_zero_point are scalars, or of the length of one axis."""
    by_axis = draw.flag()
    shape = draw.shape((1, 4) if by_axis else (0, 4))
    axis = draw.axis(len(shape)) if by_axis else None
    size = () if axis is None else (shape[axis],)
    x = codes(draw, "x", shape)
    # Numbers of 32 bits have a zero point of 0.
    zero_point = None if x.dtype == np.int32 else zero(draw, "x_zero_point", size)
    factors = scale(draw, size, draw.dtype("x_scale"))
    return draw.use((x, factors, zero_point), {"axis": axis}, ranks={"y0": len(shape)})


@strategy("QLinearAdd", "QLinearMul", domain=DOMAIN)
def elementwise(draw: Draw) -> Use:
    """A and B that broadcast, each with a scalar scale and perhaps a scalar zero point."""
    a, b = draw.broadcast_shapes(2)
    scales = [scale(draw) for _ in range(3)]
    # ONNX Runtime refuses a missing zero point.
    zeros: list[Array | None] = [codes(draw, f"{name}_zero_point") for name in "ABC"]
    if draw.choice((False,) * 5 + (True,)):
        zeros = [None if draw.flag() else z for z in zeros]
    if draw.name == "QLinearMul":  # Else a product is often out of range.
        scales[2] = np.asarray(scales[2] * draw.choice((8, 1)), np.float32)
    return draw.use(
        (
            codes(draw, "A", a),
            scales[0],
            zeros[0],
            codes(draw, "B", b),
            scales[1],
            zeros[1],
            scales[2],
            zeros[2],
        ),
        ranks={"y0": max(len(a), len(b))},
        steps=1,  # The sum of a quotient and the zero point may be a tie, too.
    )


@strategy("QLinearLeakyRelu", "QLinearSigmoid", domain=DOMAIN)
def unary(draw: Draw) -> Use:
    """X of any shape, with scalar scales and zero points."""
    shape = draw.shape()
    leaky = draw.name == "QLinearLeakyRelu"
    to = scale(draw) if leaky else np.asarray(draw.choice((1 / 256, 0.02)), np.float32)
    operands = (
        codes(draw, "X", shape),
        scale(draw),
        zero(draw, "X_zero_point"),
        to,
        zero(draw, "Y_zero_point"),
    )
    alpha = draw.maybe(lambda: draw.floating(-2, 2)) if leaky else None
    return draw.use(
        operands,
        {"alpha": alpha},
        ranks={"y0": len(shape)},
        steps=1,
        batch=(0,) if shape else (),
    )


@strategy("QLinearSoftmax", domain=DOMAIN)
def softmax(draw: Draw) -> Use:
    """X of rank 1 and more, with scalar scales and zero points."""
    shape = draw.shape((1, 4))
    operands = (
        codes(draw, "X", shape),
        np.asarray(draw.choice((0.03, 0.01, 0.1)), np.float32),
        zero(draw, "x_zero_point"),
        np.asarray(draw.choice((1 / 256, 0.01)), np.float32),
        codes(draw, "y_zero_point"),
    )
    attributes = {
        "opset": draw.choice((13, 12, 11, 1, 17, 21)),
        "axis": draw.maybe(lambda: draw.axis(len(shape))),
    }
    return draw.use(operands, attributes, ranks={"y0": len(shape)}, steps=1)


@strategy("QLinearWhere", domain=DOMAIN)
def where(draw: Draw) -> Use:
    """A condition, X and Y that broadcast."""
    condition, x, y = draw.broadcast_shapes(3)
    scales = [scale(draw) for _ in range(3)]
    return draw.use(
        (
            draw.tensor("condition", condition),
            codes(draw, "X", x),
            scales[0],
            codes(draw, "x_zero_point"),
            codes(draw, "Y", y),
            scales[1],
            codes(draw, "y_zero_point"),
            scales[2],
            codes(draw, "z_zero_point"),
        ),
        ranks={"y0": max(len(condition), len(x), len(y))},
        steps=steps(*scales),
    )


@strategy("QLinearConcat", domain=DOMAIN)
def concat(draw: Draw) -> Use:
    """Inputs of one shape but for one axis, each with a scale and a zero point of its own."""
    shape = list(draw.shape((1, 4)))
    axis = draw.axis(len(shape))
    to = scale(draw), codes(draw, "Y_zero_point")
    # All have the type of the result.
    info = np.iinfo(to[1].dtype)
    operands: list[Array] = [*to]
    scales = [to[0]]
    for _ in range(draw.integer(1, 3)):
        shape[axis] = draw.side()
        same = draw.flag()
        own = to if same else (scale(draw), draw.array(to[1].dtype, (), info.min, info.max))
        operands += [draw.array(to[1].dtype, shape, info.min, info.max), *own]
        scales.append(own[0])
    return draw.use(operands, {"axis": axis}, ranks={"y0": len(shape)}, steps=steps(*scales))


def image(draw: Draw, spatial: list[int], least: int = 1) -> tuple[tuple[int, ...], int | None]:
    """A shape (N, C, D1 ...), or (N, D1 ..., C) if `channels_last`, and that attribute."""
    channels_last = draw.choice((None, 0, 1))
    n, c = draw.integer(least, 3), draw.integer(1, 3)
    return ((n, *spatial, c) if channels_last else (n, c, *spatial)), channels_last


@strategy("QLinearGlobalAveragePool", domain=DOMAIN)
def global_average_pool(draw: Draw) -> Use:
    """X of shape (N, C, D1 ...), or (N, D1 ..., C)."""
    spatial = [draw.integer(1, 4) for _ in range(draw.integer(1, 3))]
    shape, channels_last = image(draw, spatial)
    operands = (
        codes(draw, "X", shape),
        scale(draw),
        codes(draw, "x_zero_point"),
        scale(draw),
        codes(draw, "y_zero_point"),
    )
    attributes = {"channels_last": channels_last}
    return draw.use(operands, attributes, ranks={"y0": len(shape)}, steps=1, batch=(0,))


def pool_window(draw: Draw) -> tuple[dict[str, Any], list[int]]:
    """A window with `ceil_mode`, none of whose places is all in the padding."""
    window, sizes = draw_window(draw, draw.integer(1, 3), covered=True)
    floor, spatial = output_sizes(window, sizes), len(sizes)
    strides, pads = window["strides"] or [1] * spatial, window["pads"] or [0] * spatial
    # One more place begins after the image.
    if any(c * s >= n + p for c, s, n, p in zip(floor, strides, sizes, pads, strict=False)):
        window["ceil_mode"] = None
    return window, sizes


@strategy("QLinearAveragePool", domain=DOMAIN)
def average_pool(draw: Draw) -> Use:
    """X of shape (N, C, D1 ...), or (N, D1 ..., C)."""
    window, sizes = pool_window(draw)
    shape, channels_last = image(draw, sizes)
    operands = (
        codes(draw, "X", shape),
        scale(draw),
        zero(draw, "x_zero_point"),
        scale(draw),
        zero(draw, "y_zero_point"),
    )
    window |= {
        "channels_last": channels_last,
        "count_include_pad": draw.choice((None, 0, 1)),
    }
    return draw.use(operands, window, ranks={"y0": len(shape)}, steps=1, batch=(0,))


@strategy("NhwcMaxPool", domain=DOMAIN)
def nhwc_max_pool(draw: Draw) -> Use:
    """Input x of shape (N, D1 ..., C)."""
    window, sizes = pool_window(draw)
    shape = (draw.integer(1, 3), *sizes, draw.integer(1, 3))
    return draw.use((codes(draw, "x", shape),), window, ranks={"y0": len(shape)}, batch=(0,))


@strategy("QLinearConv", domain=DOMAIN)
def conv(draw: Draw) -> Use:
    """Input x of shape (N, C, D1 ...), or (N, D1 ..., C), and w of shape (M, C / group, k1 ...)."""
    x, w, attributes = draw_operands(draw)
    attributes["channels_last"] = draw.choice((None, 0, 1))
    if attributes["channels_last"]:
        x = (x[0], *x[2:], x[1])
    by_map = w[:1] if draw.flag() else ()
    x_scale, w_scale = scale(draw), scale(draw, by_map)
    # Sums are some hundred times as large as what is summed.
    y_scale = np.asarray(scale(draw) * 64, np.float32)
    operands = (
        codes(draw, "x", x),
        x_scale,
        codes(draw, "x_zero_point"),
        codes(draw, "w", w),
        w_scale,
        # Those of the maps must be equal in ONNX Runtime, and are 0 in practice.
        np.full(by_map, codes(draw, "w_zero_point"), draw.dtype("w")),
        y_scale,
        codes(draw, "y_zero_point"),
        draw.maybe(lambda: draw.array(np.int32, w[:1], -2000, 2000)),
    )
    return draw.use(operands, attributes, ranks={"y0": len(x)}, steps=1, batch=(0,))


@strategy("QGemm", domain=DOMAIN)
def qgemm(draw: Draw) -> Use:
    """A of shape (M, K) or (K, M), B of shape (K, N) or (N, K), and C that broadcasts to (M, N)."""
    m, k, n = draw.side(), draw.side(1), draw.side()
    transposed = {name: draw.choice((None, 0, 1)) for name in ("transA", "transB")}
    by_column = (n,) if draw.flag() else ()
    c = draw.maybe(lambda: draw.array(np.int32, draw.broadcastable((m, n)), -2000, 2000))
    to: tuple[Array | None, Array | None] = (None, None)
    types = {"Y": "tensor(float)"}
    if draw.flag():
        to = (np.asarray(draw.choice((8.0, 1.0, 0.3)), np.float32), codes(draw, "y_zero_point"))
        types = {"Y": f"tensor({draw.dtype('y_zero_point')})"}
    operands = (
        codes(draw, "A", (k, m) if transposed["transA"] else (m, k)),
        scale(draw),
        codes(draw, "a_zero_point"),
        codes(draw, "B", (n, k) if transposed["transB"] else (k, n)),
        scale(draw, by_column),
        codes(draw, "b_zero_point", by_column),
        c,
        *to,
    )
    alpha = draw.maybe(lambda: draw.floating(-2, 2))
    return draw.use(operands, {**transposed, "alpha": alpha}, types=types, ranks={"y0": 2}, steps=1)


def product_shapes(draw: Draw) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Shapes of two operands of a product of matrices, of rank 2 and more."""
    batch = draw.broadcast_shapes(2, rank=2)
    m, k, n = draw.side(), draw.side(1), draw.side(1)
    return (*batch[0], m, k), (*batch[1], k, n)


@strategy("MatMulIntegerToFloat", domain=DOMAIN)
def matmul_integer_to_float(draw: Draw) -> Use:
    """A of shape (..., M, K) and B of shape (..., K, N), with one scale, or one per column."""
    a, b = product_shapes(draw)
    floating = draw.dtype("a_scale")
    a_columns = (a[-1],) if draw.choice((False, False, False, True)) else ()
    b_columns = (b[-1],) if draw.flag() else ()
    operands = (
        codes(draw, "A", a),
        codes(draw, "B", b),
        scale(draw, a_columns, floating),
        scale(draw, b_columns, floating),
        zero(draw, "a_zero_point", a_columns),
        zero(draw, "b_zero_point", b_columns),
        draw.maybe(lambda: draw.tensor("bias", (b[-1],), -500, 500)),
    )
    return draw.use(operands, ranks={"y0": max(len(a), len(b))})


def far_from_ties(draw: Draw, shape: tuple[int, ...]) -> Array:
    """Numbers that have a scale of 2**-5 if quantized to 8 bits, none of them near a tie."""
    x = draw.array(np.int64, shape, 1, 254).reshape(-1) + draw.array(np.float64, (), -0.25, 0.25)
    x[:1], x[1:][-1:] = 0, 255
    zero_point = draw.integer(0, 255) if x.size > 1 else 255
    return np.asarray((x - zero_point) / 32, np.float32).reshape(shape)


@strategy("DynamicQuantizeMatMul", domain=DOMAIN)
def dynamic_quantize_matmul(draw: Draw) -> Use:
    """A of shape (..., M, K) and B of shape (..., K, N), with one scale, or one per column."""
    a, b = product_shapes(draw)
    columns = (b[-1],) if draw.flag() else ()
    operands = (
        far_from_ties(draw, a),
        codes(draw, "B", b),
        scale(draw, columns),
        zero(draw, "b_zero_point", columns),
        draw.maybe(lambda: draw.tensor("bias", (b[-1],), -500, 500)),
    )
    return draw.use(operands, ranks={"y0": max(len(a), len(b))}, rtol=1e-4)


ACTIVATIONS = ("Sigmoid", "Tanh", "Relu", "HardSigmoid", "Softsign", "Softplus", "LeakyRelu")


@strategy("DynamicQuantizeLSTM", domain=DOMAIN)
def dynamic_quantize_lstm(draw: Draw) -> Use:
    """X of shape (T, B, I), W of shape (D, I, 4 * H), and R of shape (D, H, 4 * H)."""
    direction = draw.choice((None, "forward", "reverse", "bidirectional"))
    directions = 2 if direction == "bidirectional" else 1
    length, features, hidden = draw.integer(1, 4), draw.integer(1, 4), draw.integer(1, 4)
    # With several sequences the scale of the states depends on the number of threads.
    batch = 1
    columns = (directions, 4 * hidden) if draw.flag() else (directions,)
    state = (directions, batch, hidden)

    def numbers(operand: str, *shape: int) -> Array | None:
        return draw.maybe(lambda: draw.tensor(operand, shape, -1, 1))

    def zeros(operand: str) -> Array:
        zero_point = codes(draw, operand, columns)
        # ONNX Runtime has few others for each column.
        return zero_point if draw.flag() else np.zeros_like(zero_point)

    def kinds() -> list[str]:
        return [draw.choice(ACTIVATIONS) for _ in range(3 * directions)]

    activations = draw.maybe(kinds)
    alpha = None if activations is None else draw.maybe(lambda: [0.25] * 3 * directions)
    beta = None if alpha is None else [0.5] * 3 * directions
    operands = (
        draw.tensor("X", (length, batch, features), -1, 1),
        codes(draw, "W", (directions, features, 4 * hidden)),
        codes(draw, "R", (directions, hidden, 4 * hidden)),
        numbers("B", directions, 8 * hidden),
        draw.maybe(lambda: draw.tensor("sequence_lens", (batch,), 1, length)),
        numbers("initial_h", *state),
        numbers("initial_c", *state),
        numbers("P", directions, 3 * hidden),
        draw.array(np.float32, columns, 0.003, 0.0078125),
        zeros("W_zero_point"),
        draw.array(np.float32, columns, 0.003, 0.0078125),
        zeros("R_zero_point"),
    )
    outputs = draw.choice(((True, True, True), (True,), (False, True), (True, False, True)))
    return draw.use(
        operands,
        {
            "hidden_size": draw.choice((hidden, hidden, hidden, hidden, None)),
            "direction": direction,
            "activations": activations,
            "activation_alpha": alpha,
            "activation_beta": beta,
            "clip": draw.choice((None, 0.5, 2.0)),
            "input_forget": draw.choice((None, 0, 1)),
        },
        outputs,
        ranks={"y0": 4, "y1": 3, "y2": 3},
        # A state may be next to a tie.
        rtol=2e-2,
    )


@strategy("QEmbedLayerNormalization", domain=DOMAIN)
def embed_layer_normalization(draw: Draw) -> Use:
    """Words of shape (B, S), and tables of some rows of H numbers."""
    batch, length, hidden = draw.integer(1, 3), draw.integer(1, 4), draw.integer(2, 6)
    words, kinds, most = draw.integer(1, 6), draw.integer(1, 3), length + draw.integer(0, 2)
    segments = draw.flag()

    def table(operand: str, *shape: int) -> Array:
        return codes(draw, operand, shape)

    def optional(value: Array) -> Array | None:
        return value if segments else None

    def part(operand: str) -> Array:
        return codes(draw, operand)

    operands = (
        draw.tensor("input_ids", (batch, length), 0, words - 1),
        optional(draw.tensor("segment_ids", (batch, length), 0, kinds - 1)),
        table("word_embedding_quant", words, hidden),
        table("position_embedding_quant", most, hidden),
        optional(table("segment_embedding", kinds, hidden)),
        table("gamma_quant", hidden),
        table("beta_quant", hidden),
        draw.maybe(lambda: draw.tensor("mask", (batch, length), 0, 1)),
        scale(draw),
        scale(draw),
        optional(scale(draw)),
        scale(draw),
        scale(draw),
        part("word_embedding_zero_point"),
        part("position_embedding_zero_point"),
        optional(part("segment_embedding_zero_point")),
        part("gamma_zero_point"),
        part("beta_zero_point"),
    )
    epsilon = draw.choice((0.125, 1.0, None))
    return draw.use(operands, {"epsilon": epsilon}, 2, ranks={"y0": 3, "y1": 1}, rtol=1e-4)
