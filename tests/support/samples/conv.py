import numpy as np

from support.samples import Sample, f32
from support.samples.matmul import i8, u8

CASES = [
    # X, W, attributes
    ((2, 3, 7), (4, 3, 3), {"strides": [2], "pads": [1, 2]}),
    ((2, 3, 5, 6), (4, 3, 3, 3), {"kernel_shape": [3, 3], "pads": [1, 0, 2, 1]}),
    ((1, 4, 6, 6), (6, 2, 3, 2), {"group": 2, "dilations": [2, 1], "strides": [1, 2]}),
    ((1, 2, 4, 5, 4), (3, 2, 2, 3, 2), {"strides": [2, 1, 2], "pads": [1, 1, 0, 0, 1, 1]}),
    ((2, 3, 5, 5), (4, 3, 1, 1), {}),
    ((2, 3, 5, 5), (4, 3, 1, 1), {"strides": [2, 2], "pads": [1, 0, 0, 1]}),
    ((2, 4, 6, 7), (4, 1, 3, 3), {"group": 4, "pads": [1, 1, 1, 1]}),
    ((2, 4, 7, 6), (4, 1, 3, 3), {"group": 4, "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    ((2, 3, 6, 6), (6, 1, 3, 2), {"group": 3, "dilations": [2, 2], "pads": [0, 2, 1, 0]}),
    ((1, 3, 9), (3, 1, 4), {"group": 3, "strides": [3]}),
    *(
        ((1, 2, 5, 6), (3, 2, 3, 4), {"auto_pad": pad, "strides": [2, 3]})
        for pad in ("SAME_UPPER", "SAME_LOWER", "VALID")
    ),
    ((1, 2, 5, 6), (2, 1, 4, 3), {"auto_pad": "SAME_LOWER", "group": 2}),
]
TRANSPOSED = [
    ((2, 3, 5), (3, 2, 3), {"strides": [2], "pads": [1, 0]}),
    ((1, 3, 3, 4), (3, 2, 3, 3), {}),
    ((1, 4, 3, 4), (4, 1, 3, 2), {"group": 2, "strides": [3, 2], "output_padding": [1, 1]}),
    ((1, 4, 3, 3), (4, 1, 3, 3), {"group": 4, "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    ((1, 2, 3, 3), (2, 2, 2, 2), {"dilations": [2, 2], "strides": [2, 1], "pads": [1, 1, 0, 2]}),
    ((1, 2, 3, 3, 2), (2, 2, 2, 3, 2), {"strides": [2, 2, 1]}),
    ((1, 2, 3, 3), (2, 2, 3, 3), {"strides": [3, 2], "output_shape": [10, 8]}),
    ((1, 2, 3, 3), (2, 2, 3, 3), {"strides": [3, 2], "output_shape": [8, 6]}),
    *(
        ((1, 2, 3, 3), (2, 2, 4, 3), {"auto_pad": pad, "strides": [2, 2]})
        for pad in ("SAME_UPPER", "SAME_LOWER", "VALID")
    ),
]
INTEGER = {"pads": [1, 1, 1, 1], "strides": [2, 1]}

SAMPLES = [
    *(
        Sample("Conv", (f32(*x), f32(*w, seed=1), f32(w[0])), kw, grad=(0, 1, 2), atol=1e-5)
        for x, w, kw in CASES
    ),
    Sample("Conv", (f32(1, 2, 4, 4), f32(2, 2, 3, 3)), grad=(0, 1)),
    *(
        Sample(
            "ConvTranspose",
            (f32(*x), f32(*w, seed=1), f32(w[1] * kw.get("group", 1))),
            kw,
            grad=(0, 1, 2),
            atol=1e-5,
        )
        for x, w, kw in TRANSPOSED
    ),
    Sample("ConvInteger", (u8(1, 2, 4, 5), u8(3, 2, 3, 3), np.uint8(9)), INTEGER),
    Sample("ConvInteger", (u8(1, 4, 4, 5), u8(4, 1, 3, 3), np.uint8(9), np.uint8(3)), {"group": 4}),
    Sample(
        "ConvInteger",
        (u8(1, 2, 1, 1), i8(3, 2, 1, 1), np.uint8(9), np.int8([1, 2, 3])),
        # ONNX Runtime has no zero point by feature map.
        expected=lambda x, w, a, b: np.einsum(
            "mc,nchw->nmhw", np.int32(w)[:, :, 0, 0] - b[:, None], np.int32(x) - a
        ).astype(np.int32),
    ),
    *(
        Sample(
            "QLinearConv",
            (
                u8(1, 2, 4, 5),
                np.float32(0.02),
                np.uint8(120),
                w,
                scale,
                zero,
                np.float32(0.08),
                np.uint8(110),
                bias,
            ),
            INTEGER,
        )
        for w, scale, zero, bias in [
            (u8(3, 2, 3, 3), np.float32(0.01), np.uint8(128), None),
            (
                i8(3, 2, 3, 3),
                np.float32([0.01, 0.02, 0.005]),
                np.int8([0] * 3),
                np.int32([9, 0, 9]),
            ),
        ]
    ),
    *(
        Sample(
            "DeformConv",
            (f32(2, 4, 5, 6), f32(2, 4 // g, 2, 3, seed=1), f32(2, 12 * og, *out), f32(2), mask),
            {"group": g, "offset_group": og, "pads": [0, 1, 1, 0], **kw},
            grad=(0, 1, 2, 3, 4)[: 5 if mask is not None else 4],
            atol=1e-5,
        )
        for g, og, out, mask, kw in [
            (1, 1, (5, 5), f32(2, 6, 5, 5), {}),
            (2, 2, (3, 5), None, {"strides": [2, 1], "dilations": [1, 1]}),
        ]
    ),
    Sample("Col2Im", (f32(2, 12, 9), np.int64([4, 5]), np.int64([2, 3])), grad=(0,)),
    Sample(
        "Col2Im",
        (f32(1, 8, 9), np.int64([5, 6]), np.int64([2, 2])),
        {"pads": [1, 0, 1, 0], "strides": [2, 1], "dilations": [2, 3]},
        grad=(0,),
    ),
]
