"""Depthwise convolution as a primitive, so that it and its gradients have lowerings of their own.

On CPU a sum of shifted products is 20 to 40 times faster than XLA's convolution with a group for
each channel. The gradient by the kernel needs all taps' sums from one pass over the operands, which
is no derivative that JAX would find; a primitive can say so, and stays differentiable in both modes
and to any order.

Letters: N instances, C channels. The two operations are linear in each operand:
    depthwise: x [N, C, sizes], w [C, kernel] -> y [N, C, outputs]
    correlate: x [N, C, sizes], y [N, C, outputs] -> w [C, kernel], the transpose of the former
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from onnxla.ops.matmul import callers_precision
from onnxla.ops.values import Value, lower_exactly, wide
from onnxla.ops.window import Window


def varying_together(*operands: Value) -> list[Value]:
    """The operands, all of them varying over the same mesh axes where this is in a `shard_map`.

    A primitive needs that, and has no public way to ask for it but an operation that arranges it:
    here the addition of a zero that depends on each of them, which XLA removes.
    """
    with jax.enable_x64(True):  # a caller who differentiates in double precision may have it off
        zero = sum(lax.stop_gradient(jnp.sum(x[:0])) for x in operands)
        return [x + zero for x in operands]


def depthwise(x: Value, w: Value, *, seen: Window, precision: str | None = None) -> Value:
    """Each channel of x convolved with its own kernel.

    In a precision of JAX, by default that of `jax.default_matmul_precision`.
    """
    precision = precision or callers_precision()
    return depthwise_p.bind(*varying_together(x, w), seen=seen, precision=precision)


def correlate(x: Value, y: Value, *, seen: Window, precision: str | None) -> Value:
    """For each tap, the sum of products of y and what the tap sees of x."""
    return correlate_p.bind(*varying_together(x, y), seen=seen, precision=precision)


def transposed(y: Value, w: Value, *, seen: Window, precision: str | None) -> Value:
    """The transpose of `depthwise` by x."""
    flipped = jnp.flip(w, range(1, w.ndim))
    return depthwise(y, flipped, seen=seen.transposed(), precision=precision)


def depthwise_by_xla(x: Value, w: Value, *, seen: Window, precision: str | None) -> Value:
    """`depthwise` as XLA's convolution."""
    x, padding, spread = seen.for_xla(x)
    return lax.conv_general_dilated(
        x,
        w[:, None],
        seen.strides,
        padding,
        spread,
        seen.dilations,
        feature_group_count=x.shape[1],
        precision=precision,
    )


def correlate_by_xla(x: Value, y: Value, *, seen: Window, precision: str | None) -> Value:
    """`correlate` as XLA's convolution."""
    kernel = jax.ShapeDtypeStruct((x.shape[1], *seen.kernel), x.dtype)
    by_xla = functools.partial(depthwise_by_xla, x, seen=seen, precision=precision)
    return jax.linear_transpose(by_xla, kernel)(y)[0]


def depthwise_by_taps(x: Value, w: Value, *, seen: Window, precision: str | None) -> Value:
    """`depthwise` as a sum over taps, which is exact."""
    padded, each = seen.pad(wide(x)), wide(w).reshape(*w.shape, *(1,) * (x.ndim - 2))
    terms = (padded[(..., *spans)] * each[(slice(None), *tap)] for tap, spans in seen.spans())
    return functools.reduce(operator.add, terms).astype(x.dtype)


def correlate_by_taps(x: Value, y: Value, *, seen: Window, precision: str | None) -> Value:
    """`correlate` as one reduction with a result for each tap, which is exact."""
    padded, other = seen.pad(wide(x)), wide(y)
    products = [padded[(..., *spans)] * other for _, spans in seen.spans()]
    sums = lax.reduce(
        products,
        [np.zeros((), other.dtype)] * len(products),
        lambda a, b: list(map(operator.add, a, b)),
        (0, *range(2, x.ndim)),
    )
    return jnp.stack(sums, -1).reshape(x.shape[1], *seen.kernel).astype(x.dtype)


def batch_channels(
    function: Callable[..., Value], args: Sequence[Value], dims: Any, **kw: Any
) -> Any:
    """Batching: a batch of channels is more channels. Those of x and y are on axis 1, w's on 0."""
    size = next(x.shape[d] for x, d in zip(args, dims, strict=True) if d is not None)

    def merged(x: Value, dim: int | None) -> Value:
        x = jnp.broadcast_to(x, (size, *x.shape)) if dim is None else jnp.moveaxis(x, dim, 0)
        axis = x.ndim - 2 - len(kw["seen"].kernel)
        x = jnp.moveaxis(x, 0, axis)
        return x.reshape(*x.shape[:axis], size * x.shape[axis + 1], *x.shape[axis + 2 :])

    result = function(*map(merged, args, dims), **kw)
    axis = result.ndim - 1 - len(kw["seen"].kernel)
    shape = *result.shape[:axis], size, result.shape[axis] // size, *result.shape[axis + 1 :]
    return result.reshape(shape), axis


def primitive(
    function: Callable[..., Value], default: Callable[..., Value], cpu: Callable[..., Value]
) -> Primitive:
    """A primitive, lowered as `default` but on CPU."""
    new = Primitive(function.__name__)

    def impl(*operands: Value, **how: Any) -> Value:
        on = {"cpu": cpu, "default": default}
        by_platform = {name: functools.partial(f, **how) for name, f in on.items()}
        return lax.platform_dependent(*operands, **by_platform)

    new.def_impl(jax.jit(impl, static_argnames=("seen", "precision")))
    mlir.register_lowering(new, lower_exactly(default))
    mlir.register_lowering(new, lower_exactly(cpu), platform="cpu")
    batching.primitive_batchers[new] = functools.partial(batch_channels, function)
    return new


depthwise_p = primitive(depthwise, depthwise_by_xla, depthwise_by_taps)
depthwise_p.def_abstract_eval(lambda x, w, seen, **_: x.update(shape=(*x.shape[:2], *seen.outputs)))
ad.defbilinear(
    depthwise_p,
    lambda y, x, w, **how: transposed(y, w, **how),
    lambda y, x, w, **how: correlate(x, y, **how),
)
correlate_p = primitive(correlate, correlate_by_xla, correlate_by_taps)
correlate_p.def_abstract_eval(lambda x, y, seen, **_: x.update(shape=(x.shape[1], *seen.kernel)))
ad.defbilinear(
    correlate_p,
    lambda w, x, y, **how: transposed(y, w, **how),
    lambda w, x, y, **how: depthwise(x, w, **how),
)
