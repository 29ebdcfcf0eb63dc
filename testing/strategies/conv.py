"""Convolutions. Letters: N images, C channels, M feature maps, D and k spatial axes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from onnxla.testing.draw import Draw
from onnxla.testing.operator_cases import strategy
from onnxla.testing.use import Use

# Runtimes may compute the longest of these, of which windows along one axis have some, in a way of
# its own.
LONG_KERNELS = (1, 2, 3, 2, 3, 5, 12, 130)


@strategy("Conv")
def conv(draw: Draw) -> Use:
    """X of shape (N, C, D1 ...) and W of shape (M, C / group, k1 ...)."""
    x, w, attributes = draw_operands(draw)
    b = draw.maybe(lambda: draw.tensor("B", w[:1]))
    operands = (draw.tensor("X", x), draw.tensor("W", w), b)
    return draw.use(operands, attributes, rtol=half_tolerance(operands[0]), batch=(0,))


@strategy("ConvInteger")
def conv_integer(draw: Draw) -> Use:
    """X of shape (N, C, D1 ...), w of shape (M, C / group, k1 ...), and their zero points."""
    x, w, attributes = draw_operands(draw)
    operands = [
        draw.tensor("x", x, -128, 255),
        draw.tensor("w", w, -128, 255),
        draw.maybe(lambda: draw.tensor("x_zero_point", (), -128, 255)),
        draw.maybe(lambda: draw.tensor("w_zero_point", draw.choice(((), w[:1])), -128, 255)),
    ]
    return draw.use(operands, attributes, batch=(0,))


@strategy("QLinearConv")
def qlinear_conv(draw: Draw) -> Use:
    """X of shape (N, C, D1 ...) and w of shape (M, C / group, k1 ...), both quantized."""
    x, w, attributes = draw_operands(draw)
    per_map = draw.choice(((), w[:1]))
    operands = [
        draw.tensor("x", x, -128, 255),
        draw_scale(draw),
        draw.tensor("x_zero_point", (), -128, 255),
        draw.tensor("w", w, -128, 255),
        draw_scale(draw, per_map),
        draw.tensor("w_zero_point", per_map, -128, 255),
        draw_scale(draw, quotients=True),
        draw.tensor("y_zero_point", (), -128, 255),
        draw.maybe(lambda: draw.array(np.int32, w[:1], -1000, 1000)),
    ]
    return draw.use(operands, attributes, batch=(0,))


@strategy("ConvTranspose")
def conv_transpose(draw: Draw) -> Use:
    """X of shape (N, C, D1 ...) and W of shape (C, M / group, k1 ...)."""
    spatial = draw.integer(1, 3)
    window, _ = draw_window(draw, spatial)
    kernel, pads = window["kernel_shape"], window["pads"]
    strides = window["strides"] or [1] * spatial
    dilations = window["dilations"] or [1] * spatial
    extra = draw.maybe(
        lambda: [draw.integer(0, max(s, d) - 1) for s, d in zip(strides, dilations, strict=True)]
    )
    group, channels, maps = draw_channels(draw)
    sizes = [draw.integer(1, 4 if spatial < 3 else 2) for _ in range(spatial)]
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    added = [r + e for r, e in zip(reach, extra or [0] * spatial, strict=True)]
    if window["auto_pad"] in ("SAME_UPPER", "SAME_LOWER"):
        # A stride longer than the window would need padding less than none.
        strides = [min(s, a) for s, a in zip(strides, added, strict=True)]
        window["strides"] = window["strides"] and strides
    full = [(n - 1) * s + a for n, s, a in zip(sizes, strides, added, strict=True)]
    if pads:
        # Some output has to be left.
        for i, n in enumerate(full):
            pads[i] = min(pads[i], n - 1)
            pads[i + spatial] = min(pads[i + spatial], n - 1 - pads[i])
    elif window["auto_pad"] != "VALID" and draw.flag():
        # A larger output would need padding less than none, of which the text does not say how to
        # halve it.
        window["output_shape"] = [draw.integer(max(1, n - 3), n) for n in full]
    operands = (
        draw.tensor("X", (draw_batch(draw), channels, *sizes)),
        draw.tensor("W", (channels, maps // group, *kernel)),
        draw.maybe(lambda: draw.tensor("B", (maps,))),
    )
    window["kernel_shape"] = draw.choice((kernel, None))
    attributes = {**window, "output_padding": extra, "group": group_attribute(draw, group)}
    return draw.use(operands, attributes, rtol=half_tolerance(operands[0]), batch=(0,))


@strategy("DeformConv")
def deform_conv(draw: Draw) -> Use:
    """X (N, C, D1 ...), W (M, C / group, k1 ...), and an offset, perhaps a mask, for each tap."""
    spatial = draw.choice((2, 2, 2, 2, 2, 2, 1, 3))
    window, sizes = draw_window(draw, spatial)
    del window["auto_pad"]
    outputs = output_sizes(window, sizes)
    group, channels, maps = draw_channels(draw)
    offset_group = draw.choice([n for n in (1, 2, 3) if channels % n == 0])
    n, kernel = draw_batch(draw), window["kernel_shape"]
    taps = offset_group * math.prod(kernel)
    x = draw.tensor("X", (n, channels, *sizes))
    w = draw.tensor("W", (maps, channels // group, *kernel))
    offset = draw.tensor("offset", (n, taps * spatial, *outputs), -2, 2)
    b = draw.maybe(lambda: draw.tensor("B", (maps,)))
    # The text has two shapes for other than 2-D masks.
    mask = draw.maybe(lambda: draw.tensor("mask", (n, taps, *outputs))) if spatial == 2 else None
    window["kernel_shape"] = draw.choice((kernel, None))
    attributes = {
        **window,
        "group": group_attribute(draw, group),
        "offset_group": group_attribute(draw, offset_group),
    }
    return draw.use(
        (x, w, offset, b, mask),
        attributes,
        rtol=half_tolerance(x),
        batch=(0, 2) if mask is None else (0, 2, 4),
    )


@strategy("Col2Im")
def col2im(draw: Draw) -> Use:
    """Blocks of shape (N, C * k1 * k2 ..., L), the columns of images (C, D1, D2 ...)."""
    spatial = draw.integer(2, 3)
    window, sizes = draw_window(draw, spatial)
    kernel = window["kernel_shape"]
    del window["kernel_shape"], window["auto_pad"]
    positions = math.prod(output_sizes({**window, "kernel_shape": kernel}, sizes))
    channels = draw.integer(1, 2)
    # Blocks overlap, and there is no sum of texts or booleans.
    draw.dtype("input", but=(object, bool))
    blocks = draw.tensor("input", (draw_batch(draw), channels * math.prod(kernel), positions))
    return draw.use(
        (blocks, np.array(sizes), np.array(kernel)),
        window,
        ranks={"y0": 2 + spatial},
        rtol=half_tolerance(blocks),
        batch=(0,),
    )


def draw_operands(draw: Draw) -> tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]:
    """Shapes of the input and the weights of a convolution, and its attributes."""
    spatial = draw.integer(1, 3)
    window, sizes = draw_window(draw, spatial)
    group, channels, maps = draw_channels(draw)
    kernel = window["kernel_shape"]
    window["kernel_shape"] = draw.choice((kernel, None))
    window["group"] = group_attribute(draw, group)
    return (draw_batch(draw), channels, *sizes), (maps, channels // group, *kernel), window


def draw_batch(draw: Draw) -> int:
    """A batch size; none now and then."""
    return draw.choice((1, 2, 3, 2, 3, 2, 3, 0))


def draw_channels(draw: Draw) -> tuple[int, int, int]:
    """A number of groups, and of channels and of feature maps, which divide into them."""
    group = draw.choice((1, 1, 2, 3))
    most = 3 if group == 1 else 2
    return group, group * draw.integer(1, most), group * draw.integer(1, most)


def group_attribute(draw: Draw, group: int) -> int | None:
    """The attribute for a number of groups, which may be absent where there is one."""
    return draw.choice((group, None)) if group == 1 else group


def draw_window(
    draw: Draw, spatial: int, covered: bool = False
) -> tuple[dict[str, Any], list[int]]:
    """The attributes of a sliding window, and input sizes that hold at least one.

    Args:
        draw: Draws.
        spatial: How many axes the window slides along.
        covered: Whether every window must see an element of the input, not padding alone.

    Returns:
        `kernel_shape`, `strides`, `pads` or `auto_pad`, `dilations` and `ceil_mode` if the schema
        has them, with None where absent; and the sizes of these axes.
    """
    lengths = {1: LONG_KERNELS, 2: (1, 2, 3)}.get(spatial, (1, 2))
    kernel = [draw.choice(lengths) for _ in range(spatial)]
    strides = draw.maybe(lambda: [draw.integer(1, 3) for _ in range(spatial)])
    dilations = None
    if draw.has("dilations"):
        # A kernel of 130 taps is long enough without.
        most = 1 if max(kernel) > 100 else 3 if spatial < 3 else 2
        dilations = draw.maybe(lambda: [draw.integer(1, most) for _ in range(spatial)])
    steps = dilations or [1] * spatial
    auto_pad = draw.choice((None, None, None, "NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"))
    pads = None
    if (auto_pad in (None, "NOTSET") or not draw.has("auto_pad")) and draw.flag():
        # Less than the kernel, and elsewhere not much more than it.
        limits = [min(k - 1 if covered else k + 1, 6) for k in kernel]
        pads = [draw.integer(0, limit) for limit in limits * 2]
    sizes = []
    for axis, (k, d) in enumerate(zip(kernel, steps, strict=True)):
        least = (k - 1) * d + 1
        if pads is not None:
            least -= pads[axis] + pads[axis + spatial]
        elif draw.has("auto_pad") and auto_pad in ("SAME_UPPER", "SAME_LOWER"):
            least = 1
        # Of an input at least as long as a step, a window that starts before it sees the first tap
        # that does not.
        least = max(least, d if covered else 1)
        sizes.append(least + draw.integer(0, {1: 6, 2: 3}.get(spatial, 2)))
    attributes: dict[str, Any] = {
        "kernel_shape": kernel,
        "strides": strides,
        "pads": pads,
        "auto_pad": auto_pad,
    }
    if draw.has("dilations"):
        attributes["dilations"] = dilations
    if draw.has("ceil_mode"):
        attributes["ceil_mode"] = draw.choice((None, 0, 1))
    return attributes, sizes


def output_sizes(window: dict[str, Any], sizes: list[int]) -> list[int]:
    """How many positions a window with explicit pads has along each axis."""
    spatial = len(sizes)
    pads = window["pads"] or [0] * 2 * spatial
    strides = window["strides"] or [1] * spatial
    dilations = window.get("dilations") or [1] * spatial
    return [
        (n + pads[i] + pads[i + spatial] - (k - 1) * d - 1) // s + 1
        for i, (n, k, s, d) in enumerate(
            zip(sizes, window["kernel_shape"], strides, dilations, strict=True)
        )
    ]


def draw_scale(draw: Draw, shape: tuple[int, ...] = (), quotients: bool = False) -> np.ndarray:
    """A positive quantization scale: a power of two.

    Args:
        draw: Draws.
        shape: Its shape.
        quotients: Whether others are divided by it. Then it is an odd number times a smaller power
            of two, so that no quotient is half way between two integers.
    """
    powers = 2.0 ** draw.array(np.int32, shape, -4, 0)
    if not quotients:
        return np.asarray(powers, np.float32)
    # The largest has so many bits as bfloat16.
    return np.asarray(draw.choice((1, 3, 15, 51, 85, 255)) * 2.0**-8 * powers, np.float32)


def half_tolerance(x: np.ndarray, single: float = 1e-5) -> float:
    """A tolerance that sums of products in a 16-bit dtype meet, wherever they round."""
    return single if x.dtype.itemsize > 2 else 0.02
