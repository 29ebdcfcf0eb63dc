"""Comparisons, logic and choice, element by element with broadcasting."""

from __future__ import annotations

import numpy as np

from onnxla.peers.difference import is_integer
from onnxla.testing.draw import Draw
from onnxla.testing.operator_cases import strategy
from onnxla.testing.strategies.arithmetic import operand_shapes
from onnxla.testing.strategies.elementary import batch, ranks
from onnxla.testing.use import Use


@strategy("Equal", "Greater", "Less", "GreaterOrEqual", "LessOrEqual", "And", "Or", "Xor")
def comparison(draw: Draw) -> Use:
    """Operands that broadcast, of a few numbers, so that many of them are equal."""
    shapes, attributes = operand_shapes(draw)
    most = None if draw.specials else 2.0 if is_integer(draw.dtype("A")) else 0.25
    least = None if most is None else -most
    a, b = (draw.tensor(name, shape, least, most) for name, shape in zip("AB", shapes, strict=True))
    return draw.use((a, b), attributes, ranks=ranks(*shapes), batch=batch(*shapes))


@strategy("Not")
def negation(draw: Draw) -> Use:
    """Booleans of any shape."""
    shape = draw.any_shape()
    return draw.use([draw.tensor("X", shape)], batch=batch(shape))


@strategy("IsNaN", "IsInf")
def detection(draw: Draw) -> Use:
    """Numbers, infinities and NaN of any shape; where a type has no infinities, NaN for them."""
    shape = draw.any_shape()
    kinds = draw.array(np.int64, shape, 0, 3)
    numbers = draw.array(np.float32, shape)
    x = np.select([kinds == 1, kinds == 2, kinds == 3], [np.inf, -np.inf, np.nan], numbers)
    names = ("detect_negative", "detect_positive") if draw.name == "IsInf" else ()
    flags = {name: draw.choice((None, 0, 1)) for name in names}
    return draw.use([np.asarray(x, draw.dtype("X"))], flags, batch=batch(shape))


@strategy("Where")
def where(draw: Draw) -> Use:
    """A condition and two operands, which all broadcast."""
    shapes = draw.broadcast_shapes(3)
    names = ("condition", "X", "Y")
    operands = [draw.tensor(name, shape) for name, shape in zip(names, shapes, strict=True)]
    return draw.use(operands, ranks=ranks(*shapes), batch=batch(*shapes))
