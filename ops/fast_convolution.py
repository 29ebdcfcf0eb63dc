"""Convolution in the way that is fastest on the platform.

The numbers are of two CPU cores, float32, against XLA's own operation.
"""

from __future__ import annotations

import functools
import math
import operator

import jax.numpy as jnp
from jax import lax

from onnxla.ops.depthwise import depthwise
from onnxla.ops.values import Value, is_floating, wide
from onnxla.ops.window import MOST_UNROLLED, Window

LARGE = 28 * 28  # positions of an image


def convolve(x: Value, w: Value, seen: Window, group: int) -> Value:
    """The convolution of x [N, C, sizes] with w [M, C / group, kernel]; [N, M, outputs]."""
    if 0 < len(seen.idle) < len(seen.sizes):  # XLA is 1.4 to 4 times as fast without such axes
        axes = [axis + 2 for axis in seen.idle]
        x, w = jnp.squeeze(x, axes), jnp.squeeze(w, axes)
        return jnp.expand_dims(convolve(x, w, seen.without(seen.idle), group), axes)
    direct = functools.partial(convolve_by_xla, seen=seen, group=group)
    taps = math.prod(seen.kernel)
    # In half precision XLA's sums are more exact.
    if taps > MOST_UNROLLED or not is_floating(x) or x.dtype.itemsize < 4:
        return direct(x, w)
    if w.shape[1] == 1 and group == x.shape[1]:
        x = jnp.repeat(x, w.shape[0] // group, axis=1) if w.shape[0] > group else x
        return depthwise(x, w[:, 0], seen=seen)
    if group > 1 or taps == 1:
        by_taps = functools.partial(convolve_by_matmuls, seen=seen, group=group)
        return lax.platform_dependent(x, w, cpu=by_taps, default=direct)
    return direct(x, w)


def convolve_by_xla(x: Value, w: Value, *, seen: Window, group: int) -> Value:
    """`convolve` as XLA's operation."""
    x, padding, spread = seen.for_xla(x)
    return lax.conv_general_dilated(
        x,
        w,
        seen.strides,
        padding,
        spread,
        seen.dilations,
        feature_group_count=group,
    )


def convolve_by_matmuls(x: Value, w: Value, *, seen: Window, group: int) -> Value:
    """`convolve` as a sum over taps of products of matrices.

    With one tap 1.1 to 4 times faster, its gradient 1.2 to 2 times; with groups 1.5 to 3 times, the
    gradient 4 to 90 times.
    """
    padded, (N, M) = seen.pad(wide(x)), (x.shape[0], w.shape[0])
    kernels = wide(w).reshape(group, M // group, *w.shape[1:])
    positions = math.prod(seen.outputs)
    # One product for each image needs no transposes; of small images they would be slow themselves.
    each = isinstance(positions, int) and positions >= LARGE

    def term(tap: tuple[int, ...], spans: tuple[slice, ...]) -> Value:
        view = padded[(..., *spans)].reshape(N, group, w.shape[1], positions)
        kernel = kernels[(..., *tap)]
        if each:  # n g m c, n g c o -> n g m o
            kernel = jnp.broadcast_to(kernel, (N, *kernel.shape))
            return lax.dot_general(kernel, view, (((3,), (2,)), ((0, 1), (0, 1))))
        # g m c, n g c o -> g m n o
        return lax.dot_general(kernel, view, (((2,), (2,)), ((0,), (1,))))

    total = functools.reduce(operator.add, (term(*span) for span in seen.spans()))
    Y = total if each else jnp.moveaxis(total, 2, 0)
    return Y.reshape(N, M, *seen.outputs).astype(x.dtype)
