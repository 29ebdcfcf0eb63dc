"""Attention of groups of query heads on one head of keys and values, with a cache of these.

Letters: B sequences, N heads, of which some share each of G heads of keys and values, S queries,
P keys of the past, T keys in all, D features of a head.
"""

from __future__ import annotations

import functools

import jax.numpy as jnp
import numpy as np

from onnxla.ir.errors import ModelError
from onnxla.ops.attention import (
    inner_products,
    join_heads,
    masked_softmax,
    rotary_embedding,
    split_heads,
    weighted_sums,
    within,
)
from onnxla.ops.microsoft_fused import DOMAIN
from onnxla.ops.microsoft_packed import unpacked
from onnxla.ops.normalize import rms_normalization
from onnxla.ops.quantize import divide
from onnxla.ops.table import op
from onnxla.ops.values import Value, as_traced


def extended(past: Value | None, new: Value, lengths: Value, fresh: Value, keys: int) -> Value:
    """The first `lengths` [B] of past [B, G, P, D], then so many `fresh` ones of new, then zeros.

    These are `keys` in all; new is [B, G, S, D].
    """
    at = np.arange(keys)[None, None, :, None] - lengths.reshape(-1, 1, 1, 1)
    added = jnp.take_along_axis(new, jnp.clip(at, 0, new.shape[2] - 1), 2)
    zero = np.zeros((), new.dtype)
    if past is None:
        old: Value = zero
    else:
        missing = max(0, keys - past.shape[2])
        old = jnp.pad(past, ((0, 0), (0, 0), (0, missing), (0, 0)))[:, :, :keys]
        old = jnp.where(at < 0, old, zero)
    return jnp.where((at >= 0) & (at < fresh.reshape(-1, 1, 1, 1)), added, old)


