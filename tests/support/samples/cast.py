import numpy as np
from onnx import TensorProto

from support.samples import Sample, f32

NUMBERS = np.asarray([-3.7, -1, 0, 0.4, 2.5, 200], np.float32)
NUMBERED = (6, 9, 13, 19, 21, 23, 24, 25, 28)
TYPES = {"FLOAT": "f4", "DOUBLE": "f8", "FLOAT16": "f2", "INT32": "i4", "INT64": "i8", "BOOL": "?"}

SAMPLES = [
    *(
        Sample("Cast", (NUMBERS,), {"to": getattr(TensorProto, name)}, versions=NUMBERED)
        for name in TYPES
    ),
    *(
        # No other runtime has the first version, with names of types.
        Sample("Cast", (NUMBERS,), {"to": name}, versions=(1,), expected=lambda x, t=t: x.astype(t))
        for name, t in TYPES.items()
    ),
    *(
        Sample("Cast", (np.int32([-3, 200, 70000]),), {"to": to}, versions=(6, 13, 25))
        for to in (TensorProto.INT8, TensorProto.UINT8, TensorProto.INT16, TensorProto.FLOAT)
    ),
    *(
        Sample(
            "Cast",
            (np.asarray(["3.5", "-2", "1e3", "-inf"], object),),
            {"to": to},
            versions=(9, 13, 25),
        )
        for to in (TensorProto.FLOAT, TensorProto.DOUBLE)
    ),
    Sample("Cast", (f32(2, 3),), {"to": TensorProto.DOUBLE}, versions=(6, 13, 28), grad=(0,)),
    Sample("Cast", (f32(2, 3),), {"to": "FLOAT"}, versions=(1,), grad=(0,), expected=lambda x: x),
    Sample("CastLike", (NUMBERS, np.zeros(0, np.int64))),
    Sample("CastLike", (f32(2, 3), np.zeros(1)), grad=(0,)),
    Sample("BitCast", (NUMBERS,), {"to": TensorProto.INT32}),
    Sample("BitCast", (np.asarray([True, False]),), {"to": TensorProto.INT8}),
    Sample("BitCast", (np.float64([1, -2.5]),), {"to": TensorProto.UINT64}),
]
