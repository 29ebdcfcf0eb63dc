import functools

import numpy as np

from samples import Sample, f32, i64

Microsoft = functools.partial(Sample, domain="com.microsoft", rtol=1e-4, atol=1e-5)
# B = 2 sequences, S = 3 queries, N = 2 heads, D = 4 features, P = 2 keys of the past.
X, W, BIAS = f32(2, 3, 6), f32(6, 24), f32(24)
PAST = f32(2, 2, 2, 2, 4)
Q, K, V = f32(2, 3, 8), f32(2, 5, 8, seed=1), f32(2, 5, 8, seed=2)
PAST_K, PAST_V = f32(2, 2, 2, 4, seed=3), f32(2, 2, 2, 4, seed=4)
HEADS = {"num_heads": 2}
RAW = np.int32([[1, 1, 0], [1, 0, 0]])
QUANTIZED = np.random.default_rng(0).integers(0, 256, (2, 3, 6)).astype(np.uint8)
WEIGHT = np.random.default_rng(1).integers(-128, 128, (6, 24)).astype(np.int8)
ZEROS = np.asarray(99, np.uint8), np.asarray(3, np.int8)
COS, SIN = f32(9, 2), f32(9, 2, seed=1)
# 4 query heads on 2 key heads; a second step of 1 query, where the sequences have 3 and 2 keys.
COSINES, SINES = f32(9, 8), f32(9, 8, seed=1)
GROUPS = {"num_heads": 4, "kv_num_heads": 2}
FIRST = (f32(2, 3, 64), f32(2, 3, 32), f32(2, 3, 32, seed=1))
PROMPT = (np.int32([2, 2]), np.asarray(3, np.int32))
NEXT = (f32(2, 1, 64), f32(2, 1, 32), f32(2, 1, 32, seed=1))
CACHE = (f32(2, 2, 4, 16), f32(2, 2, 4, 16, seed=1))
STEP = (np.int32([4, 2]), np.asarray(5, np.int32))


def real(x: float) -> np.ndarray:
    return np.asarray(x, np.float32)


