"""Normalization by mean and variance, or by a norm. Letters: N instances, C channels."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto

from onnxla.testing.draw import GRID, Draw
from onnxla.testing.operator_cases import strategy
from onnxla.testing.strategies.conv import draw_batch, half_tolerance
from onnxla.testing.use import Use

EPSILONS = (None, 1e-5, 1e-3, 0.5)
# Differences of numbers that are nearly equal are not as exact as they.
RTOL = 1e-4


@strategy("BatchNormalization")
def batch_normalization(draw: Draw) -> Use:
    """X of shape (N, C, ...), and for each channel a scale, a bias, a mean and a variance."""
    rank = 4 if draw.version == 1 else draw.choice((4, 3, 2, 5))
    training = draw.flag()
    batch = draw.integer(1, 3) if training else draw_batch(draw)  # nothing has no mean
    shape = (batch, draw.integer(1, 4), *draw.shape((rank - 2, rank - 2), (1, 3)))
    spatial = None
    if draw.has("spatial"):
        spatial = draw.choice((None, 1, 0))
    operands = shape[1:2]
    if spatial == 0 and draw.version == 7:
        operands = shape[1:]
    elif spatial == 0:
        # Until version 7 each feature has its statistics, but the operands' shape is (C,).
        shape = shape[:2] + (1,) * (len(shape) - 2)
    if draw.version >= 9 and draw.choice((False, False, False, True)):
        shape, operands = shape[:1], (1,)
    mean, var = ("input_mean", "input_var") if draw.version >= 14 else ("mean", "var")
    x = draw.tensor("X", shape)
    inputs = [
        x,
        draw.tensor("scale", operands),
        draw.tensor("B", operands),
        draw.tensor(mean, operands),
        # The smaller, the more an error of the mean weighs.
        draw.tensor(var, operands, 0.125, 4),
    ]
    attributes: dict[str, Any] = {
        "epsilon": draw.choice(EPSILONS),
        "momentum": draw.choice((None, 0.9, 0.5, 0.0, 1.0)),
        "spatial": spatial,
    }
    if draw.has("consumed_inputs"):
        attributes["consumed_inputs"] = [0, 0, 0, 1, 1]
    outputs: list[bool] = [True]
    if draw.has("training_mode"):
        attributes["training_mode"] = 1 if training else draw.choice((None, 0))
        if training:
            outputs = [True] * 3
    elif training:
        outputs = [True] * 5
    if draw.has("is_test"):
        # One output is said to mean test mode, and is_test=0 not to.
        attributes["is_test"] = draw.choice((None, 0)) if training else 1
    half = max(map(half_tolerance, inputs))
    return draw.use(
        inputs,
        attributes,
        outputs,
        ranks={"y0": len(shape), **{f"y{i}": len(operands) for i in range(1, 5)}},
        rtol=max(half, RTOL),
        batch=() if training else (0,),
    )


@strategy("InstanceNormalization")
def instance_normalization(draw: Draw) -> Use:
    """The input of shape (N, C, D1 ...), and for each channel a scale and a bias."""
    x, channels = draw_instances(draw, "input")
    attributes: dict[str, Any] = {"epsilon": draw.choice(EPSILONS)}
    if draw.has("consumed_inputs"):
        attributes["consumed_inputs"] = draw.choice((None, [0, 0, 0]))
    operands = (x, draw.tensor("scale", (channels,)), draw.tensor("B", (channels,)))
    return draw.use(
        operands, attributes, ranks={"y0": x.ndim}, rtol=half_tolerance(x, RTOL), batch=(0,)
    )


@strategy("GroupNormalization")
def group_normalization(draw: Draw) -> Use:
    """X of shape (N, C, D1 ...), and for each channel or group a scale and a bias."""
    # The function that defines it reshapes to groups of unknown size, of which nothing has none.
    x, channels = draw_instances(draw, "X", (1, 2, 3, 4, 6), least=1)
    groups = draw.choice([n for n in (1, 2, 3, 4, 6) if channels % n == 0])
    attributes = {"epsilon": draw.choice(EPSILONS), "num_groups": groups}
    size = groups if draw.version == 18 else channels
    tolerance = half_tolerance(x, RTOL)
    if draw.has("stash_type"):
        attributes["stash_type"] = stash = draw_stash(draw)
        tolerance = max(tolerance, stash_tolerance(stash))
        if stash_tolerance(stash):  # small variances have few digits
            x = (np.round(x / GRID) * GRID).astype(x.dtype)
    operands = (x, draw.tensor("scale", (size,)), draw.tensor("bias", (size,)))
    return draw.use(operands, attributes, ranks={"y0": x.ndim}, rtol=tolerance, batch=(0,))


@strategy("LayerNormalization")
def layer_normalization(draw: Draw) -> Use:
    """X, a scale and perhaps a bias that broadcast to it; perhaps also mean and deviation."""
    shape = draw.shape((1, 4), (1, 5))
    axis = draw.maybe(lambda: draw.axis(len(shape)))
    x = draw.tensor("X", shape)
    scale, bias = affine_shape(draw, shape, axis), affine_shape(draw, shape, axis)
    stash = draw.choice((None, TensorProto.FLOAT, TensorProto.BFLOAT16))
    kind = "tensor(bfloat16)" if stash == TensorProto.BFLOAT16 else "tensor(float)"
    return draw.use(
        (
            x,
            draw.tensor("Scale", scale),
            draw.maybe(lambda: draw.tensor("B", bias)),
        ),
        {"axis": axis, "epsilon": draw.choice(EPSILONS), "stash_type": stash},
        outputs=draw.choice(([True], [True] * 2, [True] * 3, [True, False, True])),
        types={"Mean": kind, "InvStdDev": kind},
        ranks={"y1": len(shape), "y2": len(shape)},
        rtol=max(half_tolerance(x, RTOL), stash_tolerance(stash)),
    )


@strategy("RMSNormalization")
def rms_normalization(draw: Draw) -> Use:
    """X and a scale that broadcasts to it."""
    shape = draw.shape((1, 4), (1, 5))
    axis = draw.maybe(lambda: draw.axis(len(shape)))
    x = draw.tensor("X", shape)
    # ONNX's shape inference gives Y the type of X, and so rejects what the schema allows.
    if draw.choice((True, True, True, False)):
        draw.dtype("scale", among=[x.dtype])
    scale = draw.tensor("scale", affine_shape(draw, shape, axis))
    stash = draw_stash(draw)
    attributes = {"axis": axis, "epsilon": draw.choice(EPSILONS), "stash_type": stash}
    tolerance = max(half_tolerance(x, RTOL), half_tolerance(scale), stash_tolerance(stash))
    return draw.use((x, scale), attributes, ranks={"y0": x.ndim}, rtol=tolerance)


@strategy("LRN")
def lrn(draw: Draw) -> Use:
    """X of shape (N, C, D1 ...)."""
    x, channels = draw_instances(draw, "X", (1, 2, 3, 4, 5))
    attributes = {
        "size": draw.integer(1, channels + 1),
        "alpha": draw.choice((None, 0.5, 1e-4, 2.0)),
        "beta": draw.choice((None, 0.75, 0.5, 1.0)),
        "bias": draw.choice((None, 1.0, 2.0, 0.5)),
    }
    return draw.use((x,), attributes, rtol=half_tolerance(x, RTOL), batch=(0,))


@strategy("MeanVarianceNormalization")
def mean_variance_normalization(draw: Draw) -> Use:
    """X of any shape; of rank 4 where the axes are the default ones."""
    axes = draw.maybe(lambda: draw.axes(4, least=1, negative=False))
    if axes is None:
        shape = draw.shape((4, 4), (1, 3))
    else:
        least = max(axes) + 1
        shape = draw.shape((least, max(least, 4)), (1, 4))
        axes = [a - len(shape) * draw.flag() for a in axes]
    # Numbers that are all equal, or only one, would be divided by nothing, or nearly nothing.
    reduced = (0, 2, 3) if axes is None else axes
    if all(shape[a] == 1 for a in reduced):
        least = reduced[0] % len(shape)
        shape = (*shape[:least], 2, *shape[least + 1 :])
    x = draw.tensor("X", shape, distinct=True)
    return draw.use((x,), {"axes": axes}, ranks={"y0": x.ndim}, rtol=half_tolerance(x, 1e-3))


@strategy("LpNormalization")
def lp_normalization(draw: Draw) -> Use:
    """The input of any shape."""
    shape = draw.shape((1, 4), (draw.choice((1, 1, 1, 0)), 5))
    x = draw.tensor("input", shape)
    attributes = {"axis": draw.maybe(lambda: draw.axis(len(shape))), "p": draw.choice((None, 2, 1))}
    return draw.use((x,), attributes, rtol=half_tolerance(x))


def draw_instances(
    draw: Draw, operand: str, channels: tuple[int, ...] = (1, 2, 3), least: int = 0
) -> tuple[np.ndarray, int]:
    """A tensor of shape (N, C, D1 ...) that has some space, and C."""
    count = draw.choice(channels)
    batch, spatial = max(draw_batch(draw), least), draw.choice((2, 2, 2, 1, 3))
    return draw.tensor(operand, (batch, count, *draw.shape((spatial, spatial), (1, 4)))), count


def affine_shape(draw: Draw, shape: tuple[int, ...], axis: int | None) -> tuple[int, ...]:
    """The shape that is normalized, or one that broadcasts to the whole one."""
    normalized = shape[-1 if axis is None else axis % len(shape) :]
    return draw.broadcastable(shape) if draw.flag() else normalized


def draw_stash(draw: Draw) -> int | None:
    """A floating-point type to compute in, or none."""
    types = TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16
    return draw.choice((None, *types))


def stash_tolerance(stash: int | None) -> float:
    """The tolerance where that is the type of intermediate results."""
    return 0.05 if stash in (TensorProto.FLOAT16, TensorProto.BFLOAT16) else 0.0
