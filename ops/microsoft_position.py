"""Where tokens are, in the forms that ONNX Runtime's optimizer writes.

Letters: B sequences, N heads, S tokens, D features of a head.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from onnxla.ir.errors import ModelError
from onnxla.ops.activation import sigmoid
from onnxla.ops.attention import rotary_embedding, split_heads
from onnxla.ops.checks import refuse
from onnxla.ops.index import check_indices
from onnxla.ops.microsoft_fused import DOMAIN
from onnxla.ops.table import op
from onnxla.ops.values import Value


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
    refuse("RotaryEmbedding", scale=scale - 1)
    packed = input.ndim == 3
    check_indices(position_ids, len(cos_cache))
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


@op(
    "RelativePositionBias",
    domain=DOMAIN,
    since=(1,),
    static=("query_length", "key_length"),
    roles={"bias_table": "embedding"},
)
def relative_position_bias(
    bias_table: Value,
    query_length: np.ndarray,
    key_length: np.ndarray,
    *,
    is_bidirectional: int = 0,
    max_distance: int,
) -> Value:
    """The bias [1, N, S, S] of T5: that of the bucket into which the distance of two tokens falls.

    bias_table is said to be [buckets, N], but its elements are in the order of [N, buckets]. If
    `is_bidirectional`, half of the buckets are for keys after the query. Half of those of a
    direction are for one distance each; the others, growing exponentially, for those up to
    `max_distance`.
    """
    length, keys = int(query_length.item()), int(key_length.item())
    if length != keys:
        raise ModelError(f"{length} queries and {keys} keys have no relative position bias")
    distance = np.arange(keys) - np.arange(length)[:, None]
    buckets = len(bias_table) // (2 if is_bidirectional else 1)
    near = buckets // 2
    first = np.where(distance > 0, buckets, 0) if is_bidirectional else 0
    distance = abs(distance) if is_bidirectional else np.maximum(-distance, 0)
    ratio = np.maximum(distance, near).astype(np.float32) / np.float32(near)
    growth = np.log(ratio) / np.log(np.float32(max_distance / near))
    far = near + (growth * np.float32(buckets - near)).astype(np.int64)
    bucket = first + np.where(distance < near, distance, np.minimum(far, buckets - 1))
    by_head = jnp.asarray(bias_table).reshape(bias_table.shape[1], -1)
    return by_head[:, bucket][None]


@op(
    "GatedRelativePositionBias",
    domain=DOMAIN,
    since=(1,),
    roles={"query_bias": "bias", "weight": "weight", "bias": "bias", "eco_a": "scale"},
)
def gated_relative_position_bias(
    query_layer: Value,
    query_bias: Value,
    rel_pos: Value,
    weight: Value,
    bias: Value,
    eco_a: Value,
    token_offset: Value | None = None,
    *,
    num_heads: int,
) -> Value:
    """rel_pos [1, N, S, S] times a gate for each query, [B, N, S, S].

    query_layer is [B, S, N * D]; or without padding [tokens, N * D], which token_offset [B, S] has
    the places of, and then those of the padding. weight is [D, R], eco_a [1, N, 1, 1].
    """
    query = jnp.asarray(query_layer)
    if token_offset is not None:
        padded = jnp.zeros((token_offset.size, query.shape[1]), query.dtype)
        padded = padded.at[token_offset.reshape(-1)[: len(query)]].set(query)
        query = padded.reshape(*token_offset.shape, query.shape[1])
    q = split_heads(query + query_bias, num_heads)
    gates = jnp.stack(jnp.split(q @ jnp.asarray(weight) + bias, 2, -1))
    u, r = sigmoid(gates.sum(-1, keepdims=True))
    return (u * (r * eco_a - 1) + 2) * rel_pos