def attend(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Attention [B, S, N * D] of queries [B, S, N, D], keys and values [B, T, N, D]."""
    weights = np.exp(np.einsum("bsnd,btnd->bnst", q, k) / 2)
    sums = np.einsum("bnst,btnd->bsnd", weights / weights.sum(-1, keepdims=True), v)
    return sums.reshape(*q.shape[:2], -1)


SAMPLES = [
    Microsoft("Attention", (X, W, BIAS), HEADS, grad=(0, 1, 2)),
    Microsoft("Attention", (X, W, BIAS), {**HEADS, "unidirectional": 1, "scale": 0.3}),
    Microsoft("Attention", (X, W), HEADS),
    Microsoft("Attention", (X, W, BIAS, RAW), HEADS, grad=(0,)),
    Microsoft("Attention", (X, W, BIAS, np.int32([3, 2])), HEADS),
    Microsoft("Attention", (X, W, BIAS, np.int32([3, 2, 1, 0])), HEADS),
    Microsoft("Attention", (X, W, BIAS, np.int32(f32(2, 3, 3) > 0)), HEADS),
    Microsoft("Attention", (X, W, BIAS, None, PAST), {**HEADS, "unidirectional": 1}, 2, grad=(4,)),
    Microsoft("Attention", (X, W, BIAS, None, None, f32(2, 2, 3, 3)), HEADS, grad=(5,)),
    Microsoft("Attention", (X, f32(6, 20), f32(20)), {**HEADS, "qkv_hidden_sizes": [8, 8, 4]}),
    Microsoft("Attention", (X, W, BIAS, RAW), {**HEADS, "mask_filter_value": -2.0}),
    Microsoft("QAttention", (QUANTIZED, WEIGHT, BIAS, real(0.01), real(0.01)), HEADS),
    Microsoft(
        "QAttention",
        (
            QUANTIZED,
            WEIGHT,
            BIAS,
            real(0.01),
            real(0.01),
            RAW,
            *ZEROS,
        ),
        HEADS,
    ),
    Microsoft(
        "QAttention",
        (
            QUANTIZED,
            WEIGHT,
            BIAS,
            real(0.01),
            real(0.01),
            None,
            *ZEROS,
            PAST,
        ),
        {**HEADS, "unidirectional": 1},
        2,
    ),
    Microsoft("MultiHeadAttention", (Q, K, V), HEADS, grad=(0, 1, 2)),
    Microsoft("MultiHeadAttention", (Q, K, V, BIAS), {**HEADS, "scale": 0.3}, grad=(3,)),
    Microsoft("MultiHeadAttention", (Q, K, f32(2, 5, 4), f32(20)), HEADS),
    Microsoft("MultiHeadAttention", (Q, Q, Q), {**HEADS, "unidirectional": 1}),
    # ONNX Runtime has no packed keys on a CPU.
    Microsoft(
        "MultiHeadAttention",
        (f32(2, 3, 2, 3, 4),),
        HEADS,
        expected=lambda x: attend(*np.moveaxis(x, 3, 0)),
    ),
    Microsoft(
        "MultiHeadAttention",
        (Q, f32(2, 5, 2, 2, 4)),
        HEADS,
        expected=lambda q, x: attend(q.reshape(2, 3, 2, 4), *np.moveaxis(x, 3, 0)),
    ),
    Microsoft("MultiHeadAttention", (Q, f32(2, 2, 5, 4), f32(2, 2, 5, 4, seed=1)), HEADS),
    Microsoft(
        "MultiHeadAttention",
        (Q, K, V, None, np.int32([[1, 1, 0, 1, 1], [1, 0, 0, 0, 0]]), f32(2, 2, 3, 5)),
        HEADS,
    ),
    Microsoft("MultiHeadAttention", (Q, K, V, None, np.int32([5, 2])), HEADS),
    Microsoft(
        "MultiHeadAttention", (Q, Q, Q, BIAS, None, f32(1, 2, 3, 5), PAST_K, PAST_V), HEADS, 3
    ),
    *(
        Microsoft(
            "RotaryEmbedding", (x, ids, COS, SIN), {"interleaved": interleaved, **heads}, grad=(0,)
        )
        for interleaved in (0, 1)
        for x, heads in (
            (f32(2, 3, 8), {}),
            (f32(2, 2, 3, 4), {}),
            (f32(2, 3, 12), {"num_heads": 2, "rotary_embedding_dim": 4}),
        )
        for ids in (i64([1, 2, 4], [0, 7, 3]), i64(2))
    ),
    Microsoft("GroupQueryAttention", (*FIRST, None, None, *PROMPT), GROUPS, 3, grad=(0, 1, 2)),
    Microsoft(
        "GroupQueryAttention",
        (f32(2, 3, 128), None, None, None, None, *PROMPT),
        {**GROUPS, "scale": 0.3},
        3,
    ),
    Microsoft(
        "GroupQueryAttention",
        (*FIRST, None, None, *PROMPT, COSINES, SINES),
        {**GROUPS, "do_rotary": 1, "softcap": 1.5},
        3,
    ),
    Microsoft(
        "GroupQueryAttention",
        (*NEXT, *CACHE, *STEP, COSINES, SINES),
        {**GROUPS, "do_rotary": 1, "rotary_interleaved": 1},
        3,
        grad=(0, 1, 2, 3, 4),
    ),
    Microsoft("GroupQueryAttention", (*NEXT, *CACHE, *STEP), {**GROUPS, "local_window_size": 2}, 3),
    Microsoft(
        "GroupQueryAttention",
        (*FIRST, None, None, *PROMPT),
        {**GROUPS, "local_window_size": 2},
        3,
    ),
    Microsoft("GroupQueryAttention", (*NEXT, *CACHE, *STEP), {**GROUPS, "smooth_softmax": 1}, 3),
    Microsoft(
        "GroupQueryAttention",
        (*NEXT, *CACHE, *STEP, None, None, None, f32(1, 1, 1, 5), f32(4)),
        GROUPS,
        3,
        grad=(10, 11),
    ),
    Microsoft(
        "GroupQueryAttention",
        (*NEXT, *CACHE, *STEP, COSINES, SINES, i64([1], [3])),
        {**GROUPS, "do_rotary": 1},
        3,
    ),
]
