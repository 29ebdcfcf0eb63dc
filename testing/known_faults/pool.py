"""Faults in pools."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from onnxla.testing.arrays import ones
from onnxla.testing.case import Case
from onnxla.testing.fault_records import Fault
from onnxla.testing.known_faults.conv import SAME, dilated_same, spatial_rank
from onnxla.testing.predicates import (
    When,
    attribute,
    dtype,
    has,
    kind,
    outputs,
    size,
    some,
    spatial,
    version,
)
from onnxla.testing.use import example

RISING = np.arange(4, dtype=np.float32).reshape(1, 1, 4)
AUTOMATIC = (*SAME, "VALID")
SIZES = (
    "'SAME_UPPER or SAME_LOWER mean pad the input so that output_shape[i] = ceil(input_shape[i] / "
    "strides[i])'"
)


def steps(case: Case, name: str) -> list[int]:
    """The strides or dilations."""
    found: list[int] = case.attributes.get(name, [1] * spatial_rank(case))
    return found


@When
def by_common_code(case: Case) -> bool:
    """Whether the reference computes MaxPool as it does the other pools."""
    return max(*steps(case, "strides"), *steps(case, "dilations")) == 1


# Whether there is a second output.
asks_for_indices = outputs(2)
# Whether the padding is automatic.
automatic = attribute("auto_pad", *AUTOMATIC)


# Whether the padding is automatic and `ceil_mode` is set.
automatic_ceil = automatic & attribute("ceil_mode", 1, default=0)


@When
def automatic_gaps(case: Case) -> bool:
    """Whether the padding is automatic and the window has gaps."""
    return automatic(case) and max(steps(case, "dilations")) > 1


@When
def less_than_none(case: Case) -> bool:
    """Whether the stride is so long that the last window ends before the input does."""
    if case.attributes.get("auto_pad") not in SAME:
        return False
    shape = case.operands[0].shape
    window = zip(
        shape[1:-1] if case.attributes.get("channels_last") else shape[2:],
        case.attributes["kernel_shape"],
        steps(case, "strides"),
        steps(case, "dilations"),
        strict=True,
    )
    return any((-(-n // s) - 1) * s + (k - 1) * d + 1 < n for n, k, s, d in window)


@When
def misread_pads(case: Case) -> bool:
    """Whether the pads are others if the two of each axis follow each other, or if ignored."""
    pads = case.attributes.get("pads", [])
    return bool(pads[1] != pads[2]) if len(pads) == 4 else any(pads)


@When
def partial_window(case: Case) -> bool:
    """Whether, with `ceil_mode`, a last window reaches beyond the padding."""
    if case.attributes.get("ceil_mode", 0) == 0 or automatic(case):
        return False
    rank = spatial_rank(case)
    pads = case.attributes.get("pads", [0] * 2 * rank)
    for axis, n in enumerate(case.operands[0].shape[2:]):
        reach = (case.attributes["kernel_shape"][axis] - 1) * steps(case, "dilations")[axis] + 1
        if (n + pads[axis] + pads[axis + rank] - reach) % steps(case, "strides")[axis]:
            return True
    return False


@When
def partial_valid_window(case: Case) -> bool:
    """Whether, with `ceil_mode` and VALID padding, a last window would reach beyond the input."""
    if not (attribute("auto_pad", "VALID") & attribute("ceil_mode", 1))(case):
        return False
    shape = case.operands[0].shape
    last = case.op_type == "NhwcMaxPool" or case.attributes.get("channels_last")
    window = zip(
        shape[1:-1] if last else shape[2:],
        case.attributes["kernel_shape"],
        steps(case, "strides"),
        steps(case, "dilations"),
        strict=True,
    )
    return any((n - (k - 1) * d - 1) % s for n, k, s, d in window)


def partial_windows(op: str, *further: Any, **details: Any) -> Fault:
    """ONNX Runtime has the windows of explicit padding of 0."""
    other = details.get("domain", "")
    x = RISING.astype(np.uint8) if other else RISING
    x = x.reshape(1, 4, 1) if op == "NhwcMaxPool" else x
    return Fault(
        "onnxruntime",
        op,
        "adds a window that reaches beyond the input, with `ceil_mode` and VALID padding",
        "'VALID: output_spatial_shape[i] = ceil((input_spatial_shape[i] - "
        "((kernel_spatial_shape[i] - 1) * dilations[i] + 1) + 1) / strides[i])'",
        partial_valid_window,
        lambda: example(
            op,
            1 if other else 22,
            x,
            *further,
            kernel_shape=[3],
            strides=[3],
            auto_pad="VALID",
            ceil_mode=1,
            **details,
        ),
        domain=other,
    )


# Whether an element is NaN.
has_nan = some(np.isnan)


SILENT = "The text is silent on NaN. onnxla takes it for the maximum, as PyTorch does."
MAXIMA: dict[str, dict[str, Any]] = {"MaxPool": {"kernel_shape": [2]}, "GlobalMaxPool": {}}
MINUS_INFINITY = np.full_like(RISING, -np.inf)
ONE_NAN = np.where(RISING > 0, RISING, np.float32(np.nan))

FAULTS = [
    Fault(
        "reference",
        "MaxPool",
        "adds padding twice with `ceil_mode`, unless there is a stride or dilation",
        "'output_spatial_shape[i] = ceil((input_spatial_shape[i] + pad_shape[i] - dilation[i] * "
        "(kernel_shape[i] - 1) - 1) / strides_spatial_shape[i] + 1)'",
        lambda case: (
            by_common_code(case)
            and case.attributes.get("ceil_mode", 0) == 1
            and any(case.attributes.get("pads", ()))
        ),
        lambda: example(
            "MaxPool",
            22,
            RISING.reshape(1, 1, 2, 2),
            kernel_shape=[2, 2],
            pads=[1, 1, 1, 1],
            ceil_mode=1,
        ),
    ),
    Fault(
        "reference",
        "MaxPool",
        "fails on integers along two axes, unless there is a stride or dilation",
        "T also has int8 and uint8. The reference pads them with NaN.",
        by_common_code & (spatial(2) | attribute("auto_pad", *SAME)) & kind("iu"),
        functools.partial(
            example, "MaxPool", 22, np.ones((1, 1, 2, 2), np.int8), kernel_shape=[1, 1]
        ),
    ),
    Fault(
        "reference",
        "MaxPool",
        "leaves NaN out as if it were padding, and fails on a window of nothing else",
        SILENT,
        has_nan,
        functools.partial(example, "MaxPool", 22, ONE_NAN, kernel_shape=[2]),
    ),
    *(
        fault
        for op, attributes in MAXIMA.items()
        for fault in (
            Fault(
                "onnxruntime",
                op,
                "leaves NaN out, in some dtypes unless it comes first",
                SILENT,
                has_nan,
                functools.partial(example, op, 22, ONE_NAN, **attributes),
            ),
            Fault(
                "onnxruntime",
                op,
                "gives the lowest finite number for minus infinity",
                "MaxPool is 'computing the max on all values', of which -inf is one; GlobalMaxPool "
                "'is equivalent to MaxPool'.",
                some(np.isneginf),
                functools.partial(example, op, 22, MINUS_INFINITY, **attributes),
            ),
        )
    ),
    Fault(
        "reference",
        "MaxPool",
        "numbers the indices wrongly where there is neither stride nor dilation",
        "'The indices are computed as flatten 1-D tensor ... So the values in indices are in "
        "[0, N x C x D1 x ... x Dn).' The reference counts in the window as if it were the output, "
        "each channel from zero, and fails where there is padding.",
        asks_for_indices & by_common_code,
        functools.partial(
            example, "MaxPool", 22, RISING.reshape(1, 2, 2), outputs=2, kernel_shape=[1]
        ),
    ),
    Fault(
        "reference",
        "MaxPool",
        "fails with SAME_UPPER or SAME_LOWER unless there is a stride or dilation",
        SIZES + ".",
        attribute("auto_pad", *SAME) & by_common_code,
        functools.partial(example, "MaxPool", 22, RISING, kernel_shape=[2], auto_pad="SAME_UPPER"),
    ),
    Fault(
        "reference",
        "MaxPool",
        "rounds the size down with SAME_LOWER, and puts the odd element of padding after",
        SIZES + ". 'In case the padding is an odd number, the extra padding is added at the "
        "end for SAME_UPPER and at the beginning for SAME_LOWER.'",
        attribute("auto_pad", "SAME_LOWER") & ~by_common_code,
        functools.partial(
            example,
            "MaxPool",
            22,
            RISING[..., :3],
            kernel_shape=[2],
            strides=[2],
            auto_pad="SAME_LOWER",
        ),
    ),
    Fault(
        "reference",
        "MaxPool",
        "takes pads along two axes in another order and ignores others, unless there is a stride",
        "The 'pads format should be as follow [x1_begin, x2_begin...x1_end, x2_end,...], where "
        "xi_begin the number of pixels added at the beginning of axis i'.",
        misread_pads & by_common_code,
        functools.partial(example, "MaxPool", 22, RISING, kernel_shape=[2], pads=[0, 1]),
    ),
    Fault(
        "reference",
        "MaxPool",
        "moves the windows where automatic padding would be less than none",
        SIZES + ", which a window shorter than its stride needs no padding for.",
        less_than_none,
        functools.partial(
            example,
            "MaxPool",
            22,
            np.arange(6, dtype=np.float32).reshape(1, 1, 6),
            kernel_shape=[1],
            strides=[3],
            auto_pad="SAME_UPPER",
        ),
    ),
    *(
        Fault(
            "onnxruntime",
            op,
            "fails where automatic padding would be less than none",
            SIZES + ", which a window shorter than its stride needs no padding for.",
            less_than_none,
            functools.partial(
                example,
                op,
                11,
                RISING[..., :3],
                kernel_shape=[1],
                strides=[3],
                auto_pad="SAME_LOWER",
            ),
        )
        for op in ("MaxPool", "AveragePool")
    ),
    *(
        Fault(
            "onnxruntime",
            op,
            "makes the output smaller by what a dilation adds to the window, with SAME_UPPER and "
            "SAME_LOWER",
            SIZES + ", whatever the dilations.",
            dilated_same,
            functools.partial(
                example,
                op,
                22,
                RISING,
                kernel_shape=[2],
                dilations=[2],
                auto_pad="SAME_UPPER",
            ),
        )
        for op in ("MaxPool", "AveragePool", "LpPool")
    ),
    *(
        fault
        for op in ("AveragePool", "LpPool")
        for fault in (
            Fault(
                "reference",
                op,
                "rejects `ceil_mode` with automatic padding",
                "AveragePool's text has a formula for it: 'the output spatial shape will be "
                "following when ceil_mode is enabled: VALID: ...'. LpPool's does not exclude it.",
                automatic_ceil,
                functools.partial(
                    example, op, 22, RISING, kernel_shape=[2], auto_pad="VALID", ceil_mode=1
                ),
            ),
            Fault(
                "reference",
                op,
                "ignores dilations where padding is automatic",
                "AveragePool's text: 'pad_shape[i] = (output_spatial_shape[i] - 1) * "
                "strides_spatial_shape[i] + ((kernel_spatial_shape[i] - 1) * dilations[i] + 1) - "
                "input_spatial_shape[i]'. LpPool has the same attributes.",
                automatic_gaps,
                functools.partial(
                    example, op, 22, RISING, kernel_shape=[2], dilations=[2], auto_pad="VALID"
                ),
            ),
            Fault(
                "reference",
                op,
                "fails where automatic padding would be less than none",
                SIZES + ", which a window shorter than its stride needs no padding for.",
                less_than_none,
                functools.partial(
                    example,
                    op,
                    22,
                    RISING,
                    kernel_shape=[1],
                    strides=[2],
                    auto_pad="SAME_UPPER",
                ),
            ),
            Fault(
                "reference",
                op,
                "leaves NaN out as if it were padding",
                "'pooling consisting of computing' the average or Lp norm 'on all values of a "
                "subset of the input tensor', of which NaN is one.",
                has_nan,
                functools.partial(example, op, 22, ONE_NAN, kernel_shape=[2]),
            ),
            Fault(
                "reference",
                op,
                "shifts all windows where `ceil_mode` adds one",
                "Of a last window that is not complete the text says only that it counts, not that "
                "there is more padding before the input. The reference adds half of what is "
                "missing there.",
                partial_window,
                functools.partial(
                    example,
                    op,
                    22,
                    np.arange(7, dtype=np.float32).reshape(1, 1, 7),
                    kernel_shape=[2],
                    dilations=[3],
                    strides=[3],
                    pads=[1, 0],
                    ceil_mode=1,
                ),
            ),
        )
    ),
    Fault(
        "reference",
        "AveragePool",
        "counts the padding in version 1",
        "'The output of each pooling window is divided by the number of elements exclude pad.'",
        version(1) & (has("pads") | attribute("auto_pad", *SAME)),
        functools.partial(example, "AveragePool", 1, RISING + 1, kernel_shape=[2], pads=[1, 0]),
    ),
    Fault(
        "reference",
        "LpPool",
        "requires `kernel_shape` in version 1",
        "Version 1 does not, nor does it say what the window is without it; onnxla pools all of "
        "space.",
        ~has("kernel_shape"),
        functools.partial(example, "LpPool", 1, RISING, ranks={"y0": 3}),
    ),
    Fault(
        "reference",
        "GlobalAveragePool",
        "fails on an empty batch",
        "Nothing excludes N = 0.",
        size(0, 0),
        functools.partial(example, "GlobalAveragePool", 22, ones(0, 1, 1)),
    ),
    Fault(
        "reference",
        "LpPool",
        "gives infinity where the norm is in range of float16 and its power is not",
        "The text says: 'Lp pooling consisting of computing the Lp norm on all values of a subset "
        "of the input tensor'. Nothing is out of range in it.",
        dtype(np.float16) & some(lambda x: abs(x) > 16),
        functools.partial(
            example, "LpPool", 22, RISING.astype(np.float16) * 1000, kernel_shape=[1]
        ),
    ),
    Fault(
        "reference",
        "GlobalMaxPool",
        "takes the maximum over other axes unless there are two spatial ones",
        "'applies max pooling across the values in the same channel', of 'dimensions in the form "
        "of (N x C x D1 x D2 ... Dn)'.",
        ~spatial(2),
        functools.partial(example, "GlobalMaxPool", 22, RISING),
    ),
    *map(partial_windows, ("AveragePool", "MaxPool", "LpPool")),
    partial_windows("NhwcMaxPool", domain="com.microsoft", ranks={"y0": 3}),
    partial_windows(
        "QLinearAveragePool",
        *(np.array(1, np.float32), np.array(0, np.uint8)) * 2,
        domain="com.microsoft",
        ranks={"y0": 3},
    ),
    Fault(
        "onnxruntime",
        "MaxRoiPool",
        "leaves NaN out",
        SILENT,
        has_nan,
        lambda: example(
            "MaxRoiPool",
            1,
            np.array([[[[np.nan], [1]]]], np.float32),
            np.array([[0, 0, 0, 0, 1]], np.float32),
            pooled_shape=[1, 1],
            ranks={"y0": 4},
        ),
    ),
]
