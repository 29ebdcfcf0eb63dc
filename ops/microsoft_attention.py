"""Attention in the forms that ONNX Runtime's optimizer and model builders write.

Letters: B sequences, N heads, or G heads of keys and values, S queries, P keys of the past, T keys
in all, D features of a head.
"""

from __future__ import annotations

import functools

import jax.numpy as jnp
import numpy as np

from onnxla.ir.errors import ModelError, UnsupportedError
from onnxla.ops.attention import (
    attention,
    inner_products,
    join_heads,
    masked_softmax,
    rotary_embedding,
    split_heads,
    weighted_sums,
    within,
)
from onnxla.ops.matmul import matmul
from onnxla.ops.microsoft_fused import DOMAIN
from onnxla.ops.quantize import dequantize_linear
from onnxla.ops.table import op
from onnxla.ops.values import Value, as_traced

QKV = {"weights": "weight", "bias": "bias"}


def refuse(name: str, **given: Value) -> None:
    """Raises: UnsupportedError if a feature that is not implemented has a value."""
    if used := [key for key, value in given.items() if value is not None and value != 0]:
        raise UnsupportedError(f"{name} with {', '.join(used)} is not supported")


def visible_keys(mask: Value, batch: int, queries: int, keys: int) -> Value:
    """Whether keys are to be seen, in a shape that broadcasts to [B, 1, S, T].

    The mask is 0 where not: [B, T], [B, S, T] or [B, 1, most, most]; or has the number of keys [B];
    or where they end and then where they start [2 * B].
    """
    if mask.ndim == 1 and len(mask) in (batch, 2 * batch):
        ends = mask[:batch, None, None, None]
        starts = mask[batch:, None, None, None] if len(mask) > batch else 0
        at = np.arange(keys, dtype=mask.dtype)
        return (at < ends) & (at >= starts)
    if mask.ndim == 4:
        return mask[:, :, keys - queries : keys, :keys] != 0
    if mask.ndim not in (2, 3):
        raise ModelError(f"a mask of shape {list(mask.shape)} does not fit {batch} sequences")
    return (mask[:, None] if mask.ndim == 3 else mask[:, None, None]) != 0


def attend(
    Q: Value,
    K: Value,
    V: Value,
    mask: Value | None,
    attention_bias: Value | None,
    past_key: Value | None,
    past_value: Value | None,
    unidirectional: int,
    scale: float | None,
    mask_filter_value: float | None,
) -> tuple[Value, Value, Value]:
    """`attention` by heads [B, N, S, D], and all keys and values; `mask` is of `visible_keys`.

    What the mask hides is not excluded, but gets `mask_filter_value`, by default -10000, added.
    """
    keys = K.shape[2] + (0 if past_key is None else past_key.shape[2])
    bias = attention_bias
    if mask is not None:
        hidden = np.asarray(mask_filter_value or -10000.0).astype(Q.dtype)
        visible = visible_keys(jnp.asarray(mask), len(Q), Q.shape[2], keys)
        added = jnp.where(visible, np.zeros((), Q.dtype), hidden)
        bias = added if bias is None else added + bias
    Y, K, V, _ = attention(
        Q, K, V, bias, past_key, past_value, is_causal=unidirectional, scale=scale or None
    )
    return join_heads(Y), K, V


