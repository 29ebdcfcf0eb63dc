"""Operators that ONNX Runtime's optimizer writes into models for GPUs.

Letters: N images, H * W or S places, C channels.
"""

from __future__ import annotations

import numpy as np

from onnxla.testing.draw import Draw
from onnxla.testing.operator_cases import strategy
from onnxla.testing.strategies.microsoft_fused import DOMAIN, epsilon, y0
from onnxla.testing.use import Use


@strategy("BiasAdd", domain=DOMAIN)
def bias_add(draw: Draw) -> Use:
    """X and skip of shape (N, S, C), and a bias of shape (C)."""
    shape = draw.shape((3, 3))
    x, bias, skip = (
        draw.tensor(k, s)
        for k, s in zip(("X", "bias", "skip"), (shape, shape[2:], shape), strict=True)
    )
    return draw.use((x, bias, skip), ranks=y0(3), batch=(0, 2))


@strategy("BiasSplitGelu", domain=DOMAIN)
def bias_split_gelu(draw: Draw) -> Use:
    """X of shape (N, S, 2C) and a bias of shape (2C)."""
    shape = (*draw.shape((2, 2)), 2 * draw.integer(1, 4))
    return draw.use(
        (draw.tensor("X", shape), draw.tensor("bias", shape[2:])), ranks=y0(3), batch=(0,)
    )


@strategy("BiasSoftmax", domain=DOMAIN)
def bias_softmax(draw: Draw) -> Use:
    """Data of shape (D1, ...), and a bias that is the same along some of the axes before `axis`."""
    shape = draw.shape((2, 4), (1, 4))
    axis = draw.integer(1, len(shape) - 1)
    start = draw.integer(0, axis)
    inner = draw.choice((1, 0))
    # The bias has size 1 along the last of the axes before `axis`, or along the first ones.
    batch = (*shape[:start], *[1] * (axis - start)) if inner else (*[1] * start, *shape[start:axis])
    data, bias = draw.tensor("data", shape), draw.tensor("bias", (*batch, *shape[axis:]))
    said = draw.choice((None, 1)) if axis == 1 else draw.choice((axis, axis - len(shape)))
    return draw.use((data, bias), {"axis": said, "is_inner_broadcast": inner}, ranks=y0(data.ndim))


@strategy("GemmFastGelu", domain=DOMAIN)
def gemm_fast_gelu(draw: Draw) -> Use:
    """X of shape (..., K), W of shape (K, N) and a bias of shape (N)."""
    k, n = draw.side(1, 4), draw.side(1, 4)
    x, w = draw.tensor("X", (*draw.shape((1, 2)), k)), draw.tensor("W", (k, n))
    bias = draw.maybe(lambda: draw.tensor("bias", (n,)))
    return draw.use((x, w, bias), ranks=y0(x.ndim), batch=(0,))


@strategy("GroupNorm", "SkipGroupNorm", domain=DOMAIN)
def group_norm(draw: Draw) -> Use:
    """X of shape (N, H, W, C) or (N, C, H, W), gamma and beta of shape (C), and what to add."""
    # A group that has one element is its own mean, and all that is left of it a rounding error.
    images, height, width = draw.side(1, 2), draw.side(2, 3), draw.side(1, 3)
    groups = draw.integer(1, 3)
    channels = groups * draw.integer(1, 3)
    last = draw.choice((None, 1, 0))
    shape = (images, channels, height, width) if last == 0 else (images, height, width, channels)
    x = draw.tensor("X", shape)
    inputs: list[np.ndarray | None] = [
        x,
        draw.tensor("gamma", (channels,)),
        draw.tensor("beta", (channels,)),
    ]
    skip = draw.name == "SkipGroupNorm"
    if skip:
        skips = [shape, (images, channels), (images, 1, 1, channels)]
        # For channels that come first, the text has no skip of rank 4 with one place.
        inputs.append(draw.tensor("skip", draw.choice(skips[: 2 if last == 0 else 3])))
        inputs.append(draw.maybe(lambda: draw.tensor("bias", (channels,))))
    attributes = {
        "activation": draw.choice((0, 1)),
        "channels_last": last,
        "epsilon": epsilon(draw),
        "groups": groups,
    }
    return draw.use(
        inputs,
        attributes,
        outputs=draw.choice((1, 2)) if skip else 1,
        ranks={"y0": 4, "y1": 4},
        rtol=1e-3,
        batch=(0, 3) if skip else (0,),
    )


@strategy("Rfft", "Irfft", domain=DOMAIN)
def rfft(draw: Draw) -> Use:
    """X of shape (..., n); or, to transform back, (..., n // 2 + 1, 2), for an even n."""
    axes = draw.integer(1, 2)
    batch, half = draw.shape((0, 2), (1, 3)), draw.integer(1, 4)
    outer = () if axes == 1 else (draw.side(1, 4),)
    forth = draw.name == "Rfft"
    shape = (*batch, *outer, 2 * half) if forth else (*batch, *outer, half + 1, 2)
    attributes = {
        "signal_ndim": draw.choice((1, None)) if forth and axes == 1 else axes,
        "normalized": draw.choice((None, 0)),
        "onesided": draw.choice((None, 1)),
    }
    rank = len(shape) + (1 if forth else -1)
    x = draw.tensor("X", shape)
    return draw.use((x,), attributes, ranks=y0(rank), rtol=1e-4, batch=(0,) if batch else ())
