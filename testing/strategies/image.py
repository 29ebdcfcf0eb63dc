"""Images: resizing, and sampling at positions given by a grid.

Where an element lies half way between others, or on the edge, what is computed jumps. So the
coordinates that are drawn are exact in single precision: the factors are fractions with a power of
two below.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from onnxla.peers.difference import is_integer
from onnxla.testing.draw import Draw
from onnxla.testing.operator_cases import strategy
from onnxla.testing.use import Use

ENLARGING = (1.0, 2.0, 1.5, 3.0, 2.5, 1.25)
REDUCING = (0.5, 0.75, 0.625, 0.25)
# Coordinates by one less than the size: these are powers of two.
CROPPED = (1, 2, 3, 5)
NO_NUMBERS = (object, bool, "complex64", "complex128")
FLOATS = ("float32", "float16", "float64", "bfloat16")


@strategy("Resize")
def resize(draw: Draw) -> Use:
    """X of any shape, and scales, or sizes, for some of its axes."""
    if draw.version == 10:
        return upsample(draw)
    mode = draw.choice((None, "nearest", "linear", "cubic"))
    modes = [None, "half_pixel", "asymmetric", "pytorch_half_pixel", "align_corners"]
    modes += ["tf_half_pixel_for_nn"] * (draw.version == 11)
    modes += ["half_pixel_symmetric"] * (draw.version >= 19)
    modes += ["tf_crop_and_resize"]
    transform = draw.choice(modes)
    crop, aligned = transform == "tf_crop_and_resize", transform == "align_corners"
    # What is beyond the image is a number.
    draw_pixels(draw, "X", mode, numbers=crop)
    lengths, indices = draw_resized(draw, mode)
    rank = len(lengths)
    attributes: dict[str, Any] = {
        "mode": mode,
        "nearest_mode": draw.choice(
            (None, "round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
        ),
        "cubic_coeff_a": draw.choice((None, -0.75, -0.5)),
        # The nearest element is never outside.
        "exclude_outside": draw.choice((None, 0, 1) if mode in ("linear", "cubic") else (None, 0)),
        "extrapolation_value": draw.choice((None, 0.0, 9.0)),
    }
    attributes["coordinate_transformation_mode"] = transform
    if draw.has("axes"):
        every = indices == list(range(rank))
        back = rank * draw.choice((0, 0, 0, 1))
        axes = [axis - back * draw.flag() for axis in indices]
        attributes["axes"] = draw.choice((None, axes)) if every else axes
        attributes["antialias"] = draw.choice((None, 0, 1))
    elif indices != list(range(rank)):
        indices = list(range(rank))
    policy = None
    scales, sizes, starts, widths = [], [], [], []
    for axis in indices:
        start, width, scale = 0.0, 1.0, 1.0
        if crop:
            lengths[axis] = draw.choice((1, 2, 4))
            start, width = draw.choice((0.0, 0.25, -0.25)), draw.choice((1.0, 0.5, 2.0))
        n = lengths[axis]
        if crop or aligned:
            size = draw.choice(CROPPED)
            scale = size / (n * width)
        else:
            scale = draw_scale_of(draw, n, ENLARGING + REDUCING)
            size = math.floor(n * scale)
        starts.append(start)
        widths.append(width)
        scales.append(scale)
        sizes.append(size)
    by_sizes = draw.flag()
    if aligned:
        # So that the coordinates are exact too.
        by_sizes = by_sizes or any(s != int(s * 64) / 64 for s in scales)
    if by_sizes and draw.has("axes"):
        policy = draw.choice((None, "stretch", "not_larger", "not_smaller"))
        attributes["keep_aspect_ratio_policy"] = policy
    if by_sizes and not (crop or aligned):
        for i, axis in enumerate(indices):
            # A ratio that is exact.
            lengths[axis] = draw.choice((1, 2, 4))
            sizes[i] = draw.integer(1, 6)
    if policy in ("not_larger", "not_smaller") and not (crop or aligned):
        # Not so small that nothing is left.
        sizes = [max(n, lengths[axis]) for n, axis in zip(sizes, indices, strict=True)]
    roi = None
    if crop or draw.flag():
        numbers = [*starts, *(a + w for a, w in zip(starts, widths, strict=True))]
        roi = np.array(numbers).astype(draw.dtype("roi"))
    elif draw.version == 11:
        roi = np.zeros(0, draw.dtype("roi"))
    inputs: list[Any] = [draw.tensor("X", lengths), roi]
    empty = np.zeros(0, np.float32) if draw.version == 11 else None
    if by_sizes:
        inputs += [empty, np.array(sizes, np.int64)]
    else:
        inputs.append(np.array(scales, np.float32))
    return draw.use(inputs, attributes, ranks={"y0": rank}, rtol=tolerance(inputs[0]))


@strategy("Upsample")
def upsample(draw: Draw) -> Use:
    """X of any shape, and a scale for each axis."""
    linear = "bilinear" if draw.version == 1 else "linear"
    mode = draw.choice((None, "nearest", linear))
    draw_pixels(draw, "X", mode)
    reduce = draw.name == "Resize"
    if draw.version == 1:
        lengths = [draw.integer(1, 3), draw.integer(1, 2), draw.integer(1, 4), draw.integer(1, 4)]
        indices = [2, 3]
    else:
        lengths, indices = draw_resized(draw, mode)
    scales = [1.0] * len(lengths)
    for axis in indices:
        choices = ENLARGING + REDUCING if reduce else ENLARGING
        scales[axis] = draw_scale_of(draw, lengths[axis], choices)
    x = draw.tensor("X", lengths)
    attributes: dict[str, Any] = {"mode": mode}
    if draw.version == 1:
        attributes |= {"height_scale": scales[2], "width_scale": scales[3]}
        return draw.use((x,), attributes, ranks={"y0": 4}, rtol=tolerance(x))
    if draw.version == 7:
        return draw.use(
            (x,), {**attributes, "scales": scales}, ranks={"y0": x.ndim}, rtol=tolerance(x)
        )
    return draw.use(
        (x, np.array(scales, np.float32)), attributes, ranks={"y0": x.ndim}, rtol=tolerance(x)
    )


@strategy("GridSample")
def grid_sample(draw: Draw) -> Use:
    """X of shape (N, C, D1, ..., Dr) and grid of shape (N, E1, ..., Er, r)."""
    old = draw.version == 16
    spatial = 2 if old else draw.choice((2, 1, 3))
    mode = draw.choice(
        (None, "bilinear", "nearest", "bicubic") if old else (None, "linear", "nearest", "cubic")
    )
    attributes = {
        "mode": mode,
        "padding_mode": draw.choice((None, "zeros", "border", "reflection")),
        "align_corners": draw.choice((None, 0, 1)),
    }
    # The text knows numbers only, and integers only of a weighted sum that is exact.
    if mode in ("bicubic", "cubic"):
        draw.dtype("X", among=FLOATS)
    else:
        draw.dtype("X", but=NO_NUMBERS)
    n = draw.integer(1, 2)
    x = draw.tensor("X", (n, draw.integer(1, 2), *draw.shape((spatial, spatial), (1, 4))))
    outputs = draw.shape((spatial, spatial), (draw.choice((1, 1, 1, 0)), 3))
    # In eighths from -1.5 to 1.5.
    eighths = draw.array(np.int32, (n, *outputs, spatial), -12, 12)
    grid = (eighths / 8).astype(draw.dtype("grid"))
    return draw.use(
        (x, grid),
        attributes,
        ranks={"y0": 2 + spatial},
        rtol=max(tolerance(x), tolerance(grid)),
        batch=(0, 1),
    )


@strategy("AffineGrid")
def affine_grid(draw: Draw) -> Use:
    """Theta of shape (N, r, r + 1), and the size (N, C, D1, ..., Dr)."""
    spatial = draw.choice((2, 3))
    n = draw.integer(1, 3)
    theta = draw.tensor("theta", (n, spatial, spatial + 1))
    size = [n, draw.integer(1, 3), *draw.shape((spatial, spatial), (1, 5))]
    return draw.use(
        (theta, np.array(size)),
        {"align_corners": draw.choice((None, 0, 1))},
        ranks={"y0": spatial + 2},
        rtol=tolerance(theta),
    )


def draw_scale_of(draw: Draw, n: int, scales: tuple[float, ...]) -> float:
    """A scale for an axis of length n.

    It leaves an element, and changes the length unless it is 1: runtimes differ in whether they
    resample where the length stays.
    """
    return draw.choice([s for s in scales if s == 1 or math.floor(n * s) not in (0, n)])


def draw_pixels(draw: Draw, operand: str, mode: str | None, numbers: bool = False) -> None:
    """Fixes the dtype of an image: any for copying; of sums the text says no more for integers."""
    if mode in (None, "nearest"):
        draw.dtype(operand, but=NO_NUMBERS if numbers else ())
    else:
        draw.dtype(operand, among=FLOATS)


def draw_resized(draw: Draw, mode: str | None) -> tuple[list[int], list[int]]:
    """The shape of an image, and which axes are resized.

    They are mostly the last two of four, which is all that some runtimes interpolate.
    """
    usual = draw.choice((True, True, False)) and mode not in (None, "nearest")
    shape = [draw.integer(1, 4) for _ in range(4 if usual else draw.integer(1, 4))]
    if usual:
        return shape, [2, 3]
    return shape, draw.subset(len(shape), 1)


def tolerance(x: np.ndarray) -> float:
    """A tolerance for sums of a few products of the dtype."""
    if x.dtype.itemsize > 2 or is_integer(x.dtype) or x.dtype.kind not in "fV":
        return 1e-5
    return 0.02
