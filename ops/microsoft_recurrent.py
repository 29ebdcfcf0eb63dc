"""Attention by a recurrent state, and what goes with it, in ONNX Runtime's domain.

Letters: B sequences, S tokens of one, T tokens in all, H heads, D features of a key, E of a value,
W last states that are kept.
"""

from __future__ import annotations

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from onnxla.ir.errors import ModelError
from onnxla.ops.attention import causal_conv, linear_attention
from onnxla.ops.checks import only, refuse
from onnxla.ops.microsoft_fused import DOMAIN
from onnxla.ops.table import op
from onnxla.ops.values import Value, as_traced, at_least_float32, is_known, xp


def latest(past_state: Value | None, state_window: int) -> Value | None:
    """The last state of a window of them, if it is one."""
    return past_state[-1] if state_window and past_state is not None else past_state


@op(
    "CausalConvWithState",
    domain=DOMAIN,
    since=(1,),
    roles={"weight": "weight", "bias": "bias"},
    times_zero=("weight",),
)
def causal_conv_with_state_microsoft(
    input: Value,
    weight: Value,
    bias: Value | None = None,
    past_state: Value | None = None,
    *,
    activation: str = "none",
    channels_last: int = 0,
    dilation: int = 1,
    input_channel_offset: int = 0,
    input_channels: int = 0,
    ndim: int = 1,
    state_channels_last: int = -1,
    state_length: int = 0,
    state_update_capacity: int = 0,
    state_window: int = 0,
) -> tuple[Value, Value]:
    """Convolution [B, C, S] of each channel with its kernel, and the last inputs, for the next one.

    weight is [C, 1, K], a tap every `dilation`; past_state [B, C, P] with P = (K - 1) * dilation.
    With a `state_window` it is [W, B, C, P]: after each of the last tokens, zero before the first.
    If `channels_last`, input is [B, S, ...] and a state [B, P, ...], where C counts all of "...".
    """
    refuse(
        "CausalConvWithState",
        input_channel_offset=input_channel_offset,
        input_channels=input_channels,
        state_length=state_length,
        state_update_capacity=state_update_capacity,
        several_dimensions=ndim - 1,
        state_channels_last=state_channels_last + 1,
    )
    x, weight, bias, past_state = as_traced([input, weight, bias, past_state])

    def channels_first(x: Value) -> Value:
        if not channels_last:
            return x
        return x.reshape(*x.shape[:2], math.prod(x.shape[2:])).swapaxes(1, 2)

    def as_given(x: Value) -> Value:
        if not channels_last:
            return x
        return x.swapaxes(1, 2).reshape(len(x), x.shape[2], *input.shape[2:])

    x, past = channels_first(x), latest(past_state, state_window)
    (batch, channels, length), reach = x.shape, (weight.shape[2] - 1) * dilation
    nothing = jnp.zeros((batch, channels, reach), x.dtype)
    x = jnp.concatenate([nothing if past is None else channels_first(past), x], 2)
    out = as_given(causal_conv(x, weight, bias, activation, dilation))
    ends = range(length + 1 - (state_window or 1), length + 1)
    states = [as_given(x[:, :, n : n + reach] if n > 0 else nothing) for n in ends]
    return out, jnp.stack(states) if state_window else states[0]


