"""Normalization by mean and variance, or by a norm. Letters: N instances, C channels."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jax import lax

from onnxla.ir.dtypes import dtype_of
from onnxla.ir.errors import ModelError
from onnxla.ops.checks import only
from onnxla.ops.conv import per_channel
from onnxla.ops.elementary import abs_
from onnxla.ops.pool import space
from onnxla.ops.sliding import slide_sum
from onnxla.ops.table import op
from onnxla.ops.values import Value
from onnxla.ops.window import WindowAttributes

AFFINE = {"scale": "scale", "B": "bias"}


@dataclass(frozen=True)
class Sample:
    """What a batch is to the running statistics that follow it.

    Attributes:
        axis_name: Of a mapped axis that the batch lies along too.
        unbiased: Whether the running variance takes the sum of n squares over n - 1, as PyTorch's
            does, and not over n, as ONNX says.
    """

    axis_name: str | None = None
    unbiased: bool = False

    def average(self, x: Value, axes: Sequence[int]) -> Value:
        """The mean over `axes`, which stay as axes of size 1, and the mapped one."""
        own = jnp.mean(x, axes, keepdims=True)
        return own if self.axis_name is None else lax.pmean(own, self.axis_name)

    def corrected(self, variance: Value, number: int) -> Value:
        """What the running variance follows, of a number of elements in each mapped one."""
        if not self.unbiased:
            return variance
        mapped = 1 if self.axis_name is None else lax.axis_size(self.axis_name)
        n = jnp.asarray(number * mapped, variance.dtype)
        return variance * (n / jnp.maximum(n - 1, 1))


ALONE = Sample()


def widened(*values: Value, least: np.dtype | type = np.float32) -> list[Value]:
    """Operands in the widest of their dtypes and `least`, in which sums are accurate."""
    # The two 16-bit floats have no common type but one that is wider than both.
    wide: np.dtype = np.promote_types(least, np.float32)
    dtype = functools.reduce(np.promote_types, (v.dtype for v in values), wide)
    return [jnp.asarray(v, dtype) for v in values]


def moments(X: Value, axes: Sequence[int], sample: Sample = ALONE) -> tuple[Value, Value]:
    """Mean and population variance over `axes`, which stay as axes of size 1, and a mapped one."""
    mean = sample.average(X, axes)
    return mean, sample.average(lax.square(X - mean), axes)


def standardized(X: Value, axes: Sequence[int], epsilon: float) -> Value:
    """X with mean 0 and variance 1 over `axes`; computed in float32 at least, dtype of X."""
    (wide,) = widened(X)
    mean, variance = moments(wide, axes)
    return ((wide - mean) * lax.rsqrt(variance + epsilon)).astype(X.dtype)


@op(
    "BatchNormalization",
    since=(14, 15),
    roles=AFFINE | {"input_mean": "running_statistic", "input_var": "running_statistic"},
)
def batch_normalization(
    X: Value,
    scale: Value,
    B: Value,
    input_mean: Value,
    input_var: Value,
    *,
    epsilon: float = 1e-5,
    momentum: float = 0.9,
    training_mode: int = 0,
    train: bool,
    frozen: bool,
    sample: Sample = ALONE,
) -> tuple[Value, ...]:
    """X normalized by channel with given statistics; in training with those of the batch.

    X [N, C, ...] or [N]. In training also the new running mean and (population) variance, which
    keep the fraction `momentum` of the old ones. With `frozen` ones, as if not in training.
    """
    training = not frozen and (bool(training_mode) or train)
    operands = X, scale, B, input_mean, input_var
    results = normalize_batch(*operands, epsilon, momentum, training, sample=sample)
    return (*results, input_mean, input_var)[:3]


@op(
    "BatchNormalization",
    since=(1, 6, 7, 9),
    roles=AFFINE | {"mean": "running_statistic", "var": "running_statistic"},
)
def batch_normalization_1(
    X: Value,
    scale: Value,
    B: Value,
    mean: Value,
    var: Value,
    *,
    epsilon: float = 1e-5,
    is_test: int = 0,
    momentum: float = 0.9,
    spatial: int = 1,
    n_outputs: int,
    train: bool,
    frozen: bool,
    sample: Sample = ALONE,
) -> tuple[Value, ...]:
    """`batch_normalization`, in training where further outputs are asked for and not `is_test`.

    These are the new running statistics and those of the batch. Unless `spatial`, each feature has
    its own statistics, and the operands are of its shape [C, ...].
    """
    training = not frozen and (train or (n_outputs > 1 and not is_test))
    axes = None if spatial else (0,)
    operands = X, scale, B, mean, var
    results = normalize_batch(*operands, epsilon, momentum, training, axes, sample)
    return (*results, mean, var, mean, var)[:5]


def normalize_batch(
    X: Value,
    scale: Value,
    B: Value,
    mean: Value,
    var: Value,
    epsilon: float,
    momentum: float,
    training: bool,
    axes: tuple[int, ...] | None = None,
    sample: Sample = ALONE,
) -> tuple[Value, ...]:
    """Y; in training also the running and the batch's mean and variance."""
    x, factor, shift, old_mean, old_var = widened(X, scale, B, mean, var)
    axes = axes or tuple(axis for axis in range(X.ndim) if axis != 1)
    shape = [1 if axis in axes else size for axis, size in enumerate(X.shape)]
    used_mean, used_var = moments(x, axes, sample) if training else (old_mean, old_var)
    scaled = factor.reshape(shape) * lax.rsqrt(used_var.reshape(shape) + epsilon)
    Y = ((x - used_mean.reshape(shape)) * scaled + shift.reshape(shape)).astype(X.dtype)
    if not training:
        return (Y,)
    batch = used_mean.reshape(mean.shape), used_var.reshape(var.shape)
    new_mean, new_var = batch[0], sample.corrected(batch[1], X.size // max(mean.size, 1))
    pairs = (old_mean, new_mean), (old_var, new_var)
    running = (old * momentum + new * (1 - momentum) for old, new in pairs)
    return (Y, *(v.astype(mean.dtype) for v in (*running, *batch)))


@op("InstanceNormalization", since=(1, 6, 22), roles=AFFINE)
def instance_normalization(input: Value, scale: Value, B: Value, *, epsilon: float = 1e-5) -> Value:
    """The input [N, C, ...] normalized by instance and channel, times scale [C] plus B [C]."""
    rank = input.ndim
    normalized = standardized(input, space(input), epsilon)
    return normalized * per_channel(scale, rank) + per_channel(B, rank)


@op("GroupNormalization", since=(21,), roles={"scale": "scale", "bias": "bias"})
def group_normalization(
    X: Value,
    scale: Value,
    bias: Value,
    *,
    epsilon: float = 1e-5,
    num_groups: int,
    stash_type: int = 1,
) -> Value:
    """X [N, C, ...] normalized by instance and group of channels, times scale [C] plus bias [C].

    Departs from ONNX: float64 is not rounded to the `stash_type` float32 in between.
    """
    if num_groups < 1 or X.shape[1] % num_groups:
        raise ModelError(f"{X.shape[1]} channels do not divide into num_groups={num_groups}")
    groups = X.reshape(X.shape[0], num_groups, math.prod(X.shape[1:]) // num_groups)
    (wide,) = widened(groups, least=dtype_of(stash_type))
    mean, variance = moments(wide, (2,))
    normalized = ((wide - mean) * lax.rsqrt(variance + epsilon)).astype(X.dtype).reshape(X.shape)
    return normalized * per_channel(scale, X.ndim) + per_channel(bias, X.ndim)


@op("GroupNormalization", since=(18,), roles={"scale": "scale", "bias": "bias"})
def group_normalization_18(
    X: Value, scale: Value, bias: Value, *, epsilon: float = 1e-5, num_groups: int
) -> Value:
    """`group_normalization` with scale and bias [num_groups]."""
    size = X.shape[1] // max(num_groups, 1)
    each, shift = (jnp.repeat(v, size, total_repeat_length=X.shape[1]) for v in (scale, bias))
    return group_normalization(X, each, shift, epsilon=epsilon, num_groups=num_groups)


@op("LayerNormalization", since=(17,), roles={"Scale": "scale", "B": "bias"})
def layer_normalization(
    X: Value,
    Scale: Value,
    B: Value | None = None,
    *,
    axis: int = -1,
    epsilon: float = 1e-5,
    stash_type: int = 1,
) -> tuple[Value, Value, Value]:
    """X normalized over the axes from `axis` on, times Scale plus B; and mean, 1 / deviation.

    The latter two are of dtype `stash_type`, with axes of size 1.
    Departs from ONNX: float64 is not rounded to the `stash_type` float32 in between.
    """
    stash = dtype_of(stash_type)
    (wide,) = widened(X, least=stash)
    mean, variance = moments(wide, tuple(range(axis % X.ndim, X.ndim)))
    inverse = lax.rsqrt(variance + epsilon)
    Y = ((wide - mean) * inverse).astype(X.dtype) * Scale
    return Y if B is None else Y + B, mean.astype(stash), inverse.astype(stash)


@op("RMSNormalization", since=(23,), roles={"scale": "scale"})
def rms_normalization(
    X: Value, scale: Value, *, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1
) -> Value:
    """X over its root mean square on the axes from `axis` on, times scale; dtype of scale.

    Departs from ONNX: float64 is not rounded to the `stash_type` float32 in between.
    """
    (wide,) = widened(X, least=dtype_of(stash_type))
    axes = tuple(range(axis % X.ndim, X.ndim))
    mean = jnp.mean(lax.square(wide), axes, keepdims=True)
    return (wide * lax.rsqrt(mean + epsilon)).astype(X.dtype).astype(scale.dtype) * scale


@op("LRN", since=(1, 13))
def lrn(
    X: Value, *, alpha: float = 1e-4, beta: float = 0.75, bias: float = 1.0, size: int
) -> Value:
    """X / (bias + alpha / size * S) ** beta, S the sum of squares over `size` channels around."""
    channels = X.shape[1]
    window = WindowAttributes(kernel_shape=(size,), pads=((size - 1) // 2, size // 2))
    seen = window.over((channels,))
    positions = math.prod(X.shape[2:])
    (wide,) = widened(X)
    squares = lax.square(wide).reshape(X.shape[0], channels, positions).swapaxes(1, 2)
    total = slide_sum(squares, seen).swapaxes(1, 2).reshape(X.shape)
    return (wide / (bias + alpha / size * total) ** beta).astype(X.dtype)


@op("MeanVarianceNormalization", since=(9, 13))
def mean_variance_normalization(X: Value, *, axes: tuple[int, ...] = (0, 2, 3)) -> Value:
    """X less its mean over `axes`, over its standard deviation plus 1e-9."""
    (wide,) = widened(X)
    mean, variance = moments(wide, axes)
    deviation = jnp.where(variance == 0, 0, jnp.sqrt(jnp.where(variance == 0, 1, variance)))
    return ((wide - mean) / (deviation + 1e-9)).astype(X.dtype)


@op("LpNormalization", since=(1, 22))
def lp_normalization(input: Value, *, axis: int = -1, p: int = 2) -> Value:
    """The input over its norm of order p (1 or 2) along `axis`; 0 where the norm is 0."""
    only("p", p, 1, 2)
    powers = abs_(input) if p == 1 else lax.square(input)
    total = jnp.sum(powers, axis, keepdims=True)
    zero = total == 0
    safe = jnp.where(zero, 1, total)
    return jnp.where(zero, 0, input / (safe if p == 1 else jnp.sqrt(safe)))
