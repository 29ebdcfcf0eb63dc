"""Where tokens are, in the forms that ONNX Runtime's optimizer writes.

Letters: B sequences, N heads, S tokens, D features of a head.
"""

from __future__ import annotations

import numpy as np

from onnxla.testing.draw import Draw
from onnxla.testing.operator_cases import strategy
from onnxla.testing.strategies.microsoft_quantized import DOMAIN
from onnxla.testing.use import Use


@strategy("RotaryEmbedding", domain=DOMAIN)
def rotary_embedding(draw: Draw) -> Use:
    """Input of shape (B, S, N * D) or (B, N, S, D), and places of shape (B, S) or (1)."""
    batch, length, heads = draw.integer(1, 3), draw.integer(1, 4), draw.integer(1, 3)
    half = draw.integer(1, 3)
    partly = draw.flag()
    size = 2 * half + (draw.choice((0, 2, 4)) if partly else 0)
    by_head = draw.flag()
    shape = (batch, heads, length, size) if by_head else (batch, length, heads * size)
    most = length + draw.integer(0, 4)
    first = draw.flag()
    places = (
        draw.tensor("position_ids", (1,), 0, most - length)
        if first
        else draw.tensor("position_ids", (batch, length), 0, most - 1)
    )
    attributes = {
        "interleaved": draw.choice((None, 0, 1)),
        "is_packed_batching": draw.choice((None, 0, 1)),
        "num_heads": heads if partly else draw.choice((None, 0)),
        "rotary_embedding_dim": 2 * half if partly else draw.choice((None, 0)),
        "scale": draw.choice((None, 1.0)),
    }
    operands = (
        draw.tensor("input", shape),
        places,
        draw.tensor("cos_cache", (most, half), -1, 1),
        draw.tensor("sin_cache", (most, half), -1, 1),
    )
    return draw.use(operands, attributes, ranks={"y0": len(shape)}, batch=(0,) if first else (0, 1))


@strategy("RelativePositionBias", domain=DOMAIN)
def relative_position_bias(draw: Draw) -> Use:
    """A table of shape (buckets, N), and a length."""
    both = draw.choice((None, 0, 1))
    buckets = draw.integer(1, 6) * (4 if both else 2)
    near = buckets // (4 if both else 2)
    length = draw.integer(1, 12)
    table = draw.tensor("bias_table", (buckets, draw.integer(1, 3)))
    # The logarithm of one is no divisor.
    attributes = {"is_bidirectional": both, "max_distance": near + draw.integer(1, 20)}
    lengths = [np.array([length], np.int64)] * 2
    return draw.use((table, *lengths), attributes, ranks={"y0": 4})


@strategy("GatedRelativePositionBias", domain=DOMAIN)
def gated_relative_position_bias(draw: Draw) -> Use:
    """Query of shape (B, S, N * D), or without padding (tokens, N * D)."""
    batch, length, heads = draw.integer(1, 3), draw.integer(1, 4), draw.integer(1, 3)
    size, width = draw.integer(1, 4), 2 * draw.integer(1, 3)
    shape: tuple[int, ...] = (batch, length, heads * size)
    offset = None
    if draw.flag():
        lengths = [draw.integer(1, length) for _ in range(batch)]
        at = np.arange(batch * length).reshape(batch, length)
        kept = np.arange(length) < np.asarray(lengths)[:, None]
        offset = np.array([*at[kept], *at[~kept]], np.int32).reshape(batch, length)
        shape = (sum(lengths), heads * size)
    operands = (
        draw.tensor("query_layer", shape, -1, 1),
        draw.tensor("query_bias", (heads * size,), -1, 1),
        draw.tensor("rel_pos", (1, heads, length, length)),
        draw.tensor("weight", (size, width), -1, 1),
        draw.tensor("bias", (width,), -1, 1),
        draw.tensor("eco_a", (1, heads, 1, 1)),
        offset,
    )
    return draw.use(operands, {"num_heads": heads}, ranks={"y0": 4})
