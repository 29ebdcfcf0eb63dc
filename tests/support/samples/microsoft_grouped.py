import functools
from typing import Any

import numpy as np

from support.samples import Sample, f32, i64

Microsoft = functools.partial(Sample, domain="com.microsoft", rtol=1e-4, atol=1e-5)
# 4 query heads on 2 key heads; a second step of 1 query, where the sequences have 3 and 2 keys.
COSINES, SINES = f32(9, 8), f32(9, 8, seed=1)
GROUPS = {"num_heads": 4, "kv_num_heads": 2}
FIRST = (f32(2, 3, 64), f32(2, 3, 32), f32(2, 3, 32, seed=1))
PROMPT = (np.int32([2, 2]), np.asarray(3, np.int32))
NEXT = (f32(2, 1, 64), f32(2, 1, 32), f32(2, 1, 32, seed=1))
CACHE = (f32(2, 2, 4, 16), f32(2, 2, 4, 16, seed=1))
STEP = (np.int32([4, 2]), np.asarray(5, np.int32))


def total(n: int) -> np.ndarray:
    return np.asarray(n, np.int32)


def integers(*shape: int, bits: int, seed: int = 0) -> np.ndarray:
    """A cache of two heads whose numbers have `bits`."""
    low, kind = (-128, np.int8) if bits == 8 else (0, np.uint8)
    return np.random.default_rng([seed, *shape]).integers(low, low + 256, shape).astype(kind)


def grouped(B: int, S: int) -> tuple[np.ndarray, ...]:
    return f32(B, S, 64), f32(B, S, 32), f32(B, S, 32, seed=1)


def cache(B: int, P: int) -> tuple[np.ndarray, ...]:
    return f32(B, 2, P, 16), f32(B, 2, P, 16, seed=1)


def normalized(q: np.ndarray, k: np.ndarray, v: np.ndarray, *more: Any) -> np.ndarray:
    """Causal attention to the keys of 2 heads, by 4 queries, scaled to a root mean square of 1."""
    (B, S, _), scale = q.shape, more[-1]
    q, k = (
        x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) * scale
        for x in (q.reshape(B, S, 2, 2, 16), k.reshape(B, S, 2, 16))
    )
    scores = np.einsum("bsghd,btgd->bghst", q, k) / 4
    scores = np.where(np.tri(S, dtype=bool), scores, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    sums = np.einsum("bghst,btgd->bsghd", weights, v.reshape(B, S, 2, 16))
    return sums.reshape(B, S, 64).astype(np.float32)


UNUSED = [None] * 9
SAMPLES = [
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
        grad=(0, 1, 2, 3, 4, 7, 8),
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
    Microsoft("GroupQueryAttention", (*FIRST, None, None, *PROMPT), {**GROUPS, "causal": 0}),
    Microsoft(
        "GroupQueryAttention", (*NEXT, *CACHE, *STEP), {**GROUPS, "causal": 0}, 3, grad=(0, 3)
    ),
    *(
        Microsoft(
            "GroupQueryAttention",
            (*grouped(1, 3), *cache(1, room), np.int32([6]), total(7), *bias),
            {**GROUPS, **options},
            3,
            grad=(0, 1, 2, 3, 4),
        )
        for room, options, bias in (
            (4, {"causal": 0}, ()),
            (4, {}, (None, None, None, f32(1, 1, 3, 7))),
            (9, {"local_window_size": 4, "softcap": 1.0, "smooth_softmax": 1}, ()),
        )
    ),
    *(
        Microsoft("GroupQueryAttention", inputs, {**GROUPS, "qk_output": stage, **options}, 4)
        for stage in (1, 2)
        for inputs, options in (
            ((*FIRST, None, None, *PROMPT), {}),
            ((*NEXT, *CACHE, *STEP), {"softcap": 2.0, "local_window_size": 2}),
            ((*NEXT, *CACHE, *STEP), {"smooth_softmax": 1}),
        )
    ),
    # Of the positions in a prompt, only the first one matters.
    Microsoft(
        "GroupQueryAttention",
        (*FIRST, None, None, *PROMPT, COSINES, SINES, i64([2, 1, 4], [5, 4, 5])),
        {**GROUPS, "do_rotary": 1},
        3,
    ),
    # Sequences of different lengths go on by 3 tokens. What is after the end of them is up to the
    # runtime, so that other numbers of tokens cannot be compared.
    *(
        Microsoft(
            "GroupQueryAttention",
            (*grouped(2, 3), *cache(2, 8), np.int32(last), total(8), *rotary, *none, np.int32(new)),
            {**GROUPS, "do_rotary": int(bool(rotary))},
            3,
            grad=(0, 1, 2, 3, 4),
        )
        for last, new, rotary, none in (
            ([4, 6], [3, 3], (), UNUSED),
            ([4, 3], [3, 3], (COSINES, SINES), UNUSED[2:]),
        )
    ),
    # A cache of the last 4 tokens, or of 3 to 6.
    *(
        Microsoft(
            "GroupQueryAttention",
            (*grouped(1, new), *cache(1, room), np.int32([last]), total(last + 1), *bias),
            {**GROUPS, "sliding_window_cache": 1, "local_window_size": window},
            3,
            grad=(0, 1, 2, 3, 4),
        )
        for room, window, last, new, bias in (
            (4, 4, 3, 1, ()),
            (4, 4, 9, 1, (None, None, None, f32(1, 4, 1, 10))),
            (4, 4, 11, 3, ()),
            (4, 4, 4, 5, (None, None, None, f32(1, 1, 5, 5))),
            (6, 3, 9, 1, ()),
            (6, 3, 5, 3, ()),
        )
    ),
    *(
        Microsoft(
            "GroupQueryAttention",
            (
                *grouped(1, 2),
                integers(1, 2, 4, 2 * bits, bits=bits),
                integers(1, 2, 4, 2 * bits, bits=bits, seed=1),
                np.int32([5]),
                total(6),
                *UNUSED[:5],
                scale / bits,
                scale / bits,
            ),
            {**GROUPS, "k_quant_type": kind, "v_quant_type": kind, "kv_cache_bit_width": bits},
            3,
        )
        for bits in (8, 4)
        for kind, scale in (
            ("PER_TENSOR", np.float32([0.3])),
            ("PER_CHANNEL", f32(1, 2, 1, 16, low=0.1, high=0.5)),
        )
    ),
    # ONNX Runtime normalizes queries and keys on a GPU only.
    Microsoft(
        "GroupQueryAttention",
        (*FIRST, None, None, *PROMPT, *UNUSED[:7], f32(16, low=0.5), f32(16, low=0.5)),
        GROUPS,
        expected=normalized,
        grad=(0, 1, 14, 15),
    ),
]
