"""Attention of groups of query heads on one head of keys and values, with a cache of these.

Letters: B sequences, N query heads, G heads of keys and values, S queries, P keys of the past, T
keys in all, D features of a head.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from onnxla.testing.draw import Draw
from onnxla.testing.operator_cases import strategy
from onnxla.testing.strategies.microsoft_quantized import DOMAIN
from onnxla.testing.types import type_of
from onnxla.testing.use import Use

Array = np.ndarray


@strategy("GroupQueryAttention", domain=DOMAIN)
def group_query_attention(draw: Draw) -> Use:
    """Query of shape (B, S, N * D), key and value of (B, S, G * D), past (B, G, P, D).

    Either all sequences begin, or each goes on by one token, or one does by several, or each by
    `query_seqlens`; with a cache of all tokens, of the last ones, or of integers.
    """
    kind = draw.choice(("begin", "one token", "tokens", "lengths", "window", "integers"))
    groups = draw.integer(1, 2)
    heads = groups * draw.integer(1, 3)
    batch = draw.integer(1, 3) if kind in ("begin", "one token", "lengths") else 1
    queries = 1 if kind == "one token" else draw.integer(1, 4)
    rotary, alone = draw.flag(), draw.flag()
    size = 16 if rotary else draw.choice((8, 16))
    width = groups * size
    dtype = draw.dtype("query")
    window: int | None
    past = 0 if kind == "begin" else draw.integer(1, 6)
    total = past + queries
    if kind == "window":
        window = length = draw.integer(1, 4)
        capacity = length + draw.integer(0, 3)
        # What is after the end of a sequence is not specified: the cache is full in the end.
        at_once = capacity - length + 1
        total = capacity + at_once * draw.integer(int(capacity == 1), 3)
        queries = min(queries, total - 1)
        past = total - queries
    else:
        window = draw.choice((None, -1, 1, 2, 4))
        capacity = total if kind == "lengths" else draw.choice((past, total))
    # Only causal attention has a window, or lengths of queries.
    both = window in (None, -1) and kind != "lengths" and draw.flag()

    def numbers(*shape: int) -> Array:
        return draw.array(dtype, shape, -1, 1)

    attributes: dict[str, Any] = {
        "num_heads": heads,
        "kv_num_heads": groups,
        "causal": 0 if both else draw.choice((None, 1)),
        "local_window_size": window,
        "sliding_window_cache": 1 if kind == "window" else draw.choice((None, 0)),
        "scale": draw.choice((None, 0.5)),
        "softcap": draw.choice((None, 0.0, 1.5)),
        "smooth_softmax": draw.choice((None, 0, 1)),
        # With a cache of the last tokens it is not said which keys these are of.
        "qk_output": draw.choice((None, 0) if kind == "window" else (None, 0, 1, 2)),
    }
    held: list[Array | None] = [None, None]
    scales: list[Array | None] = [None, None]
    if kind == "integers":
        bits = draw.choice((8, 4))
        cache = (batch, groups, capacity, size * bits // 8)
        held = [draw.array(np.int8 if bits == 8 else np.uint8, cache, -128, 255) for _ in range(2)]
        quant_type = draw.choice(("PER_TENSOR", "PER_CHANNEL"))
        for i, name in enumerate(("k_quant_type", "v_quant_type")):
            attributes[name] = draw.choice((quant_type,) * 6 + ("PER_TENSOR", "PER_CHANNEL"))
            shape = (1,) if attributes[name] == "PER_TENSOR" else (1, groups, 1, size)
            scales[i] = draw.array(np.float32, shape, 0.125 / bits, 0.5 / bits)
        attributes["kv_cache_bit_width"] = bits
    elif kind != "begin":
        held = [numbers(batch, groups, capacity, size) for _ in range(2)]
    places = None
    if rotary:
        attributes["do_rotary"] = 1
        attributes["rotary_interleaved"] = draw.choice((None, 0, 1))
        if kind != "lengths" and draw.flag():
            places = np.array([range(past, total)] * batch, np.int64)
    bias = draw.choice((None, (1, 1), (batch, heads), (1, heads), (batch, 1)))
    norms: list[Array | None] = [None, None]
    if draw.choice((False,) * 7 + (True,)):
        norms = [draw.array(dtype, (size,), 0.5, 2) for _ in range(2)]
        for name in ("qk_norm_epsilon", "q_norm_epsilon", "k_norm_epsilon"):
            attributes[name] = draw.choice((None, 0.125))
    most = draw.integer(total, total + 2)
    operands = (
        numbers(batch, queries, heads * size + 2 * width if alone else heads * size),
        None if alone else numbers(batch, queries, width),
        None if alone else numbers(batch, queries, width),
        *held,
        np.full(batch, total - 1, np.int32),
        np.asarray(total, np.int32),
        numbers(most, size // 2) if rotary else None,
        numbers(most, size // 2) if rotary else None,
        places,
        None if bias is None else numbers(*bias, queries, total),
        draw.maybe(lambda: numbers(heads)),
        *scales,
        *norms,
        np.full(batch, queries, np.int32) if kind == "lengths" else None,
    )
    own = {name: type_of(operands[0]) for name in ("present_key", "present_value")}
    return draw.use(
        operands,
        attributes,
        4 if attributes["qk_output"] else 3 if kind != "begin" else draw.choice((3, 1)),
        types=own if held[0] is None else {},
        ranks={"y0": 3, "y1": 4, "y2": 4, "y3": 4},
        # A number may be next to a tie.
        rtol=3e-2 if kind == "integers" else 1e-5,
        steps=int(kind == "integers"),
    )
