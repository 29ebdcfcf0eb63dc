"""Faults in resizing and sampling of images."""

from __future__ import annotations

import functools

import ml_dtypes
import numpy as np

from onnxla.testing.arrays import f32, i32, i64
from onnxla.testing.case import Case
from onnxla.testing.fault_records import Fault
from onnxla.testing.known_faults.conv import narrow_image
from onnxla.testing.known_faults.nonfinite import beyond
from onnxla.testing.predicates import (
    When,
    attribute,
    before,
    dtype,
    empty,
    integer,
    kind,
    operand,
    size,
    some,
    spatial,
    version,
)
from onnxla.testing.use import example

LINE = f32([1, 2, 4, 8])
IMAGE = np.arange(4, dtype=np.float32).reshape(1, 1, 2, 2)


def mode(case: Case, default: str = "nearest") -> str:
    """The interpolation mode."""
    found: str = case.attributes.get("mode", default)
    return found


def transform(case: Case) -> str:
    """The coordinate transformation mode of Resize."""
    found: str = case.attributes.get("coordinate_transformation_mode", "half_pixel")
    return found


def given(case: Case, position: int) -> np.ndarray | None:
    """An operand, if it is there and not empty."""
    found = case.operands[position : position + 1]
    return found[0] if found and found[0] is not None and found[0].size else None


@When
def cropped_size(case: Case) -> bool:
    """Whether the size is the product of a scale and the size of a region of interest."""
    roi, scales = given(case, 1), given(case, 2)
    if transform(case) != "tf_crop_and_resize" or roi is None or scales is None:
        return False
    starts, ends = np.split(roi.astype(np.float64), 2)
    return bool((ends - starts != 1).any())


@When
def negative_axes(case: Case) -> bool:
    """Whether axes are counted from the back."""
    return bool(min(case.attributes.get("axes", [0])) < 0)


def resized(case: Case) -> list[int]:
    """The axes that are resized, or to be resized."""
    rank = case.operands[0].ndim
    axes = [a % rank for a in case.attributes.get("axes", range(rank))]
    scales, sizes = given(case, 2), given(case, 3)
    if scales is not None:
        return [a for a, s in zip(axes, scales, strict=True) if s != 1]
    if sizes is None:
        return []
    return [a for a, n in zip(axes, sizes, strict=True) if n != case.operands[0].shape[a]]


@When
def to_one(case: Case) -> bool:
    """Whether an axis is interpolated cubically at its one position, in PyTorch's way."""
    if mode(case) != "cubic" or transform(case) != "pytorch_half_pixel":
        return False
    rank = case.operands[0].ndim
    axes = [a % rank for a in case.attributes.get("axes", range(rank))]
    lengths = [case.operands[0].shape[a] for a in axes]
    scales, sizes = given(case, 2), given(case, 3)
    if scales is not None:
        return any(int(n * s) == 1 for n, s in zip(lengths, scales, strict=True))
    if case.attributes.get("keep_aspect_ratio_policy", "stretch") != "stretch":
        return True
    return sizes is not None and 1 in sizes.tolist()


# Whether some scale is no integer.
fractional = some(lambda x: x % 1 != 0, of=1)


@When
def cubic_beyond_border(case: Case) -> bool:
    """Whether, with `border`, a cubic position is outside of the image."""
    border = case.attributes.get("padding_mode") == "border"
    outside = np.abs(case.operands[1].astype(np.float64)) > 1
    return mode(case) == "cubic" and border and bool(outside.any())