def resident(tokens: Value, capacity: int, window: int) -> Value:
    """How many of the last `tokens` a cache holds, that drops old ones when it would overflow.

    So many at once that only a `window` of them stays.
    """
    at_once = capacity - window + 1
    return tokens - at_once * jnp.maximum(-((capacity - tokens) // at_once), 0)


def encoded(x: Value, scale: Value, bits: int) -> Value:
    """Quotients of x [B, G, S, D] and scale, as int8, or of 4 bits, two in a byte, lower first."""
    least = -(2 ** (bits - 1))
    codes = jnp.clip(jnp.rint(divide(x.astype(scale.dtype), scale)), least, -least - 1).astype(
        np.int8
    )
    if bits == 8:
        return codes
    low, high = jnp.moveaxis((codes - least).astype(np.uint8).reshape(*x.shape[:3], -1, 2), 4, 0)
    return low | high << 4


def decoded(codes: Value, scale: Value, bits: int) -> Value:
    """The numbers that codes of `encoded` stand for, in the type of the scale."""
    numbers = codes if bits == 8 else unpacked(codes, 4).astype(np.int8) - 8
    return numbers.astype(scale.dtype) * scale


@op(
    "GroupQueryAttention",
    domain=DOMAIN,
    since=(1,),
    static=("total_sequence_length",),
    optional=("key", "value", "past_key", "past_value"),
    product=True,
)
def group_query_attention(
    query: Value,
    key: Value | None,
    value: Value | None,
    past_key: Value | None,
    past_value: Value | None,
    seqlens_k: Value,
    total_sequence_length: np.ndarray,
    cos_cache: Value | None = None,
    sin_cache: Value | None = None,
    position_ids: Value | None = None,
    attention_bias: Value | None = None,
    head_sink: Value | None = None,
    k_scale: Value | None = None,
    v_scale: Value | None = None,
    q_norm_weight: Value | None = None,
    k_norm_weight: Value | None = None,
    query_seqlens: Value | None = None,
    *,
    causal: int = 1,
    do_rotary: int = 0,
    k_norm_epsilon: float | None = None,
    k_quant_type: str = "NONE",
    kv_cache_bit_width: int = 0,
    kv_num_heads: int,
    local_window_size: int = -1,
    num_heads: int,
    q_norm_epsilon: float | None = None,
    qk_norm_epsilon: float = 9.999999974752427e-07,
    qk_output: int = 0,
    rotary_interleaved: int = 0,
    scale: float | None = None,
    sliding_window_cache: int = 0,
    smooth_softmax: int = -1,
    softcap: float = 0.0,
    v_quant_type: str = "NONE",
) -> tuple[Value, ...]:
    """Causal attention [B, S, N * D] with G heads of keys and values, and all keys, all values.

    query is [B, S, N * D], key and value [B, S, G * D], or all three are side by side in query;
    past and present keys and values [B, G, P or T, D]. A sequence has seqlens_k + 1 keys, of which
    the last S, or the first query_seqlens [B] of these, are new, unless all sequences begin (S is
    the total length). q_norm_weight and k_norm_weight [D] are scales of `rms_normalization`. With
    `smooth_softmax`, or for each head by `head_sink` [N], a share of the weights goes to no key.

    With a k_scale or v_scale, [1] or [1, G, 1, D], past and present are `encoded`. With
    `sliding_window_cache` they are as long as each other, and hold `resident` tokens. A fourth
    output has, by `qk_output`, what softmax gets (1) or gives (2), [B, N, S, T], and elsewhere 0.
    """
    query, key, value, past_key, past_value, seqlens_k = as_traced(
        [query, key, value, past_key, past_value, seqlens_k]
    )
    if key is None or value is None:
        size = query.shape[2] // (num_heads + 2 * kv_num_heads)
        ends = [num_heads * size, (num_heads + kv_num_heads) * size]
        query, key, value = jnp.split(query, ends, 2)
    queries, total = query.shape[1], int(total_sequence_length.item())
    totals = seqlens_k.reshape(-1).astype(np.int64) + 1
    begins = query_seqlens is None and queries == total
    if query_seqlens is None:
        fresh = jnp.full_like(totals, queries)
    else:
        fresh = query_seqlens.astype(np.int64)
    lengths = jnp.zeros_like(totals) if begins else totals - fresh
    Q, K, V = (
        split_heads(x, n)
        for x, n in ((query, num_heads), (key, kv_num_heads), (value, kv_num_heads))
    )
    if q_norm_weight is not None or k_norm_weight is not None:
        Q = rms_normalization(Q, q_norm_weight, epsilon=q_norm_epsilon or qk_norm_epsilon)
        K = rms_normalization(K, k_norm_weight, epsilon=k_norm_epsilon or qk_norm_epsilon)
    if do_rotary:
        if position_ids is None:
            position_ids = lengths[:, None] + np.arange(queries)
        elif begins:  # ONNX Runtime uses only the first one.
            position_ids = jnp.broadcast_to(
                position_ids[0, 0] + np.arange(queries), (len(Q), queries)
            )
        Q, K = (
            rotary_embedding(
                x,
                cos_cache,
                sin_cache,
                position_ids,
                interleaved=rotary_interleaved,
                rotary_embedding_dim=2 * cos_cache.shape[-1],  # type: ignore[union-attr]
            )
            for x in (Q, K)
        )
    keys, held, kept = max(total, 0 if past_key is None else past_key.shape[2]), lengths, None
    if sliding_window_cache:
        if past_key is None or not 0 < local_window_size <= (capacity := past_key.shape[2]):
            raise ModelError(f"no cache holds a window of local_window_size={local_window_size}")
        held = resident(lengths, capacity, local_window_size)
        keys = capacity + queries
        dropped = held + fresh - resident(totals, capacity, local_window_size)
        kept = jnp.minimum(dropped.reshape(-1, 1, 1, 1) + np.arange(capacity)[:, None], keys - 1)
    bits = kv_cache_bit_width or 8
    if k_quant_type != "NONE":
        K = encoded(K, k_scale, bits)
    if v_quant_type != "NONE":
        V = encoded(V, v_scale, bits)
    K, V = (
        extended(past, new, held, fresh, keys) for past, new in ((past_key, K), (past_value, V))
    )
    present = (K, V) if kept is None else (jnp.take_along_axis(x, kept, 2) for x in (K, V))
    if k_quant_type != "NONE":
        K = decoded(K, k_scale, bits).astype(Q.dtype)
    if v_quant_type != "NONE":
        V = decoded(V, v_scale, bits).astype(Q.dtype)

    scale = scale or 1 / np.sqrt(Q.shape[3])
    scores = inner_products(Q * np.asarray(scale, Q.dtype), K, Q.dtype)
    scores = softcap * jnp.tanh(scores / softcap) if softcap else scores
    if attention_bias is not None:
        if sliding_window_cache:  # It is for the dropped keys, too.
            at = (lengths - held).reshape(-1, 1, 1, 1) + np.arange(keys)
            at = jnp.minimum(at, attention_bias.shape[3] - 1)
            attention_bias = jnp.take_along_axis(jnp.asarray(attention_bias), at, 3)
        missing = keys - attention_bias.shape[3]
        scores = scores + jnp.pad(attention_bias, [(0, 0)] * 3 + [(0, missing)])
    offset = held.reshape(-1, 1, 1, 1)
    visible = within(queries, keys, offset, causal, local_window_size - 1, -1)
    visible += [] if causal else [np.arange(keys) < offset + fresh.reshape(-1, 1, 1, 1)]
    if query_seqlens is not None:
        visible.append(np.arange(queries)[:, None] < fresh.reshape(-1, 1, 1, 1))
    allowed = jnp.broadcast_to(functools.reduce(jnp.logical_and, visible), scores.shape)
    if smooth_softmax == 1 or head_sink is not None:
        logits = jnp.zeros(num_heads, Q.dtype) if head_sink is None else head_sink.astype(Q.dtype)
        sinks = jnp.broadcast_to(logits[:, None, None], (*scores.shape[:3], 1))
        extra = [(0, 0)] * 3 + [(1, 0)]
        weights = masked_softmax(
            jnp.concatenate([sinks, scores], 3), jnp.pad(allowed, extra, constant_values=True)
        )[..., 1:]
    else:
        weights = masked_softmax(scores, allowed)
    shown = jnp.where(allowed, scores, 0) if qk_output == 1 else weights
    return join_heads(weighted_sums(weights, V)), *present, shown[..., :total]
