"""Steps of optimizers, and gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from onnxla.testing.draw import Draw
from onnxla.testing.operator_cases import strategy
from onnxla.testing.use import Use

DOMAIN = "ai.onnx.preview.training"


def step(
    draw: Draw, groups: int, squares: bool, attributes: dict[str, Any], rtol: float = 1e-5
) -> Use:
    """A rate, a count, then tensors, their gradients, and what the optimizer keeps of each.

    Args:
        draw: Draws.
        groups: How many operands each tensor has, itself included.
        squares: Whether the last of them are sums of squares.
        attributes: Of the node.
        rtol: Tolerance.
    """
    shapes = [draw.shape() for _ in range(draw.integer(1, 3))]
    rate = draw.tensor("R", (), 0.125, 1)
    count = draw.tensor("T", (), 0, 5)
    tensors = []
    for group in range(groups):
        positive = squares and group == groups - 1
        bounds = (0.125, 4) if positive else (None, None)
        tensors += [draw.tensor("inputs", shape, *bounds) for shape in shapes]
    results = groups - 1
    name = "tensor(double)" if draw.dtype("inputs") == np.float64 else "tensor(float)"
    count_of_results = results * len(shapes)
    return draw.use(
        (rate, count, *tensors),
        attributes,
        count_of_results,
        types={f"y{i}": name for i in range(count_of_results)},
        ranks={f"y{i}": len(shapes[i % len(shapes)]) for i in range(count_of_results)},
        rtol=rtol,
        batch=range(2, 2 + len(tensors)) if all(shapes) else (),
    )


@strategy("Adagrad", domain=DOMAIN)
def adagrad(draw: Draw) -> Use:
    """Tensors, gradients, sums of squared gradients."""
    attributes = {
        "decay_factor": small(draw),
        "epsilon": draw.choice((None, 1e-3, 0.5)),
        "norm_coefficient": small(draw),
    }
    return step(draw, 3, True, attributes)


def small(draw: Draw) -> float | None:
    """A coefficient, or none."""
    return draw.choice((None, 0.0, 0.1, 0.5))


@strategy("Adam", domain=DOMAIN)
def adam(draw: Draw) -> Use:
    """Tensors, gradients, means of gradients, means of squared gradients."""
    attributes = {
        "alpha": draw.choice((None, 0.5, 0.9)),
        "beta": draw.choice((None, 0.5, 0.99)),
        "epsilon": draw.choice((None, 1e-3, 0.5)),
        "norm_coefficient": small(draw),
        "norm_coefficient_post": small(draw),
    }
    # 1 - beta**T has few digits left in single precision.
    return step(draw, 4, True, attributes, rtol=3e-4)


@strategy("Momentum", domain=DOMAIN)
def momentum(draw: Draw) -> Use:
    """Tensors, gradients, momenta."""
    coefficient: Callable[[], float] = lambda: draw.choice((0.5, 0.0, 0.9, 1.0))  # noqa: E731
    attributes = {
        "alpha": coefficient(),
        "beta": coefficient(),
        "mode": draw.choice(("standard", "nesterov")),
        "norm_coefficient": draw.choice((0.0, 0.1, 0.5)),
    }
    return step(draw, 3, False, attributes)


@strategy("Gradient", domain=DOMAIN)
def gradient(draw: Draw) -> Use:
    """Derivatives of one of the operands by others: 1 by itself, else 0.

    A model of one node has no other tensors that it could be the derivative of.
    """
    count = draw.integer(1, 3)
    values = [draw.array(draw.dtype("Inputs", (np.float32,)), draw.shape()) for _ in range(count)]
    xs = draw.integer(1, count)
    names = [f"Inputs_{i}" for i in range(count)]
    return draw.use(
        values,
        {"xs": names[:xs], "zs": names[xs:] or None, "y": draw.choice(names)},
        xs,
        types={f"y{i}": "tensor(float)" for i in range(xs)},
        ranks={f"y{i}": values[i].ndim for i in range(xs)},
    )
