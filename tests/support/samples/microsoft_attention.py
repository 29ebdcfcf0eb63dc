import functools

import numpy as np

from support.samples import Sample, f32, i64

Microsoft = functools.partial(Sample, domain="com.microsoft", rtol=1e-4, atol=1e-5)
# B = 2 sequences, S = 3 queries, N = 2 heads, D = 4 features, P = 2 keys of the past.
X, W, BIAS = f32(2, 3, 6), f32(6, 24), f32(24)
PAST = f32(2, 2, 2, 2, 4)
Q, K, V = f32(2, 3, 8), f32(2, 5, 8, seed=1), f32(2, 5, 8, seed=2)
PAST_K, PAST_V = f32(2, 2, 2, 4, seed=3), f32(2, 2, 2, 4, seed=4)
HEADS = {"num_heads": 2}
RAW = np.int32([[1, 1, 0], [1, 0, 0]])
QUANTIZED = np.random.default_rng(0).integers(0, 256, (2, 3, 6)).astype(np.uint8)
WEIGHT = np.random.default_rng(1).integers(-64, 64, (6, 24)).astype(np.int8)  # see `i8` in matmul
ZEROS = np.asarray(99, np.uint8), np.asarray(3, np.int8)
COS, SIN = f32(9, 2), f32(9, 2, seed=1)
BUFFER = f32(2, 2, 2, 7, 4)
TOKEN = (f32(2, 1, 8), f32(2, 1, 8, seed=1), f32(2, 1, 8, seed=2))
CROSS = (f32(2, 2, 5, 4), f32(2, 2, 5, 4, seed=1))
BUFFERS = CROSS


def real(x: float) -> np.ndarray:
    return np.asarray(x, np.float32)


def attend(q: np.ndarray, k: np.ndarray, v: np.ndarray, bias: object = 0) -> np.ndarray:
    """Attention [B, S, N * D] of queries [B, S, N, D], keys and values [B, T, N, D]."""
    weights = np.exp(np.einsum("bsnd,btnd->bnst", q, k) / 2 + bias)
    sums = np.einsum("bnst,btnd->bsnd", weights / weights.sum(-1, keepdims=True), v)
    return sums.reshape(*q.shape[:2], -1)


def attention_with_buffer(
    projected: np.ndarray, buffer: np.ndarray, filled: int
) -> tuple[np.ndarray, np.ndarray]:
    """Attention by queries, keys and values side by side, and the buffer where these are now."""
    q, k, v = (x.reshape(*x.shape[:2], 2, 4) for x in np.split(projected, 3, 2))
    new, end = buffer.copy(), filled + projected.shape[1]
    new[:, :, :, filled:end] = np.stack([k, v]).swapaxes(2, 3)
    return attend(q, *new[:, :, :, :end].swapaxes(2, 3)), new


