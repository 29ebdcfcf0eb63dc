import numpy as np
from onnx import TensorProto

from support.samples import Sample, f32

SAMPLES = [
    *(
        Sample(
            "DFT",
            (f32(2, 6, 5, parts), *length),
            {"axis": axis, **mode},
            versions=(17,),
            grad=(0,),
            atol=1e-5,
        )
        for parts, mode in ((1, {}), (2, {"inverse": 1}), (1, {"onesided": 1}))
        for length, axis in (((), 1), ((np.asarray(7),), -2), ((np.asarray(4),), 2))
    ),
    *(
        Sample("DFT", (f32(2, 6, 5, parts), length, *axis), mode, versions=(20,), atol=1e-5)
        for parts, mode in (
            (1, {}),
            (2, {}),
            (1, {"inverse": 1}),
            (2, {"inverse": 1}),
            (1, {"onesided": 1}),
        )
        for length, axis in (
            (None, ()),
            (None, (np.asarray(1),)),
            (np.asarray(9), (np.asarray(-3),)),
            (np.asarray(3), (np.asarray(2),)),
        )
    ),
    *(
        Sample(
            "DFT",
            (f32(2, 6, 5, 2), *length),
            {"inverse": 1, "onesided": 1},
            versions=(20,),
            grad=(0,),
            atol=1e-5,
        )
        for length in ((), (np.asarray(8),))
    ),
    Sample("STFT", (f32(2, 20, 1), np.asarray(4), f32(8)), grad=(0, 2), atol=1e-5),
    Sample("STFT", (f32(2, 20, 1), np.asarray(3), None, np.asarray(7)), grad=(0,), atol=1e-5),
    Sample("STFT", (f32(2, 20, 1), np.asarray(5), f32(6)), {"onesided": 0}, atol=1e-5),
    Sample("STFT", (f32(2, 20, 2), np.asarray(4), f32(8)), {"onesided": 0}, atol=1e-5),
    Sample("STFT", (f32(2, 20), np.asarray(4), f32(8)), grad=(0, 2), atol=1e-5),
    *(
        Sample(name, (size,), {"periodic": periodic, "output_datatype": dtype}, atol=2e-6)
        for name in ("HannWindow", "HammingWindow", "BlackmanWindow")
        for size in (np.asarray(8), np.asarray(7, np.int32))
        for periodic in (0, 1)
        for dtype in (TensorProto.FLOAT, TensorProto.DOUBLE)
    ),
    Sample("HannWindow", (np.asarray(8),)),
    *(
        Sample(
            "MelWeightMatrix",
            (
                np.asarray(bands),
                np.asarray(16),
                np.asarray(8192),
                np.float32(low),
                np.float32(high),
            ),
        )
        for bands, low, high in ((8, 0, 4096), (3, 300, 3000))
    ),
]
SAMPLES[-2:] = [
    Sample(s.op_type, tuple(np.asarray(x) for x in s.inputs), s.attributes) for s in SAMPLES[-2:]
]
