"""Products of matrices, in floating point and of quantized integers."""

from __future__ import annotations

import numpy as np

from onnxla.peers.difference import is_integer
from onnxla.testing.draw import Draw
from onnxla.testing.operator_cases import strategy
from onnxla.testing.strategies.conv import draw_scale, half_tolerance
from onnxla.testing.use import Use


@strategy("MatMul")
def matmul(draw: Draw) -> Use:
    """A of shape (..., M, K) or (K,) and B of shape (..., K, N) or (K,)."""
    a, b = draw_shapes(draw)
    operands = [draw.tensor("A", a), draw.tensor("B", b)]
    return draw.use(operands, rtol=half_tolerance(operands[0]))


@strategy("MatMulInteger")
def matmul_integer(draw: Draw) -> Use:
    """A (..., M, K) and B (..., K, N), their zero points by row and column or of the whole."""
    a, b = draw_shapes(draw)
    a_point, b_point = quantized_shape(draw, a, -2), quantized_shape(draw, b, -1)
    return draw.use(
        (
            draw.tensor("A", a, -128, 255),
            draw.tensor("B", b, -128, 255),
            draw.maybe(lambda: draw.tensor("a_zero_point", a_point, -128, 255)),
            draw.maybe(lambda: draw.tensor("b_zero_point", b_point, -128, 255)),
        )
    )


@strategy("QLinearMatMul")
def qlinear_matmul(draw: Draw) -> Use:
    """A (..., M, K) and b (..., K, N), both quantized, by row and column or as a whole."""
    a, b = draw_shapes(draw)
    rank = max(len(a), len(b)) if min(len(a), len(b)) > 1 else max(len(a), len(b), 2) - 1
    rank -= len(a) == len(b) == 1
    kind = draw.dtype("a_scale") if draw.version >= 21 else np.dtype(np.float32)
    # The text says nothing of quantizing to float8; it rounds to few bits, so that a sum that is
    # rounded on the way may end up in another step.
    integers = [np.dtype(t) for t in (np.int8, np.uint8)]
    draw.dtype("y_zero_point", among=integers)
    inputs: list[np.ndarray] = []
    for operand, shape, axis in (("a", a, -2), ("b", b, -1)):
        # The text is silent on what a vector is multiplied with.
        each = quantized_shape(draw, shape, axis) if min(len(a), len(b)) > 1 else ()
        dtype = draw.dtype(operand)
        bounds = (-128, 255) if is_integer(dtype) else (-4, 4)
        point = draw.array(dtype, each, *bounds)
        scale = draw_scale(draw, each).astype(kind)
        inputs += [draw.array(dtype, shape, *bounds), scale, point]
    # The text has several for the operands only.
    scale = draw_scale(draw, quotients=True).astype(kind)
    point = draw.tensor("y_zero_point", (), -128, 255)
    return draw.use((*inputs, scale, point), ranks={"y0": rank})


@strategy("Gemm")
def gemm(draw: Draw) -> Use:
    """A of shape (M, K) and B of shape (K, N), or transposed; C broadcasts to (M, N)."""
    least = draw.choice((1, 1, 1, 0))
    m, k, n = draw.side(1), draw.side(least), draw.side(1)
    transposed = draw.choice((None, 0, 1)), draw.choice((None, 0, 1))
    a = draw.tensor("A", (k, m) if transposed[0] else (m, k))
    b = draw.tensor("B", (n, k) if transposed[1] else (k, n))
    # The factors are of the operands' type.
    factors = [None, 1.0, 2.0, 0.0, 3.0]
    if not is_integer(a.dtype):
        factors += [0.5, -1.5]
    alpha, beta = draw.choice(factors), draw.choice(factors)
    attributes = {"transA": transposed[0], "transB": transposed[1], "alpha": alpha, "beta": beta}
    shape: tuple[int, ...] = (m, n)
    if draw.has("broadcast"):
        attributes["broadcast"] = draw.choice((None, 0, 1))
    if attributes.get("broadcast", 1):
        shape = draw.broadcastable(shape)
    absent = draw.version >= 11 and draw.flag()
    c = None if absent else draw.tensor("C", shape)
    return draw.use((a, b, c), attributes, ranks={"y0": 2}, rtol=half_tolerance(a))


@strategy("Det")
def det(draw: Draw) -> Use:
    """X of shape (..., M, M)."""
    m = draw.integer(1, 4)
    x = draw.tensor("X", (*draw.shape((0, 2), (0, 3)), m, m))
    # Products of many numbers, of which larger ones may cancel each other.
    return draw.use((x,), rtol=half_tolerance(x, 1e-3))


@strategy("Einsum")
def einsum(draw: Draw) -> Use:
    """One to three operands, whose axes are letters, or an ellipsis."""
    sizes = {letter: draw.side(1, 3) for letter in "abcAB"}
    stretched = draw.shape((0, 2), (1, 3))
    terms, shapes = [], []
    for _ in range(draw.integer(1, 3)):
        # A letter may occur twice: a diagonal.
        letters = [draw.choice("abcAB") for _ in range(draw.integer(0, 3))]
        shape = [sizes[letter] for letter in letters]
        if draw.choice((False, False, True)):
            at = draw.integer(0, len(letters))
            letters.insert(at, "...")
            shape[at:at] = [1 if draw.flag() else n for n in stretched]
        terms.append("".join(letters))
        shapes.append(shape)
    if not any(terms):  # an equation should not be empty
        terms[0], shapes[0] = "a", [sizes["a"]]
    equation = ",".join(terms)
    found = [letter for letter in sizes if letter in equation]
    if draw.flag():
        output = [found[i] for i in draw.subset(len(found))]
        if "..." in equation:
            output.insert(draw.integer(0, len(output)), "...")
        equation += "->" + "".join(output)
        rank = len(output)
    else:
        once = [letter for letter in found if equation.count(letter) == 1]
        rank = len(once) + ("..." in equation)
    if "..." in equation:
        rank += len(stretched) - 1
    if draw.flag():
        equation = equation.replace(",", " , ").replace("->", " -> ")
    low = 0 if draw.dtype("Inputs").kind == "u" else None
    operands = [draw.tensor("Inputs", shape, low) for shape in shapes]
    return draw.use(
        operands, {"equation": equation}, ranks={"y0": rank}, rtol=half_tolerance(operands[0])
    )


def draw_shapes(draw: Draw) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Shapes (..., M, K) and (..., K, N) whose first axes broadcast; each may be just (K,)."""
    least = draw.choice((1, 1, 1, 1, 0))
    m, k, n = draw.side(least), draw.side(least), draw.side(least)
    first, second = draw.broadcast_shapes(2, rank=2)
    one_dimensional = draw.choice(("neither", "neither", "neither", "first", "second", "both"))
    a = (k,) if one_dimensional in ("first", "both") else (*first, m, k)
    b = (k,) if one_dimensional in ("second", "both") else (*second, k, n)
    return a, b


def quantized_shape(draw: Draw, shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    """The shape of a scale or zero point: a scalar's, or one entry by row or column."""
    if len(shape) < 2 or not draw.flag():
        return ()
    if len(shape) == 2:
        return (shape[axis],)
    other = -3 - axis
    return tuple(1 if i == len(shape) + other else n for i, n in enumerate(shape))
