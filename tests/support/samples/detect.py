from typing import Any

import numpy as np

from support.samples import Sample, f32, i64

CORNERS = np.asarray(
    [
        [0, 0, 1, 1],
        [0, 0.1, 1, 1.1],
        [1, 0.9, 0, -0.1],
        [0, 10, 1, 11],
        [0, 10.1, 1, 11.1],
        [0, 100, 1, 101],
    ],
    np.float32,
)
CENTERS = np.concatenate(
    [(CORNERS[:, :2] + CORNERS[:, 2:]) / 2, abs(CORNERS[:, 2:] - CORNERS[:, :2])], 1
)
SCORES = np.asarray(
    [[[0.9, 0.75, 0.6, 0.95, 0.5, 0.3], [0.5, 0.5, 0.4, 0.2, 0.2, 0.1]]], np.float32
)
BATCH = (np.stack([CORNERS, CORNERS[::-1]]), np.concatenate([SCORES, SCORES[:, :, ::-1]]))

X = f32(2, 3, 8, 7)
ROIS = np.asarray(
    [[0, 0, 6, 7], [1.2, 0.4, 3.7, 5.1], [-3, -2, 2.5, 4.5], [4, 4, 9, 12], [2, 2, 2, 2]],
    np.float32,
)
IMAGES = i64(0, 1, 1, 0, 1)


def nms(boxes: Any, scores: Any, limit: int, *thresholds: float, **attributes: int) -> Sample:
    numbers = (np.asarray([t], np.float32) for t in thresholds)
    return Sample("NonMaxSuppression", (boxes, scores, i64(limit), *numbers), attributes)


SAMPLES = [
    nms(CORNERS[None], SCORES, 3, 0.5, 0.0),
    nms(CORNERS[None], SCORES, 9, 0.5, 0.4),
    nms(CENTERS[None], SCORES, 3, 0.5, center_point_box=1),
    nms(CORNERS[None], SCORES, 2),
    nms(CORNERS[None], SCORES, 0, 0.5),
    nms(*BATCH, 4, 0.8, 0.25),
    Sample("NonMaxSuppression", (CORNERS[None], SCORES)),
    *(
        Sample(
            "RoiAlign",
            (X, ROIS, IMAGES),
            {
                "output_height": 3,
                "output_width": 2,
                "spatial_scale": 0.9,
                "sampling_ratio": ratio,
                **attributes,
            },
            versions=versions,
            # By the rois the derivative jumps where a point meets a pixel.
            grad=(0,),
        )
        for ratio in (0, 2)
        for versions, attributes in (
            ((10, 16), {}),
            ((16, 22), {"coordinate_transformation_mode": "output_half_pixel"}),
        )
    ),
    *(
        Sample(
            "RoiAlign",
            (X, ROIS[:2] + f32(2, 4, low=0.1, high=0.2), IMAGES[:2]),
            {"output_height": 2, "output_width": 2, "sampling_ratio": 2},
            versions=(version,),
            grad=(1,),
        )
        for version in (10, 16)
    ),
    # ONNX Runtime's mode max compares the points, but not in the way that ONNX's tests do.
    Sample("RoiAlign", (X, ROIS, IMAGES), {"mode": "max", "sampling_ratio": 2}, versions=(16,)),
    Sample("RoiAlign", (X, ROIS, IMAGES), {"mode": "max", "output_width": 2}, versions=(22,)),
]
