"""Activation functions, softmax and dropout."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from onnxla.peers.difference import is_integer
from onnxla.testing.draw import Draw
from onnxla.testing.operator_cases import strategy
from onnxla.testing.strategies.elementary import batch, legacy, ranks
from onnxla.testing.use import Use

# Attributes of the functions, and the range that each is drawn from.
COEFFICIENTS: dict[str, dict[str, tuple[float, float]]] = {
    "LeakyRelu": {"alpha": (-2, 2)},
    "ThresholdedRelu": {"alpha": (-2, 2)},
    "Elu": {"alpha": (-2, 2)},
    "Selu": {"alpha": (-2, 2), "gamma": (-2, 2)},
    "Celu": {"alpha": (0.5, 4)},
    "HardSigmoid": {"alpha": (-1, 1), "beta": (-2, 2)},
    "Swish": {"alpha": (-2, 2)},
}


@strategy(
    *("Relu", "LeakyRelu", "ThresholdedRelu", "Elu", "Selu", "Celu", "Gelu", "Sigmoid"),
    *("HardSigmoid", "HardSwish", "Swish", "Mish", "Softplus", "Softsign"),
)
def activation(draw: Draw) -> Use:
    """An operand of any shape, now and then with numbers that are far from 0."""
    operand = next(iter(draw.schema.inputs))
    shape = draw.any_shape()
    low, high = (-100, 100) if draw.choice((False, False, False, True)) else (None, None)
    x = draw.tensor(operand, shape, low, high)
    if draw.name == "Gelu" and x.size and not ((x >= 1) & np.isfinite(x)).any():
        # Large negative numbers cancel to next to nothing, which is measured by another number.
        x.flat[0] = 1
    attributes: dict[str, Any] = {
        name: draw.maybe(functools.partial(draw.floating, *limits))
        for name, limits in COEFFICIENTS.get(draw.name, {}).items()
    }
    if draw.name == "Gelu":
        attributes["approximate"] = draw.choice((None, "none", "tanh"))
    return draw.use([x], {**attributes, **legacy(draw)}, ranks=ranks(shape), batch=batch(shape))


@strategy("SwiGLU")
def gated(draw: Draw) -> Use:
    """Two operands of one shape."""
    shape = draw.any_shape()
    a, b = (draw.tensor(name, shape) for name in "AB")
    return draw.use(
        (a, b), {"alpha": draw.maybe(lambda: draw.floating(-2, 2))}, batch=batch(shape, shape)
    )


@strategy("Shrink")
def shrink(draw: Draw) -> Use:
    """An operand of any shape.

    `lambd` is not negative, else a number may be on both sides; of integers the result is one, in
    range and not negative if they are unsigned.
    """
    shape = draw.any_shape()
    limits = (-8, 8) if is_integer(draw.dtype("input")) else (None, None)
    x = draw.tensor("input", shape, *limits)
    lambd = draw.maybe(lambda: draw.floating(0, 3))
    if is_integer(x.dtype):
        most = 0 if lambd is None else int(lambd)
        bias = draw.maybe(lambda: float(draw.integer(0 if x.dtype.kind == "u" else -3, most)))
    else:
        bias = draw.maybe(lambda: draw.floating(-3, 3))
    return draw.use([x], {"lambd": lambd, "bias": bias}, batch=batch(shape))


@strategy("PRelu")
def p_relu(draw: Draw) -> Use:
    """X and slopes that broadcast to it; before opset 7 one slope, or one for each channel."""
    if draw.version >= 7:
        x = draw.shape()
        slope = draw.broadcastable(x)
    else:
        x = draw.shape((2, 4))
        slope = draw.choice(((1,), (x[1],)))
    operands = draw.tensor("X", x), draw.tensor("slope", slope)
    return draw.use(operands, legacy(draw, 2), ranks=ranks(x), batch=batch(x, slope))


@strategy("Softmax", "LogSoftmax", "Hardmax")
def normalization(draw: Draw) -> Use:
    """An operand of rank 1 or more, and one of its axes; before opset 13 also all that follow."""
    shape = draw.any_shape((1, 5))
    rank = len(shape)
    default = -1 if draw.version >= 13 else 1
    if rank > default and draw.flag():
        axis = None
    else:
        axis = draw.axis(rank) if draw.version >= 11 else draw.integer(0, rank - 1)
    # Maxima that are there twice are what Hardmax is about.
    most = 0.25 if draw.name == "Hardmax" and not draw.specials else None
    x = draw.tensor("input", shape, None if most is None else -most, most)
    if draw.name == "Hardmax":  # no text says whether NaN is a maximum
        x = np.where(np.isnan(x), x.dtype.type(0), x)
    outer = rank > 1 if axis is None else axis % rank > 0
    return draw.use([x], {"axis": axis}, ranks=ranks(shape), batch=(0,) if outer else ())


@strategy("Dropout")
def dropout(draw: Draw) -> Use:
    """Data of any shape. When training, the ratio may be 0, which drops nothing."""
    x = draw.tensor("data", draw.any_shape())
    outputs = draw.choice((1, 2))
    operands: list[np.ndarray | None] = [x]
    attributes: dict[str, Any] = legacy(draw)
    dropped = False
    if draw.version >= 12:
        ratio = draw.maybe(lambda: draw.tensor("ratio", (), 0, 0.875))
        training = draw.maybe(lambda: draw.array(bool))
        operands += [ratio, training]
        dropped = bool(training) and (ratio is None or float(ratio) > 0)
        attributes["seed"] = draw.maybe(lambda: draw.integer(0, 9))
    elif draw.has("is_test"):
        attributes["is_test"] = draw.choice((1, 0, None))
        attributes["ratio"] = draw.choice((None, 0.5, 0.0))
        dropped = not attributes["is_test"] and attributes["ratio"] != 0
        outputs = 1 if attributes["is_test"] else outputs  # the mask "is not filled" in a test
    else:
        attributes["ratio"] = draw.maybe(lambda: draw.floating(0, 0.875))
    return draw.use(
        operands,
        attributes,
        outputs,
        ranks={"y0": x.ndim, "y1": x.ndim},
        random=dropped,
        batch=() if dropped else batch(x.shape),
    )
