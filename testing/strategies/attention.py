"""Attention, and what goes with it in language models.

Letters: B sequences, H heads of which G in a group share keys and values, S queries, T keys and
values, D features of a head, E of its values.
"""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import onnx
from onnx import TensorProto, helper

from onnxla.testing.draw import Draw
from onnxla.testing.operator_cases import strategy
from onnxla.testing.types import type_of
from onnxla.testing.use import Use

PRECISIONS = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16)
PRECISION_DTYPES = tuple(map(helper.tensor_dtype_to_np_dtype, PRECISIONS))


@strategy("Attention")
def attention(draw: Draw) -> Use:
    """Q (B, H, S, D), K (B, H / G, T, D) and V (B, H / G, T, E), or each with its heads packed."""
    batch, heads, group, queries, keys, size, width = draw_sizes(draw)
    past = draw.choice((0, 0, 1, 2))
    cached = past > 0 or draw.choice((False, False, False, True))
    lengths = None
    if draw.has("nonpad_kv_seqlen") and not cached and draw.flag():
        lengths = draw.array(np.int64, (batch,), 0, keys)
    q = draw_operand(draw, "Q", (batch, heads * group, queries, size))
    k = draw_operand(draw, "K", (batch, heads, keys, size))
    # Mostly of the same type: ONNX Runtime takes no others.
    draw.dtype("V", among=draw.choice(((q.dtype,), (q.dtype,), PRECISION_DTYPES)))
    v = draw_operand(draw, "V", (batch, heads, keys, width))
    past_k = draw_operand(draw, "past_key", (batch, heads, past, size)) if cached else None
    past_v = draw_operand(draw, "past_value", (batch, heads, past, width)) if cached else None
    scores = (batch, heads * group, queries, past + keys)
    mask = draw_mask(draw, scores, lengths) if draw.choice((False, True, True)) else None
    attributes: dict[str, Any] = {
        "is_causal": draw.choice((None, 0, 1)),
        "scale": draw.maybe(lambda: draw.floating(0.125, 1)),
        "softcap": draw.choice((None, 0.0, 2.0, 5.0)),
        "softmax_precision": draw.choice((None, *PRECISIONS)),
        "qk_matmul_output_mode": draw.choice((None, 0, 1, 2, 3)),
    }
    for side in ("left_window_size", "right_window_size"):
        if draw.has(side):
            attributes[side] = draw.choice((None, -1, 0, 1, 2, 3))
    if draw.flag():
        q, k, v = (pack(x) for x in (q, k, v))
        attributes |= {"q_num_heads": heads * group, "kv_num_heads": heads}
    # The text wants the caches before and after together.
    outputs = [True, cached, cached, draw.flag()]
    inputs = (q, k, v, mask, past_k, past_v, lengths)[: len(draw.schema.inputs)]
    # A mask has the batch, or is the same for all.
    own = mask is not None and mask.ndim == 4 and mask.shape[0] == batch != 1
    return draw.use(
        inputs,
        attributes,
        outputs if any(outputs[1:]) else 1,
        ranks={f"y{i}": 4 for i in (1, 2, 3)},
        rtol=tolerance(q.dtype, v.dtype, attributes["softmax_precision"]),
        batch=[i for i, x in enumerate(inputs) if x is not None and (i != 3 or own)],
    )


def draw_sizes(draw: Draw) -> tuple[int, ...]:
    """B, H / G, G, S, T, D and E."""
    batch, queries, keys = sides(draw, 2, 4, 5)
    heads, group = draw.integer(1, 2), draw.integer(1, 3)
    return batch, heads, group, queries, keys, draw.integer(1, 4), draw.integer(1, 4)


def sides(draw: Draw, *most: int) -> list[int]:
    """Sizes of axes, one of which is empty now and then."""
    sizes = [draw.side(1, n) for n in most]
    empty = draw.choice([*[None] * 12, *range(len(most)), None])
    return [0 if i == empty else n for i, n in enumerate(sizes)]


