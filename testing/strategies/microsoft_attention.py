"""Attention in the forms that ONNX Runtime's optimizer and model builders write.

Letters: B sequences, N heads, S queries, L new keys, P keys of the past, T keys in all, D features
of a head, E of a head of values, I input features.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from onnxla.testing.draw import Draw
from onnxla.testing.operator_cases import strategy
from onnxla.testing.strategies.microsoft_quantized import DOMAIN, codes, zero
from onnxla.testing.use import Use

Array = np.ndarray


def numbers(draw: Draw, operand: str, *shape: int) -> Array:
    """Numbers so small that the softmax does not single out one."""
    return draw.tensor(operand, shape, -1, 1)


def raw_mask(draw: Draw, shape: tuple[int, ...], causal: bool) -> Array:
    """Ones where a key is seen.

    Each query sees one at least, the first one if it may see no later ones: among hidden keys
    alone, to which a large number is added, rounding decides.
    """
    mask = draw.array(np.int32, shape, 0, 1)
    mask[..., 0 if causal else draw.integer(0, shape[-1] - 1)] = 1
    return mask


def mask_of(
    draw: Draw, batch: int, queries: int, keys: int, past: int, causal: bool, kinds: tuple[str, ...]
) -> Array | None:
    """A mask in one of the forms that an operator has, or None."""
    kind = draw.choice((None, *kinds))
    if kind is None:
        return None
    ends = draw.array(np.int32, (batch,), 1, keys)
    if kind == "ends":
        return ends
    if kind == "ends and starts":
        starts = [draw.integer(0, min(past if causal else keys, int(end) - 1)) for end in ends]
        return np.concatenate([ends, np.array(starts, np.int32)])
    if kind == "ends and sums":
        places = [n * np.arange(batch + 1, dtype=np.int32) for n in (queries, keys)]
        return np.concatenate([ends, *places])
    if kind == "all tokens":
        most = keys + draw.integer(0, 2)
        return raw_mask(draw, (batch, 1, most, most), True)
    shape = (batch, keys) if kind == "keys" else (batch, queries, keys)
    return raw_mask(draw, shape, causal)


def bias_of(draw: Draw, batch: int, heads: int, queries: int, keys: int) -> Array | None:
    """What is added to scores, the same for all sequences or all heads perhaps."""
    shape = draw.choice((None, (1, 1), (batch, heads), (1, heads), (batch, 1)))
    return None if shape is None else numbers(draw, "attention_bias", *shape, queries, keys)


def options(draw: Draw, heads: int, causal: bool) -> dict[str, Any]:
    """Attributes that most operators have."""
    return {
        "num_heads": heads,
        "scale": draw.choice((None, 0.25, 1.0)),
        "mask_filter_value": draw.choice((None, -2.0, -10000.0)),
        "unidirectional": 1 if causal else draw.choice((None, 0)),
    }


@strategy("Attention", domain=DOMAIN)
def attention(draw: Draw) -> Use:
    """Input of shape (B, S, I), weights of shape (I, N * (D + D + E)) and past (2, B, N, P, D)."""
    batch, queries, features = draw.integer(1, 3), draw.integer(1, 4), draw.integer(1, 4)
    heads, size, value_size = draw.integer(1, 3), draw.integer(1, 4), draw.integer(1, 4)
    kind = draw.choice(("nothing", "past", "sizes") * 2 + ("buffer",))
    past = draw.integer(0 if kind == "buffer" else 1, 3) if kind in ("past", "buffer") else 0
    if kind != "sizes":
        value_size = size
    room = draw.integer(past + queries, past + queries + 2) if kind == "buffer" else past
    causal = draw.flag()
    width = heads * (2 * size + value_size)
    keys = past + queries
    kinds: tuple[str, ...] = ("keys", "ends", "ends and starts", "ends and sums")
    # A mask of all tokens hides the later ones itself.
    kinds += ("queries and keys",) if causal else ("queries and keys", "all tokens")
    operands = (
        numbers(draw, "input", batch, queries, features),
        numbers(draw, "weights", features, width),
        draw.maybe(lambda: numbers(draw, "bias", width)),
        mask_of(draw, batch, queries, keys, past, causal, kinds),
        numbers(draw, "past", 2, batch, heads, room, size) if kind in ("past", "buffer") else None,
        None if past and draw.flag() else bias_of(draw, batch, heads, queries, keys),
        np.array([past], np.int32) if kind == "buffer" else None,
    )
    attributes = options(draw, heads, causal)
    if kind == "sizes":
        attributes["qkv_hidden_sizes"] = [heads * size, heads * size, heads * value_size]
    attributes["past_present_share_buffer"] = 1 if kind == "buffer" else None
    # Keys and values of different sizes are not one tensor.
    present = kind in ("past", "buffer") or (size == value_size and draw.flag())
    alone = not present and operands[5] is None
    return draw.use(
        operands,
        attributes,
        2 if present else 1,
        ranks={"y0": 3, "y1": 5},
        batch=(0,) if alone and operands[3] is None else (),
    )


@strategy("QAttention", domain=DOMAIN)
def qattention(draw: Draw) -> Use:
    """Input of shape (B, S, I), weight of shape (I, 3 * N * D) and past (2, B, N, P, D)."""
    batch, queries, features = draw.integer(1, 3), draw.integer(1, 4), draw.integer(1, 4)
    heads, size = draw.integer(1, 3), draw.integer(1, 4)
    past = draw.maybe(lambda: draw.integer(1, 3))
    causal = draw.flag()
    width = 3 * heads * size
    columns = (width,) if draw.flag() else ()
    dtype = draw.dtype("bias")
    kinds = ("keys", "ends", "ends and starts", "queries and keys")
    operands = (
        codes(draw, "input", (batch, queries, features)),
        codes(draw, "weight", (features, width)),
        numbers(draw, "bias", width),
        np.asarray(draw.choice((0.0078125, 0.01)), dtype),
        np.full(columns, 0.0078125, dtype)
        if not columns
        else draw.array(dtype, columns, 0.003, 0.01),
        mask_of(draw, batch, queries, (past or 0) + queries, past or 0, causal, kinds),
        zero(draw, "input_zero_point"),
        zero(draw, "weight_zero_point", columns),
        None if past is None else numbers(draw, "past", 2, batch, heads, past, size),
    )
    present = past is not None or draw.flag()
    return draw.use(
        operands, options(draw, heads, causal), 2 if present else 1, ranks={"y0": 3, "y1": 5}
    )


@strategy("MultiHeadAttention", domain=DOMAIN)
def multi_head_attention(draw: Draw) -> Use:
    """Query of shape (B, S, N * D); keys of (B, L, N * D) and values of (B, L, N * E).

    Or query of (B, S, N, 3, D), key of (B, L, N, 2, D), or keys and values of (B, N, L, D).
    """
    batch, heads, size = draw.integer(1, 3), draw.integer(1, 3), draw.integer(1, 4)
    queries, causal = draw.integer(1, 4), draw.flag()
    kind = draw.choice(("apart", "past", "buffer", "by head") * 3 + ("key and value", "all in one"))
    past = draw.integer(0 if kind == "buffer" else 1, 3) if kind in ("past", "buffer") else 0
    # Which tokens are previous ones is not said where there are fewer or more keys.
    free = kind in ("apart", "by head", "key and value") and not causal
    new = draw.integer(1, 4) if free else queries
    value_size = draw.integer(1, 4) if kind == "apart" else size
    keys = past + new
    query = key = value = bias = None
    width = heads * size
    if kind == "all in one":
        query = numbers(draw, "query", batch, queries, heads, 3, size)
    else:
        query = numbers(draw, "query", batch, queries, width)
        if kind == "key and value":
            key = numbers(draw, "key", batch, new, heads, 2, size)
        elif kind == "by head":
            key = numbers(draw, "key", batch, heads, new, size)
            value = numbers(draw, "value", batch, heads, new, size)
        else:
            key = numbers(draw, "key", batch, new, width)
            value = numbers(draw, "value", batch, new, heads * value_size)
            bias = draw.maybe(lambda: numbers(draw, "bias", 2 * width + heads * value_size))
    room = draw.integer(keys, keys + 2) if kind == "buffer" else past
    held = [
        numbers(draw, name, batch, heads, room, size) if kind in ("past", "buffer") else None
        for name in ("past_key", "past_value")
    ]
    kinds = ("keys", "ends", "ends and sums", "queries and keys")
    mask = mask_of(draw, batch, queries, keys, past, causal, kinds)
    added = bias_of(draw, batch, heads, queries, keys)
    outputs = draw.choice(
        ([True] * 3,)
        if kind == "buffer"
        else ([True], [True] * 3)
        if kind == "past"
        else ([True], [True] * 3, [True] * 4, [True, False, False, True])
    )
    own = [i for i, x in enumerate((query, key, value)) if x is not None]
    return draw.use(
        (
            query,
            key,
            value,
            bias,
            mask,
            added,
            *held,
            np.array([past], np.int32) if kind == "buffer" else None,
        ),
        options(draw, heads, causal),
        outputs,
        types={"qk": f"tensor({query.dtype})".replace("float32", "float")},
        ranks={"y0": 3, "y1": 4, "y2": 4, "y3": 4},
        batch=own if mask is None and added is None and held[0] is None else (),
    )


@strategy("DecoderMaskedMultiHeadAttention", domain=DOMAIN)
def decoder_masked_multi_head_attention(draw: Draw) -> Use:
    """Query of shape (B, 1, N * D), with key and value alike, or side by side with them.

    Or key and value of (B, N, L, D). Past keys and values have the shape (B, N, P, D).
    """
    batch, heads, size = draw.integer(1, 3), draw.integer(1, 3), draw.integer(1, 4)
    kind = draw.choice(("cross", "buffer") * 3 + ("past", "one"))
    past = draw.integer(0 if kind == "buffer" else 1, 4) if kind != "cross" else 0
    cross = kind == "cross"
    keys = draw.integer(1, 5) if cross else past + 1
    width = heads * size
    key = value = None
    query = numbers(draw, "query", batch, 1, width * (3 if kind == "one" else 1))
    if kind != "one":
        shape = (batch, heads, keys, size) if cross else (batch, 1, width)
        key, value = numbers(draw, "key", *shape), numbers(draw, "value", *shape)
    shared = kind == "buffer" or (kind == "one" and draw.flag())
    room = draw.integer(keys, keys + 2) if shared else past
    held = [
        None if cross else numbers(draw, name, batch, heads, room, size)
        for name in ("past_key", "past_value")
    ]
    attributes = options(draw, heads, False)
    del attributes["unidirectional"]
    attributes["past_present_share_buffer"] = 1 if shared else draw.choice((None, 0))
    scores = not shared and draw.flag()
    attributes["output_qk"] = 1 if scores else None
    outputs = [True, not cross, not cross, True] if scores else [True, not cross, not cross]
    while not outputs[-1]:
        outputs.pop()
    return draw.use(
        (
            query,
            key,
            value,
            draw.maybe(lambda: raw_mask(draw, (batch, keys), False)),
            None if cross and draw.flag() else bias_of(draw, batch, heads, 1, keys),
            *held,
            np.array([past], np.int32) if shared else None,
            np.array([1], np.int32) if shared and draw.flag() else None,
            None,
            draw.maybe(lambda: numbers(draw, "bias", 3 * width)),
        ),
        attributes,
        outputs,
        types={"qk": f"tensor({query.dtype})".replace("float32", "float")},
        ranks={"y0": 3, "y1": 4, "y2": 4, "y3": 4},
    )
