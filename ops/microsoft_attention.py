"""Attention in the forms that ONNX Runtime's optimizer and model builders write.

Letters: B sequences, N heads, or G heads of keys and values, S queries, P keys of the past, T keys
in all, D features of a head.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jax import lax

from onnxla.ir.errors import ModelError, UnsupportedError
from onnxla.ops.attention import AttentionAttributes, attention, join_heads, split_heads
from onnxla.ops.checks import refuse
from onnxla.ops.matmul import matmul
from onnxla.ops.microsoft_fused import DOMAIN
from onnxla.ops.quantize import dequantize_linear
from onnxla.ops.sizes import as_number, numbered
from onnxla.ops.table import REQUIRED, op
from onnxla.ops.values import Value, as_traced, at_least_float32

QKV = {"weights": "weight", "bias": "bias"}


@dataclass(frozen=True)
class HeadAttributes:
    """The attributes of attention by heads."""

    num_heads: int = REQUIRED
    mask_filter_value: float | None = None
    scale: float | None = None
    unidirectional: int = 0


@dataclass(frozen=True)
class SelfAttributes(HeadAttributes):
    """The attributes of attention to what precedes in the same sequence."""

    do_rotary: int = 0
    past_present_share_buffer: int = 0


HEADS, SELF = HeadAttributes(), SelfAttributes()


def visible_keys(mask: Value, batch: int, queries: int, keys: int) -> Value:
    """Whether keys are to be seen, in a shape that broadcasts to [B, 1, S, T].

    The mask is 0 where not: [B, T], [B, S, T] or [B, 1, most, most]; or has the number of keys [B];
    or where they end and then where they start [2 * B]; or [3 * B + 2] the number of keys, and what
    follows from it. One of a single key, [B or 1, 1], means nothing.
    """
    size = mask.shape[0]
    if mask.ndim == 1 and size in (batch, 2 * batch, 3 * batch + 2):
        ends = mask[:batch, None, None, None]
        starts = mask[batch:, None, None, None] if size == 2 * batch else 0
        at = numbered(keys).astype(mask.dtype)
        return (at < ends) & (at >= starts)
    if mask.ndim == 4:
        return mask[:, :, keys - queries : keys, :keys] != 0
    if mask.ndim not in (2, 3):
        raise ModelError(f"a mask of shape {list(mask.shape)} does not fit {batch} sequences")
    if mask.shape[1:] == (1,) and keys > 1:
        return np.ones((1, 1, 1, keys), np.bool_)
    return (mask[:, None] if mask.ndim == 3 else mask[:, None, None]) != 0


def attend(
    Q: Value,
    K: Value,
    V: Value,
    mask: Value | None,
    bias: Value | None,
    past: tuple[Value | None, Value | None],
    past_length: Value | None,
    heads: HeadAttributes,
) -> tuple[Value, Value, Value, Value]:
    """`attention` by heads [B, N, S, D], all keys and values, and what softmax gets, [B, N, S, T].

    What the mask, of `visible_keys`, hides is not excluded, but gets `mask_filter_value` added, by
    default -10000. With a `past_length`, the past is a buffer of which so much is filled.
    """
    lengths = None
    if past_length is not None and past[0] is not None and past[1] is not None:
        at = jnp.asarray(past_length).reshape(())
        lengths = jnp.broadcast_to(at.astype(np.int64) + as_number(Q.shape[2]), Q.shape[:1])
        put = lax.dynamic_update_slice_in_dim
        K, V = (put(jnp.asarray(old), new, at, 2) for old, new in zip(past, (K, V), strict=True))
        past = None, None
    if mask is not None:
        keys = K.shape[2] + (0 if past[0] is None else past[0].shape[2])
        hidden = np.asarray(heads.mask_filter_value or -10000.0).astype(Q.dtype)
        visible = visible_keys(jnp.asarray(mask), Q.shape[0], Q.shape[2], keys)
        added = jnp.where(visible, np.zeros((), Q.dtype), hidden)
        # A bias is for the filled part of a buffer.
        bias = added if bias is None else added[..., : bias.shape[3]] + bias
    how = AttentionAttributes(
        is_causal=heads.unidirectional, qk_matmul_output_mode=2, scale=heads.scale or None
    )
    Y, K, V, scores = attention(Q, K, V, bias, *past, lengths, how=how)
    # What is hidden has the lowest number of single precision, which half precision has not.
    wide = scores.astype(at_least_float32(scores.dtype))
    shown = jnp.maximum(wide, float(np.finfo(np.float32).min)).astype(scores.dtype)
    return join_heads(Y), K, V, shown


@op(
    "Attention",
    domain=DOMAIN,
    since=(1,),
    roles=QKV,
    product=True,
    times_zero=("input", "weights", "bias", "past"),
)
def attention_microsoft(
    input: Value,
    weights: Value,
    bias: Value | None = None,
    mask_index: Value | None = None,
    past: Value | None = None,
    attention_bias: Value | None = None,
    past_sequence_length: Value | None = None,
    *,
    heads: SelfAttributes = SELF,
    qkv_hidden_sizes: tuple[int, ...] | None = None,
    rotary_embedding_dim: int = 0,
) -> tuple[Value, Value]:
    """Self-attention [B, S, N * D] of the input's products with `weights`, and its new past.

    The products with weights [I, 3 * N * D], or of the three `qkv_hidden_sizes`, are queries, keys
    and values; past and the new one [2, B, N, P or T, D]; for mask_index see `visible_keys`.
    """
    refuse("Attention", do_rotary=heads.do_rotary)
    projected = matmul(input, weights)
    projected = projected if bias is None else projected + bias
    sizes = qkv_hidden_sizes or (weights.shape[1] // 3,) * 3
    parts = jnp.split(projected, [sizes[0], sizes[0] + sizes[1]], 2)
    Q, K, V = (split_heads(part, heads.num_heads) for part in parts)
    filled = past_sequence_length if heads.past_present_share_buffer else None
    pasts = (None, None) if past is None else (past[0], past[1])
    Y, K, V, _ = attend(Q, K, V, mask_index, attention_bias, pasts, filled, heads)
    return Y, jnp.stack([K, V]) if K.shape == V.shape else None


@op(
    "QAttention",
    domain=DOMAIN,
    since=(1,),
    roles={"weight": "weight", "bias": "bias"},
    times_zero=("bias", "weight_scale", "past"),
)
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
    heads: SelfAttributes = SELF,
) -> tuple[Value, Value]:
    """`attention_microsoft` of the numbers that the input and the weight quantize."""
    x = dequantize_linear(input, input_scale, input_zero_point)
    weights = dequantize_linear(weight, weight_scale, weight_zero_point, axis=1)
    return attention_microsoft(x, weights, bias, mask_index, past, heads=heads)


@op(
    "MultiHeadAttention",
    domain=DOMAIN,
    since=(1,),
    roles={"bias": "bias"},
    product=True,
    times_zero=("query", "key", "value", "bias", "past_value"),
)
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
    heads: HeadAttributes = HEADS,
) -> tuple[Value, ...]:
    """Attention [B, S, N * D], all keys and all values [B, N, T, D], and what softmax gets.

    Queries, keys and values are [B, S or T, N * D] and get `bias` added, one after the other; or
    queries are [B, S, N, 3, D] with keys and values, or keys are [B, T, N, 2, D] with values, or
    keys and values are [B, N, T, D]. For key_padding_mask see `visible_keys`. With a
    past_sequence_length, past keys and values are buffers into which the new ones are put.
    """
    if cache_indirection is not None:
        raise UnsupportedError("attention to the keys of several beams is not supported")
    query, key, value, bias = as_traced([query, key, value, bias])
    if query.ndim == 5:
        query, key, value = (join_heads(query[..., i, :].swapaxes(1, 2)) for i in range(3))
    elif key is not None and key.ndim == 5:
        key, value = (join_heads(key[..., i, :].swapaxes(1, 2)) for i in range(2))
    if key is None or value is None:
        raise ModelError(f"queries of shape {list(query.shape)} come without keys or values")
    if bias is not None:
        biases = jnp.split(bias, [query.shape[2], 2 * query.shape[2]])
        query = query + biases[0]
        if key.ndim == 3:
            key, value = key + biases[1], value + biases[2]
    parts: list[Value] = [query, key, value]
    Q, K, V = (split_heads(x, heads.num_heads) if x.ndim == 3 else x for x in parts)
    past = past_key, past_value
    return attend(Q, K, V, key_padding_mask, attention_bias, past, past_sequence_length, heads)


@op(
    "DecoderMaskedMultiHeadAttention",
    domain=DOMAIN,
    since=(1,),
    roles={"bias": "bias"},
    times_zero=("query", "value", "bias", "past_value"),
)
def decoder_masked_multi_head_attention(
    query: Value,
    key: Value | None = None,
    value: Value | None = None,
    mask_index: Value | None = None,
    attention_bias: Value | None = None,
    past_key: Value | None = None,
    past_value: Value | None = None,
    past_sequence_length: Value | None = None,
    beam_width: Value | None = None,
    cache_indirection: Value | None = None,
    bias: Value | None = None,
    *,
    mask_filter_value: float | None = None,
    num_heads: int,
    output_qk: int = 0,
    past_present_share_buffer: int = 0,
    scale: float | None = None,
) -> tuple[Value, ...]:
    """`multi_head_attention` of one query [B, 1, N * D] of each sequence.

    key and value are those of the same token, or side by side with query, or [B, N, T, D].
    """
    if key is None:
        query, key, value = jnp.split(jnp.asarray(query), 3, 2)
    buffered = past_present_share_buffer != 0
    refuse("DecoderMaskedMultiHeadAttention", output_qk_of_a_buffer=output_qk and buffered)
    heads = HeadAttributes(num_heads, mask_filter_value, scale)
    past = past_key, past_value, past_sequence_length if buffered else None
    masks = mask_index, attention_bias
    return multi_head_attention(
        query, key, value, bias, *masks, *past, cache_indirection, heads=heads
    )
