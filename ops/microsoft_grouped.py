"""Attention of groups of query heads on one head of keys and values, with a cache of these.

Letters: B sequences, N heads, of which some share each of G heads of keys and values, S queries,
P keys of the past, T keys in all, D features of a head.
"""

from __future__ import annotations

import functools

import jax.numpy as jnp
import numpy as np
from jax.core import max_dim

from onnxla.ir.errors import ModelError
from onnxla.ops.arithmetic import div
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
from onnxla.ops.sizes import as_number, number_and_size, numbered, same_size
from onnxla.ops.table import op
from onnxla.ops.values import Value, as_traced


def extended(past: Value | None, new: Value, lengths: Value, fresh: Value, keys: int) -> Value:
    """The first `lengths` of past [B, G, P, D], then so many `fresh` ones of new, then zeros.

    These are `keys` in all; new is [B, G, S, D]; the numbers are [B, 1, 1, 1].
    """
    at = numbered(keys)[:, None] - lengths
    added = jnp.take_along_axis(new, jnp.clip(at, 0, as_number(new.shape[2] - 1)), 2)
    old: Value = np.zeros((), new.dtype)
    if past is not None:
        past = jnp.pad(past, ((0, 0), (0, 0), (0, keys - past.shape[2]), (0, 0)))
        old = jnp.where(at < 0, past, old)
    return jnp.where((at >= 0) & (at < fresh), added, old)


