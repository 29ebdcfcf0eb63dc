import functools

import numpy as np

from support.samples import Sample, f32, i64

Microsoft = functools.partial(Sample, domain="com.microsoft")
IMAGES = f32(2, 3, 5, 6)
ROIS = np.float32([[0.1, 0.23, 0.8, 0.7], [0.9, 0.05, 0.3, 0.95], [-0.2, 0.13, 1.3, 0.9]])
WHICH = np.int32([1, 0, 1])
SEQUENCE = np.int32([[3, 1, 4, 1, 5], [2, 0, 0, 0, 0], [6, 5, 3, 0, 0], [1, 2, 3, 4, 0]])
CHARACTERS = f32(7, 4)
SPARSE = f32(3, 4) * (f32(3, 4, seed=1) > 0.5)
# ONNX Runtime leaves the row of a word without characters undefined; here it is 0.
NO_WORD = np.int32([[2, 1, 0], [0, 0, 0]])


def no_word(words: np.ndarray, W: np.ndarray, B: np.ndarray, C: np.ndarray) -> np.ndarray:
    word = np.tanh(np.einsum("ke,mke->m", C[words[0, :2]], W[:, 0]) + B)
    return np.stack([word, np.zeros_like(B)])


def product(A: np.ndarray, B: np.ndarray) -> np.ndarray:
    return A @ B


SAMPLES = [
    Microsoft("CropAndResize", (IMAGES, ROIS, WHICH, np.int32([3, 4])), grad=(0, 1)),
    Microsoft(
        "CropAndResize",
        (IMAGES, ROIS, WHICH, np.int32([1, 7])),
        {"extrapolation_value": 0.5},
        grad=(0,),
    ),
    Microsoft("CropAndResize", (IMAGES, ROIS, WHICH, np.int32([4, 1])), {"mode": "nearest"}),
    Microsoft(
        "CropAndResize",
        (IMAGES, np.float32([[0, 0, 1, 1], [1, 1, 0, 0]]), np.int32([0, 1]), np.int32([5, 6])),
        {"mode": "bilinear"},
    ),
    Microsoft(
        "CropAndResize",
        (IMAGES[:, :, :1], ROIS, WHICH, np.int32([2, 2])),
        {"mode": "nearest", "extrapolation_value": -1.0},
    ),
    Microsoft("WordConvEmbedding", (SEQUENCE, f32(6, 1, 2, 4), f32(6), CHARACTERS), grad=(1, 2, 3)),
    Microsoft(
        "WordConvEmbedding",
        (SEQUENCE, f32(3, 1, 3, 4), f32(3), CHARACTERS),
        {"embedding_size": 3, "conv_window_size": 3, "char_embedding_size": 4},
    ),
    Microsoft("WordConvEmbedding", (SEQUENCE, f32(2, 1, 5, 4), f32(2), CHARACTERS)),
    Microsoft(
        "WordConvEmbedding", (NO_WORD, f32(6, 1, 2, 4), f32(6), CHARACTERS), expected=no_word
    ),
    # ONNX Runtime takes a sparse tensor alone, which only a file can have: see test_sparse.py.
    Microsoft("SparseToDenseMatMul", (SPARSE, f32(4, 5)), grad=(0, 1), expected=product),
    Microsoft(
        "SparseToDenseMatMul",
        (SPARSE, f32(5, 3)),
        {"transA": 1, "transB": 1, "alpha": 0.5},
        expected=lambda A, B: 0.5 * (A.T @ B.T),
    ),
    Microsoft(
        "SparseToDenseMatMul",
        (i64([0, 2, 0], [1, 0, 0]), i64([1, 2], [3, 4], [5, 6])),
        expected=product,
    ),
]
