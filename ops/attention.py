"""Attention, and what goes with it in language models.

Letters: B sequences, H heads of which G in a group share keys and values, S queries, T keys and
values, D features of a head.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from onnxla.ir.dtypes import dtype_of
from onnxla.ir.errors import ModelError
from onnxla.ops.checks import only
from onnxla.ops.index import check_indices
from onnxla.ops.sizes import as_number, numbered
from onnxla.ops.table import op
from onnxla.ops.values import Value, as_traced, at_least_float32

# Operands that probabilities of what is masked, which are zero, are multiplied by.
VALUES = ("V", "past_value")
# Of a causal convolution, above which it is computed as a convolution is.
MANY_TAPS = 32


def split_heads(x: Value, heads: int | None) -> Value:
    """[B, S, H * D] as [B, H, S, D]."""
    if not heads or x.shape[2] % heads:
        raise ModelError(f"{heads} heads do not divide the last axis of {list(x.shape)}")
    return x.reshape(*x.shape[:2], heads, x.shape[2] // heads).swapaxes(1, 2)


def join_heads(x: Value) -> Value:
    """[B, H, S, D] as [B, S, H * D]."""
    return x.swapaxes(1, 2).reshape(x.shape[0], x.shape[2], x.shape[1] * x.shape[3])


def group_heads(x: Value, heads: int) -> Value:
    """Queries [B, H, S, D] as [B, H / G, G, S, D], for `heads` = H / G heads of keys."""
    if x.shape[1] % heads:
        raise ModelError(f"{x.shape[1]} query heads are no multiple of {heads} key heads")
    return x.reshape(x.shape[0], heads, x.shape[1] // heads, *x.shape[2:])


def inner_products(Q: Value, K: Value, dtype: np.dtype) -> Value:
    """Of queries [B, H, S, D] with keys [B, H / G, T, D]: [B, H, S, T] of `dtype`."""
    q = group_heads(Q, K.shape[1])
    products = jnp.einsum("bhgsd,bhtd->bhgst", q, K, preferred_element_type=dtype)
    return products.reshape(*Q.shape[:3], K.shape[2])


def weighted_sums(weights: Value, V: Value) -> Value:
    """Of values [B, H / G, T, D] by weights [B, H, S, T]: [B, H, S, D]."""
    w = group_heads(weights, V.shape[1])
    sums = jnp.einsum("bhgst,bhtd->bhgsd", w, V)
    return sums.reshape(*weights.shape[:3], V.shape[3])


def masked_softmax(x: Value, allowed: Value | None) -> Value:
    """Softmax along the last axis over what is allowed; zero where nothing is."""
    if allowed is None:
        return jax.nn.softmax(x)
    top = jnp.max(x, axis=-1, keepdims=True, where=allowed, initial=-jnp.inf)
    top = lax.stop_gradient(jnp.where(jnp.isneginf(top), 0, top))
    # What is not allowed is made finite first: the derivative of a masked infinity is no number.
    powers = jnp.where(allowed, jnp.exp(jnp.where(allowed, x, top) - top), 0)
    total = powers.sum(axis=-1, keepdims=True)
    return powers / jnp.where(total == 0, 1, total)


def within(
    queries: int,
    keys: int,
    offset: Value,
    is_causal: int,
    left_window_size: int,
    right_window_size: int,
) -> list[Value]:
    """Conditions, [S, T] or [B, 1, S, T], that the distance of queries and keys must meet.

    `offset` is how many keys come before the first query.
    """
    bounds = [0] * bool(is_causal) + [right_window_size] * (right_window_size >= 0)
    if not bounds and left_window_size < 0:
        return []
    distance = numbered(keys) - numbered(queries)[:, None] - as_number(offset)
    visible = [distance <= min(bounds)] if bounds else []
    return visible + ([distance >= -left_window_size] if left_window_size >= 0 else [])


@dataclass(frozen=True)
class AttentionAttributes:
    """The attributes that all versions of attention have."""

    is_causal: int = 0
    kv_num_heads: int | None = None
    q_num_heads: int | None = None
    qk_matmul_output_mode: int = 0
    scale: float | None = None
    softcap: float = 0.0
    softmax_precision: int | None = None


ATTENTION = AttentionAttributes()


@op("Attention", since=(24, 25), product=True, times_zero=VALUES)
def attention(
    Q: Value,
    K: Value,
    V: Value,
    attn_mask: Value | None = None,
    past_key: Value | None = None,
    past_value: Value | None = None,
    nonpad_kv_seqlen: Value | None = None,
    *,
    how: AttentionAttributes = ATTENTION,
    left_window_size: int = -1,
    right_window_size: int = -1,
) -> tuple[Value, ...]:
    """Y [B, H, S, D], all keys and values, and the scores [B, H, S, T] at a stage of computation.

    Q is [B, H, S, D] or [B, S, H * D], and Y likewise; K and V [B, H / G, T, D] or
    [B, T, H / G * D], after those of the past; nonpad_kv_seqlen [B]. Where a query sees no key, Y
    and the weights are zero.
    """
    only("qk_matmul_output_mode", how.qk_matmul_output_mode, 0, 1, 2, 3)
    Q, K, V, attn_mask, past_key, past_value = as_traced([Q, K, V, attn_mask, past_key, past_value])
    packed = Q.ndim == 3
    if packed:
        Q = split_heads(Q, how.q_num_heads)
        K, V = split_heads(K, how.kv_num_heads), split_heads(V, how.kv_num_heads)
    if past_key is not None and past_value is not None:
        K, V = jnp.concatenate([past_key, K], 2), jnp.concatenate([past_value, V], 2)

    queries, keys = Q.shape[2], K.shape[2]
    visible: list[Value] = []
    bias: Value = 0
    offset: Value = 0 if past_key is None else past_key.shape[2]
    if nonpad_kv_seqlen is not None:
        lengths = nonpad_kv_seqlen.reshape(-1, 1, 1, 1)
        visible.append(numbered(keys) < lengths)
        offset = lengths - as_number(queries) if past_key is None else offset
    if attn_mask is not None:
        boolean = attn_mask.dtype == np.bool_
        missing = [(0, 0)] * (attn_mask.ndim - 1) + [(0, keys - attn_mask.shape[-1])]
        mask = attn_mask if boolean else attn_mask.astype(Q.dtype)
        mask = jnp.pad(mask, missing, constant_values=False if boolean else -np.inf)
        visible.append(mask if boolean else ~jnp.isneginf(mask))
        bias = 0 if boolean else jnp.where(visible[-1], mask, 0)
    visible += within(queries, keys, offset, how.is_causal, left_window_size, right_window_size)
    allowed = functools.reduce(jnp.logical_and, visible) if visible else None

    # Half of the scale to each factor, so that no product overflows.
    root = math.sqrt(1 / math.sqrt(Q.shape[3]) if how.scale is None else how.scale)
    products = inner_products(Q * root, K * root, Q.dtype)
    capped = how.softcap * jnp.tanh(products / how.softcap) if how.softcap else products
    biased = capped + bias
    precision = Q.dtype if how.softmax_precision is None else dtype_of(how.softmax_precision)
    weights = masked_softmax(biased.astype(precision), allowed).astype(Q.dtype)
    shown = biased if allowed is None else jnp.where(allowed, biased, -jnp.inf)
    Y = weighted_sums(weights, V.astype(Q.dtype))
    stages = (products, capped, shown, weights)
    return join_heads(Y) if packed else Y, K, V, stages[how.qk_matmul_output_mode]


@op("Attention", since=(23,), product=True, times_zero=VALUES)
def attention_23(
    Q: Value,
    K: Value,
    V: Value,
    attn_mask: Value | None = None,
    past_key: Value | None = None,
    past_value: Value | None = None,
    *,
    how: AttentionAttributes = ATTENTION,
) -> tuple[Value, ...]:
    """`attention`, whose mask may be the same for all keys but is not padded."""
    if attn_mask is not None and attn_mask.shape[-1] == 1:
        keys = K.shape[-2] + (0 if past_key is None else past_key.shape[2])
        attn_mask = jnp.repeat(attn_mask, keys, -1)
    return attention(Q, K, V, attn_mask, past_key, past_value, how=how)


@op("FlexAttention", domain="ai.onnx.preview", since=(1,))
def flex_attention(
    Q: Value,
    K: Value,
    V: Value,
    *,
    prob_mod: Callable[[Value], tuple[Value]] | None = None,
    scale: float | None = None,
    score_mod: Callable[[Value], tuple[Value]] | None = None,
    softmax_precision: int | None = None,
) -> Value:
    """Attention [B, H, S, D] whose scores and weights [B, H, S, T] pass through subgraphs."""
    Q, K, V = as_traced([Q, K, V])
    default = at_least_float32(Q.dtype)
    precision = default if softmax_precision is None else dtype_of(softmax_precision)
    scale = 1 / math.sqrt(Q.shape[3]) if scale is None else scale
    scores = inner_products(Q * scale, K, precision)
    if score_mod is not None:
        (scores,) = score_mod(scores)
    weights = masked_softmax(scores, ~jnp.isneginf(scores))
    if prob_mod is not None:
        (weights,) = prob_mod(weights)
    return weighted_sums(weights.astype(Q.dtype), V)


@op("RotaryEmbedding", since=(23,))
def rotary_embedding(
    X: Value,
    cos_cache: Value,
    sin_cache: Value,
    position_ids: Value | None = None,
    *,
    interleaved: int = 0,
    num_heads: int | None = None,
    rotary_embedding_dim: int = 0,
) -> Value:
    """X [B, H, S, D] or [B, S, H * D] with pairs of features rotated by an angle for the position.

    The caches are [positions, R / 2] with position_ids [B, S], or [B, S, R / 2] without; the first
    R = `rotary_embedding_dim` features, by default D, are rotated. Pairs are neighbours if
    `interleaved`, else a feature of the first half with its counterpart in the second.
    """
    packed = X.ndim == 3
    x, cos, sin = as_traced([split_heads(X, num_heads) if packed else X, cos_cache, sin_cache])
    if position_ids is not None:
        check_indices(position_ids, len(cos))
        cos, sin = cos[position_ids], sin[position_ids]
    cos, sin = cos[:, None], sin[:, None]
    size = rotary_embedding_dim or x.shape[3]
    if 2 * cos.shape[-1] != size:
        raise ModelError(f"caches of {cos.shape[-1]} angles do not rotate {size} features")
    rotated, rest = x[..., :size], x[..., size:]
    axis = -1 if interleaved else -2
    pairs = rotated.reshape(*x.shape[:3], *((size // 2, 2) if interleaved else (2, size // 2)))
    a, b = (pairs.take(i, axis) for i in (0, 1))
    pairs = jnp.stack([cos * a - sin * b, sin * a + cos * b], axis)
    result = jnp.concatenate([pairs.reshape(rotated.shape), rest], -1)
    return join_heads(result) if packed else result


@op("LinearAttention", since=(27,), times_zero=("key",))
def linear_attention(
    query: Value,
    key: Value,
    value: Value,
    past_state: Value | None = None,
    decay: Value | None = None,
    beta: Value | None = None,
    *,
    chunk_size: int = 64,
    kv_num_heads: int,
    q_num_heads: int,
    scale: float = 0.0,
    update_rule: str = "gated_delta",
) -> tuple[Value, Value]:
    """Queries [B, S, H * D] of a state [B, H / G, D, E] that keys and values update; the state.

    A key k and value v add k v^T to the state, which `decay` shrinks before, given as a logarithm
    for each head [B, S, H / G] or key feature [B, S, H / G * D]. By the delta rules they only add
    what is new, times `beta` [B, S, H / G] or [B, S, 1]. All this in float32 or wider.
    """
    only("update_rule", update_rule, "linear", "gated", "delta", "gated_delta")
    if ("gated" in update_rule, "delta" in update_rule) != (decay is not None, beta is not None):
        raise ModelError(f"update_rule '{update_rule}' goes with decay if gated, beta if delta")
    dtype = at_least_float32(query.dtype)

    def by_time(x: Value | None, heads: int) -> Value:
        return None if x is None else jnp.moveaxis(split_heads(x, heads), 2, 0).astype(dtype)

    def step(state: Value, now: tuple[Value, ...]) -> tuple[Value, Value]:
        q, k, v, g, b = now
        if g is not None:
            state = state * jnp.exp(g)[..., None]
        if b is not None:
            v = b * (v - jnp.einsum("bhde,bhd->bhe", state, k))
        state = state + k[..., None] * v[..., None, :]
        return state, jnp.einsum("bhgd,bhde->bhge", group_heads(q, kv_num_heads), state)

    q, b = by_time(query, q_num_heads), None if beta is None else by_time(beta, beta.shape[2])
    k, v, g = (by_time(x, kv_num_heads) for x in (key, value, decay))
    shape = (query.shape[0], kv_num_heads, k.shape[3], v.shape[3])
    start = jnp.zeros(shape, dtype) if past_state is None else past_state.astype(dtype)
    final, out = lax.scan(step, start, (q, k, v, g, b))
    out = out.swapaxes(0, 1) * (scale or 1 / math.sqrt(shape[2]))
    out = out.reshape(*query.shape[:2], q_num_heads * shape[3]).astype(query.dtype)
    return out, final.astype(query.dtype if past_state is None else past_state.dtype)


def causal_conv(
    x: Value, weight: Value, bias: Value | None, activation: str, dilation: int = 1
) -> Value:
    """Convolution [B, C, S] of each channel of x with its K taps, one every `dilation`.

    x is [B, C, (K - 1) * dilation + S], weight [C, 1, K], bias [C].
    """
    only("activation", activation, "none", "silu", "swish")
    taps, dtype = weight.shape[2], x.dtype
    length = x.shape[2] - (taps - 1) * dilation
    x, weight = x.astype(wide := at_least_float32(dtype)), weight.astype(wide)
    if taps > MANY_TAPS:
        out: Value = lax.conv_general_dilated(
            x, weight, (1,), "VALID", rhs_dilation=(dilation,), feature_group_count=x.shape[1]
        )
    else:  # a sum of shifted products is faster
        starts = [i * dilation for i in range(taps)]
        out = sum(weight[:, :, i] * x[:, :, n : n + length] for i, n in enumerate(starts))
    out = out if bias is None else out + bias[:, None].astype(wide)
    return (out if activation == "none" else jax.nn.silu(out)).astype(dtype)


@op(
    "CausalConvWithState",
    since=(27,),
    roles={"weight": "weight", "bias": "bias"},
    times_zero=("weight",),
)
def causal_conv_with_state(
    input: Value,
    weight: Value,
    bias: Value | None = None,
    past_state: Value | None = None,
    *,
    activation: str = "none",
) -> tuple[Value, Value]:
    """Convolution [B, C, S] of each channel with its kernel of K taps, and the last K - 1 inputs.

    input is [B, C, S], weight [C, 1, K], bias [C]; past_state [B, C, K - 1], the inputs before, is
    zero if absent.
    """
    input, weight, bias, past_state = as_traced([input, weight, bias, past_state])
    if past_state is None:
        past_state = jnp.zeros((*input.shape[:2], weight.shape[2] - 1), input.dtype)
    x = jnp.concatenate([past_state, input], 2)
    return causal_conv(x, weight, bias, activation), x[:, :, input.shape[2] :]
