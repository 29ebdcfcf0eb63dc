"""Pools. Letters: N images, C channels, D spatial axes, R regions."""

from __future__ import annotations

from typing import Any

import numpy as np

from onnxla.peers.difference import is_integer
from onnxla.testing.draw import Draw
from onnxla.testing.operator_cases import strategy
from onnxla.testing.strategies.conv import draw_batch, draw_window, half_tolerance, output_sizes
from onnxla.testing.use import Use


@strategy("MaxPool")
def max_pool(draw: Draw) -> Use:
    """X of shape (N, C, D1 ...), and perhaps the indices of the maxima."""
    spatial = draw.choice((1, 2, 3, 2))
    window, sizes = draw_window(draw, spatial, covered=True)
    dtype, shape = draw.dtype("X"), (draw_batch(draw), draw.integer(1, 2), *sizes)
    if "Indices" not in draw.schema.outputs or not draw.flag():
        return draw.use((draw.array(dtype, shape),), window, batch=(0,))
    # Which of equal maxima has the index is left open.
    if is_integer(dtype):  # which has 256 numbers
        shape = (1, 1, *sizes)
    window["storage_order"] = draw.choice((None, 1, 0, 1))
    # Indices count through all images, so that they depend on where in the batch one is.
    return draw.use((draw.array(dtype, shape, distinct=True),), window, outputs=2)


@strategy("AveragePool")
def average_pool(draw: Draw) -> Use:
    """X of shape (N, C, D1 ...)."""
    # The mean of padding alone would be zero by zero.
    window, sizes = draw_window(draw, draw.integer(1, 3), covered=True)
    if draw.has("count_include_pad"):
        window["count_include_pad"] = draw.choice((None, 0, 1))
    x = draw.tensor("X", (draw_batch(draw), draw.integer(1, 2), *sizes))
    return draw.use((x,), window, rtol=half_tolerance(x), batch=(0,))


@strategy("LpPool")
def lp_pool(draw: Draw) -> Use:
    """X of shape (N, C, D1 ...)."""
    # With ceil_mode a window of nothing but padding is ignored or not, as it pleases the runtime.
    window, sizes = draw_window(draw, draw.integer(1, 3), covered=True)
    if draw.version == 1:
        window["p"] = draw.choice((None, 2.0, 1.0, 3.0, 2.5))
        if draw.flag():
            # The text does not say what window is meant; onnxla pools all of space.
            window |= {"kernel_shape": None, "strides": None, "pads": None, "auto_pad": None}
    else:
        window["p"] = draw.choice((None, 2, 1, 3, 4))
    x = draw.tensor("X", (draw_batch(draw), draw.integer(1, 2), *sizes))
    return draw.use((x,), window, ranks={"y0": x.ndim}, rtol=half_tolerance(x, 1e-4), batch=(0,))


@strategy("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool")
def global_pool(draw: Draw) -> Use:
    """X of shape (N, C, D1 ...)."""
    spatial = draw.choice((2, 2, 2, 1, 3))
    sizes = draw.shape((spatial, spatial), (1, 5))  # There is no mean or maximum of nothing.
    x = draw.tensor("X", (draw_batch(draw), draw.integer(1, 3), *sizes))
    attributes: dict[str, Any] = {}
    if draw.has("p"):
        whole = draw.version > 1
        attributes["p"] = draw.choice((None, 2, 1, 3, 4) if whole else (None, 2.0, 1.0, 3.0, 2.5))
    return draw.use(
        (x,), attributes, ranks={"y0": x.ndim}, rtol=half_tolerance(x, 1e-4), batch=(0,)
    )


@strategy("MaxUnpool")
def max_unpool(draw: Draw) -> Use:
    """X and I of shape (N, C, D1 ...): what MaxPool makes of an image, perhaps also its shape."""
    spatial = draw.integer(1, 3)
    kernel = [draw.integer(1, 3 if spatial < 3 else 2) for _ in range(spatial)]
    strides = draw.maybe(lambda: [draw.integer(1, 3) for _ in range(spatial)])
    pads = draw.maybe(lambda: [draw.integer(0, k - 1) for k in kernel * 2])
    before = pads or [0] * 2 * spatial
    # The least image that has so many windows, and at least one element.
    shape = [draw.integer(1, 2), draw.integer(1, 2)]
    pooled = [draw.integer(1, 4 if spatial < 3 else 2) for _ in range(spatial)]
    steps = strides or [1] * spatial
    for i, n in enumerate(pooled):
        size = (n - 1) * steps[i] + kernel[i] - before[i] - before[i + spatial]
        if size < 1:
            before[i] = before[i + spatial] = 0
            size = (n - 1) * steps[i] + kernel[i]
        shape.append(size)
    window = {"kernel_shape": kernel, "strides": strides, "pads": pads and before}
    image = draw.tensor("X", shape, distinct=True)
    x, index = pooled_with_indices(image, window)
    # Of a larger output the text does not say which one of the two the indices are of.
    output_shape = draw.maybe(lambda: np.array(shape))
    return draw.use((x, index, output_shape), window, ranks={"y0": len(shape)})


def pooled_with_indices(image: np.ndarray, window: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Maxima in a window, each of which sees an element, and their indices in the flat image."""
    spatial = image.ndim - 2
    kernel, pads = window["kernel_shape"], window["pads"] or [0] * 2 * spatial
    strides = window["strides"] or [1] * spatial
    numbers = np.arange(image.size).reshape(image.shape)
    shape = (*image.shape[:2], *output_sizes(window, list(image.shape[2:])))
    x, index = np.zeros(shape, image.dtype), np.zeros(shape, np.int64)
    for at in np.ndindex(*shape):
        starts = [o * s - low for o, s, low in zip(at[2:], strides, pads, strict=False)]
        ends = [start + k for start, k in zip(starts, kernel, strict=True)]
        view = (*at[:2], *(slice(max(0, a), b) for a, b in zip(starts, ends, strict=True)))
        best = np.argmax(image[view].astype(np.float64))
        x[at], index[at] = image[view].flat[best], numbers[view].flat[best]
    return x, index


@strategy("MaxRoiPool")
def max_roi_pool(draw: Draw) -> Use:
    """X of shape (N, C, H, W) and rois of shape (R, 5): an image, x1, y1, x2, y2."""
    images, height, width = draw.integer(1, 2), draw.integer(1, 6), draw.integer(1, 6)
    x = draw.tensor("X", (images, draw.integer(1, 3), height, width))
    # No multiple of these is half way between two integers, where the text does not say how to
    # round.
    scale = draw.choice((None, 1.0, 2.0, 0.4, 1.6))
    rois = []
    for _ in range(draw.integer(1, 3)):
        x1, y1 = draw.integer(0, width - 1), draw.integer(0, height - 1)
        corner = [x1 + draw.integer(0, width), y1 + draw.integer(0, height)]
        rois.append([draw.integer(0, images - 1), x1, y1, *corner])
    attributes = {
        "pooled_shape": [draw.integer(1, 4), draw.integer(1, 4)],
        "spatial_scale": scale,
    }
    return draw.use((x, np.array(rois).astype(x.dtype)), attributes)
