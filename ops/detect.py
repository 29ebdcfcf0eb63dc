"""Object detection: which boxes to keep, and features of regions."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax import lax

from onnxla.ir.errors import StaticOperandError
from onnxla.ops.chain_rule import product
from onnxla.ops.checks import only
from onnxla.ops.limits import check_size
from onnxla.ops.table import op
from onnxla.ops.values import Value, is_concrete, xp


def corners(boxes: np.ndarray, center_point_box: int) -> tuple[np.ndarray, np.ndarray]:
    """The lower and the upper corners [..., 2] of boxes [..., 4]."""
    a, b = boxes[..., :2], boxes[..., 2:]
    return (a - b / 2, a + b / 2) if center_point_box else (np.minimum(a, b), np.maximum(a, b))


@op(
    "NonMaxSuppression",
    since=(10, 11),
    static=("boxes", "scores", "max_output_boxes_per_class", "iou_threshold", "score_threshold"),
)
def non_max_suppression(
    boxes: np.ndarray,
    scores: np.ndarray,
    max_output_boxes_per_class: np.ndarray | None = None,
    iou_threshold: np.ndarray | None = None,
    score_threshold: np.ndarray | None = None,
    *,
    center_point_box: int = 0,
) -> np.ndarray:
    """Rows (batch, class, box) int64 of the boxes kept, for each class the best one first.

    A box of boxes [B, N, 4] with scores [B, C, N] is dropped if its overlap with a better one that
    is kept, intersection over union, exceeds `iou_threshold`.

    Departs from ONNX: a box with just `score_threshold` is not kept, as in ONNX Runtime and ONNX's
    reference evaluator; the text removes those below it.
    """
    limit = 0 if max_output_boxes_per_class is None else max_output_boxes_per_class.item()
    most = np.float32(0 if iou_threshold is None else iou_threshold.item())
    low, high = corners(boxes, center_point_box)
    area = (high - low).prod(-1)
    kept: list[tuple[int, int, int]] = []
    for batch, label in np.ndindex(*scores.shape[:2]):
        score, lows, highs, areas = scores[batch, label], low[batch], high[batch], area[batch]
        order = np.argsort(-score, kind="stable")
        if score_threshold is not None:
            order = order[score[order] > score_threshold.item()]
        for _ in range(limit):
            if not len(order):
                break
            best, order = order[0], order[1:]
            kept.append((batch, label, best))
            sides = np.minimum(highs[order], highs[best]) - np.maximum(lows[order], lows[best])
            shared = np.maximum(sides, 0).prod(-1)
            union = areas[order] + areas[best] - shared
            # Boxes without an area overlap with none.
            order = order[~((shared > 0) & (shared > most * union))]
    return np.asarray(kept, np.int64).reshape(-1, 3)


def taps(
    start: Value, end: Value, outputs: int, size: int, ratio: int, half_pixel: bool
) -> tuple[Value, Value, Value]:
    """Along one axis, the elements that the points of each output lie between, and their weights.

    Both are [R, outputs, 2 * points]; a weight is zero where there is no point or it is outside.
    Then how many points each region has, at least 1; [R, 1, 1].
    """
    m = xp(start)
    extent = end - start if half_pixel else m.maximum(end - start, 1)
    count = np.full(1, ratio) if ratio else np.ceil(np.asarray(extent) / outputs).astype(int)
    check_size((len(count), outputs, 2 * max(count.max(initial=1), 1)), what="all points")
    points, count = np.arange(max(count.max(initial=1), 1)), count[:, None, None]
    step = (extent / outputs)[:, None, None]
    parts = np.maximum(count, 1).astype(step.dtype)
    at = start[:, None, None] + np.arange(outputs, dtype=step.dtype)[:, None] * step
    at = at + (points + 0.5).astype(step.dtype) * step / parts
    inside = (at >= -1) & (at <= size) & (points < count)
    at = m.clip(at, 0, size - 1)
    low = m.floor(at).astype(np.int32)
    part = at - low.astype(at.dtype)
    places = m.concatenate([low, m.minimum(low + 1, size - 1)], -1)
    weights = m.concatenate([m.where(inside, 1 - part, 0), m.where(inside, part, 0)], -1)
    return places, weights, parts


@op("RoiAlign", since=(16, 22))
def roi_align(
    X: Value,
    rois: Value,
    batch_indices: Value,
    *,
    coordinate_transformation_mode: str = "half_pixel",
    mode: str = "avg",
    output_height: int = 1,
    output_width: int = 1,
    sampling_ratio: int = 0,
    spatial_scale: float = 1.0,
) -> Value:
    """Features [R, C, output_height, output_width] of regions rois [R, 4], (x1, y1, x2, y2).

    X is [N, C, H, W], batch_indices [R]. Each output averages `sampling_ratio` squared points, each
    interpolated between four elements; without a ratio, about one a pixel, and then the regions
    must be known. Mode max takes the largest contribution of an element to a point.

    Departs from ONNX: mode max is that of ONNX Runtime and of ONNX's own tests, where elements are
    compared after they are weighted, not the points.
    """
    only("mode", mode, "avg", "max")
    if not sampling_ratio and not is_concrete(rois):
        raise StaticOperandError(
            "without sampling_ratio, the sizes of RoiAlign's rois set how many points there are, "
            "so they must be known while tracing"
        )
    half_pixel = coordinate_transformation_mode == "half_pixel"
    bounds = rois if rois.dtype == np.float64 else rois.astype(np.float32)
    bounds = bounds * spatial_scale - (0.5 if half_pixel else 0.0)
    axes = (1, output_height, X.shape[2]), (0, output_width, X.shape[3])
    (y, v, ny), (x, w, nx) = (
        taps(bounds[:, i], bounds[:, i + 2], outputs, size, sampling_ratio, half_pixel)
        for i, outputs, size in axes
    )
    X, v, w = jnp.asarray(X), v.astype(X.dtype), w.astype(X.dtype)

    def average(points: Value, v: Value, w: Value) -> Value:
        rows = product(points, w[..., None]).sum(3)
        return product(rows, v[..., None, None]).sum(1)

    def largest(points: Value, v: Value, w: Value) -> Value:
        weights = product(v[:, :, None, None], w)
        return product(points, weights[..., None]).max((1, 3))

    def region(roi: tuple[Value, ...]) -> Value:
        image, y, v, x, w = roi
        points = jnp.moveaxis(X[image], 0, -1)[y[:, :, None, None], x]
        return jnp.moveaxis((average if mode == "avg" else largest)(points, v, w), -1, 0)

    if mode == "avg":
        v, w = v / ny.astype(v.dtype), w / nx.astype(w.dtype)
    return lax.map(region, (jnp.asarray(batch_indices), y, v, x, w))


@op("RoiAlign", since=(10,))
def roi_align_10(
    X: Value,
    rois: Value,
    batch_indices: Value,
    *,
    mode: str = "avg",
    output_height: int = 1,
    output_width: int = 1,
    sampling_ratio: int = 0,
    spatial_scale: float = 1.0,
) -> Value:
    """`roi_align` whose coordinates are not shifted by half a pixel."""
    return roi_align(
        X,
        rois,
        batch_indices,
        coordinate_transformation_mode="output_half_pixel",
        mode=mode,
        output_height=output_height,
        output_width=output_width,
        sampling_ratio=sampling_ratio,
        spatial_scale=spatial_scale,
    )
