"""Normalization by mean and variance, or by a norm. Letters: N instances, C channels."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from numpy.lib.array_utils import normalize_axis_tuple

from onnxla.ir.dtypes import dtype_of
from onnxla.ir.errors import ModelError
from onnxla.ops.arithmetic import quotient
from onnxla.ops.checks import only
from onnxla.ops.conv import per_channel
from onnxla.ops.elementary import abs_
from onnxla.ops.pool import space
from onnxla.ops.sliding import slide_sum
from onnxla.ops.standardize import mean, slope, standardized
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

    def normalized(
        self, x: Value, axes: tuple[int, ...], epsilon: float
    ) -> tuple[Value, Value, Value]:
        """`standardized` over `axes` and the mapped one."""
        if self.axis_name is None:
            return standardized(x, axes, epsilon)
        center, variance = moments(x, axes, self.axis_name)
        return (x - center) * lax.rsqrt(variance + epsilon), center, variance

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


def moments(X: Value, axes: tuple[int, ...], axis_name: str | None = None) -> tuple[Value, Value]:
    """Mean and population variance over `axes`, which stay as axes of size 1, and a mapped one."""

    def average(x: Value) -> Value:
        own = mean(x, axes)
        return own if axis_name is None else lax.pmean(own, axis_name)

    center = average(X)
    return center, average(lax.square(X - center))


def normalized(X: Value, axes: tuple[int, ...], epsilon: float) -> Value:
    """X with mean 0 and variance 1 over `axes`; computed in float32 at least, dtype of X."""
    (wide,) = widened(X)
    return standardized(wide, axes, epsilon)[0].astype(X.dtype)


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
    each = factor.reshape(shape), shift.reshape(shape)
    if not training:
        scaled = each[0] * lax.rsqrt(old_var.reshape(shape) + epsilon)
        return (((x - old_mean.reshape(shape)) * scaled + each[1]).astype(X.dtype),)
    n, *batch = sample.normalized(x, axes, epsilon)
    Y = (n * each[0] + each[1]).astype(X.dtype)
    batch = [v.reshape(mean.shape) for v in batch]
    new_mean, new_var = batch[0], sample.corrected(batch[1], X.size // max(mean.size, 1))
    pairs = (old_mean, new_mean), (old_var, new_var)
    running = (old * momentum + new * (1 - momentum) for old, new in pairs)
    return (Y, *(v.astype(mean.dtype) for v in (*running, *batch)))


@op("InstanceNormalization", since=(1, 6, 22), roles=AFFINE)
def instance_normalization(input: Value, scale: Value, B: Value, *, epsilon: float = 1e-5) -> Value:
    """The input [N, C, ...] normalized by instance and channel, times scale [C] plus B [C]."""
    rank = input.ndim
    Y = normalized(input, space(input), epsilon)
    return Y * per_channel(scale, rank) + per_channel(B, rank)


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
    Y = standardized(wide, (2,), epsilon)[0].astype(X.dtype).reshape(X.shape)
    return Y * per_channel(scale, X.ndim) + per_channel(bias, X.ndim)


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
    n, mean, variance = standardized(wide, tuple(range(axis % X.ndim, X.ndim)), epsilon)
    Y, inverse = n.astype(X.dtype) * Scale, lax.rsqrt(variance + epsilon)
    return Y if B is None else Y + B, mean.astype(stash), inverse.astype(stash)


@op("RMSNormalization", since=(23,), roles={"scale": "scale"})
def rms_normalization(
    X: Value, scale: Value, *, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1
) -> Value:
    """X over its root mean square on the axes from `axis` on, times scale; dtype of scale.

    Departs from ONNX: float64 is not rounded to the `stash_type` float32 in between.
    """
    (wide,) = widened(X, least=dtype_of(stash_type))
    n, *_ = standardized(wide, tuple(range(axis % X.ndim, X.ndim)), epsilon, centered=False)
    return n.astype(X.dtype).astype(scale.dtype) * scale


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


# Of `mean_variance_normalization`; beside the root, so that it counts where the variance is 0.
LEAST_DEVIATION = 1e-9


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def over_deviation(x: Value, axes: tuple[int, ...]) -> Value:
    """Values less their mean, over their standard deviation plus `LEAST_DEVIATION`."""
    center, variance = moments(x, axes)
    return (x - center) / (jnp.sqrt(variance) + LEAST_DEVIATION)


@over_deviation.defjvp
def over_deviation_jvp(
    axes: tuple[int, ...], primals: tuple[Value], tangents: tuple[Value]
) -> tuple[Value, Value]:
    """Value and directional derivative of `over_deviation`; the latter is a `slope`."""
    _, variance = moments(*primals, axes)
    deviation = jnp.sqrt(jnp.where(variance == 0, 1, variance))
    y = over_deviation(*primals, axes)
    n = jnp.where(variance == 0, 0, y * jnp.sqrt(1 + LEAST_DEVIATION / deviation))
    s = 1 / (jnp.where(variance == 0, 0, deviation) + LEAST_DEVIATION)
    return y, slope(*tangents, n, s, axes=axes, centered=True)


@op("MeanVarianceNormalization", since=(9, 13))
def mean_variance_normalization(X: Value, *, axes: tuple[int, ...] = (0, 2, 3)) -> Value:
    """X less its mean over `axes`, over its standard deviation plus 1e-9."""
    (wide,) = widened(X)
    return over_deviation(wide, normalize_axis_tuple(axes, X.ndim)).astype(X.dtype)


@op("LpNormalization", since=(1, 22))
def lp_normalization(input: Value, *, axis: int = -1, p: int = 2) -> Value:
    """The input over its norm of order p (1 or 2) along `axis`; 0 where the norm is 0."""
    only("p", p, 1, 2)
    powers = abs_(input) if p == 1 else lax.square(input)
    total = jnp.sum(powers, axis, keepdims=True)
    zero = total == 0
    if p == 1:
        return jnp.where(zero, 0, quotient(input, jnp.where(zero, 1, total)))
    n, *_ = standardized(jnp.where(zero, 1, input), (axis % input.ndim,), 0.0, centered=False)
    return jnp.where(zero, 0, n / np.asarray(math.sqrt(input.shape[axis]), input.dtype))