def separate(results: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, ...]:
    return results[0], *results[1]


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
        (QUANTIZED % 4, WEIGHT // 64, BIAS, real(0.3), real(0.4)),
        HEADS,
        grad=(2, 3, 4),
    ),
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
        grad=(8,),
    ),
    # Each column of the weights has a scale and a zero point of its own.
    Microsoft(
        "QAttention",
        (
            QUANTIZED,
            WEIGHT,
            BIAS,
            real(0.01),
            f32(24, low=0.005, high=0.02),
            np.int32([3, 2]),
            ZEROS[0],
            np.arange(-12, 12).astype(np.int8),
        ),
        {**HEADS, "scale": 0.3},
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
        grad=(5,),
    ),
    Microsoft("MultiHeadAttention", (Q, K, V, None, np.int32([5, 2])), HEADS),
    Microsoft(
        "MultiHeadAttention", (Q, Q, Q, BIAS, None, f32(1, 2, 3, 5), PAST_K, PAST_V), HEADS, 3
    ),
    Microsoft("Attention", (X, W, BIAS, np.zeros((2, 1), np.int32)), HEADS),
    Microsoft("Attention", (X, W, BIAS, np.int32([3, 2, 0, 1, 0, 3, 4, 6])), HEADS),
    # ONNX Runtime has no mask for all tokens that there could be on a CPU.
    Microsoft(
        "Attention",
        (X, W, BIAS, np.int32(f32(2, 1, 7, 7) > 0)),
        {**HEADS, "mask_filter_value": -2.0},
        expected=lambda x, w, bias, mask: attend(
            *(a.reshape(2, 3, 2, 4) for a in np.split(x @ w + bias, 3, 2)),
            np.where(mask[:, :, :3, :3], np.float32(0), np.float32(-2)),
        ),
    ),
    Microsoft(
        "Attention",
        (X, W, BIAS, np.int32(f32(2, 5) > -1), PAST),
        {**HEADS, "unidirectional": 1},
        2,
        grad=(0, 4),
    ),
    # ONNX Runtime has no buffer of the past in this operator on a CPU.
    Microsoft(
        "Attention",
        (X, W, BIAS, None, BUFFER, None, np.int32([2])),
        {**HEADS, "past_present_share_buffer": 1},
        2,
        expected=lambda x, w, bias, _, past, *more: attention_with_buffer(x @ w + bias, past, 2),
        grad=(0, 4),
    ),
    Microsoft("MultiHeadAttention", (Q, Q, Q, None, np.int32([3, 2, 0, 1, 0, 3, 4, 6])), HEADS),
    Microsoft("MultiHeadAttention", (Q, Q, Q, None, np.int32(f32(2, 3, 3) > 0)), HEADS, grad=(0,)),
    Microsoft(
        "MultiHeadAttention",
        (Q, Q, Q, None, np.int32(f32(2, 3, 5) > 0), None, PAST_K, PAST_V),
        {**HEADS, "unidirectional": 1, "mask_filter_value": -3.0},
        3,
        grad=(0, 1, 2, 6, 7),
    ),
    Microsoft(
        "MultiHeadAttention",
        (Q, Q, Q, None, None, None, BUFFER[0], BUFFER[1], np.int32([2])),
        HEADS,
        3,
        grad=(0, 1, 2, 6, 7),
    ),
    Microsoft(
        "MultiHeadAttention",
        (Q, Q, Q, None, np.int32([5, 4]), f32(1, 2, 3, 5), BUFFER[0], BUFFER[1], np.int32([2])),
        HEADS,
        3,
    ),
    # ONNX Runtime cannot infer the type of what softmax gets, the last output.
    Microsoft(
        "MultiHeadAttention",
        (Q, K, V),
        {**HEADS, "scale": 0.3},
        (False, False, False, True),
        expected=lambda q, k, v: (
            0.3 * np.einsum("bsnd,btnd->bnst", q.reshape(2, 3, 2, 4), k.reshape(2, 5, 2, 4))
        ),
        grad=(0, 1),
    ),
    *(
        Microsoft(
            "RotaryEmbedding",
            (x, ids, COS, SIN),
            {"interleaved": interleaved, **heads},
            grad=(0, 2, 3),
        )
        for interleaved in (0, 1)
        for x, heads in (
            (f32(2, 3, 8), {}),
            (f32(2, 2, 3, 4), {}),
            (f32(2, 3, 12), {"num_heads": 2, "rotary_embedding_dim": 4}),
        )
        for ids in (i64([1, 2, 4], [0, 7, 3]), i64(2))
    ),
    Microsoft(
        "RotaryEmbedding",
        (f32(2, 3, 8), i64([1, 2, 4], [0, 7, 3]), COS, SIN),
        {"is_packed_batching": 1},
    ),
    # What a token attends to: all that another model made; or itself after 3 tokens of 5 in a
    # buffer.
    *(
        Microsoft("DecoderMaskedMultiHeadAttention", inputs, {**HEADS, **options}, grad=(0, 1, 2))
        for inputs, options in (
            ((TOKEN[0], *CROSS), {}),
            ((TOKEN[0], *CROSS, np.int32([[1, 1, 0, 1, 1], [1, 0, 0, 1, 1]])), {"scale": 0.3}),
            (
                (TOKEN[0], *CROSS, np.int32(f32(2, 5) > 0), *[None] * 6, BIAS),
                {"mask_filter_value": -3.0},
            ),
        )
    ),
    *(
        Microsoft(
            "DecoderMaskedMultiHeadAttention",
            (*TOKEN, mask, bias, *BUFFERS, np.int32([filled]), None, None, extra),
            {**HEADS, "past_present_share_buffer": 1},
            3,
            grad=(0, 1, 2, 5, 6) if extra is None else (0, 1, 2, 4, 5, 6, 10),
        )
        for filled, mask, bias, extra in (
            (3, None, None, None),
            (0, None, None, None),
            (3, np.int32([[1, 1, 0, 1], [1, 0, 1, 1]]), None, None),
            (4, None, f32(1, 2, 1, 5), BIAS),
        )
    ),
    # ONNX Runtime fails on these two.
    Microsoft(
        "DecoderMaskedMultiHeadAttention",
        (f32(2, 1, 24), None, None, None, None, *BUFFERS, np.int32([3])),
        {**HEADS, "past_present_share_buffer": 1},
        3,
        expected=lambda x, _k, _v, _m, _b, past_k, past_v, *more: separate(
            attention_with_buffer(x, np.stack([past_k, past_v]), 3)
        ),
        grad=(0, 5, 6),
    ),
    Microsoft(
        "DecoderMaskedMultiHeadAttention",
        (TOKEN[0], *CROSS),
        {**HEADS, "output_qk": 1},
        (False, False, False, True),
        expected=lambda q, k, v: np.einsum("bnd,bntd->bnt", q.reshape(2, 2, 4), k)[:, :, None] / 2,
    ),
]
