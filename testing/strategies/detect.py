"""Object detection. Letters: B batches, C classes or channels, N boxes or images, R regions."""

from __future__ import annotations

import numpy as np

from onnxla.testing.draw import Draw
from onnxla.testing.operator_cases import strategy
from onnxla.testing.strategies.conv import half_tolerance
from onnxla.testing.use import Use


@strategy("NonMaxSuppression")
def non_max_suppression(draw: Draw) -> Use:
    """Boxes (B, N, 4) with integer corners, and scores (B, C, N) that all differ."""
    batches, classes, boxes = draw.integer(1, 2), draw.integer(1, 2), draw.integer(1, 6)
    centered = draw.choice((None, 0, 1))
    # Overlaps are fractions of small integers, so that those equal to a threshold are exactly so.
    places = draw.array(np.float32, (batches, boxes, 2), 0, 4).round()
    lengths = draw.array(np.float32, (batches, boxes, 2), 1, 4).round()
    if centered:
        # Even sides: their halves are integers too.
        corners = np.concatenate([places, 2 * lengths], -1)
    else:
        low, high = places, places + lengths
        # Any two opposite corners.
        for axis in range(2):
            if draw.flag():
                low[..., axis], high[..., axis] = high[..., axis].copy(), low[..., axis].copy()
        corners = np.concatenate([low, high], -1)
    scores = draw.array(np.float32, (batches, classes, boxes), distinct=True)
    limit = draw.choice((10, 2, 1, 0, None))
    iou = draw.choice((None, 0.5, 0.25, 0.0, 0.75, 1.0))
    least = draw.choice((None, 0.0, float(scores.flat[0]), -0.3, -10.0))
    shape = draw.choice(((1,), ()))
    inputs = [
        corners,
        scores,
        None if limit is None else np.full(shape, limit, np.int64),
        None if iou is None else np.full(shape, iou, np.float32),
        None if least is None else np.full(shape, least, np.float32),
    ]
    return draw.use(inputs, {"center_point_box": centered}, ranks={"y0": 2})


@strategy("RoiAlign")
def roi_align(draw: Draw) -> Use:
    """X of shape (N, C, H, W), rois (R, 4) and their images (R,)."""
    images, height, width = draw.integer(1, 2), draw.integer(1, 6), draw.integer(1, 6)
    x = draw.tensor("X", (images, draw.integer(1, 3), height, width))
    # Where a point leaves the image, what is computed jumps: these numbers are exact.
    scale = draw.choice((None, 1.0, 0.5, 2.0))
    rois, batch = [], []
    for _ in range(draw.integer(1, 3)):
        x1, y1 = draw.integer(-2, 2 * width) / 2, draw.integer(-2, 2 * height) / 2
        x2, y2 = x1 + draw.integer(1, 2 * width) / 2, y1 + draw.integer(1, 2 * height) / 2
        rois.append([x1, y1, x2, y2])
        batch.append(draw.integer(0, images - 1))
    attributes = {
        "mode": draw.choice((None, "avg", "max")),
        "output_height": draw.choice((None, 1, 2, 4)),
        "output_width": draw.choice((None, 1, 2, 4)),
        "sampling_ratio": draw.choice((None, 1, 2, 0, 4)),
        "spatial_scale": scale,
    }
    if draw.has("coordinate_transformation_mode"):
        attributes["coordinate_transformation_mode"] = draw.choice(
            (None, "half_pixel", "output_half_pixel")
        )
    inputs = (x, np.array(rois).astype(x.dtype), np.array(batch, np.int64))
    return draw.use(inputs, attributes, rtol=half_tolerance(x, 1e-4))
