import functools

import numpy as np

from support.samples import Sample, f32, i64

Microsoft = functools.partial(Sample, domain="com.microsoft")
X, SKIP, GAMMA, BETA, BIAS = f32(2, 3, 8), f32(2, 3, 8, seed=1), f32(8, low=0.5), f32(8), f32(8)
SQUARE = f32(2, 3, 3) + 3 * np.eye(3, dtype=np.float32)
IDS, SEGMENTS = np.int32([[1, 4, 0], [2, 2, 5]]), np.int32([[0, 0, 1], [0, 1, 1]])
WORDS, POSITIONS, KINDS = f32(6, 8), f32(4, 8), f32(2, 8)
MASK = np.int32([[1, 1, 0], [1, 1, 1]])
SUM = (True, False, False, True)
IMAGE, KERNEL, MAPS = f32(1, 4, 5, 5), f32(6, 2, 3, 3), f32(6)
GRID = f32(1, 3, 4, 2, low=-1.2, high=1.2)

SAMPLES = [
    Microsoft("Gelu", (X,), grad=(0,)),
    Microsoft("Gelu", (f32(5, low=-30, high=30),)),
    Microsoft("Gelu", (np.asarray(0.5, np.float32),)),
    Microsoft("BiasGelu", (X, BIAS), grad=(0, 1)),
    Microsoft("BiasGelu", (f32(3, 1), f32(1))),
    Microsoft("BiasGelu", (f32(2, 2, 3, 5, low=-9, high=9), f32(5))),
    Microsoft("FastGelu", (X,), grad=(0,)),
    Microsoft("FastGelu", (X, BIAS), grad=(0, 1)),
    Microsoft("FastGelu", (f32(2, 3, 4, 5, low=-9, high=9), f32(5))),
    Microsoft("QuickGelu", (X,), grad=(0,)),
    Microsoft("QuickGelu", (X,), {"alpha": 0.5}, grad=(0,)),
    Microsoft("QuickGelu", (f32(7, low=-30, high=30),), {"alpha": -1.0}),
    Microsoft("FusedMatMul", (f32(2, 3, 4), f32(2, 4, 5)), {"alpha": 0.5}, grad=(0, 1)),
    Microsoft("FusedMatMul", (f32(2, 4, 3), f32(2, 5, 4)), {"transA": 1, "transB": 1}, grad=(0, 1)),
    Microsoft("FusedMatMul", (f32(3, 2, 4), f32(2, 4, 5)), {"transBatchA": 1}, grad=(0, 1)),
    Microsoft(
        "FusedMatMul",
        (f32(4, 2, 3), f32(5, 2, 4)),
        {"transBatchA": 1, "transBatchB": 1, "transA": 1, "transB": 1},
    ),
    Microsoft("FusedMatMul", (f32(4), f32(4, 5)), {"transA": 1}),
    Microsoft("TransposeMatMul", (f32(2, 3, 4), f32(4, 5)), {"alpha": 2.0}, grad=(0, 1)),
    Microsoft("TransposeMatMul", (f32(2, 3, 4), f32(5, 4)), {"transB": 1}),
    Microsoft("TransposeMatMul", (f32(2, 4, 3), f32(2, 5, 4)), {"transA": 1, "transB": 1}),
    Microsoft("FusedGemm", (f32(3, 4), f32(4, 5), f32(5)), {"activation": "Relu"}, grad=(0, 1, 2)),
    Microsoft(
        "FusedGemm",
        (f32(3, 4), f32(5, 4)),
        {"activation": "LeakyRelu", "activation_alpha": 0.3, "transB": 1, "alpha": 0.5},
    ),
    Microsoft(
        "FusedGemm",
        (f32(4, 3), f32(4, 5), f32(5)),
        {"activation": "HardSigmoid", "activation_alpha": 0.3, "activation_beta": 0.4, "transA": 1},
    ),
    Microsoft("FusedGemm", (f32(3, 4), f32(4, 5)), {"activation": "Tanh"}),
    Microsoft("FusedConv", (IMAGE, f32(6, 4, 3, 3), MAPS), {"activation": "Relu"}, grad=(0, 1, 2)),
    Microsoft(
        "FusedConv",
        (IMAGE, KERNEL, MAPS),
        {"group": 2, "strides": [2, 2], "pads": [1, 1, 1, 1], "activation": "Sigmoid"},
    ),
    Microsoft(
        "FusedConv",
        (IMAGE, KERNEL),
        {"group": 2, "activation": "LeakyRelu", "activation_params": [0.2]},
    ),
    Microsoft(
        "FusedConv",
        (IMAGE, KERNEL, MAPS, f32(1, 6, 3, 3)),
        {"group": 2, "activation": "Relu"},
        grad=(3,),
    ),
    Microsoft(
        "FusedConv",
        (IMAGE, KERNEL, MAPS),
        {"group": 2, "activation": "Clip", "activation_params": [-0.5, 0.7]},
    ),
    Microsoft(
        "FusedConv",
        (IMAGE, KERNEL, MAPS),
        {"group": 2, "activation": "HardSigmoid", "activation_params": [0.3, 0.4]},
    ),
    Microsoft("FusedConv", (IMAGE, KERNEL, MAPS), {"group": 2, "activation": "Tanh"}),
    Microsoft("SkipLayerNormalization", (X, SKIP, GAMMA), grad=(0, 1, 2)),
    Microsoft("SkipLayerNormalization", (X, SKIP, GAMMA, BETA), {"epsilon": 0.1}, grad=(3,)),
    Microsoft("SkipLayerNormalization", (X, SKIP, GAMMA, BETA, BIAS), outputs=SUM, grad=(4,)),
    Microsoft("SkipLayerNormalization", (X, SKIP[0], GAMMA, None, BIAS), outputs=SUM),
    Sample("SimplifiedLayerNormalization", (X, GAMMA), versions=(17,), grad=(0, 1)),
    Sample("SimplifiedLayerNormalization", (X, GAMMA), {"epsilon": 0.1}, 2, versions=(17,)),
    Sample("SimplifiedLayerNormalization", (X, f32(3, 8)), {"axis": 1}, 2, versions=(17,)),
    Sample("SimplifiedLayerNormalization", (X, GAMMA), {"axis": -1}, versions=(13,)),
    Microsoft("SkipSimplifiedLayerNormalization", (X, SKIP, GAMMA), grad=(0, 1, 2)),
    Microsoft("SkipSimplifiedLayerNormalization", (X, SKIP, GAMMA), {"epsilon": 0.1}),
    Microsoft("SkipSimplifiedLayerNormalization", (X, SKIP, GAMMA, BIAS), outputs=SUM, grad=(3,)),
    Microsoft(
        "EmbedLayerNormalization",
        (IDS, SEGMENTS, WORDS, POSITIONS, KINDS, GAMMA, BETA, MASK),
        outputs=3,
    ),
    Microsoft(
        "EmbedLayerNormalization",
        (IDS, SEGMENTS, WORDS, POSITIONS, KINDS, GAMMA, BETA, MASK),
        outputs=(True, False, True),
        grad=(2, 3, 4, 5, 6),
    ),
    Microsoft(
        "EmbedLayerNormalization",
        (IDS, None, WORDS, POSITIONS, None, GAMMA, BETA),
        {"epsilon": 0.1},
        outputs=2,
    ),
    Microsoft(
        "EmbedLayerNormalization",
        (IDS, SEGMENTS, WORDS, POSITIONS, KINDS, GAMMA, BETA, None, np.int32([[2, 0, 3]] * 2)),
        outputs=2,
    ),
    Microsoft("Trilu", (f32(2, 3, 4),), grad=(0,)),
    Microsoft("Trilu", (f32(2, 3, 4), np.asarray(1, np.int64)), {"upper": 0}),
    Microsoft("Trilu", (f32(2, 3, 4), np.asarray(-1, np.int64)), {"upper": 1}),
    Microsoft("Unique", (np.float32([3, 1, 3, 2, 1]),), outputs=3),
    Microsoft("Unique", (np.float32([2, 2, 2]),), outputs=3),
    Microsoft("Unique", (np.float32([-1, 5, 0, -1, 7]),), outputs=3),
    Microsoft("GatherND", (f32(2, 3, 4), i64([[0, 1], [1, 2]])[0]), grad=(0,)),
    Microsoft("GatherND", (f32(2, 3, 4), np.int32([[[-1], [0]]]))),
    Microsoft("GatherND", (np.arange(24).reshape(2, 3, 4), i64([1, 2, -1]))),
    Microsoft("GridSample", (f32(1, 2, 4, 5), GRID), grad=(0, 1)),
    Microsoft("GridSample", (f32(1, 2, 4, 5), GRID), {"align_corners": 1, "mode": "nearest"}),
    Microsoft(
        "GridSample", (f32(1, 2, 4, 5), GRID), {"padding_mode": "reflection", "mode": "bicubic"}
    ),
    Microsoft("Pad", (f32(2, 3), i64(0, 1, 2, 0), np.float32([5])), grad=(0, 2)),
    Microsoft("Pad", (f32(2, 3), i64([0, 1, 1, 0])), {"mode": "edge"}),
    Microsoft("Pad", (f32(2, 3), i64(0, 1, 1, 2)), {"mode": "reflect"}),
    Microsoft("Range", (np.asarray(1.0, np.float32), np.asarray(4.5, np.float32))),
    Microsoft("Range", (np.asarray(7), np.asarray(1), np.asarray(-2))),
    Microsoft("Range", (np.asarray(0, np.int16), np.asarray(9, np.int16), np.asarray(4, np.int16))),
    Microsoft("ExpandDims", (f32(2, 3), np.asarray(1, np.int32)), grad=(0,)),
    Microsoft("ExpandDims", (f32(2, 3), np.asarray(-1, np.int32))),
    Microsoft("ExpandDims", (f32(2, 3), np.asarray(0, np.int32))),
    Microsoft("Inverse", (SQUARE,), grad=(0,)),
    Microsoft("Inverse", (np.float32([[0, 2], [4, 1]]),)),
    Microsoft("Inverse", (f32(2, 1, 4, 4) + 5 * np.eye(4, dtype=np.float32),)),
    Microsoft("CDist", (f32(3, 4), f32(5, 4, seed=1)), grad=(0, 1)),
    Microsoft("CDist", (f32(3, 4), f32(5, 4, seed=1)), {"metric": "euclidean"}, grad=(0, 1)),
    Microsoft("CDist", (f32(3, 4), f32(5, 4, seed=1)), {"metric": "sqeuclidean"}),
    Microsoft("UnfoldTensor", (f32(2, 7),), {"size": 3}, grad=(0,)),
    Microsoft("UnfoldTensor", (f32(6, 2),), {"size": 2, "step": 2, "dim": 0}),
    Microsoft("UnfoldTensor", (f32(2, 7, 3),), {"size": 4, "step": 2, "dim": 1}),
]
