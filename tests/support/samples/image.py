import itertools

import numpy as np

from support.samples import Sample, f32, i64

X = f32(1, 2, 4, 5)
LONG = f32(1, 1, 3, 150)
VOLUME = f32(1, 1, 3, 2, 4)
EMPTY = np.zeros(0, np.float32)
LATER = (13, 18, 19)


def scales(*values):
    return np.array(values, np.float32)


ENLARGED = scales(1, 1, 1.5, 2.6)
REDUCED = scales(1, 1, 0.8, 0.6)
GRID = f32(1, 3, 2, 2, low=-1.3, high=1.3, seed=3)

SAMPLES = [
    # No runtime implements version 1.
    Sample(
        "Upsample",
        (X,),
        {"height_scale": 2.0, "width_scale": 3.0},
        versions=(1,),
        grad=(0,),
        expected=lambda x: x.repeat(2, 2).repeat(3, 3),
    ),
    *(
        Sample(
            "Upsample",
            (X,),
            {"scales": [1.0, 1.0, 2.0, 3.0], "mode": mode},
            versions=(7,),
            grad=(0,),
        )
        for mode in ("nearest", "linear")
    ),
    *(
        Sample("Upsample", (X, scales(1, 1, 2, 1.5)), {"mode": mode}, versions=(9,), grad=(0,))
        for mode in ("nearest", "linear")
    ),
    *(
        Sample("Resize", (X, s), {"mode": mode}, versions=(10,), grad=(0,))
        for mode in ("nearest", "linear")
        for s in (ENLARGED, REDUCED, scales(1, 1, 2, 0.5))
    ),
    *(
        Sample(
            "Resize",
            (X, EMPTY, s),
            {"nearest_mode": rounding, "coordinate_transformation_mode": coordinates},
            versions=(11, *LATER),
        )
        for s in (ENLARGED, REDUCED)
        for rounding in ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
        for coordinates in ("half_pixel", "asymmetric", "pytorch_half_pixel")
    ),
    Sample(
        "Resize",
        (X, EMPTY, ENLARGED),
        {"coordinate_transformation_mode": "tf_half_pixel_for_nn"},
        versions=(11, 13),
    ),
    *(
        Sample(
            "Resize",
            (X, empty, empty, i64(1, 2, *sizes)),
            {"mode": mode, "coordinate_transformation_mode": coordinates},
            versions=versions,
            grad=(0,),
            atol=1e-5,
        )
        for empty, versions in ((EMPTY, (11,)), (None, LATER))
        for sizes in ((6, 13), (3, 2), (1, 1))
        for mode in ("linear", "cubic")
        for coordinates in ("half_pixel", "asymmetric", "pytorch_half_pixel", "align_corners")
    ),
    *(
        Sample(
            "Resize",
            (X, EMPTY, REDUCED),
            {"mode": mode, "coordinate_transformation_mode": "half_pixel_symmetric"},
            versions=(19,),
            grad=(0,),
        )
        for mode in ("linear", "cubic")
    ),
    *(
        Sample("Resize", (LONG, None, s), {"mode": mode}, versions=LATER, grad=(0,), atol=1e-4)
        for mode in ("nearest", "linear", "cubic")
        for s in (scales(1, 1, 1, 1.5), scales(1, 1, 1, 0.7))
    ),
    *(
        Sample(
            "Resize",
            (X, None, REDUCED),
            {"mode": mode, "antialias": 1, "exclude_outside": outside, "cubic_coeff_a": -0.5},
            versions=(18, 19),
            grad=(0,),
        )
        for mode, outside in (("linear", 0), ("cubic", 0), ("cubic", 1))
    ),
    Sample(
        "Resize",
        (X, None, ENLARGED),
        {"mode": "cubic", "exclude_outside": 1},
        versions=LATER,
        grad=(0,),
    ),
    *(
        Sample(
            "Resize",
            (X, scales(0, 0, 0.25, -0.25, 1, 1, 0.75, 1.5), EMPTY, i64(1, 2, 3, 4)),
            {
                "mode": mode,
                "coordinate_transformation_mode": "tf_crop_and_resize",
                "extrapolation_value": 9.0,
            },
            versions=(11, *LATER),
        )
        for mode in ("nearest", "linear")
    ),
    *(
        Sample(
            "Resize",
            (X, None, None, i64(7, 9)),
            {"axes": [2, 3], "keep_aspect_ratio_policy": policy, "mode": mode},
            versions=(18, 19),
        )
        for policy in ("stretch", "not_larger", "not_smaller")
        for mode in ("nearest", "linear")
    ),
    Sample("Resize", (VOLUME, None, scales(1, 1, 2, 2, 1.5)), {"mode": "linear"}, versions=LATER),
    *(
        Sample(
            "GridSample",
            (X, GRID),
            {"mode": mode, "padding_mode": padding, "align_corners": align},
            versions=(16,),
            grad=() if mode == "nearest" else (0, 1),
        )
        for mode, padding, align in itertools.product(
            ("bilinear", "nearest", "bicubic"), ("zeros", "border", "reflection"), (0, 1)
        )
    ),
    *(
        Sample(
            "GridSample",
            (VOLUME, f32(1, 2, 3, 2, 3, low=-1.3, high=1.3)),
            {"mode": mode, "padding_mode": padding},
            versions=(20, 22),
            grad=() if mode == "nearest" else (0, 1),
        )
        for mode, padding in itertools.product(
            ("linear", "nearest"), ("zeros", "border", "reflection")
        )
    ),
    *(
        Sample("GridSample", (X, GRID), {"mode": mode}, versions=(20, 22), grad=(0, 1))
        for mode in ("linear", "cubic")
    ),
    *(
        Sample("AffineGrid", (theta, size), {"align_corners": align}, grad=(0,))
        for theta, size in (
            (f32(2, 2, 3), i64(2, 1, 3, 4)),
            (f32(1, 3, 4), i64(1, 1, 2, 3, 4)),
        )
        for align in (0, 1)
    ),
]
