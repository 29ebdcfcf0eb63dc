import numpy as np
from onnx import TensorProto, helper

from support.samples import Sample, f32, i64

X = f32(2, 3, 4)
IMAGE = f32(2, 8, 4, 6)
TEXT = np.array([["a", "b", "c"], ["d", "e", "f"]], object)
# Schema versions in which the element types of half the operators were extended.
LATER = (21, 23, 24, 25)


def scalar(value, dtype=np.float32):
    return np.array(value, dtype)


SPARSE = helper.make_sparse_tensor(
    helper.make_tensor("", TensorProto.FLOAT, (2,), [1.0, 2.0]),
    helper.make_tensor("", TensorProto.INT64, (2, 2), [0, 1, 2, 0]),
    (3, 2),
)

SAMPLES = [
    Sample("Reshape", (X,), {"shape": [4, -1]}, versions=(1,), grad=(0,)),
    *(
        Sample("Reshape", (x, s), versions=(5, 13, 14, 19, *LATER), grad=(0,))
        for x, s in ((X, i64(4, -1)), (X, i64(0, 0, 2, 2)), (f32(1, 1), np.zeros(0, np.int64)))
    ),
    Sample("Reshape", (f32(0, 3), i64(3, 0)), {"allowzero": 1}, versions=(14, 19, *LATER)),
    Sample("Shape", (X,)),
    Sample("Shape", (X,), {"start": 1, "end": -1}, versions=(15, 19, *LATER)),
    Sample("Size", (X,)),
    Sample("Identity", (X,), grad=(0,)),
    Sample("Identity", (TEXT,)),
    Sample("Constant", (), {"value": helper.make_tensor("", TensorProto.INT32, (2,), [1, 2])}),
    Sample("Constant", (), {"value": helper.make_tensor("", TensorProto.FLOAT, (), [0.5])}),
    Sample(
        "Constant",
        (),
        {"sparse_value": SPARSE},
        versions=(11, 12, 13, 19, *LATER),
        # The reference returns the tensor as it is stored, sparse.
        expected=lambda: np.array([[0, 1], [0, 0], [2, 0]], np.float32),
    ),
    *(
        Sample("Constant", (), {name: value}, versions=(12, 13, 19, *LATER))
        for name, value in (
            ("value_int", 3),
            ("value_ints", [3, -4]),
            ("value_float", 0.25),
            ("value_floats", [0.25, -2.0]),
            ("value_string", "a"),
            ("value_strings", ["a", "b"]),
        )
    ),
    Sample("ConstantOfShape", (i64(2, 3),)),
    Sample("ConstantOfShape", (np.zeros(0, np.int64),)),
    Sample(
        "ConstantOfShape",
        (i64(2, 0, 3),),
        {"value": helper.make_tensor("", TensorProto.INT64, (1,), [7])},
    ),
    Sample("EyeLike", (f32(3, 4),), {"k": 1}),
    Sample("EyeLike", (f32(3, 4),), {"k": -1, "dtype": TensorProto.INT64}),
    Sample("EyeLike", (f32(3, 2),), {"dtype": TensorProto.DOUBLE}),
    Sample("Range", (scalar(1), scalar(2.1), scalar(0.3))),
    Sample("Range", (scalar(3, np.int64), scalar(-8, np.int64), scalar(-2, np.int64))),
    Sample("Range", (scalar(3, np.int32), scalar(1, np.int32), scalar(2, np.int32))),
    Sample(
        "Range",
        (scalar(0, np.float16), scalar(1, np.float16), scalar(0.25, np.float16)),
        versions=(27,),
    ),
    Sample("Transpose", (X,), grad=(0,)),
    Sample("Transpose", (X,), {"perm": [1, 0, 2]}, grad=(0,)),
    Sample("Flatten", (X,), grad=(0,)),
    Sample("Flatten", (X,), {"axis": 0}),
    Sample("Flatten", (f32(2, 0, 4),), {"axis": 3}),
    Sample("Flatten", (X,), {"axis": -1}, versions=(11, 13, *LATER)),
    Sample("Squeeze", (f32(1, 3, 1, 2),), grad=(0,)),
    Sample("Squeeze", (f32(1, 3, 1, 2),), {"axes": [0]}, versions=(1, 11)),
    Sample("Squeeze", (f32(1, 3, 1, 2),), {"axes": [-2]}, versions=(11,)),
    Sample("Squeeze", (f32(1, 3, 1, 2), i64(-2)), versions=(13, *LATER), grad=(0,)),
    Sample("Unsqueeze", (X,), {"axes": [0, 2]}, versions=(1, 11), grad=(0,)),
    Sample("Unsqueeze", (X, i64(2, -1)), versions=(13, *LATER), grad=(0,)),
    # ONNX Runtime has no kernel of this version, and the reference wants the attribute.
    Sample(
        "Concat",
        (X, f32(2, 1, 4)),
        versions=(1,),
        grad=(0, 1),
        expected=lambda *x: np.concatenate(x, 1),
    ),
    Sample("Concat", (X, f32(2, 1, 4), X), {"axis": 1}, versions=(4, 11, 13), grad=(0, 1, 2)),
    Sample("Concat", (TEXT, TEXT), {"axis": -1}, versions=(11, 13)),
    *(
        # No runtime implements version 1.
        Sample(
            "Split",
            inputs,
            attributes,
            outputs=2,
            versions=(1,),
            grad=(0,),
            expected=lambda x, *_: (x[:, :1], x[:, 1:]),
        )
        for inputs, attributes in (
            ((X,), {"axis": 1, "split": [1, 2]}),
            ((X, scalar([1, 2])), {"axis": 1}),
        )
    ),
    Sample("Split", (X,), {"axis": 2}, outputs=2, versions=(2, 11, 13), grad=(0,)),
    Sample("Split", (X,), {"axis": 1, "split": [1, 2]}, outputs=2, versions=(2, 11), grad=(0,)),
    Sample("Split", (X, i64(1, 0, 3)), {"axis": -1}, outputs=3, versions=(13, 18), grad=(0,)),
    Sample("Split", (f32(5),), {"num_outputs": 3}, outputs=3, versions=(18,), grad=(0,)),
    Sample("Expand", (f32(3, 1), i64(2, 1, 4)), grad=(0,)),
    Sample("Expand", (X, i64(1)), grad=(0,)),
    Sample("Tile", (f32(2, 3), i64(2, 3)), versions=(6, 13), grad=(0,)),
    Sample("Tile", (f32(2, 3), i64(0, 1)), versions=(6, 13)),
    # No runtime implements version 1.
    Sample(
        "Tile",
        (X, scalar(2), scalar(1)),
        versions=(1,),
        grad=(0,),
        expected=lambda x, *_: np.concatenate([x, x], 1),
    ),
    *(
        # No runtime implements version 1 with its optional attributes.
        Sample(
            "Pad",
            (X,),
            {"paddings": [0, 1, 2, 0, 0, 1], "mode": mode, "value": 0.5},
            versions=(1,),
            grad=(0,),
            expected=lambda x, mode=mode: np.pad(
                x,
                ((0, 0), (1, 0), (2, 1)),
                mode,
                **({"constant_values": 0.5} if mode == "constant" else {}),
            ),
        )
        for mode in ("constant", "reflect", "edge")
    ),
    *(
        Sample(
            "Pad",
            (X,),
            {"pads": [0, 1, 2, 0, -1, 1], "mode": mode, "value": 0.5},
            versions=(2,),
            grad=(0,),
        )
        for mode in ("constant", "reflect", "edge")
    ),
    *(
        Sample("Pad", (X, i64(0, 1, 2, 0, -1, 1)), {"mode": mode}, grad=(0,), versions=versions)
        for mode, versions in (
            ("constant", (11, 13, 18, 19, *LATER)),
            ("reflect", (11, 13, 18, 19, *LATER)),
            ("edge", (11, 13, 18, 19, *LATER)),
            ("wrap", (19, *LATER)),
        )
    ),
    Sample("Pad", (f32(3), i64(7, 8)), {"mode": "wrap"}, versions=(19, *LATER), grad=(0,)),
    Sample("Pad", (X, i64(0, 1, 2, 0, -1, 1), scalar(0.5)), versions=(11, 13, *LATER), grad=(0, 2)),
    Sample("Pad", (X, i64(1, -1), scalar(0.5), i64(-2)), versions=(18, 19, *LATER), grad=(0, 2)),
    # Neither runtime pads strings.
    Sample(
        "Pad",
        (np.array(["a"], object), i64(1, 0)),
        versions=(13, 18, 19, *LATER),
        expected=lambda *_: np.array(["", "a"], object),
    ),
    Sample("CenterCropPad", (X, i64(5, 4, 1)), grad=(0,)),
    Sample("CenterCropPad", (X, i64(1, 7)), {"axes": [-1, 1]}, grad=(0,)),
    Sample("Slice", (X,), {"starts": [0, -2], "ends": [1, 99]}, versions=(1,), grad=(0,)),
    Sample("Slice", (X,), {"starts": [1], "ends": [-1], "axes": [2]}, versions=(1,), grad=(0,)),
    *(
        Sample("Slice", (X, *map(np.array, index)), versions=(10, 11, 13), grad=(0,))
        for index in (
            ([1, -2], [2, 2**31]),
            ([1, -2], [2, 2**31], [0, 2]),
            ([0, 0], [2, 4], [1, 2], [2, 3]),
            ([-1, 3], [-(2**31), 0], [1, 2], [-1, -2]),
            ([-100], [-200], [2], [-1]),
            ([3], [1], [2], [1]),
        )
    ),
    Sample("Slice", (X, i64(1), i64(3), i64(-1)), versions=(11, 13)),
    *(
        Sample("Trilu", (X, k), {"upper": upper}, grad=(0,))
        for upper in (0, 1)
        for k in (None, scalar(1, np.int64), scalar(-1, np.int64), scalar(9, np.int64))
    ),
    Sample("DepthToSpace", (IMAGE,), {"blocksize": 2}, grad=(0,)),
    Sample("DepthToSpace", (IMAGE,), {"blocksize": 2, "mode": "CRD"}, versions=(11, 13, 28)),
    Sample("SpaceToDepth", (IMAGE,), {"blocksize": 2}, grad=(0,)),
    Sample("SpaceToDepth", (IMAGE,), {"blocksize": 2, "mode": "CRD"}, versions=(28,)),
    Sample("ReverseSequence", (f32(4, 3, 2), i64(4, 1, 3)), grad=(0,)),
    Sample(
        "ReverseSequence",
        (f32(3, 4, 2), i64(4, 1, 3)),
        {"batch_axis": 0, "time_axis": 1},
        grad=(0,),
    ),
]
