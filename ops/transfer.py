"""Constant tensors on the device."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial

import jax
import numpy as np

from onnxla.ir.model import Tensor

AT_ONCE = 2**24  # bytes that are sent together


def on_device(tensors: Iterable[Tensor]) -> Iterator[jax.Array]:
    """Tensors as JAX arrays, in order; 64-bit types as they are if JAX has them enabled.

    On the CPU, JAX keeps the memory that they are read into. Other devices have copies of it: one
    takes as long as many small ones do, but not all are to be in memory at once.
    """
    arrays: list[np.ndarray] = []
    size = 0
    for tensor in tensors:
        arrays.append(tensor.fresh())
        size += arrays[-1].nbytes
        if size >= AT_ONCE:
            yield from sent(arrays)
            arrays, size = [], 0
    yield from sent(arrays)


def sent(arrays: Sequence[np.ndarray]) -> list[jax.Array]:
    """Arrays as those of JAX, once these are there."""
    made: list[jax.Array] = jax.block_until_ready(jax.device_put(arrays))
    return made


def on_mesh(
    tensors: Mapping[str, Tensor], shardings: Mapping[str, jax.sharding.Sharding]
) -> dict[str, jax.Array]:
    """Tensors as JAX arrays on several devices, of which each reads little but its own part."""
    return {
        name: jax.make_array_from_callback(tensor.shape, shardings[name], partial(part_of, tensor))
        for name, tensor in tensors.items()
    }


def part_of(tensor: Tensor, index: tuple[slice, ...] | None) -> np.ndarray:
    """A part of a tensor, or all of it."""
    return tensor.part(index or ())
