"""Operators of ONNX Runtime's domain that its optimizer makes of several others, and older ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from onnxla.peers.difference import is_integer
from onnxla.testing.draw import Draw
from onnxla.testing.operator_cases import strategy
from onnxla.testing.strategies.conv import draw_window
from onnxla.testing.types import tensor_type
from onnxla.testing.use import Use

DOMAIN = "com.microsoft"


def y0(rank: int) -> dict[str, int]:
    """The rank of the first output: ONNX does not know the operators of this domain."""
    return {"y0": rank}


# Activations


def with_a_large_element(x: np.ndarray) -> np.ndarray:
    """The array with 8 for its first element, so that the largest output is about that large.

    It sets the tolerance. Of large negative numbers alone these activations leave what is lost to
    rounding in 1 + erf(x) or 1 + tanh(x).
    """
    x = x.copy()
    if x.size:
        x.flat[0] = 8
    return x


@strategy("Gelu", "QuickGelu", domain=DOMAIN)
def gelu(draw: Draw) -> Use:
    """X of any shape."""
    x = with_a_large_element(draw.tensor("X", draw.shape()))
    attributes = {"alpha": draw.maybe(lambda: draw.floating(-2, 2))} if draw.has("alpha") else {}
    batch = (0,) if x.ndim else ()
    # ONNX Runtime's sigmoid is exact to 1e-7, not to as much of a small number.
    return draw.use((x,), attributes, ranks=y0(x.ndim), atol=1e-5, batch=batch)


@strategy("BiasGelu", "FastGelu", domain=DOMAIN)
def bias_gelu(draw: Draw) -> Use:
    """An operand of shape (D1, ..., C) and a bias of shape (C)."""
    operand, bias = list(draw.schema.inputs)
    shape = draw.shape((1, 4))
    x = with_a_large_element(draw.tensor(operand, shape))

    def make() -> np.ndarray:
        return draw.tensor(bias, shape[-1:])

    b = make() if draw.name == "BiasGelu" else draw.maybe(make)
    batch = (0,) if x.ndim > 1 else ()
    return draw.use((x, b), ranks=y0(x.ndim), atol=1e-5, batch=batch)


# Products


@strategy("FusedMatMul", "TransposeMatMul", domain=DOMAIN)
def fused_matmul(draw: Draw) -> Use:
    """A of shape (..., M, K) and B of shape (..., K, N), stored transposed; or vectors (K)."""
    m, k, n = (draw.side(1, 4) for _ in range(3))
    turned = {f"trans{x}": draw.choice((None, 0, 1)) for x in "AB"}
    if draw.has("transBatchA"):
        turned |= {f"transBatch{x}": draw.choice((None, 0, 1)) for x in "AB"}
    moved = any(turned.get(f"transBatch{x}") for x in "AB")
    if moved:  # then both have the same batch axes
        batch = draw.shape((1, 2), (1, 3))
        batches: list[tuple[int, ...]] = [batch, batch]
    else:
        batches = draw.broadcast_shapes(2, 2)
    vectors = [not moved and not any(batches) and draw.flag() for _ in "AB"]
    operands = []
    for x, matrix, vector, batch in zip("AB", ([m, k], [k, n]), vectors, batches, strict=True):
        if vector:  # which has no axes to transpose
            operands.append(draw.tensor(x, (k,)))
            continue
        matrix = matrix[::-1] if turned[f"trans{x}"] else matrix
        # With `transBatch` the first axis of the matrices comes before those of the batch.
        first = (matrix[0], *batch) if turned.get(f"transBatch{x}") else (*batch, matrix[0])
        operands.append(draw.tensor(x, (*first, matrix[1])))
    rank = len(np.broadcast_shapes(*batches)) + 2 - sum(vectors)
    attributes = {**turned, "alpha": draw.maybe(lambda: draw.floating(-2, 2))}
    return draw.use(operands, attributes, ranks=y0(rank))


def draw_activation(draw: Draw, integer: bool = False) -> tuple[str | None, list[float]]:
    """An activation that may be fused, and its parameters."""
    if integer:
        return draw.choice((None, "Relu")), []
    name = draw.choice((None, "Relu", "Tanh", "Sigmoid", "LeakyRelu", "HardSigmoid", "Clip"))
    if name == "LeakyRelu":
        return name, [draw.floating(-1, 1)]
    if name == "HardSigmoid":
        return name, [draw.floating(0.125, 1), draw.floating(-1, 1)]
    if name == "Clip":
        return name, [draw.floating(-2, 0), draw.floating(0, 2)]
    return name, []


@strategy("FusedGemm", domain=DOMAIN)
def fused_gemm(draw: Draw) -> Use:
    """A of shape (M, K), B of shape (K, N), each perhaps stored transposed, and C to add."""
    m, k, n = draw.side(0, 4), draw.side(1, 4), draw.side(1, 4)
    turned = {f"trans{x}": draw.choice((None, 0, 1)) for x in "AB"}
    integer = is_integer(draw.dtype("A"))
    a = draw.tensor("A", (k, m) if turned["transA"] else (m, k))
    b = draw.tensor("B", (n, k) if turned["transB"] else (k, n))
    c = draw.maybe(lambda: draw.tensor("C", draw.broadcastable((m, n))))
    name, parameters = draw_activation(draw, integer)

    def factor() -> float:
        # How a fraction would apply to integers is not said.
        return float(draw.integer(0, 3)) if integer else draw.floating(-2, 2)

    attributes = {
        **turned,
        "alpha": draw.maybe(factor),
        "beta": draw.maybe(factor),
        "activation": name,
        **dict(zip(("activation_alpha", "activation_beta"), parameters, strict=False)),
    }
    return draw.use((a, b, c), attributes, ranks=y0(2))


@strategy("FusedConv", domain=DOMAIN)
def fused_conv(draw: Draw) -> Use:
    """X of shape (N, C, D1 ...), W of shape (M, C / group, k1 ...) and Z like the output."""
    spatial = draw.integer(1, 3)
    window, sizes = draw_window(draw, spatial)
    group = draw.choice((1, 1, 2))
    images, channels, maps = (
        draw.integer(1, 2),
        group * draw.integer(1, 2),
        group * draw.integer(1, 2),
    )
    kernel = window["kernel_shape"]
    x = draw.tensor("X", (images, channels, *sizes))
    w = draw.tensor("W", (maps, channels // group, *kernel))
    b = draw.maybe(lambda: draw.tensor("B", (maps,)))
    places = output_sizes(window, sizes)
    z = draw.maybe(lambda: draw.tensor("Z", (images, maps, *places)))
    name, parameters = draw_activation(draw)
    attributes = {
        **window,
        "kernel_shape": draw.choice((kernel, None)),
        "group": draw.choice((group, None)) if group == 1 else group,
        "activation": name,
        "activation_params": parameters or None,
    }
    return draw.use(
        (x, w, b, z), attributes, ranks=y0(x.ndim), batch=(0,) if z is None else (0, 3), rtol=1e-4
    )


def output_sizes(window: dict[str, Any], sizes: Sequence[int]) -> list[int]:
    """How often a window fits along each axis."""
    spatial = len(sizes)
    strides, dilations = (window[k] or [1] * spatial for k in ("strides", "dilations"))
    if str(window["auto_pad"]).startswith("SAME"):
        return [math.ceil(n / s) for n, s in zip(sizes, strides, strict=True)]
    pads = window["pads"] or [0] * (2 * spatial)
    return [
        (n + pads[i] + pads[i + spatial] - (window["kernel_shape"][i] - 1) * dilations[i] - 1)
        // strides[i]
        + 1
        for i, n in enumerate(sizes)
    ]


# Normalization


@strategy("SimplifiedLayerNormalization")
@strategy("SimplifiedLayerNormalization", domain=DOMAIN)
def simplified_layer_normalization(draw: Draw) -> Use:
    """X of shape (D1, ...) and a scale of its shape from `axis` on."""
    shape = draw.shape((1, 4), (1, 5))
    axis = draw.choice((None, -1, *range(len(shape)), *range(-len(shape), 0)))
    x = draw.tensor("X", shape)
    scale = draw.tensor("scale", shape[-1 if axis is None else axis :])
    attributes = {"axis": axis, "epsilon": epsilon(draw), "stash_type": draw.choice((None, 1))}
    return draw.use(
        (x, scale),
        attributes,
        outputs=draw.choice((1, 2)),
        types={"y1": "tensor(float)"},  # the stash type
        ranks={"y0": x.ndim, "y1": x.ndim},
        # The quotient is rounded to the type of X before it is scaled.
        rtol=2e-2 if min(x.itemsize, scale.itemsize) == 2 else 1e-4,
    )


def epsilon(draw: Draw) -> float | None:
    """What is added before a division."""
    return draw.choice((None, 1e-5, 0.125))


@strategy("SkipLayerNormalization", "SkipSimplifiedLayerNormalization", domain=DOMAIN)
def skip_layer_normalization(draw: Draw) -> Use:
    """An input of shape (B, S, H) or (T, H), and a skip like it, or for all of the batch."""
    # A row that has one element is its own mean, and all that is left of it a rounding error.
    shape = (*draw.shape((1, 2), (1, 4)), draw.side(2, 6))
    simplified = draw.name != "SkipLayerNormalization"
    if not simplified:
        shape = (draw.side(1, 3), *shape[-2:])
    x = draw.tensor("input", shape)
    skips = [shape] if simplified else [shape, (1, *shape[1:]), shape[1:]]
    inputs: list[np.ndarray | None] = [x, draw.tensor("skip", draw.choice(skips))]
    for name in list(draw.schema.inputs)[2:]:
        given = name == "gamma" or draw.flag()
        inputs.append(draw.tensor(name, shape[-1:]) if given else None)
    asked = draw.choice(((True,), (True, False, False, True), (True, True, True, True)))
    return draw.use(
        inputs,
        {"epsilon": epsilon(draw)},
        outputs=asked,
        ranks={f"y{i}": len(shape) for i in range(4)},
        # Mean and deviation have single precision, but not the sum that they are of.
        rtol=1e-3 if x.dtype == np.float32 else 2e-2,
    )


@strategy("EmbedLayerNormalization", domain=DOMAIN)
def embed_layer_normalization(draw: Draw) -> Use:
    """Words and segments of shape (B, S), and their embeddings of shape (words, H)."""
    batch, length, hidden = draw.side(1, 3), draw.side(1, 4), draw.side(2, 6)
    words, places, kinds = draw.integer(1, 5), draw.integer(length, length + 2), draw.integer(1, 3)

    def ids(count: int, rows: int = batch) -> np.ndarray:
        return draw.array(np.int32, (rows, length), 0, count - 1)

    segmented = draw.flag()
    embeddings = [
        draw.tensor(f"{name}_embedding", (count, hidden))
        for name, count in (("word", words), ("position", places), ("segment", kinds))
    ]
    # The text has the mask counted up to its first 0, ONNX Runtime all of its ones: this is the
    # same for a mask that has its ones first.
    ones = draw.array(np.int32, (batch, 1), 0, length)
    mask = draw.maybe(lambda: (np.arange(length) < ones).astype(np.int32))
    return draw.use(
        (
            ids(words),
            ids(kinds) if segmented else None,
            *embeddings[:2],
            embeddings[2] if segmented else None,
            draw.tensor("gamma", (hidden,)),
            draw.tensor("beta", (hidden,)),
            mask,
            draw.maybe(lambda: ids(places, draw.choice((batch, 1)))),
        ),
        {"epsilon": epsilon(draw), "mask_index_type": draw.choice((None, 1))},
        outputs=draw.choice(((True, True), (True, True, True), (True, False, True), (True,))),
        ranks={"y0": 3, "y1": 1, "y2": 3},
        rtol=1e-3,
    )


# Operators that ONNX has too, in this or a later form


@strategy("Trilu", domain=DOMAIN)
def trilu(draw: Draw) -> Use:
    """X of shape (..., N, M), and a diagonal."""
    shape = draw.shape((2, 4))
    k = draw.maybe(lambda: np.asarray(draw.integer(-6, 6), np.int64))
    x = draw.tensor("X", shape)
    attributes = {"upper": draw.choice((None, 0, 1))}
    return draw.use((x, k), attributes, ranks=y0(x.ndim), batch=(0,) if x.ndim > 2 else ())


@strategy("Unique", domain=DOMAIN)
def unique(draw: Draw) -> Use:
    """A vector of shape (N) with some elements twice."""
    few = draw.tensor("x", (draw.integer(1, 4),))
    x = few[draw.array(np.int64, (draw.side(0, 8),), 0, len(few) - 1)]
    return draw.use((x,), outputs=3, ranks={"y0": 1, "y1": 1, "y2": 1})


@strategy("GatherND", domain=DOMAIN)
def gather_nd(draw: Draw) -> Use:
    """Data of shape (D1, ..., Dr) and indices of shape (..., k) into its first k axes."""
    shape = draw.shape((1, 4), (1, 4))
    depth = draw.integer(1, len(shape))
    places = draw.shape((0, 2), (0, 3))
    dtype = draw.dtype("indices")
    indices = np.zeros((*places, depth), dtype)
    for i in range(depth):
        # The text is silent on negative ones; both runtimes count them from the end.
        least = -shape[i] if draw.flag() else 0
        indices[..., i] = draw.array(dtype, places, least, shape[i] - 1)
    data = draw.tensor("data", shape)
    return draw.use(
        (data, indices), ranks=y0(len(places) + len(shape) - depth), batch=(1,) * bool(places)
    )


@strategy("GridSample", domain=DOMAIN)
def grid_sample(draw: Draw) -> Use:
    """X of shape (N, C, H, W) and a grid of shape (N, H', W', 2)."""
    # The schema also lists dtypes that have no fractions between their elements.
    dtype = draw.dtype("X", among=(np.float32, np.float64, np.float16))
    images, channels = draw.side(1, 2), draw.side(1, 3)
    x = draw.tensor("X", (images, channels, draw.side(1, 5), draw.side(1, 5)))
    grid = draw.tensor("Grid", (images, draw.side(1, 4), draw.side(1, 4), 2), -1.5, 1.5)
    return draw.use(
        (x, grid),
        {
            "align_corners": draw.choice((None, 0, 1)),
            "mode": draw.choice((None, "bilinear", "nearest", "bicubic")),
            "padding_mode": draw.choice((None, "zeros", "border", "reflection")),
        },
        types={"y0": tensor_type(dtype)},
        ranks=y0(4),
        # In half precision the coordinates are rounded before the weights follow from them.
        rtol=3e-2 if dtype == np.float16 else 1e-4,
        batch=(0, 1),
    )


@strategy("Pad", domain=DOMAIN)
def pad(draw: Draw) -> Use:
    """Data of any shape but a scalar, and pads, perhaps negative, of shape (2r) or (1, 2r)."""
    mode = draw.choice((None, "constant", "edge", "reflect"))
    shape = draw.shape((1, 4), (0, 5) if mode in (None, "constant") else (1, 5))
    pads = []
    for n in shape * 2:
        most = n - 1 if mode == "reflect" else 3
        pads.append(draw.integer(0, max(0, min(most, 3))))
    if draw.flag():  # cut off instead, where at least one element stays
        for i, n in enumerate(shape):
            if n > 1:
                side = draw.choice((i, i + len(shape)))
                pads[side] = -draw.integer(1, n - 1)
                if mode != "constant":
                    pads[(side + len(shape)) % len(pads)] = 0
    data = draw.tensor("data", shape)
    value = draw.maybe(lambda: draw.tensor("value", draw.choice(((), (1,)))))
    return draw.use(
        (data, np.reshape(np.asarray(pads, np.int64), draw.choice(((-1,), (1, -1)))), value),
        {"mode": mode},
        ranks=y0(data.ndim),
    )


@strategy("Range", domain=DOMAIN)
def range_(draw: Draw) -> Use:
    """Scalars, each perhaps of shape (1)."""
    integer = is_integer(draw.dtype("start"))
    # Multiples of an eighth, whose differences are exact; by the bounds few enough follow.
    step = draw.choice((1, 2, 3, -1, -2, 5)) * (1 if integer else 0.125)
    start = draw.integer(-8, 8) * (1 if integer else 0.125)
    limit = start + (draw.integer(-3, 30) * (1 if integer else 0.0625)) * (1 if step > 0 else -1)
    delta = None if step == 1 and draw.flag() else step
    inputs = [
        None if v is None else np.full(draw.choice(((), (1,))), v, draw.dtype("start"))
        for v in (start, limit, delta)
    ]
    return draw.use(inputs, ranks=y0(1))


@strategy("ExpandDims", domain=DOMAIN)
def expand_dims(draw: Draw) -> Use:
    """X of any shape, and an axis of the output, counted from either end."""
    x = draw.tensor("X", draw.shape())
    axis = draw.axis(x.ndim + 1)
    return draw.use((x, np.asarray(axis, np.int32)), ranks=y0(x.ndim + 1))


# Other operators


@strategy("Inverse", domain=DOMAIN)
def inverse(draw: Draw) -> Use:
    """X of shape (..., N, N): its diagonal dominates, before its rows are put in another order."""
    n = draw.side(1, 4)
    x = draw.tensor("X", (*draw.shape((0, 2), (0, 3)), n, n), -1, 1)
    order = draw.permutation(n)
    x = (x + np.asarray((n + 1) * np.eye(n), x.dtype))[..., order, :]
    return draw.use((x,), ranks=y0(x.ndim), rtol=1e-4, batch=(0,) if x.ndim > 2 else ())


@strategy("CDist", domain=DOMAIN)
def cdist(draw: Draw) -> Use:
    """A of shape (M, K) and B of shape (N, K)."""
    k = draw.side(1, 4)
    a, b = draw.tensor("A", (draw.side(1, 4), k)), draw.tensor("B", (draw.side(1, 4), k))
    # The only metrics of those listed that ONNX Runtime has defined.
    metric = draw.choice((None, "sqeuclidean", "euclidean"))
    # A short distance is what is left of the squares of long rows, or the root of that.
    numbers = np.abs(np.concatenate([a, b]).astype(np.float64))
    squares = k * numbers.max(initial=0.0, where=numbers < np.finfo(a.dtype).max / 2) ** 2
    atol = 1e-3 * squares**0.5 if metric == "euclidean" else 1e-5 * squares
    return draw.use((a, b), {"metric": metric}, ranks=y0(2), atol=atol, batch=(0,))


@strategy("UnfoldTensor", domain=DOMAIN)
def unfold_tensor(draw: Draw) -> Use:
    """An input of shape (D1, ...), of which one axis holds at least one slice."""
    shape = draw.shape((1, 4), (1, 5))
    dim = draw.choice((None, *range(len(shape)), *range(-len(shape), 0)))
    size = draw.integer(1, shape[-1 if dim is None else dim])
    x = draw.tensor("input", shape)
    step = draw.choice((None, 1, 2, 3))
    return draw.use((x,), {"dim": dim, "size": size, "step": step}, ranks=y0(x.ndim + 1))