@op("Attention", domain=DOMAIN, since=(1,), roles=QKV)
def attention_microsoft(
    input: Value,
    weights: Value,
    bias: Value | None = None,
    mask_index: Value | None = None,
    past: Value | None = None,
    attention_bias: Value | None = None,
    past_sequence_length: Value | None = None,
    *,
    do_rotary: int = 0,
    mask_filter_value: float | None = None,
    num_heads: int,
    past_present_share_buffer: int = 0,
    qkv_hidden_sizes: tuple[int, ...] | None = None,
    rotary_embedding_dim: int = 0,
    scale: float | None = None,
    unidirectional: int = 0,
) -> tuple[Value, Value]:
    """Self-attention [B, S, N * D] of the input's products with `weights`, and its new past.

    The products with weights [I, 3 * N * D], or of the three `qkv_hidden_sizes`, are queries, keys
    and values; past and the new one [2, B, N, P or T, D]; for mask_index see `visible_keys`.
    """
    refuse("Attention", do_rotary=do_rotary, past_present_share_buffer=past_present_share_buffer)
    projected = matmul(input, weights)
    projected = projected if bias is None else projected + bias
    sizes = qkv_hidden_sizes or (weights.shape[1] // 3,) * 3
    parts = jnp.split(projected, [sizes[0], sizes[0] + sizes[1]], 2)
    Q, K, V = (split_heads(part, num_heads) for part in parts)
    keys, values = (None, None) if past is None else (past[0], past[1])
    Y, K, V = attend(
        Q,
        K,
        V,
        mask_index,
        attention_bias,
        keys,
        values,
        unidirectional,
        scale,
        mask_filter_value,
    )
    return Y, jnp.stack([K, V]) if K.shape == V.shape else None


@op("QAttention", domain=DOMAIN, since=(1,), roles={"weight": "weight", "bias": "bias"})
def qattention(
    input: Value,
    weight: Value,
    bias: Value,
    input_scale: Value,
    weight_scale: Value,
    mask_index: Value | None = None,
    input_zero_point: Value | None = None,
    weight_zero_point: Value | None = None,
    past: Value | None = None,
    *,
    do_rotary: int = 0,
    mask_filter_value: float | None = None,
    num_heads: int,
    past_present_share_buffer: int = 0,
    scale: float | None = None,
    unidirectional: int = 0,
) -> tuple[Value, Value]:
    """`attention_microsoft` of the numbers that the input and the weight quantize."""
    return attention_microsoft(
        dequantize_linear(input, input_scale, input_zero_point),
        dequantize_linear(weight, weight_scale, weight_zero_point, axis=1),
        bias,
        mask_index,
        past,
        do_rotary=do_rotary,
        mask_filter_value=mask_filter_value,
        num_heads=num_heads,
        past_present_share_buffer=past_present_share_buffer,
        scale=scale,
        unidirectional=unidirectional,
    )


@op("MultiHeadAttention", domain=DOMAIN, since=(1,), roles={"bias": "bias"})
def multi_head_attention(
    query: Value,
    key: Value | None = None,
    value: Value | None = None,
    bias: Value | None = None,
    key_padding_mask: Value | None = None,
    attention_bias: Value | None = None,
    past_key: Value | None = None,
    past_value: Value | None = None,
    past_sequence_length: Value | None = None,
    cache_indirection: Value | None = None,
    *,
    mask_filter_value: float | None = None,
    num_heads: int,
    scale: float | None = None,
    unidirectional: int = 0,
) -> tuple[Value, Value, Value]:
    """Attention [B, S, N * D], and all keys and all values [B, N, T, D].

    Queries, keys and values are [B, S or T, N * D] and get `bias` added, one after the other; or
    queries are [B, S, N, 3, D] with keys and values, or keys are [B, T, N, 2, D] with values, or
    keys and values are [B, N, T, D]. For key_padding_mask see `visible_keys`.
    """
    if past_sequence_length is not None or cache_indirection is not None:
        raise UnsupportedError("MultiHeadAttention with a shared buffer is not supported")
    query, key, value, bias = as_traced([query, key, value, bias])
    if query.ndim == 5:
        query, key, value = (query[..., i, :].reshape(*query.shape[:2], -1) for i in range(3))
    elif key is not None and key.ndim == 5:
        key, value = (key[..., i, :].reshape(*key.shape[:2], -1) for i in range(2))
    if key is None or value is None:
        raise ModelError(f"queries of shape {list(query.shape)} come without keys or values")
    if bias is not None:
        ends = [query.shape[2], 2 * query.shape[2]]
        biases = jnp.split(bias, ends)
        query = query + biases[0]
        if key.ndim == 3:
            key, value = key + biases[1], value + biases[2]
    parts: list[Value] = [query, key, value]
    Q, K, V = (split_heads(x, num_heads) if x.ndim == 3 else x for x in parts)
    return attend(
        Q,
        K,
        V,
        key_padding_mask,
        attention_bias,
        past_key,
        past_value,
        unidirectional,
        scale,
        mask_filter_value,
    )


@op("RotaryEmbedding", domain=DOMAIN, since=(1,))
def rotary_embedding_microsoft(
    input: Value,
    position_ids: Value,
    cos_cache: Value,
    sin_cache: Value,
    *,
    interleaved: int = 0,
    is_packed_batching: int = 0,
    num_heads: int = 0,
    rotary_embedding_dim: int = 0,
    scale: float = 1.0,
) -> Value:
    """`rotary_embedding` of [B, N, S, D] or [B, S, N * D], at position_ids [B, S], or from [1]."""
    refuse("RotaryEmbedding", is_packed_batching=is_packed_batching)
    refuse("RotaryEmbedding", scale=scale - 1)
    packed = input.ndim == 3
    if position_ids.size == 1:
        length = input.shape[1 if packed else 2]
        steps = np.arange(length, dtype=position_ids.dtype)
        position_ids = jnp.broadcast_to(position_ids.reshape(()) + steps, (len(input), length))
    return rotary_embedding(
        input,
        cos_cache,
        sin_cache,
        position_ids,
        interleaved=interleaved,
        num_heads=num_heads or input.shape[2] // (2 * cos_cache.shape[1]),
        rotary_embedding_dim=rotary_embedding_dim,
    )


def extended(past: Value | None, new: Value, lengths: Value, keys: int) -> Value:
    """The first `lengths` [B] of past [B, G, P, D], then new [B, G, S, D], then zeros; `keys`."""
    at = np.arange(keys)[None, None, :, None] - lengths.reshape(-1, 1, 1, 1)
    queries = new.shape[2]
    fresh = jnp.take_along_axis(new, jnp.clip(at, 0, queries - 1), 2)
    zero = np.zeros((), new.dtype)
    if past is None:
        old: Value = zero
    else:
        missing = max(0, keys - past.shape[2])
        old = jnp.pad(past, ((0, 0), (0, 0), (0, missing), (0, 0)))
        old = jnp.where(at < 0, old, zero)
    return jnp.where((at >= 0) & (at < queries), fresh, old)


@op("GroupQueryAttention", domain=DOMAIN, since=(1,), static=("total_sequence_length",))
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
) -> tuple[Value, Value, Value]:
    """Causal attention [B, S, N * D] with G heads of keys and values, and all keys, all values.

    query is [B, S, N * D], key and value [B, S, G * D], or all three are side by side in query;
    past and present keys and values [B, G, P or T, D]. A sequence has seqlens_k + 1 keys, of which
    the last S are new, unless all sequences begin (S is the total length). With `smooth_softmax`,
    or for each head by `head_sink` [N], a share of the weights goes to no key.
    """
    quantized = k_quant_type != "NONE" or v_quant_type != "NONE" or None
    named = (k_scale, v_scale, q_norm_weight, k_norm_weight, query_seqlens)
    if any(v is not None for v in named) or quantized or qk_output or not causal:
        raise UnsupportedError(
            "GroupQueryAttention of quantized or normalized keys, with query_seqlens, qk_output or "
            "causal=0 is not supported"
        )
    refuse("GroupQueryAttention", sliding_window_cache=sliding_window_cache)
    query, key, value, seqlens_k = as_traced([query, key, value, seqlens_k])
    if key is None or value is None:
        size = query.shape[2] // (num_heads + 2 * kv_num_heads)
        ends = [num_heads * size, (num_heads + kv_num_heads) * size]
        query, key, value = jnp.split(query, ends, 2)
    queries, total = query.shape[1], int(total_sequence_length.item())
    lengths = seqlens_k.reshape(-1).astype(np.int64) + (1 - queries)
    lengths = jnp.zeros_like(lengths) if queries == total else lengths
    Q, K, V = (
        split_heads(x, n)
        for x, n in ((query, num_heads), (key, kv_num_heads), (value, kv_num_heads))
    )
    if do_rotary:
        if position_ids is None:
            position_ids = lengths[:, None] + np.arange(queries)
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
    keys = max(total, 0 if past_key is None else past_key.shape[2])
    K, V = extended(past_key, K, lengths, keys), extended(past_value, V, lengths, keys)

    scale = scale or 1 / np.sqrt(Q.shape[3])
    scores = inner_products(Q * np.asarray(scale, Q.dtype), K, Q.dtype)
    scores = softcap * jnp.tanh(scores / softcap) if softcap else scores
    if attention_bias is not None:
        missing = keys - attention_bias.shape[-1]
        scores = scores + jnp.pad(attention_bias, [(0, 0)] * 3 + [(0, missing)])
    visible = within(queries, keys, lengths.reshape(-1, 1, 1, 1), 1, local_window_size - 1, -1)
    allowed = jnp.broadcast_to(functools.reduce(jnp.logical_and, visible), scores.shape)
    if smooth_softmax == 1 or head_sink is not None:
        logits = jnp.zeros(num_heads, Q.dtype) if head_sink is None else head_sink.astype(Q.dtype)
        sinks = jnp.broadcast_to(logits[:, None, None], (*scores.shape[:3], 1))
        scores = jnp.concatenate([sinks, scores], 3)
        allowed = jnp.pad(allowed, [(0, 0)] * 3 + [(1, 0)], constant_values=True)
        weights = masked_softmax(scores, allowed)[..., 1:]
    else:
        weights = masked_softmax(scores, allowed)
    return join_heads(weighted_sums(weights, V)), K, V
