"""The transpose of a convolution by its input, in which weights meet elements alone.

As a convolution it has zeros between and around the elements of its input, of which an infinite
weight would make NaN. Here every tap multiplies the elements that it sends somewhere, and what all
taps send to one place is added up. On two CPU cores, in float32, with strides that takes 0.2 to 1.2
times as long as the convolution, its gradient a twentieth to once; without strides 1.6 times, the
gradient 3 times. Elsewhere without groups, and with large kernels or strides, it is a convolution.
"""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jax import lax

from onnxla.ops.fast_convolution import convolve
from onnxla.ops.sizes import is_symbolic
from onnxla.ops.values import Value, wide
from onnxla.ops.window import MOST_UNROLLED, Window


@dataclass(frozen=True)
class Sent:
    """Where a tap sends elements of an axis: to every `stride`-th place.

    Attributes:
        elements: Those that it sends anywhere, not into the padding.
        phase: The first place, modulo the stride.
        before: The first place divided by the stride, rounded down.
    """

    elements: slice
    phase: int
    before: int


def sent(seen: Window, axis: int, tap: int) -> Sent:
    """Where a tap of a convolution that has the window sends the positions of an axis."""
    stride, offset = seen.strides[axis], tap * seen.dilations[axis] - seen.pads[axis][0]
    start = max(0, -(offset // stride))
    stop = min(seen.outputs[axis], (seen.sizes[axis] - 1 - offset) // stride + 1)
    before, phase = divmod(start * stride + offset, stride)
    return Sent(slice(start, max(start, stop)), phase, before)


def convolve_transposed(x: Value, w: Value, seen: Window, group: int) -> Value:
    """The transpose; x [N, C, outputs], w [C, M / group, kernel], result [N, M, sizes]."""
    as_convolution = functools.partial(transposed_as_convolution, seen=seen, group=group)
    by_taps = functools.partial(transposed_by_taps, seen=seen, group=group)
    # Which elements a tap sends out of a symbolic axis, a symbol may decide.
    symbolic = is_symbolic(*(n for n, s in zip(seen.sizes, seen.strides, strict=True) if s > 1))
    if symbolic or max(math.prod(seen.kernel), math.prod(seen.strides)) > MOST_UNROLLED:
        return as_convolution(x, w)
    if group > 1:  # whose gradient by the weights XLA makes calls of that cuDNN refuses
        return by_taps(x, w)
    return lax.platform_dependent(x, w, cpu=by_taps, default=as_convolution)


def transposed_as_convolution(x: Value, w: Value, *, seen: Window, group: int) -> Value:
    """`convolve_transposed` as a convolution with the kernel reversed."""
    C, M, kernel = w.shape[0], w.shape[1] * group, w.shape[2:]
    w = jnp.flip(w, range(2, w.ndim)).reshape(group, C // group, M // group, *kernel)
    w = w.swapaxes(1, 2).reshape(M, C // group, *kernel)
    return convolve(x, w, seen.transposed(), group)


def transposed_by_taps(x: Value, w: Value, *, seen: Window, group: int) -> Value:
    """`convolve_transposed` as a sum over taps of products of matrices.

    Places of one phase are added up side by side, and the phases interleaved in the end.
    """
    rank, (N, C), M = len(seen.sizes), x.shape[:2], w.shape[1] * group
    kernels = wide(w).reshape(group, C // group, M // group, *seen.kernel)
    images = wide(x).reshape(N, group, C // group, *seen.outputs)
    counts = [-(-size // stride) for size, stride in zip(seen.sizes, seen.strides, strict=True)]
    zero = np.zeros((), images.dtype)
    phases = {
        phase: jnp.broadcast_to(zero, (group, M // group, N, *counts))
        for phase in itertools.product(*map(range, seen.strides))
    }
    for tap in np.ndindex(*seen.kernel):
        to = [sent(seen, axis, index) for axis, index in enumerate(tap)]
        view = images[(..., *(each.elements for each in to))]
        lengths = view.shape[3:]
        view = view.reshape(N, group, C // group, math.prod(lengths))
        # g c m, n g c o -> g m n o
        dims = (((1,), (2,)), ((0,), (1,)))
        term = lax.dot_general(kernels[(..., *tap)], view, dims)
        ends = [
            (each.before, count - each.before - length, 0)
            for each, count, length in zip(to, counts, lengths, strict=True)
        ]
        term = lax.pad(term.reshape(*term.shape[:3], *lengths), zero, [(0, 0, 0)] * 3 + ends)
        phases[tuple(each.phase for each in to)] += term
    Y = jnp.stack([*phases.values()]).reshape(*seen.strides, M, N, *counts)
    pairs = itertools.chain(*((rank + 2 + axis, axis) for axis in range(rank)))
    Y = Y.transpose(rank + 1, rank, *pairs)
    Y = Y.reshape(N, M, *(n * s for n, s in zip(counts, seen.strides, strict=True)))
    return Y[(..., *map(slice, seen.sizes))].astype(x.dtype)
