"""How operators are computed, by platform, without their meaning changing.

The numbers are of two CPU cores, float32, against XLA's own operation.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from onnxla.ops.depthwise import depthwise
from onnxla.ops.values import Value, is_floating
from onnxla.ops.window import Window, lowest, wide

# With more taps, the programs are slow to compile and no longer fast.
MANY = 128


def convolve(x: Value, w: Value, seen: Window, group: int) -> Value:
    """The convolution of x [N, C, sizes] with w [M, C / group, kernel]; [N, M, outputs]."""
    direct = functools.partial(convolution, seen=seen, group=group)
    taps = math.prod(seen.kernel)
    # In half precision XLA's sums are more exact.
    if taps > MANY or not is_floating(x) or x.dtype.itemsize < 4:
        return direct(x, w)
    if w.shape[1] == 1 and group == x.shape[1]:
        x = jnp.repeat(x, w.shape[0] // group, axis=1) if w.shape[0] > group else x
        return depthwise(x, w[:, 0], seen=seen)
    if group > 1 or taps == 1:
        by_taps = functools.partial(sum_of_matmuls, seen=seen, group=group)
        return lax.platform_dependent(x, w, cpu=by_taps, default=direct)
    return direct(x, w)


def convolution(x: Value, w: Value, *, seen: Window, group: int) -> Value:
    """`convolve` as XLA's operation."""
    return lax.conv_general_dilated(
        x,
        w,
        seen.strides,
        seen.padding,
        seen.spread,
        seen.dilations,
        feature_group_count=group,
        precision=lax.Precision.HIGHEST if is_floating(x) else None,
    )


def sum_of_matmuls(x: Value, w: Value, *, seen: Window, group: int) -> Value:
    """`convolve` as a sum over taps of products of matrices.

    With one tap 1.1 to 4 times faster, its gradient 1.2 to 2 times; with groups 1.5 to 3 times, the
    gradient 4 to 90 times.
    """
    padded, kernels = seen.pad(wide(x)), wide(w).reshape(group, -1, *w.shape[1:])
    positions = math.prod(seen.outputs)

    def term(tap: tuple[int, ...], spans: tuple[slice, ...]) -> Value:
        view = padded[(..., *spans)].reshape(x.shape[0], group, w.shape[1], positions)
        # g m c, n g c o -> g m n o
        dims = (((2,), (2,)), ((0,), (1,)))
        return lax.dot_general(kernels[(..., *tap)], view, dims, lax.Precision.HIGHEST)

    total = functools.reduce(operator.add, (term(*each) for each in seen.spans()))
    Y = jnp.moveaxis(total, 2, 0).reshape(x.shape[0], w.shape[0], *seen.outputs)
    return Y.astype(x.dtype)


def slide(
    x: Value,
    seen: Window,
    combine: Callable[[Value, Value], Value],
    reduce: Callable[[Value, Value], Value],
    value: float,
) -> Value:
    """Elements in a window combined, axis by axis: the window is separable.

    1.3 to 10 times faster than a window reduction, its gradient 2.5 to 20 times; `reduce` is
    XLA's name of the function, for the reduction of long windows.
    """
    x = seen.pad(x, value)
    for axis, taps in enumerate(seen.kernel):
        # JAX has no gradient of a dilated window's maximum.
        if taps > MANY and seen.dilations[axis] == 1:
            shape, strides = [1] * x.ndim, [1] * x.ndim
            shape[2 + axis], strides[2 + axis] = taps, seen.strides[axis]
            x = lax.reduce_window(x, np.asarray(value, x.dtype), reduce, shape, strides, "VALID")
            continue
        after = (slice(None),) * (len(seen.kernel) - 1 - axis)
        views = (x[(..., seen.span(axis, tap), *after)] for tap in range(taps))
        x = functools.reduce(combine, views)
    return x


@jax.custom_jvp
def larger(a: Value, b: Value) -> Value:
    """The maximum, NaN if either is. The gradient goes to one of them, to `a` if they are equal."""
    return lax.max(a, b)


@larger.defjvp
def _(primals: tuple[Value, Value], tangents: tuple[Value, Value]) -> tuple[Value, Value]:
    (a, b), (da, db) = primals, tangents
    return larger(a, b), jnp.where(b > a, db, da)


def slide_max(x: Value, seen: Window) -> Value:
    """Maxima in a window. The gradient goes to one element even where several are equal."""
    return slide(x, seen, larger, lax.max, lowest(x.dtype))


def slide_sum(x: Value, seen: Window) -> Value:
    """Sums over a window, in single precision where `x` has less."""
    return slide(wide(x), seen, operator.add, lax.add, 0)