FAULTS = [
    Fault(
        "reference",
        "Resize",
        "fails in version 10",
        "Version 10 has the operands X and scales. The reference takes scales for the regions of "
        "interest of later versions.",
        version(10),
        functools.partial(example, "Resize", 10, LINE, f32([2]), ranks={"y0": 1}),
    ),
    *(
        Fault(
            runtime,
            "Resize",
            "ignores the region of interest in the size of the output",
            "'output_dimension = floor(input_dimension * (roi_end - roi_start) * scale) if input "
            '"sizes" is not specified.\'',
            cropped_size,
            functools.partial(
                example,
                "Resize",
                13,
                IMAGE,
                f32([0, 0, 0, 0, 1, 1, 0.5, 1]),
                f32([1, 1, 2, 2]),
                mode="linear",
                coordinate_transformation_mode="tf_crop_and_resize",
                ranks={"y0": 4},
            ),
        )
        for runtime in ("reference", "onnxruntime")
    ),
    Fault(
        "reference",
        "Resize",
        "fails on negative axes",
        "'Negative value means counting dimensions from the back.'",
        negative_axes,
        functools.partial(example, "Resize", 19, LINE, None, f32([2]), axes=[-1], ranks={"y0": 1}),
    ),
    Fault(
        "onnxruntime",
        "Resize",
        "leaves negative axes as they are where the aspect ratio is to be kept",
        "'Negative value means counting dimensions from the back.'",
        negative_axes & ~attribute("keep_aspect_ratio_policy", "stretch", default="stretch"),
        functools.partial(
            example,
            "Resize",
            19,
            IMAGE,
            None,
            None,
            i64([5, 5]),
            axes=[-2, -1],
            keep_aspect_ratio_policy="not_smaller",
            mode="linear",
            ranks={"y0": 4},
        ),
    ),
    Fault(
        "onnxruntime",
        "Resize",
        "interpolates the last two of two or four axes only",
        "The text says 'N-linear interpolation for N-D tensor', and the same of cubic. What is "
        "rejected is seen when the node runs, where the sizes are not stored in the model.",
        lambda case: (
            mode(case) in ("linear", "cubic")
            and (
                case.operands[0].ndim not in (2, 4)
                or any(a < case.operands[0].ndim - 2 for a in resized(case))
            )
        ),
        functools.partial(
            example,
            "Resize",
            13,
            LINE,
            None,
            f32([2]),
            mode="cubic",
            ranks={"y0": 1},
        ),
    ),
    Fault(
        "reference",
        "Resize",
        "has no transformation tf_half_pixel_for_nn",
        "Version 11 has: 'x_original = (x_resized + 0.5) / scale'.",
        attribute("coordinate_transformation_mode", "tf_half_pixel_for_nn", default="half_pixel"),
        functools.partial(
            example,
            "Resize",
            11,
            LINE,
            np.zeros(0, np.float32),
            f32([2]),
            coordinate_transformation_mode="tf_half_pixel_for_nn",
            ranks={"y0": 1},
        ),
    ),
    Fault(
        "reference",
        "Resize",
        "computes in floating point where elements are only copied: fails on strings and booleans, "
        "and drops imaginary parts",
        "T1 has all types, and mode nearest takes elements as they are.",
        kind("bcOUSV") & ~dtype(ml_dtypes.bfloat16),
        functools.partial(example, "Resize", 19, np.array([True]), None, f32([2]), ranks={"y0": 1}),
    ),
    Fault(
        "reference",
        "Resize",
        "rejects `antialias` in mode nearest",
        '\'"linear" and "cubic" interpolation modes will use an antialiasing filter when '
        "downscaling', so that it has no effect on others.",
        attribute("mode", "nearest", default="nearest") & attribute("antialias", 1),
        functools.partial(
            example, "Resize", 19, LINE, None, f32([2]), antialias=1, ranks={"y0": 1}
        ),
    ),
    Fault(
        "reference",
        "Resize",
        "takes -0.5 for the one position of an axis with pytorch_half_pixel",
        "'x_original = length_resized > 1 ? (x_resized + 0.5) / scale - 0.5 : 0'",
        to_one,
        functools.partial(
            example,
            "Resize",
            19,
            LINE,
            None,
            None,
            i64([1]),
            mode="cubic",
            coordinate_transformation_mode="pytorch_half_pixel",
            ranks={"y0": 1},
        ),
    ),
    Fault(
        "reference",
        "Upsample",
        "fails where the scales are attributes, before version 9",
        "Versions 1 and 7 have attributes height_scale and width_scale, and scales.",
        before(9),
        functools.partial(example, "Upsample", 7, LINE, scales=[2.0], ranks={"y0": 1}),
    ),
    Fault(
        "reference",
        "Upsample",
        "implements neither linear interpolation nor scales with fractions",
        "'Two interpolation modes: nearest (default), and linear'.",
        ~before(9) & (attribute("mode", "linear", default="nearest") | fractional),
        functools.partial(example, "Upsample", 9, LINE, f32([2]), mode="linear", ranks={"y0": 1}),
    ),
    Fault(
        "reference",
        "GridSample",
        "does not know the names of the modes of version 16",
        "'Three interpolation modes: bilinear (default), nearest and bicubic.'",
        attribute("mode", "bilinear", "bicubic", default="nearest"),
        functools.partial(
            example,
            "GridSample",
            16,
            IMAGE,
            f32([[[[0, 0]]]]),
            mode="bilinear",
            ranks={"y0": 4},
        ),
    ),
    Fault(
        "reference",
        "GridSample",
        "moves cubic positions to the border before it takes neighbours around them",
        "'border: use border values for out-of-bound grid locations', without saying whether those "
        "of a position or of its neighbours. onnxla moves the neighbours, as ONNX Runtime and "
        "PyTorch do.",
        cubic_beyond_border,
        functools.partial(
            example,
            "GridSample",
            22,
            f32([[[[1, 2], [3, 5]]]]),
            f32([[[[1.25, 0]]]]),
            mode="cubic",
            padding_mode="border",
            ranks={"y0": 4},
        ),
    ),
    Fault(
        "reference",
        "GridSample",
        "fails where the grid is empty",
        "Nothing excludes it.",
        empty(of=1),
        functools.partial(
            example, "GridSample", 22, IMAGE, np.zeros((1, 0, 1, 2), np.float32), ranks={"y0": 4}
        ),
    ),
    Fault(
        "reference",
        "GridSample",
        "rounds the weights of a sum of integers to integers",
        "'For integer input types, intermediate values are computed as floating point and cast to "
        "integer at the end.'",
        integer() & ~attribute("mode", "nearest", default="linear"),
        functools.partial(
            example,
            "GridSample",
            22,
            i32([[[[8, 4]]]]),
            f32([[[[0, 0]]]]),
            ranks={"y0": 4},
        ),
    ),
    Fault(
        "reference",
        "GridSample",
        "fails to reflect where the borders of an axis coincide",
        "With align_corners 'the extrema (-1 and 1) are considered as referring to the center "
        "points of the input's corner pixels', which is one where the axis has one element; its "
        "value is that of all reflections.",
        attribute("padding_mode", "reflection") & attribute("align_corners", 1) & narrow_image,
        functools.partial(
            example,
            "GridSample",
            22,
            IMAGE[:, :, :1],
            f32([[[[0, 2]]]]),
            padding_mode="reflection",
            align_corners=1,
            ranks={"y0": 4},
        ),
    ),
    Fault(
        "onnxruntime",
        "GridSample",
        "rejects all but two or three spatial axes",
        "'Input tensor of rank r+2 that has shape (N, C, D1, D2, ..., Dr)'.",
        ~spatial(2, 3),
        functools.partial(
            example,
            "GridSample",
            22,
            IMAGE[0],
            np.zeros((1, 1, 1), np.float32),
            ranks={"y0": 3},
        ),
    ),
    Fault(
        "reference",
        "AffineGrid",
        "returns float32 whatever the type of theta",
        "The grid has the type T1 of theta.",
        ~dtype(np.float32),
        functools.partial(
            example,
            "AffineGrid",
            20,
            np.ones((1, 2, 3)),
            i64([1, 1, 2, 2]),
            ranks={"y0": 4},
        ),
    ),
    *(
        Fault(
            runtime,
            "AffineGrid",
            f"puts the one position of an axis at {end} with `align_corners`",
            "'if align_corners=1, consider -1 and 1 to refer to the centers of the corner pixels', "
            "which are one pixel here; the text does not say more. onnxla puts it at 0, as PyTorch "
            "does, which the text refers to.",
            attribute("align_corners", 1) & operand(1, lambda size: 1 in size[2:]),
            functools.partial(
                example,
                "AffineGrid",
                20,
                np.ones((1, 2, 3), np.float32),
                i64([1, 1, 1, 3]),
                align_corners=1,
                ranks={"y0": 4},
            ),
        )
        for runtime, end in (("reference", "-1"), ("onnxruntime", "1"))
    ),
    Fault(
        "onnxruntime",
        "AffineGrid",
        "fails on two spatial axes unless theta is float32 or float64",
        "T1 has float16. The function that defines the operator is run, in which a Split of the "
        "three-dimensional case fails.",
        dtype(np.float16, ml_dtypes.bfloat16) & size(0, 4, of=1),
        functools.partial(
            example,
            "AffineGrid",
            20,
            np.ones((1, 2, 3), np.float16),
            i64([1, 1, 2, 2]),
            ranks={"y0": 4},
        ),
    ),
    Fault(
        "reference",
        "Resize",
        "gives the greatest number for an infinity",
        "Nothing limits the elements, which are an average of others. The reference "
        "clips them to what the dtype has, as it has to for integers.",
        beyond,
        functools.partial(
            example,
            "Resize",
            19,
            f32([[[[np.inf]]]]),
            None,
            f32([1, 1, 1, 1]),
            mode="linear",
            ranks={"y0": 4},
        ),
        nonfinite=True,
    ),
    *(
        Fault(
            runtime,
            "RoiAlign",
            "leaves NaN out of maxima unless it comes first",
            "The text is silent on NaN. onnxla takes it for the maximum, as in MaxPool.",
            attribute("mode", "max") & some(np.isnan),
            functools.partial(
                example,
                *("RoiAlign", 16, f32([[[[1, np.nan]]]]), f32([[0, 0, 3, 1]]), i64([0])),
                mode="max",
                sampling_ratio=3,
                ranks={"y0": 4},
            ),
        )
        for runtime in ("reference", "onnxruntime")
    ),
]
