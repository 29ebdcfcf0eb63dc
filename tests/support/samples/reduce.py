import numpy as np

from support.samples import Sample, f32, i64

X = f32(2, 3, 4)
POSITIVE = f32(2, 3, 4, low=0.5)
INTEGERS = np.arange(-11, 13, dtype=np.int32).reshape(2, 3, 4)

# Name, versions with the axes as an attribute, versions with them as an input.
REDUCTIONS = (
    ("ReduceSum", (1, 11), (13,)),
    ("ReduceMean", (1, 11, 13), (18,)),
    ("ReduceMax", (1, 11, 12, 13), (18, 20)),
    ("ReduceMin", (1, 11, 12, 13), (18, 20)),
    ("ReduceProd", (1, 11, 13), (18,)),
    ("ReduceL1", (1, 11, 13), (18,)),
    ("ReduceL2", (1, 11, 13), (18,)),
    ("ReduceLogSum", (1, 11, 13), (18, 28)),
    ("ReduceLogSumExp", (1, 11, 13), (18, 28)),
    ("ReduceSumSquare", (1, 11, 13), (18,)),
)

SAMPLES = []
for name, attribute, operand in REDUCTIONS:
    x = POSITIVE if name == "ReduceLogSum" else X
    SAMPLES += [
        Sample(name, (x,), grad=(0,)),
        Sample(name, (x,), {"axes": [0, 2], "keepdims": 0}, versions=attribute, grad=(0,)),
        Sample(name, (x,), {"axes": [-1]}, versions=attribute[1:]),
        Sample(name, (x, i64(-1, 0)), versions=operand, grad=(0,)),
        Sample(name, (x, i64(1)), {"keepdims": 0}, versions=operand),
        Sample(name, (x,), {"noop_with_empty_axes": 1}, versions=operand, grad=(0,)),
        Sample(name, (x, np.zeros(0, np.int64)), {"keepdims": 0}, versions=operand),
    ]
    if "Log" not in name:
        SAMPLES.append(Sample(name, (INTEGERS,), {"axes": [1]}, versions=attribute))
        SAMPLES.append(Sample(name, (INTEGERS, i64(1)), versions=operand))
    if name not in ("ReduceMean", "ReduceLogSum", "ReduceLogSumExp"):
        SAMPLES.append(Sample(name, (f32(2, 0, 4), i64(1)), versions=operand[-1:]))

SAMPLES += [
    Sample("ReduceMax", (np.array([[True, False], [False, False]]), i64(1)), versions=(20,)),
    Sample("ReduceMin", (np.array([[True, False], [True, True]]), i64(1)), versions=(20,)),
    Sample("ReduceMax", (np.zeros((2, 0), np.int32), i64(1)), versions=(18, 20)),
    Sample("ReduceMin", (np.zeros((2, 0), np.int64), i64(1)), versions=(18, 20)),
    Sample("ReduceMax", (np.array([[3, 7], [250, 0]], np.uint8),), versions=(12, 13, 18, 20)),
    Sample("ReduceL2", (f32(2, 3) * np.array([[1], [0]], np.float32), i64(1)), versions=(18,)),
    # The reference has no logarithm of nothing: minus infinity minus itself.
    Sample(
        "ReduceLogSumExp",
        (np.array([[-np.inf, -np.inf], [0.0, -np.inf], [500.0, 500.0]], np.float32), i64(1)),
        versions=(18, 28),
        expected=lambda x, _: np.logaddexp(x[:, :1], x[:, 1:]),
    ),
]
