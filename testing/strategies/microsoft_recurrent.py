"""Attention by a recurrent state, and what goes with it, in ONNX Runtime's domain.

Letters: B sequences, S tokens of one, T tokens in all, H heads, D features of a key, E of a value,
W last states that are kept.
"""

from __future__ import annotations

import itertools

import numpy as np

from onnxla.testing.draw import Draw
from onnxla.testing.operator_cases import strategy
from onnxla.testing.strategies.microsoft_quantized import DOMAIN
from onnxla.testing.use import Use

Array = np.ndarray
RULES = ("linear", "gated", "delta", "gated_delta")


def draw_window(draw: Draw) -> int | None:
    """How many states are kept; now and then more than one, which ONNX Runtime has on a GPU."""
    if draw.choice((False,) * 5 + (True,)):
        return draw.integer(1, 7)
    return draw.choice((None, 0))


@strategy("CausalConvWithState", domain=DOMAIN)
def causal_conv_with_state(draw: Draw) -> Use:
    """Input of shape (B, C, S), or (B, S, ...) with C elements in each "..."; weight (C, 1, K)."""
    batch, length, taps = draw.integer(1, 3), draw.integer(1, 5), draw.integer(1, 4)
    dilation = draw.choice((None, 1, 2, 3))
    window = draw_window(draw)
    channels_last = draw.choice((None, 0, 1))
    inner = [draw.integer(1, 3) for _ in range(draw.integer(1, 3) if channels_last else 1)]
    channels, kept = int(np.prod(inner)), (taps - 1) * (dilation or 1)
    shape = (batch, length, *inner) if channels_last else (batch, channels, length)
    state = (batch, kept, *inner) if channels_last else (batch, channels, kept)
    if window:
        state = (window, *state)
    operands = (
        draw.tensor("input", shape),
        draw.tensor("weight", (channels, 1, taps)),
        draw.maybe(lambda: draw.tensor("bias", (channels,))),
        draw.maybe(lambda: draw.tensor("past_state", state)),
    )
    attributes = {
        "activation": draw.choice((None, "none", "silu", "swish")),
        "channels_last": channels_last,
        "dilation": dilation,
        "ndim": draw.choice((None, 1)),
        "state_window": window,
    }
    batched = (0,) if operands[3] is None else (0, 3)
    return draw.use(
        operands,
        attributes,
        2,
        ranks={"y0": len(shape), "y1": len(state)},
        batch=() if window else batched,
    )


@strategy("LinearAttention", domain=DOMAIN)
def linear_attention(draw: Draw) -> Use:
    """Query of shape (B, S, Hq * D), key (B, S, H * D) and value (B, S, H * E).

    With state (B, H, D, E), or (W, B, H, D, E); decay of (B, S, H) or (B, S, H * D); beta of
    (B, S, H) or (B, S, 1).
    """
    batch, length = draw.integer(1, 3), draw.integer(1, 5)
    size, value_size = draw.integer(1, 4), draw.integer(1, 4)
    heads = draw.choice(((1, 1), (2, 2), (2, 1), (4, 2), (1, 2), (2, 4)))
    rule = draw.choice((None, *RULES))
    window = draw_window(draw)
    state: tuple[int, ...] = (batch, heads[1], size, value_size)
    state = (window, *state) if window else state
    past = draw.maybe(lambda: draw.tensor("past_state", state, -1, 1))
    used = rule or "gated_delta"

    def gate(
        operand: str, needed: bool, widths: tuple[int, int], low: float, high: float
    ) -> Array | None:
        shape = (batch, length, draw.choice(widths))
        return draw.tensor(operand, shape, low, high) if needed or draw.flag() else None

    dtype = draw.dtype("query")
    # Keys of length one or less, without which the delta rule diverges.
    most = size**-0.5
    operands = (
        draw.tensor("query", (batch, length, heads[0] * size)),
        draw.tensor("key", (batch, length, heads[1] * size), -most, most),
        draw.tensor("value", (batch, length, heads[1] * value_size)),
        past,
        gate("decay", "gated" in used, (heads[1], heads[1] * size), -2, 0),
        gate("beta", "delta" in used, (heads[1], 1), 0, 1),
    )
    attributes = {
        "q_num_heads": heads[0],
        "kv_num_heads": heads[1],
        "scale": draw.choice((None, 0.0, 0.5)),
        "chunk_size": draw.choice((None, 64, 2)),
        "update_rule": rule,
        "state_window": window,
    }
    own = dtype if past is None else past.dtype
    return draw.use(
        operands,
        attributes,
        2,
        types={"present_state": f"tensor({own})".replace("float32", "float")},
        ranks={"y0": 3, "y1": len(state)},
        batch=() if window else [i for i, x in enumerate(operands) if x is not None],
    )


