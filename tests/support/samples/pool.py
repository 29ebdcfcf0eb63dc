import numpy as np

from support.samples import Sample, f32, i64

# Every element differs from all others by more than a finite difference.
DISTINCT = np.random.default_rng(0).permutation(252).reshape(2, 3, 6, 7).astype(np.float32) / 50
PLAIN = [
    {"kernel_shape": [2, 3]},
    {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]},
    {"kernel_shape": [3, 2], "strides": [3, 2], "pads": [0, 1, 2, 0]},
    *(
        {"kernel_shape": [3, 2], "strides": [2, 3], "auto_pad": pad}
        for pad in ("SAME_UPPER", "SAME_LOWER", "VALID")
    ),
]
CEIL = [
    {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1},
    # A window that would start in the right padding is left out.
    {"kernel_shape": [2, 2], "strides": [3, 3], "pads": [0, 1, 1, 1], "ceil_mode": 1},
]
DILATED = {"kernel_shape": [2, 3], "dilations": [2, 2], "pads": [1, 0, 0, 1]}
LINE = {"kernel_shape": [20], "strides": [3], "pads": [4, 5]}
VOLUME = {"kernel_shape": [2, 2, 3], "strides": [2, 1, 2]}

SAMPLES = [
    *(Sample("MaxPool", (DISTINCT,), kw, grad=(0,)) for kw in PLAIN),
    *(
        Sample("MaxPool", (DISTINCT,), kw | {"storage_order": order}, 2, versions=versions)
        for versions, cases in [((8, 10, 11, 12, 22), PLAIN), ((10, 11, 12, 22), [*CEIL, DILATED])]
        for kw in cases
        for order in (0, 1)
    ),
    *(
        Sample("MaxPool", (DISTINCT,), kw, versions=(10, 11, 12, 22), grad=(0,))
        for kw in [*CEIL, DILATED]
    ),
    Sample("MaxPool", (np.zeros((1, 2, 4, 4), np.float32),), PLAIN[1], 2, versions=(12, 22)),
    Sample("MaxPool", (DISTINCT.astype(np.uint8),), PLAIN[1], versions=(12, 22)),
    Sample("MaxPool", ((DISTINCT - 3).astype(np.int8),), PLAIN[1], 2, versions=(12, 22)),
    Sample("MaxPool", (DISTINCT.reshape(2, 3, 42),), LINE, grad=(0,)),
    Sample("MaxPool", (DISTINCT.reshape(1, 2, 3, 6, 7),), VOLUME, grad=(0,)),
    *(
        Sample("AveragePool", (f32(2, 3, 6, 7),), kw, versions=(7, 10, 11, 19, 22), grad=(0,))
        for kw in PLAIN
    ),
    Sample(
        "AveragePool",
        (f32(2, 3, 2, 2),),
        {"kernel_shape": [2, 2], "strides": [2, 2], "pads": [1, 1, 1, 1]},
        versions=(1,),
        grad=(0,),
        # ONNX Runtime starts with version 7, and the reference counts the padding in version 1.
        expected=lambda x: x,
    ),
    *(
        Sample(
            "AveragePool",
            (f32(2, 3, 6, 7),),
            kw | {"count_include_pad": 1},
            versions=(7, 10, 11, 19, 22),
            grad=(0,),
        )
        for kw in PLAIN
    ),
    *(
        Sample(
            "AveragePool",
            (f32(2, 3, 6, 7),),
            kw | {"count_include_pad": include},
            versions=versions,
            grad=(0,),
        )
        for include in (0, 1)
        for versions, cases in [((10, 11, 19, 22), CEIL), ((19, 22), [DILATED])]
        for kw in cases
    ),
    Sample("AveragePool", (f32(2, 3, 42),), LINE, versions=(7, 10, 11, 19, 22), grad=(0,)),
    Sample("AveragePool", (f32(1, 2, 4, 3, 5),), VOLUME, grad=(0,)),
    *(
        Sample("LpPool", (f32(2, 3, 6, 7),), kw | {"p": p}, versions=(2, 11, 18, 22), grad=(0,))
        for p in (1, 2, 3)
        for kw in PLAIN
    ),
    *(
        Sample("LpPool", (f32(2, 3, 6, 7),), kw | {"p": 2}, versions=(18, 22), grad=(0,))
        for kw in [*CEIL, DILATED]
    ),
    # Other runtimes start with version 2, where p is an integer.
    *(
        Sample(
            "LpPool",
            (f32(2, 3, 2, 3),),
            {"p": 2.5} | kernel,
            versions=(1,),
            grad=(0,),
            expected=lambda x: (np.abs(x) ** 2.5).sum((2, 3), keepdims=True) ** (1 / 2.5),
        )
        for kernel in ({}, {"kernel_shape": [2, 3]})
    ),
    *(
        Sample(name, (x,), grad=(0,))
        for name in ("GlobalAveragePool", "GlobalMaxPool")
        for x in (DISTINCT, DISTINCT.reshape(2, 3, 42))
    ),
    *(
        Sample("GlobalLpPool", (f32(2, 3, 4, 5),), {"p": p}, versions=(2,), grad=(0,))
        for p in (1, 2, 3)
    ),
    Sample(
        "GlobalLpPool",
        (f32(2, 3, 4, 5),),
        {"p": 3},
        versions=(22,),
        # No other runtime implements version 22.
        expected=lambda x: (np.abs(x) ** 3).sum((2, 3), keepdims=True) ** (1 / 3),
    ),
    Sample(
        "GlobalLpPool",
        (f32(2, 3, 4, 5),),
        {"p": 2.5},
        versions=(1,),
        grad=(0,),
        # Other runtimes start with version 2, where p is an integer.
        expected=lambda x: (np.abs(x) ** 2.5).sum((2, 3), keepdims=True) ** (1 / 2.5),
    ),
    Sample(
        "MaxUnpool",
        (f32(1, 1, 2, 2), i64(5, 7, 13, 15).reshape(1, 1, 2, 2)),
        {"kernel_shape": [2, 2], "strides": [2, 2]},
        grad=(0,),
    ),
    Sample(
        "MaxUnpool",
        (f32(1, 2, 2), i64(0, 2, 3, 5).reshape(1, 2, 2)),
        {"kernel_shape": [3], "strides": [2], "pads": [1, 1]},
        grad=(0,),
    ),
    Sample(
        "MaxRoiPool",
        (DISTINCT, np.float32([[1, 0, 0, 4, 5], [0, 2, 1, 12, 8], [0, 3, 3, 3, 3]])),
        {"pooled_shape": [2, 3], "spatial_scale": 0.7},
        versions=(1,),
        grad=(0,),
    ),
    Sample(
        "MaxRoiPool",
        (DISTINCT, np.float32([[1, 2, 1, 5, 2], [0, 0, 0, 3, 1]])),
        {"pooled_shape": [2, 2]},
        versions=(22,),
        grad=(0,),
        # No other runtime implements version 22.
        expected=lambda x, rois: np.stack(
            [
                x[b, :, y : y + 2, i : i + 4].reshape(3, 2, 2, 2).max(3)
                for b, i, y in [(1, 2, 1), (0, 0, 0)]
            ]
        ),
    ),
]