def draw_operand(draw: Draw, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers so small that the softmax of their products is no choice of one key.

    They are finite: the text does not say whether what is hidden may be infinite.
    """
    return draw.tensor(name, shape, -2, 2)


def draw_mask(draw: Draw, scores: tuple[int, ...], lengths: np.ndarray | None) -> np.ndarray:
    """What may be attended to, or a bias of the scores; broadcast to (B, H, S, T)."""
    total = scores[3]
    # ONNX Runtime broadcasts batch and heads only.
    shape = (*draw.broadcastable(scores[:2]), *scores[2:])
    if not draw.choice((True, True, False)):
        shape = draw.broadcastable(scores, least_rank=1)
    if draw.has("nonpad_kv_seqlen"):
        # The last axis may be shorter, down to the longest sequence. Then one of size 1 is
        # ambiguous: the text has it both broadcast and padded.
        least = 2 if lengths is None else max(2, int(lengths.max(initial=0)))
        short = draw.integer(least, total) if total > least and draw.flag() else total
        shape = (*shape[:-1], short)
    dtype = draw.dtype("attn_mask", among=(np.bool_, draw.dtype("Q")))
    mask = draw.array(dtype, shape, -4, 4)
    if dtype != np.bool_ and draw.flag():
        # A lower number would leave nothing of the scores in half precision.
        hidden = np.array(draw.choice((-np.inf, -16)), dtype)
        mask = np.where(draw.array(np.bool_, shape), mask, hidden)
    return mask


def pack(x: np.ndarray) -> np.ndarray:
    """(B, H, S, D) as (B, S, H * D)."""
    return x.swapaxes(1, 2).reshape(x.shape[0], x.shape[2], x.shape[1] * x.shape[3])


def tolerance(*dtypes: Any) -> float:
    """What the least exact of some dtypes (or their numbers in ONNX) allows.

    A rounding error of the scores is one of the logarithms of the weights.
    """
    kinds = [helper.tensor_dtype_to_np_dtype(d) if isinstance(d, int) else d for d in dtypes]
    return max(1e-5, *(16 * float(ml_dtypes.finfo(d).eps) for d in kinds if d is not None))


@strategy("FlexAttention", domain="ai.onnx.preview")
def flex_attention(draw: Draw) -> Use:
    """Q (B, H, S, D), K (B, H / G, T, D) and V (B, H / G, T, E), and subgraphs for the scores."""
    batch, heads, group, queries, keys, size, width = draw_sizes(draw)
    q = draw_operand(draw, "Q", (batch, heads * group, queries, size))
    k = draw_operand(draw, "K", (batch, heads, keys, size))
    v = draw_operand(draw, "V", (batch, heads, keys, width))
    precision = draw.choice((None, *PRECISIONS))
    number = precision or (TensorProto.DOUBLE if q.dtype == np.float64 else TensorProto.FLOAT)
    shape = (batch, heads * group, queries, keys)
    return draw.use(
        (q, k, v),
        {
            "scale": draw.maybe(lambda: draw.floating(0.125, 1)),
            "softmax_precision": precision,
            "score_mod": draw.maybe(lambda: draw_modifier(draw, number, shape)),
            "prob_mod": draw.maybe(lambda: draw_modifier(draw, number, shape)),
        },
        rtol=tolerance(q.dtype, precision),
    )


def draw_modifier(draw: Draw, number: int, shape: tuple[int, ...]) -> onnx.GraphProto:
    """A graph from a tensor to one of the same shape: one function of each element."""
    kind = draw.choice(("Identity", "Neg", "Tanh", "Add", "Mul"))
    ends = [helper.make_tensor_value_info(name, number, shape) for name in ("before", "after")]
    binary = kind in ("Add", "Mul")
    node = helper.make_node(kind, ["before", "operand"] if binary else ["before"], ["after"])
    # One for each key, as a bias of its place is.
    dtype = helper.tensor_dtype_to_np_dtype(number)
    values = draw.array(dtype, shape[3:], -2, 2) if binary else np.zeros(0)
    constants = [onnx.numpy_helper.from_array(values, "operand")] if binary else []
    return helper.make_graph([node], "modifier", ends[:1], ends[1:], constants)


@strategy("RotaryEmbedding")
def rotary_embedding(draw: Draw) -> Use:
    """X (B, H, S, D) or (B, S, H * D), caches (P, R / 2) and positions (B, S).

    Without positions the caches are (B, S, R / 2).
    """
    batch, steps = sides(draw, 3, 4)
    heads = draw.integer(1, 3)
    half = draw.integer(1, 3)
    rest = draw.choice((0, 0, 2, 4))
    x = draw.tensor("X", (batch, heads, steps, 2 * half + rest))
    ids = None
    shape: tuple[int, ...] = (batch, steps, half)
    if draw.flag():
        positions = draw.integer(1, 5)
        ids = draw.array(np.int64, (batch, steps), 0, positions - 1)
        shape = (positions, half)
    attributes: dict[str, Any] = {
        "interleaved": draw.choice((None, 0, 1)),
        "rotary_embedding_dim": 2 * half if rest else draw.choice((None, 0, 2 * half)),
    }
    if draw.flag():
        x = pack(x)
        attributes["num_heads"] = heads
    caches = [draw.tensor(name, shape, -1, 1) for name in ("cos_cache", "sin_cache")]
    return draw.use((x, *caches, ids), attributes, batch=(0, 1, 2) if ids is None else (0, 3))


@strategy("LinearAttention")
def linear_attention(draw: Draw) -> Use:
    """Query (B, S, H * D), key (B, S, H / G * D), value (B, S, H / G * E).

    The state is (B, H / G, D, E), decay (B, S, H / G) or (B, S, H / G * D), beta (B, S, H / G) or
    (B, S, 1).
    """
    batch, heads, group, steps, _, size, width = draw_sizes(draw)
    rule = draw.choice(("linear", "gated", "delta", "gated_delta", None))
    query = draw.tensor("query", (batch, steps, heads * group * size), -1, 1)
    key = draw.tensor("key", (batch, steps, heads * size), -0.5, 0.5)  # of a norm up to 1
    value = draw.tensor("value", (batch, steps, heads * width))
    state = draw.maybe(lambda: draw.tensor("past_state", (batch, heads, size, width)))
    decay = beta = None
    if rule in ("gated", "gated_delta", None):
        decay = draw.tensor("decay", (batch, steps, heads * draw.choice((1, size))), -2, 0)
    if rule in ("delta", "gated_delta", None):
        beta = draw.tensor("beta", (batch, steps, draw.choice((heads, 1))), 0, 1)
    inputs = (query, key, value, state, decay, beta)
    return draw.use(
        inputs,
        {
            "q_num_heads": heads * group,
            "kv_num_heads": heads,
            "update_rule": rule,
            "scale": draw.choice((None, 0.0, 0.5, 2.0)),
            "chunk_size": draw.choice((None, 1, 2, 64)),
        },
        2,
        # Without a state there is nothing that its type follows from.
        types={"y1": type_of(query if state is None else state)},
        rtol=tolerance(*(x.dtype for x in (query, state) if x is not None)),
        batch=[i for i, x in enumerate(inputs) if x is not None],
    )


@strategy("CausalConvWithState")
def causal_conv_with_state(draw: Draw) -> Use:
    """Input (B, C, S), weight (C, 1, K), bias (C) and the inputs before (B, C, K - 1)."""
    batch, channels, steps = sides(draw, 3, 3, 5)
    taps = draw.integer(1, 4)
    state = draw.maybe(lambda: draw.tensor("past_state", (batch, channels, taps - 1)))
    x = draw.tensor("input", (batch, channels, steps))
    inputs = (
        x,
        draw.tensor("weight", (channels, 1, taps)),
        draw.maybe(lambda: draw.tensor("bias", (channels,))),
        state,
    )
    return draw.use(
        inputs,
        {"activation": draw.choice((None, "none", "silu", "swish"))},
        2,
        rtol=tolerance(x.dtype),
        batch=(0,) if state is None else (0, 3),
    )