@strategy("GatedDeltaNet", domain=DOMAIN)
def gated_delta_net(draw: Draw) -> Use:
    """Query and key of shape (T, N, D), value of (T, H, E), decay of (T, H) or (T, H, D).

    T may be two axes (B, S), or sequences of different lengths; or query, key and value are side
    by side. States are (B, H, E, D).
    """
    kind = draw.choice(("equal", "two axes", "packed", "lengths"))
    batch, length = draw.integer(1, 3), draw.integer(1, 4)
    size, value_size = draw.integer(1, 4), draw.integer(1, 4)
    shared = draw.integer(1, 2)
    heads = shared * draw.integer(1, 2)
    starts = None
    tokens: tuple[int, ...] = (batch, length) if kind == "two axes" else (batch * length,)
    if kind == "lengths":
        lengths = [draw.integer(0, 4) for _ in range(batch - 1)] + [length]
        starts = np.array([0, *itertools.accumulate(lengths)], np.int32)
        tokens = (int(starts[-1]),)
    rule = draw.choice((None, *RULES))
    used = rule or "gated_delta"
    gated = "gated" in used
    activations = ("none", "softplus", "qwen", "sigmoid", "kda") if gated else ("none",)
    activation = draw.choice((None, *activations))
    raw = activation not in (None, "none")
    norm = draw.choice((None, 0, 1))
    by_feature = draw.flag()
    # Keys of length one or less, without which the delta rule diverges.
    most = size**-0.5
    key = value = None
    if kind == "packed":
        width = 2 * shared * size + heads * value_size
        query = draw.tensor("query", (*tokens, width), -most, most)
    else:
        query = draw.tensor("query", (*tokens, shared, size), -1, 1)
        key = draw.tensor("key", (*tokens, shared, size), -most, most)
        value = draw.tensor("value", (*tokens, heads, value_size))
    if norm:  # Of a vector of zeros there is no direction.
        query = np.where(query == 0, np.asarray(0.125, query.dtype), query)
        key = None if key is None else np.where(key == 0, np.asarray(0.125, key.dtype), key)
    gates = draw.dtype("decay", among=(np.float32, query.dtype))
    decay = (*tokens, heads, size) if by_feature else (*tokens, heads)
    state = (batch, heads, value_size, size)
    bias = draw.choice(((heads, size), (heads * size,), (heads,))) if by_feature else (heads,)
    operands = (
        query,
        key,
        value,
        starts,
        draw.array(gates, decay, -2, 2 if raw else 0) if gated else None,
        draw.array(gates, (*tokens, heads), 0, 1) if "delta" in used else None,
        draw.tensor("initial_state", state, -1, 1) if starts is None or draw.flag() else None,
        draw.tensor("a_log", (heads,), -1, 1) if raw else None,
        draw.tensor("dt_bias", bias, -1, 1) if raw else None,
    )
    attributes = {
        "update_rule": rule,
        "gate_activation": activation,
        "gate_lower_bound": draw.choice((None, -1.0)),
        "beta_activation": draw.choice((None, "none", "sigmoid")),
        "qk_l2_norm": norm,
        "scale": draw.choice((None, 0.0, 0.5)),
        "chunk_size": draw.choice((None, 64, 32)),
    }
    return draw.use(operands, attributes, 2, ranks={"y0": 4 if kind == "two axes" else 3, "y1": 4})
