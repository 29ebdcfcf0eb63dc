import numpy as np
from onnx import TensorProto

from support.samples import Sample, f32

X = f32(2, 3, 4, low=-20.0, high=20.0)
# Some quotients are half way between integers.
X[0, 0] = [-2.5, 3.75, 1000, -1000]
SCALE, SCALES = np.asarray(0.5, np.float32), np.float32([0.5, 0.1, 2])
BLOCKED = (2, 3, 2)
AXIS = (13, 19, 21, 23, 24, 25, 28)
BLOCKS = (21, 23, 24, 25, 28)
Q = np.random.default_rng(0).integers(-128, 128, (2, 3, 4)).astype(np.int8)

SAMPLES = [
    Sample("QuantizeLinear", (X, SCALE)),
    Sample("QuantizeLinear", (X, SCALE, np.asarray(100, np.uint8))),
    Sample("QuantizeLinear", (X, SCALES, np.int8([0, 1, -5])), versions=AXIS),
    Sample("QuantizeLinear", (X, SCALES[:2]), {"axis": -3}, versions=AXIS),
    Sample("QuantizeLinear", (X, SCALE, np.asarray(-300, np.int16)), versions=BLOCKS),
    Sample(
        "QuantizeLinear",
        (X, f32(*BLOCKED, low=0.1), np.zeros(BLOCKED, np.int8)),
        {"axis": 2, "block_size": 2},
        versions=BLOCKS,
    ),
    Sample("QuantizeLinear", (X, SCALE), {"output_dtype": TensorProto.UINT16}, versions=BLOCKS),
    Sample("QuantizeLinear", (np.int32([-9, 3, 7]), SCALE)),
    Sample(
        "QuantizeLinear",
        (X, np.asarray(0.5, np.float16)),
        {"precision": TensorProto.FLOAT},
        versions=(23, 24, 25, 28),
    ),
    Sample("DequantizeLinear", (Q, SCALE), grad=(1,)),
    Sample("DequantizeLinear", (Q, SCALE, np.asarray(-100, np.int8)), grad=(1,)),
    Sample("DequantizeLinear", (Q, SCALES, np.int8([0, 1, -5])), versions=AXIS, grad=(1,)),
    Sample("DequantizeLinear", (Q.astype(np.int32), SCALES[:2]), {"axis": -3}, versions=AXIS),
    Sample(
        "DequantizeLinear",
        (Q, f32(2, 2, 4, low=0.1), np.ones((2, 2, 4), np.int8)),
        {"axis": 1, "block_size": 2},
        versions=BLOCKS,
        grad=(1,),
    ),
    Sample("DequantizeLinear", (Q, np.asarray(0.5, np.float16)), versions=(19, 21, 23, 24, 25, 28)),
    Sample(
        "DequantizeLinear",
        (Q, SCALE),
        {"output_dtype": TensorProto.FLOAT16},
        versions=(23, 24, 25, 28),
    ),
    Sample("DynamicQuantizeLinear", (X,), outputs=3),
    Sample("DynamicQuantizeLinear", (f32(5, low=1.0),), outputs=3),
    Sample("DynamicQuantizeLinear", (-f32(5, low=1.0),), outputs=3),
    Sample("DynamicQuantizeLinear", (np.zeros(5, np.float32),), outputs=3),
]