def resident(tokens: Value, capacity: int, window: int) -> Value:
    """How many of the last `tokens` a cache holds, that drops old ones when it would overflow.

    So many at once that only a `window` of them stays.
    """
    at_once = capacity - window + 1
    return tokens - at_once * jnp.maximum(-((capacity - tokens) // at_once), 0)


def encoded(x: Value, scale: Value | None, bits: int) -> Value:
    """Quotients of x [B, G, S, D] and scale, as int8, or of 4 bits, two in a byte, lower first.

    Without a scale x itself.
    """
    if scale is None:
        return x
    least = -(2 ** (bits - 1))
    steps = jnp.rint(div(x.astype(scale.dtype), scale))
    codes = jnp.clip(steps, least, -least - 1).astype(np.int8)
    if bits == 8:
        return codes
    unsigned = (codes - least).astype(np.uint8)
    low, high = unsigned[..., ::2], unsigned[..., 1::2]
    return low | high << 4


def decoded(codes: Value, scale: Value | None, bits: int) -> Value:
    """The numbers that codes of `encoded` stand for, in the type of the scale."""
    if scale is None:
        return codes
    numbers = codes if bits == 8 else unpacked(codes, 4).astype(np.int8) - 8
    return numbers.astype(scale.dtype) * scale


def softmax_with_sinks(scores: Value, allowed: Value, sinks: Value | None) -> Value:
    """`masked_softmax`; a share of the weights goes to no key, by logits `sinks` [N] if any."""
    if sinks is None:
        return masked_softmax(scores, allowed)
    logits = sinks.astype(scores.dtype)[:, None, None]
    scores = jnp.concatenate([jnp.broadcast_to(logits, (*scores.shape[:3], 1)), scores], 3)
    allowed = jnp.pad(allowed, [(0, 0)] * 3 + [(1, 0)], constant_values=True)
    return masked_softmax(scores, allowed)[..., 1:]


@op(
    "GroupQueryAttention",
    domain=DOMAIN,
    since=(1,),
    static=("total_sequence_length",),
    traceable=("total_sequence_length",),
    optional=("key", "value", "past_key", "past_value"),
    product=True,
    times_zero=("query", "value", "past_value", "q_norm_weight", "k_norm_weight"),
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

    A total_sequence_length that is traced must not be more than P; otherwise the result is NaN.
    """
    query, key, value, past_key, past_value, seqlens_k = as_traced(
        [query, key, value, past_key, past_value, seqlens_k]
    )
    if key is None or value is None:
        size = query.shape[2] // (num_heads + 2 * kv_num_heads)
        ends = [num_heads * size, (num_heads + kv_num_heads) * size]
        query, key, value = jnp.split(query, ends, 2)
    heads = num_heads, kv_num_heads, kv_num_heads
    Q, K, V = map(split_heads, (query, key, value), heads)
    queries, capacity = query.shape[1], 0 if past_key is None else past_key.shape[2]
    total, shows = number_and_size(total_sequence_length, 0 if qk_output else capacity)
    totals = seqlens_k.reshape(-1, 1, 1, 1).astype(np.int64) + 1
    begins = query_seqlens is None and same_size(queries, total)
    fresh = jnp.full_like(totals, as_number(queries))
    if query_seqlens is not None:
        fresh = query_seqlens.astype(np.int64).reshape(totals.shape)
    lengths = jnp.where(begins, 0, totals - fresh)
    if q_norm_weight is not None or k_norm_weight is not None:
        Q = rms_normalization(Q, q_norm_weight, epsilon=q_norm_epsilon or qk_norm_epsilon)
        K = rms_normalization(K, k_norm_weight, epsilon=k_norm_epsilon or qk_norm_epsilon)
    if do_rotary:
        # At the beginning ONNX Runtime uses only the first one.
        first = lengths.reshape(-1, 1) if position_ids is None else position_ids[:1, :1]
        own = first + numbered(queries)
        position_ids = own if position_ids is None else jnp.where(begins, own, position_ids)
        caches = as_traced([cos_cache, sin_cache, position_ids])
        size = 2 * caches[0].shape[-1]
        pairs = {"interleaved": rotary_interleaved, "rotary_embedding_dim": size}
        Q, K = (rotary_embedding(x, *caches, **pairs) for x in (Q, K))
    keys, held, kept = max_dim(shows, capacity), lengths, None
    if sliding_window_cache:
        if not 0 < local_window_size <= capacity:
            raise ModelError(f"no cache holds a window of local_window_size={local_window_size}")
        held, after = (resident(n, capacity, local_window_size) for n in (lengths, totals))
        total, keys = 0, capacity + queries  # there is room for any total
        kept = jnp.minimum(held + fresh - after + numbered(capacity)[:, None], keys - 1)
    bits = kv_cache_bit_width or 8
    kinds = (k_quant_type, k_scale), (v_quant_type, v_scale)
    scales = [None if kind == "NONE" else step for kind, step in kinds]
    K, V = (encoded(x, scale, bits) for x, scale in zip((K, V), scales, strict=True))
    pasts = (past_key, K), (past_value, V)
    K, V = (extended(past, new, held, fresh, keys) for past, new in pasts)
    present = (K, V) if kept is None else (jnp.take_along_axis(x, kept, 2) for x in (K, V))
    K, V = (decoded(x, s, bits).astype(Q.dtype) for x, s in zip((K, V), scales, strict=True))

    products = inner_products(Q * np.asarray(scale or 1 / np.sqrt(Q.shape[3]), Q.dtype), K, Q.dtype)
    scores = softcap * jnp.tanh(products / softcap) if softcap else products
    if attention_bias is not None:
        if sliding_window_cache:  # It is for the dropped keys, too.
            at = jnp.minimum(lengths - held + np.arange(keys), attention_bias.shape[3] - 1)
            attention_bias = jnp.take_along_axis(jnp.asarray(attention_bias), at, 3)
        missing = keys - attention_bias.shape[3]
        scores = scores + jnp.pad(attention_bias, [(0, 0)] * 3 + [(0, missing)])
    visible = within(queries, keys, held, causal, local_window_size - 1, -1)
    visible += [] if causal else [numbered(keys) < held + fresh]
    visible += [] if query_seqlens is None else [numbered(queries)[:, None] < fresh]
    allowed = jnp.broadcast_to(functools.reduce(jnp.logical_and, visible), scores.shape)
    sinks = jnp.zeros(num_heads) if smooth_softmax == 1 and head_sink is None else head_sink
    weights = softmax_with_sinks(scores, allowed, sinks)
    shown = jnp.where(allowed, scores, 0) if qk_output == 1 else weights
    # A traced total may be too much for the cache.
    y = jnp.where(as_number(total) <= as_number(keys), weighted_sums(weights, V), np.nan)
    return join_heads(y), *present, shown[..., :shows]