def repeat_heads(x: Value, size: int, heads: int) -> Value:
    """[..., N * D] as [..., heads * D], each of the N heads of `size` D so often as is needed."""
    present = x.shape[-1] // size
    if not present or heads % present:
        raise ModelError(f"{heads} heads cannot share {present} of {size} features")
    x = jnp.repeat(x.reshape(*x.shape[:-1], present, size), heads // present, -2)
    return x.reshape(*x.shape[:-2], heads * size)


@op("LinearAttention", domain=DOMAIN, since=(1,), times_zero=("key",))
def linear_attention_microsoft(
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
    state_window: int = 0,
    update_rule: str = "gated_delta",
) -> tuple[Value, Value]:
    """`linear_attention`, where several heads of values may share a query, and several a key.

    With a `state_window`, states are [W, B, H, D, E]: after each of the last tokens, zero before
    the first.
    """
    query, key, value, decay, beta = as_traced([query, key, value, decay, beta])
    most = max(q_num_heads, kv_num_heads)
    size = query.shape[2] // q_num_heads
    query, key = repeat_heads(query, size, most), repeat_heads(key, size, kv_num_heads)
    run = functools.partial(
        linear_attention,
        kv_num_heads=kv_num_heads,
        q_num_heads=most,
        scale=scale,
        update_rule=update_rule,
    )
    decay = decay if "gated" in update_rule else None
    beta = beta if "delta" in update_rule else None
    state = latest(past_state, state_window)
    if not state_window:
        return run(query, key, value, state, decay, beta)
    length = query.shape[1]
    parts, states = [], []
    stops = range(max(length + 1 - state_window, 1), length + 1)
    for at, stop in itertools.pairwise([0, *stops]):
        q, k, v, g, b = (
            None if x is None else x[:, at:stop] for x in (query, key, value, decay, beta)
        )
        part, state = run(q, k, v, state, g, b)
        parts.append(part)
        states.append(state)
    missing = [jnp.zeros_like(states[0])] * (state_window - len(states))
    return jnp.concatenate(parts, 1), jnp.stack(missing + states)


def log_decay(
    decay: Value, a_log: Value | None, dt_bias: Value | None, activation: str, lower_bound: float
) -> Value:
    """The logarithm [T, H, 1 or D] by which a state shrinks, from what a projection made."""
    if activation == "none":
        return decay
    only("gate_activation", activation, "softplus", "qwen", "sigmoid", "kda")
    if a_log is None:
        raise ModelError(f"gate_activation '{activation}' needs a_log")
    rate = jnp.exp(a_log.astype(decay.dtype))[:, None]
    if dt_bias is not None:
        decay = decay + dt_bias.reshape(len(rate), -1).astype(decay.dtype)
    if activation in ("softplus", "qwen"):
        return -rate * jax.nn.softplus(decay)
    return lower_bound * jax.nn.sigmoid(rate * decay)


@op("GatedDeltaNet", domain=DOMAIN, since=(1,), roles={"a_log": "weight", "dt_bias": "bias"})
def gated_delta_net(
    query: Value,
    key: Value | None = None,
    value: Value | None = None,
    cu_seqlens: Value | None = None,
    decay: Value | None = None,
    beta: Value | None = None,
    initial_state: Value | None = None,
    a_log: Value | None = None,
    dt_bias: Value | None = None,
    capture_count: Value | None = None,
    state_update_active: Value | None = None,
    *,
    beta_activation: str = "none",
    chunk_size: int = 64,
    gate_activation: str = "none",
    gate_lower_bound: float = -5.0,
    qk_l2_norm: int = 0,
    scale: float = 0.0,
    state_update_capacity: int = 0,
    update_rule: str = "gated_delta",
) -> tuple[Value, Value]:
    """`linear_attention` [T, H, E] of sequences one after the other, and their states [B, H, E, D].

    query and key are [T, N, D], each for H / N heads of value [T, H, E]; or all are side by side in
    query. decay is [T, H] or [T, H, D], beta [T, H]; T may be two axes [B, S]. The sequences are
    cu_seqlens[i] to cu_seqlens[i + 1], or as many as there are states, all of the same length.
    """
    refuse("GatedDeltaNet", state_update_capacity=state_update_capacity)
    only("beta_activation", beta_activation, "none", "sigmoid")
    dtype = at_least_float32(query.dtype)
    q, k, v, state, g, b = as_traced([query, key, value, initial_state, decay, beta])
    if k is None or v is None:
        if state is None:
            raise ModelError("query, key and value side by side need an initial_state")
        heads, value_size, size = state.shape[1:]
        width = (q.shape[-1] - heads * value_size) // 2
        q, k, v = jnp.split(q, [width, 2 * width], -1)
        v = v.reshape(*v.shape[:-1], heads, value_size)
    else:
        size = q.shape[-1]
    *outer, heads, value_size = v.shape
    tokens = math.prod(outer)

    # As ONNX Runtime has them; the text has none.
    epsilon = 1e-6 if gate_activation in ("sigmoid", "kda") else 1e-12

    def by_head(x: Value) -> Value:
        width = math.prod(x.shape[len(outer) :])
        x = x.reshape(tokens, width // size, size).astype(dtype)
        if qk_l2_norm:
            x = x * lax.rsqrt(lax.square(x).sum(-1, keepdims=True) + epsilon)
        return repeat_heads(x.reshape(tokens, width), size, heads)

    if g is not None:
        g = g.reshape(tokens, heads, math.prod(g.shape[len(outer) :]) // heads).astype(dtype)
        g = log_decay(g, a_log, dt_bias, gate_activation, gate_lower_bound)
        g = g.reshape(tokens, heads * g.shape[2])
    if b is not None:
        b = b.reshape(tokens, heads).astype(dtype)
        b = jax.nn.sigmoid(b) if beta_activation == "sigmoid" else b
    g = g if "gated" in update_rule else None
    b = b if "delta" in update_rule else None

    if cu_seqlens is None:
        if state is None:
            raise ModelError("sequences of equal length need an initial_state, or cu_seqlens")

        def by_sequence(x: Value) -> Value:
            return x.reshape(len(state), tokens // max(len(state), 1), x.shape[1])
    else:
        starts, lengths = cu_seqlens[:-1, None], xp(cu_seqlens).diff(cu_seqlens)[:, None]
        steps = np.arange(lengths.max() if is_known(lengths) else tokens, dtype=np.int32)
        at = jnp.clip(starts + steps, 0, tokens - 1)
        if state is None:
            state = jnp.zeros((len(starts), heads, value_size, size), dtype)

        def by_sequence(x: Value) -> Value:
            # After its end, a sequence has keys of zero, and a decay, which leave its state alone.
            return jnp.where((steps < lengths)[..., None], x[at], 0)

    rows = (by_head(q), by_head(k), v.reshape(tokens, heads * value_size).astype(dtype), g, b)
    queries, keys, values, decays, betas = (None if x is None else by_sequence(x) for x in rows)
    out, state = linear_attention(
        queries,
        keys,
        values,
        state.swapaxes(2, 3),
        decays,
        betas,
        kv_num_heads=heads,
        q_num_heads=heads,
        scale=scale,
        update_rule=update_rule,
    )
    if cu_seqlens is not None:
        token = np.arange(tokens, dtype=np.int32)
        sequence = jnp.searchsorted(cu_seqlens, token, side="right") - 1
        out = out[sequence, token - jnp.asarray(cu_seqlens)[sequence]]
    return out.reshape(v.shape).astype(q.dtype), state.swapaxes(2, 3)
