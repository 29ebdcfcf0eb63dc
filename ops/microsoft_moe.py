"""Mixtures of experts, whose weights may be quantized, in ONNX Runtime's domain.

Letters: T tokens, H features of a token, E experts, I features inside of an expert, F = 2 * I where
two projections are fused, else I.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from onnxla.ir.errors import ModelError, UnsupportedError
from onnxla.ops.activation import gelu
from onnxla.ops.chain_rule import product
from onnxla.ops.checks import only, refuse
from onnxla.ops.microsoft_fused import DOMAIN
from onnxla.ops.microsoft_packed import unpacked
from onnxla.ops.microsoft_quantized import SCALE
from onnxla.ops.table import op
from onnxla.ops.values import Value, as_traced, at_least_float32

ACTIVATIONS: dict[str, Callable[[Value], Value]] = {
    "relu": jax.nn.relu,
    "relu2": lambda x: lax.square(jax.nn.relu(x)),
    "gelu": functools.partial(gelu, approximate="tanh"),
    "geglu": functools.partial(gelu, approximate="tanh"),
    "silu": jax.nn.silu,
    "identity": lambda x: x,
}


@dataclass(frozen=True)
class ExpertAttributes:
    """The attributes of a mixture of experts."""

    activation_alpha: float = 1.0
    activation_beta: float = 0.0
    activation_type: str = "relu"
    k: int = 1
    normalize_routing_weights: int = 0
    swiglu_fusion: int = 0
    swiglu_limit: float | None = None
    swiglu_limit_after_activation: int = 0
    use_sparse_mixer: int = 0

    def activate(self, x: Value, linear: Value | None) -> Value:
        """The activation of a projection, times a second one if there is one."""
        if self.activation_type != "swiglu":
            y = ACTIVATIONS[self.activation_type](x)
            return y if linear is None else y * linear
        bound = np.inf if self.swiglu_limit is None else self.swiglu_limit
        x = x if self.swiglu_limit_after_activation else jnp.minimum(x, bound)
        x = x * jax.nn.sigmoid(self.activation_alpha * x)
        x = jnp.minimum(x, bound) if self.swiglu_limit_after_activation else x
        return x * (jnp.clip(linear, -bound, bound) + self.activation_beta)

    def fusion(self, third: Value | None) -> int:
        """How two projections are one: not (0), interleaved (1) or side by side (2)."""
        only("activation_type", self.activation_type, "swiglu", *ACTIVATIONS)
        if self.activation_type not in ("swiglu", "geglu"):
            return 0
        only("swiglu_fusion", self.swiglu_fusion, 0, 1, 2)
        if (self.swiglu_fusion == 0) != (third is not None):
            given = "no third" if third is None else "a third"
            raise ModelError(f"{self.swiglu_fusion=} does not go with {given} projection")
        return self.swiglu_fusion

    def feed_forward(
        self, x: Value, weights: Sequence[Value | None], biases: Sequence[Value | None]
    ) -> Value:
        """One expert's output [T, H], by weights [F, H], [H, I] and perhaps [I, H]."""
        fusion = self.fusion(weights[2])

        def project(x: Value, i: int) -> Value:
            y = x @ jnp.asarray(weights[i]).T.astype(x.dtype)
            return y if biases[i] is None else y + jnp.asarray(biases[i]).astype(x.dtype)

        first = project(x, 0)
        linear = None if weights[2] is None else project(x, 2)
        if fusion == 1:
            first, linear = first[:, ::2], first[:, 1::2]
        elif fusion == 2:
            first, linear = jnp.split(first, 2, 1)
        return project(self.activate(first, linear), 1)


EXPERTS = ExpertAttributes()


def shares(
    router_probs: Value, k: int, normalize: int, router_weights: Value | None, dtype: np.dtype
) -> Value:
    """How much [T, E] each expert counts: the softmax of the `k` best, or their router_weights."""
    logits = jnp.asarray(router_probs, dtype)
    experts = logits.shape[1]
    if not 0 < k <= experts:
        raise ModelError(f"k={k} of {experts} experts cannot be chosen")
    # Of equal ones, ONNX Runtime takes the last.
    best = experts - 1 - lax.top_k(logits[:, ::-1], k)[1]
    chosen = jax.nn.one_hot(best, experts, dtype=dtype).sum(1)
    weights = jax.nn.softmax(logits) if router_weights is None else router_weights.astype(dtype)
    weights = chosen * weights
    total = weights.sum(1, keepdims=True)
    return weights / jnp.where(total == 0, 1, total) if normalize else weights


def mixture(
    input: Value,
    router_probs: Value,
    router_weights: Value | None,
    experts: ExpertAttributes,
    real: Callable[[Any], tuple[Sequence[Value | None], Sequence[Value | None]]],
    parameters: Any,
) -> Value:
    """The sum of the experts' outputs times their shares; that of an unused one is not computed.

    `parameters` hold arrays whose first axis is E; `real` makes an expert's weights and biases of
    its parameters.
    """
    dtype = at_least_float32(input.dtype)
    normalize = experts.normalize_routing_weights
    parts = shares(router_probs, experts.k, normalize, router_weights, dtype)
    x = jnp.asarray(input, dtype).reshape(math.prod(input.shape[:-1]), input.shape[-1])

    def step(total: Value, now: tuple[Value, Any]) -> tuple[Value, None]:
        def output(part: Value, own: Any) -> Value:
            return product(part[:, None], experts.feed_forward(x, *real(own)))

        used = jnp.any(now[0] != 0)
        return total + lax.cond(used, output, lambda *_: jnp.zeros_like(x), *now), None

    total, _ = lax.scan(step, jnp.zeros_like(x), (parts.T, parameters))
    return total.reshape(input.shape).astype(input.dtype)


