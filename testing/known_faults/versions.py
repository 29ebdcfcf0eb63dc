"""Faults of onnx's version converter and of its shape inference."""

from __future__ import annotations

import numpy as np

from onnxla.testing.case import Case
from onnxla.testing.fault_records import Fault
from onnxla.testing.predicates import When, always, before, dtype, has, rank, stored
from onnxla.testing.use import Use, case_of, example

CONVERTER, INFERENCE = "version converter", "shape inference"
X = np.array([[[1.0, 2.0], [3.0, 4.0]]], np.float32)


@When
def hardmax_of_several_axes(case: Case) -> bool:
    """Whether one axis of the newer versions is several of the older."""
    rank = case.operands[0].ndim
    return case.version < 13 and case.attributes.get("axis", 1) % max(rank, 1) != rank - 1


@When
def smaller_output(case: Case) -> bool:
    """Whether `output_shape` asks for less than the input has along an axis."""
    asked = case.attributes.get("output_shape", [])
    return any(n < m for n, m in zip(asked, case.operands[0].shape[2:], strict=False))


FAULTS = [
    Fault(
        CONVERTER,
        "Hardmax",
        "keeps `axis`, though it means another thing before opset 13",
        "Before, the input is 'coerced into a 2-dimensional tensor', so that the maximum is one of "
        "all axes from `axis` on; since then, `axis` is 'the dimension Hardmax will be performed "
        "on'.",
        hardmax_of_several_axes,
        lambda: example("Hardmax", 11, X),
    ),
    Fault(
        CONVERTER,
        "PRelu",
        "leaves a slope of one axis as it is from opset 6 on",
        "Before opset 7 a slope of size C belongs to axis 1; since then it broadcasts, so that it "
        "belongs to the last one.",
        before(7) & ~rank(0, 1, 2),
        lambda: example("PRelu", 6, -X, np.array([1.0, 2.0], np.float32), ranks={"y0": 3}),
    ),
    Fault(
        CONVERTER,
        "Selu",
        "does not write down the defaults of opset 1, which are others later",
        "Opset 1: alpha 1.6732, gamma 1.0507; since opset 6: 1.67326319217681884765625 and "
        "1.05070102214813232421875.",
        before(6) & ~(has("alpha") & has("gamma")),
        lambda: example("Selu", 1, -X, ranks={"y0": 3}),
    ),
    Fault(
        CONVERTER,
        "Upsample",
        "becomes a Resize that takes other elements, for want of `coordinate_transformation_mode`",
        "Upsample scales coordinates and rounds them down. Resize does so with `asymmetric` and "
        "`floor`; by default it goes by the centers of pixels.",
        always,
        lambda: example(
            "Upsample",
            1,
            np.arange(4, dtype=np.float32).reshape(1, 1, 1, 4),
            width_scale=1.25,
            height_scale=1.0,
            mode="nearest",
            ranks={"y0": 4},
        ),
    ),
    Fault(
        CONVERTER,
        "Resize",
        "takes other elements after opset 10, for want of `coordinate_transformation_mode`",
        "As Upsample, of which it is the other name in opset 10, it scales coordinates and rounds "
        "them down; from opset 11 on by default it goes by the centers of pixels.",
        before(11),
        lambda: example(
            "Resize",
            10,
            np.arange(4, dtype=np.float32).reshape(1, 1, 1, 4),
            np.array([1, 1, 1, 1.25], np.float32),
            mode="nearest",
            ranks={"y0": 4},
        ),
    ),
    Fault(
        INFERENCE,
        "ConvTranspose",
        "leaves axes out where `output_shape` asks for less than the input has along an axis",
        "'The shape of the output can be explicitly set which will cause pads values to be auto "
        "generated.' It is of the rank of X.",
        smaller_output,
        lambda: example("ConvTranspose", 22, X, np.ones((2, 1, 2), np.float32), output_shape=[1]),
    ),
    Fault(
        INFERENCE,
        "LinearClassifier",
        "counts the intercepts for the classes, though they may be absent",
        "'`intercepts`: A collection of intercepts' is optional; there is a score for each class.",
        ~has("intercepts"),
        lambda: example(
            "LinearClassifier",
            1,
            X[0],
            domain="ai.onnx.ml",
            outputs=2,
            types={"y0": "tensor(int64)"},
            ranks={"y0": 1, "y1": 2},
            classlabels_ints=[0, 1],
            coefficients=[1.0, 0.0, 0.0, 1.0],
        ),
        "ai.onnx.ml",
    ),
    Fault(
        INFERENCE,
        "MeanVarianceNormalization",
        "fails on the operator's function body, unless X is float32 and `axes` is there",
        "X is of any floating type; `axes` has a default.",
        ~dtype(np.float32) | ~has("axes"),
        lambda: example(
            "MeanVarianceNormalization", 13, X[None].astype(np.float16), ranks={"y0": 4}
        ),
    ),
    Fault(
        INFERENCE,
        "Pad",
        "refuses stored `axes` of 32 bits",
        "'`Tind`: Constrain indices to integer types', of which int32 is one.",
        dtype(np.int32, of=3) & stored(3),
        lambda: case_of(
            Use("Pad", [X, np.array([1, 1]), None, np.array([0], np.int32)], ranks={"y0": 3}),
            18,
            lambda position, name: name == "axes",
        ),
    ),
    Fault(
        INFERENCE,
        "RMSNormalization",
        "takes the type of X for that of Y",
        "Y has the type V, that of `scale`.",
        lambda case: case.operands[0].dtype != case.operands[1].dtype,
        lambda: example("RMSNormalization", 23, X, np.ones(2, np.float16), ranks={"y0": 3}),
    ),
]
