"""Random numbers: their dtypes and shapes, and draws that leave no choice.

All have a `seed`: without one onnxla wants a key from the caller.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from onnxla.ir import STRING
from onnxla.ir.dtypes import number_of
from onnxla.testing.draw import Draw
from onnxla.testing.operator_cases import strategy
from onnxla.testing.types import tensor_type
from onnxla.testing.use import Use


@strategy("RandomNormal", "RandomUniform")
def filled(draw: Draw) -> Use:
    """Numbers of a shape."""
    number, kind = draw_dtype(draw, np.dtype(np.float32))
    attributes, certain = draw_distribution(draw)
    # The helper that makes a node cannot tell the type of an empty list.
    attributes |= {"shape": list(draw.shape((1, 4))), "dtype": number}
    return draw.use((), attributes, types={"y0": tensor_type(kind)}, random=not certain)


@strategy("RandomNormalLike", "RandomUniformLike")
def filled_like(draw: Draw) -> Use:
    """Numbers in the shape of another tensor."""
    x = draw.tensor("input", draw.shape())
    number, kind = draw_dtype(draw, x.dtype)
    attributes, certain = draw_distribution(draw)
    return draw.use(
        (x,), attributes | {"dtype": number}, types={"y0": tensor_type(kind)}, random=not certain
    )


def draw_distribution(draw: Draw) -> tuple[dict[str, Any], bool]:
    """Its parameters, and whether they allow one number only."""
    attributes: dict[str, Any] = {"seed": draw_seed(draw)}
    certain = draw.flag()
    if "Normal" in draw.name:
        scales = (1e-30,) if certain else (None, 0.5, 3.0)  # ONNX Runtime aborts at 0
        mean = draw.maybe(lambda: draw.floating(1, 4) * draw.choice((1, -1)))
        return attributes | {"scale": draw.choice(scales), "mean": mean}, certain and bool(mean)
    low = draw.maybe(lambda: draw.floating(-4, 0.5))
    high = draw.maybe(lambda: draw.floating(1, 4))
    if certain:
        high = low = draw.floating(-4, 4)
    return attributes | {"low": low, "high": high}, certain


def draw_seed(draw: Draw) -> float:
    """A seed."""
    return draw.choice((1.0, 0.0, 2.5, -3.0, 1e9))


def draw_dtype(
    draw: Draw, default: np.dtype[Any], output: str = "output"
) -> tuple[int | None, np.dtype[Any]]:
    """The attribute `dtype`, absent where the default will do, and what the output then has."""
    allowed = [tensor_type(default)] if default != STRING else []
    if set(allowed) & set(draw.schema.allowed(output)) and not draw.flag():
        return None, default
    kind = draw.dtype(output)
    return number_of(kind), kind


@strategy("Bernoulli")
def bernoulli(draw: Draw) -> Use:
    """Probabilities of any shape, all of them 0 or 1 or not."""
    certain = draw.flag()
    x = draw.tensor("input", draw.shape(), 0, 1)
    x = (x > 0.5).astype(x.dtype) if certain else x
    number, kind = draw_dtype(draw, x.dtype)
    attributes = {"seed": draw_seed(draw), "dtype": number}
    return draw.use((x,), attributes, types={"y0": tensor_type(kind)}, random=not certain)


@strategy("Multinomial")
def multinomial(draw: Draw) -> Use:
    """Logarithms (N, C) of probabilities, all but one of a row 0 or not."""
    rows, classes = draw.side(0, 3), draw.integer(1, 5)
    certain = draw.flag()
    x = draw.tensor("input", (rows, classes), -3, 3)
    if certain:
        chosen = draw.array(np.int64, (rows, 1), 0, classes - 1)
        x = np.where(np.arange(classes) == chosen, 0, -200).astype(x.dtype)
    number, kind = draw_dtype(draw, np.dtype(np.int32))
    attributes: Mapping[str, Any] = {
        "seed": draw_seed(draw),
        "sample_size": draw.choice((None, 1, 2, 5)),
        "dtype": number,
    }
    return draw.use((x,), attributes, types={"y0": tensor_type(kind)}, random=not certain)
