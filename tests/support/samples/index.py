import numpy as np

from support.samples import Sample, f32, i64

X = f32(3, 4)
TIES = np.array([[2, 5, 5, 1], [7, -1, 7, 7], [0, 0, 0, 0]])
# Distinct elements, away from each other: the extremal ones are differentiable.
DISTINCT = np.random.default_rng(0).permutation(24).reshape(2, 3, 4).astype(np.float32)


def scattered(data, indices, updates):
    result = data.copy()
    np.put_along_axis(result[: len(indices)], indices, updates, 1)
    return result


SAMPLES = [
    Sample("Gather", (f32(4, 3), i64([0, -1], [2, 2])), grad=(0,)),
    Sample("Gather", (f32(4, 3), i64(1, 0)), {"axis": 1}, grad=(0,)),
    Sample("Gather", (f32(4, 3), np.array(-1, np.int32)), {"axis": -1}, versions=(11, 13)),
    Sample("GatherElements", (X, i64([0, -1, 2, 2], [1, 1, 0, 2])), grad=(0,)),
    Sample("GatherElements", (X, i64([0, -1, 2], [3, 3, 0])), {"axis": 1}, grad=(0,)),
    Sample("GatherND", (X, i64([[0, 1], [-1, -1]])), grad=(0,)),
    Sample("GatherND", (f32(2, 3, 4), i64([1, 2], [0, -3])), grad=(0,)),
    Sample(
        "GatherND",
        (f32(2, 3, 4), i64([[2], [0]], [[-1], [-1]])),
        {"batch_dims": 1},
        versions=(12, 13),
        grad=(0,),
    ),
    *(
        Sample(
            name,
            (X, i64([0, -1, 2], [3, 1, 0]), f32(2, 3, seed=1)),
            {"axis": 1},
            versions=versions,
            grad=(0, 2),
            expected=expected,
        )
        for name, versions, expected in (
            ("Scatter", (9,), None),
            # Both runtimes refuse the deprecated version.
            ("Scatter", (11,), scattered),
            ("ScatterElements", None, None),
        )
    ),
    *(
        Sample(
            "ScatterElements",
            (X, i64([0, 1, -1, 1]), f32(1, 4, seed=1)),
            {"reduction": reduction},
            versions=(16, 18) if reduction in ("add", "mul") else (18,),
            grad=(0, 2),
        )
        for reduction in ("add", "mul", "max", "min")
    ),
    Sample("ScatterND", (X, i64([0, 1], [-1, 3]), f32(2, seed=1)), grad=(0, 2)),
    *(
        # An index that occurs twice.
        Sample(
            "ScatterND",
            (X, i64([0], [-1], [0]), f32(3, 4, seed=1)),
            {"reduction": reduction},
            versions=(16, 18) if reduction in ("add", "mul") else (18,),
            grad=(0, 2),
        )
        for reduction in ("add", "mul", "max", "min")
    ),
    # The product of several factors, some of them zero.
    Sample(
        "ScatterND",
        (
            np.array([0, 2, 3, 0], np.float32),
            i64([0], [1], [1], [2], [2], [3]),
            np.array([5, 0, 2, 3, 4, 0], np.float32),
        ),
        {"reduction": "mul"},
        versions=(16, 18),
        grad=(0, 2),
    ),
    Sample("TensorScatter", (f32(2, 3, 5, 2), f32(2, 3, 2, 2, seed=1)), grad=(0, 1)),
    Sample("TensorScatter", (f32(2, 3, 5, 2), f32(2, 3, 2, 2, seed=1), i64(1, 3)), grad=(0, 1)),
    Sample(
        "TensorScatter",
        (f32(2, 5, 3), f32(2, 2, 3, seed=1), i64(1, 4)),
        {"mode": "circular", "axis": 1},
        grad=(0, 1),
    ),
    Sample("OneHot", (i64([0, -1], [3, -4]), i64(3), f32(2)), grad=(2,)),
    Sample(
        "OneHot", (f32(4, low=0, high=5), np.array(5, np.float32), f32(2)), {"axis": 0}, grad=(0,)
    ),
    Sample("TopK", (DISTINCT,), {"k": 2, "axis": 1}, outputs=2, versions=(1,)),
    Sample("TopK", (DISTINCT, i64(2)), {"axis": 1}, outputs=2, versions=(10, 11, 24)),
    *(
        Sample("TopK", (x, i64(3)), {"largest": largest}, outputs=2, versions=(11, 24))
        for largest in (0, 1)
        for x in (TIES, TIES.astype(np.float32), DISTINCT, np.iinfo(np.int64).min + TIES * 0)
    ),
    Sample("TopK", (DISTINCT,), {"k": 2}, outputs=(True, False), versions=(1,), grad=(0,)),
    Sample("TopK", (DISTINCT, i64(2)), outputs=(True, False), versions=(10, 11, 24), grad=(0,)),
    *(
        Sample(name, (TIES.astype(np.float32),), attributes, versions=versions)
        for name in ("ArgMax", "ArgMin")
        for attributes, versions in (
            ({}, None),
            ({"axis": 1, "keepdims": 0}, None),
            ({"axis": -1}, (11, 12, 13)),
            ({"axis": 1, "select_last_index": 1}, (12, 13)),
            ({"axis": 0, "keepdims": 0, "select_last_index": 1}, (12, 13)),
        )
    ),
    Sample("NonZero", (TIES.astype(np.float32),)),
    Sample("Compress", (X, np.array([True, False, True])), {"axis": 1}, grad=(0,)),
    Sample("Compress", (X, np.array([False, True, True])), grad=(0,)),
    *(
        Sample("Unique", (x,), attributes, outputs=4)
        for x in (TIES, np.array([[1.0, 0.0], [1.0, 0.0], [0.5, 2.0]], np.float32))
        for attributes in ({}, {"sorted": 0}, {"axis": 0}, {"axis": 0, "sorted": 0}, {"axis": 1})
    ),
    Sample("Unique", (np.array(["b", "a", "b"], object),), outputs=4),
]