@op(
    "MoE",
    domain=DOMAIN,
    since=(1,),
    roles={f"fc{i}_experts_weights": "weight" for i in (1, 2, 3)}
    | {f"fc{i}_experts_bias": "bias" for i in (1, 2, 3)},
    optional=("fc1_experts_bias",),
)
def moe(
    input: Value,
    router_probs: Value,
    fc1_experts_weights: Value,
    fc1_experts_bias: Value | None,
    fc2_experts_weights: Value,
    fc2_experts_bias: Value | None = None,
    fc3_experts_weights: Value | None = None,
    fc3_experts_bias: Value | None = None,
    *,
    experts: ExpertAttributes = EXPERTS,
) -> Value:
    """Output of the `k` experts that router_probs [T, E] rate best, weighted by their softmax.

    input is [T, H] or [B, S, H], the weights [E, F, H], [E, H, I] and perhaps [E, I, H], the biases
    [E, F], [E, H] and [E, I]. The activation of the first projection, times the third one, is
    what the second one projects.
    """
    refuse("MoE", use_sparse_mixer=experts.use_sparse_mixer)
    weights = as_traced([fc1_experts_weights, fc2_experts_weights, fc3_experts_weights])
    biases = as_traced([fc1_experts_bias, fc2_experts_bias, fc3_experts_bias])
    return mixture(input, router_probs, None, experts, lambda own: own, (weights, biases))


def dequantized(
    packed: Value, scales: Value, zero_points: Value | None, bits: int, dtype: np.dtype
) -> Value:
    """Weights [N, K] from bytes [N, K * bits / 8], with scales [N] or for blocks of a row [N, G].

    Zero points are packed likewise: those of all rows, or those of each row's blocks.
    """
    rows = len(packed)
    values, scales = unpacked(packed, bits), scales.reshape(rows, -1)
    zeros: Value = 2 ** (bits - 1)
    if zero_points is not None:
        zeros = unpacked(zero_points, bits)
        zeros = zeros[:rows, None] if zeros.ndim == 1 else zeros[:, : scales.shape[1]]
        zeros = zeros[..., None].astype(dtype)
    blocks = values.reshape(*scales.shape, -1).astype(dtype) - zeros
    return (blocks * scales[..., None].astype(dtype)).reshape(rows, -1)


@op(
    "QMoE",
    domain=DOMAIN,
    since=(1,),
    roles={f"fc{i}_scales": SCALE for i in (1, 2, 3)}
    | {f"fc{i}_experts_bias": "bias" for i in (1, 2, 3)},
    optional=("fc1_experts_bias",),
    # Of a gate that is closed.
    times_zero=("fc1_scales", "fc1_experts_bias", "fc3_scales", "fc3_experts_bias"),
)
def qmoe(
    input: Value,
    router_probs: Value,
    fc1_experts_weights: Value,
    fc1_scales: Value,
    fc1_experts_bias: Value | None,
    fc2_experts_weights: Value,
    fc2_scales: Value,
    fc2_experts_bias: Value | None = None,
    fc3_experts_weights: Value | None = None,
    fc3_scales: Value | None = None,
    fc3_experts_bias: Value | None = None,
    fc1_zero_points: Value | None = None,
    fc2_zero_points: Value | None = None,
    fc3_zero_points: Value | None = None,
    router_weights: Value | None = None,
    fc1_global_scale: Value | None = None,
    fc2_global_scale: Value | None = None,
    fc1_act_scale: Value | None = None,
    fc2_act_scale: Value | None = None,
    fc1_act_block_scale: Value | None = None,
    fc2_act_block_scale: Value | None = None,
    *,
    accuracy_level: int = 0,
    block_size: int = 0,
    expert_weight_bits: int = 4,
    fc1_expert_weight_bits: int | None = None,
    fc2_expert_weight_bits: int | None = None,
    fc3_expert_weight_bits: int | None = None,
    quant_type: str = "int",
    experts: ExpertAttributes = EXPERTS,
    weights_prepacked: int = -1,
) -> Value:
    """`moe` of the weights that integers of 2, 4 or 8 bits stand for, packed along the last axis.

    Scales are [E, N], or [E, N, blocks] for blocks of a row of N; so are the packed zero points,
    by default the middle of the range. router_weights [T, E] take the place of the softmax, which
    here, as in ONNX Runtime's CPU kernel, is always normalized.
    """
    if quant_type != "int":
        raise UnsupportedError(f"QMoE with quant_type '{quant_type}' is not supported")
    prepacked = weights_prepacked == 1
    refuse("QMoE", use_sparse_mixer=experts.use_sparse_mixer, weights_prepacked=prepacked)
    weights = as_traced([fc1_experts_weights, fc2_experts_weights, fc3_experts_weights])
    scales = as_traced([fc1_scales, fc2_scales, fc3_scales])
    zeros = as_traced([fc1_zero_points, fc2_zero_points, fc3_zero_points])
    biases = as_traced([fc1_experts_bias, fc2_experts_bias, fc3_experts_bias])
    own_bits = (fc1_expert_weight_bits, fc2_expert_weight_bits, fc3_expert_weight_bits)
    bits = [expert_weight_bits if b is None else b for b in own_bits]
    dtype = at_least_float32(input.dtype)

    def real(own: tuple[tuple[Value, ...], ...]) -> tuple[list[Value], tuple[Value, ...]]:
        *quantized, own_biases = own
        parts = zip(*quantized, bits, strict=True)
        numbers = [None if w is None else dequantized(w, s, z, b, dtype) for w, s, z, b in parts]
        return numbers, own_biases

    if router_weights is None:
        experts = replace(experts, normalize_routing_weights=1)
    parameters = weights, scales, zeros, biases
    return mixture(input, router_probs, router_weights, experts, real, parameters)
