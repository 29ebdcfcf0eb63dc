"""Reductions of a tensor along some of its axes."""

from __future__ import annotations

from typing import Any

import numpy as np

from onnxla.peers.difference import is_integer
from onnxla.testing.draw import Draw
from onnxla.testing.operator_cases import strategy
from onnxla.testing.strategies.arithmetic import on_grid
from onnxla.testing.use import Use

NAMES = ("Sum", "Mean", "Max", "Min", "Prod", "L1", "L2", "SumSquare", "LogSum", "LogSumExp")


@strategy(*(f"Reduce{name}" for name in NAMES))
def reduction(draw: Draw) -> Use:
    """Data of any rank, and some axes: an attribute in old versions, an operand in new ones."""
    dtype = draw.dtype("data")
    # Of nothing, the mean is undefined, and the logarithms of integers.
    full = draw.name == "ReduceMean" or ("Log" in draw.name and is_integer(dtype))
    most = 3 if draw.name == "ReduceProd" else 5
    shape = draw.shape((0, 5), (1, most)) if full else draw.any_shape(most=most)
    data = numbers(draw, dtype, shape)
    attributes: dict[str, Any] = {"keepdims": draw.choice((None, 0, 1))}
    operands: list[np.ndarray | None] = [data]
    if draw.has("noop_with_empty_axes"):
        attributes["noop_with_empty_axes"] = draw.choice((None, 0, 1))
        axes = draw.maybe(lambda: draw.axes(len(shape)))
        operands.append(None if axes is None else np.array(axes, np.int64))
        everything = not axes and not attributes["noop_with_empty_axes"]
    else:
        negative = draw.version >= 11
        axes = draw.maybe(lambda: draw.axes(len(shape), 1, negative)) or None
        attributes["axes"] = axes
        everything = axes is None
    kept = shape and not everything and 0 not in [a % len(shape) for a in axes or ()]
    # The logarithm of one exponential may be just below an integer.
    steps = 1 if draw.name == "ReduceLogSumExp" and is_integer(dtype) else 0
    # Among special values there may be sums next to 1, of whose logarithm little is left.
    close = draw.specials and "Log" in draw.name and dtype.itemsize == 2
    atol = 2e-3 if close else 0.0
    return draw.use(operands, attributes, steps=steps, atol=atol, batch=(0,) if kept else ())


def numbers(draw: Draw, dtype: np.dtype[Any], shape: tuple[int, ...]) -> np.ndarray:
    """Numbers whose reduction is neither out of range nor what little is left of large ones."""
    extremal = draw.name in ("ReduceMax", "ReduceMin")
    if extremal or (draw.specials and not is_integer(dtype)):
        return draw.array(dtype, shape)
    if draw.name == "ReduceProd":
        most = 2.0 if is_integer(dtype) else 1.5
        return draw.array(dtype, shape, -most, most)
    if draw.name == "ReduceLogSum":
        return on_grid(draw.array(dtype, shape, 1 if is_integer(dtype) else 0, 8))
    if draw.name == "ReduceLogSumExp":
        ranges = ((0, 4), (80, 100), (-100, -80))
        return draw.array(dtype, shape, *draw.choice(ranges[: 2 if dtype.kind == "u" else 3]))
    return on_grid(draw.array(dtype, shape))
