import numpy as np

from support.samples import Sample, f32, i64

WEIGHTS = f32(4, low=0.2)
CASES = [
    ((3, 4), i64(1, 3, 0)),
    ((2, 4, 3), np.int32([[1, 3, 0], [0, 2, 2]])),
    ((2, 4, 1, 2), i64([[1, 3]], [[0, 2]])),
]
IGNORED = [
    ((3, 4), i64(1, -7, 0), -7),
    ((2, 4, 3), i64([1, 3, 0], [0, 2, 2]), 2),
]
SETTINGS = [(weights, how) for weights in ([], [WEIGHTS]) for how in ("none", "sum", "mean")]

SAMPLES = [
    *(
        Sample(
            name,
            (f32(*shape), target, *weights),
            {"reduction": how},
            outputs,
            grad=(0, 2) if weights else (0,),
        )
        for name, outputs in [("NegativeLogLikelihoodLoss", 1), ("SoftmaxCrossEntropyLoss", 2)]
        for shape, target in CASES
        for weights, how in SETTINGS
    ),
    *(
        Sample(
            name,
            (f32(*shape), target, *weights),
            {"reduction": how, "ignore_index": index},
            grad=(0, 2) if weights else (0,),
        )
        for name in ("NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss")
        for shape, target, index in IGNORED
        for weights, how in SETTINGS
    ),
]
