import functools
import math

import numpy as np

from support.samples import Sample, f32

Microsoft = functools.partial(Sample, domain="com.microsoft")
# ONNX Runtime has these operators on a GPU only.


def t5(table: np.ndarray, length: int, most: int, both: bool) -> np.ndarray:
    """T5's bias of each pair of tokens, by its definition."""
    buckets, heads = table.shape
    by_head = table.reshape(heads, buckets)
    result = np.empty((1, heads, length, length), np.float32)
    for i in range(length):
        for j in range(length):
            first, n, ago = 0, buckets, i - j
            if both:
                n //= 2
                first = n if ago < 0 else 0
                ago = abs(ago)
            ago, exact = max(ago, 0), n // 2
            if ago >= exact:
                # The margin is for logarithms that ought to have an integer quotient.
                growth = math.log(ago / exact) / math.log(most / exact) * (n - exact)
                ago = min(exact + math.floor(growth + 1e-6), n - 1)
            result[0, :, i, j] = by_head[:, first + ago]
    return result


def gated(
    query: np.ndarray,
    query_bias: np.ndarray,
    rel_pos: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray,
    eco_a: np.ndarray,
    *offset: np.ndarray,
) -> np.ndarray:
    """The gate of WavLM, [B, N, S, 1], times rel_pos."""
    if offset:
        padded = np.zeros((offset[0].size, query.shape[1]), np.float32)
        padded[offset[0].ravel()[: len(query)]] = query
        query = padded.reshape(*offset[0].shape, -1)
    heads = rel_pos.shape[1]
    q = (query + query_bias).reshape(*query.shape[:2], heads, -1).transpose(0, 2, 1, 3)
    logits = (q @ weight + bias).reshape(*q.shape[:3], 2, -1).sum(-1)
    u, r = np.split(1 / (1 + np.exp(-logits)), 2, 3)
    return (u * (r * eco_a - 1) + 2) * rel_pos


def tokens(n: int) -> np.ndarray:
    return np.asarray([n], np.int64)


GATE = (f32(1, 2, 4, 4), f32(3, 8), f32(8), f32(1, 2, 1, 1))

SAMPLES = [
    *(
        Microsoft(
            "RelativePositionBias",
            (f32(*table), tokens(length), tokens(length)),
            {"max_distance": most, "is_bidirectional": both},
            expected=functools.partial(
                lambda table, length, _, most, both: t5(table, int(length[0]), most, bool(both)),
                most=most,
                both=both,
            ),
            grad=(0,),
        )
        for table, length, most, both in (
            ((32, 2), 40, 20, 1),
            ((8, 3), 9, 128, 0),
            ((16, 2), 33, 32, 0),
            ((6, 1), 1, 8, 1),
        )
    ),
    Microsoft(
        "GatedRelativePositionBias",
        (f32(2, 4, 6), f32(6), *GATE),
        {"num_heads": 2},
        expected=gated,
        grad=(0, 1, 2, 3, 4, 5),
    ),
    Microsoft(
        "GatedRelativePositionBias",
        (f32(1, 4, 10), f32(10), f32(1, 5, 4, 4), f32(2, 2), f32(2), f32(1, 5, 1, 1)),
        {"num_heads": 5},
        expected=gated,
        grad=(0, 1, 2, 3, 4, 5),
    ),
    # Two sequences, of 4 and of 1 token.
    Microsoft(
        "GatedRelativePositionBias",
        (f32(5, 6), f32(6), *GATE, np.int32([[0, 1, 2, 3], [4, 5, 6, 7]])),
        {"num_heads": 2},
        expected=gated,
        grad=(0, 1),
    ),
]
