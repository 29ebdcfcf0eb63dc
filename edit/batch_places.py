"""Where in a value its batch lies: on an axis of its own, or merged with others into one.

A batch of n makes one axis of a value n times as long. `Reshape` may merge the batch with other
axes, as images with their windows, and part it from them again.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import jax.numpy as jnp

from onnxla.ir.errors import UnsupportedError
from onnxla.ops.values import Value

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Place:
    """Where the batch lies in a value.

    Attributes:
        axis: The axis that a batch of n makes n times as long.
        outer: How many elements of this axis are around the batch: of `[12 * n]`, 12 if the batch
            is the faster index, and 1 if it is the slower one.
    """

    axis: int
    outer: int = 1


def grown_axis(shapes: Mapping[int, Shape]) -> int | None:
    """The axis on which a value grows with the batch, if it does; `shapes` by the batch's size.

    Raises:
        UnsupportedError: It grows otherwise than by the size of the batch.
    """
    first = shapes[1]
    changed = {
        axis
        for shape in shapes.values()
        for axis, (old, new) in enumerate(zip(first, shape, strict=False))
        if old != new
    }
    axis = min(changed, default=None)
    if any(shape != stretched(first, axis, n) for n, shape in shapes.items()):
        *_, (n, shape) = shapes.items()
        raise UnsupportedError(
            f"makes {list(first)} of a batch of 1, but {list(shape)} of a batch of {n}"
        )
    return axis


def stretched(shape: Shape, axis: int | None, n: int) -> Shape:
    """A shape with one axis n times as long."""
    return tuple(size * n if i == axis else size for i, size in enumerate(shape))


def reshaped(place: Place, old: Shape, new: Shape) -> list[Place]:
    """Where the batch may lie once a value of shape `old` has the shape `new`, the best first.

    Elements keep their order, so that those before the batch do. An axis that the batch has for
    itself is better than one that it shares, and the one that it had is the best. The first axes
    are rather shared than the last ones, of features.
    """
    before = math.prod(old[: place.axis]) * place.outer
    found = []
    for axis, size in enumerate(new):
        passed = math.prod(new[:axis])
        if passed and before % passed == 0 and size % (before // passed) == 0:
            found.append(Place(axis, before // passed))
    alone = [each for each in found if new[each.axis] == 1]
    alone.sort(key=lambda each: each.axis != place.axis)
    return [*alone, *(each for each in found if each not in alone)]


def merged_place(axis: int, size: int, operands: Iterable[tuple[Place, Shape]]) -> Place:
    """Where the batch lies in a result that grows on an axis, which for a batch of 1 has `size`.

    An axis of more elements than the batch's is one of an operand.

    Raises:
        UnsupportedError: No operand tells.
    """
    if size == 1:
        return Place(axis)
    outer = {place.outer for place, shape in operands if shape[place.axis] == size}
    if len(outer) != 1:
        raise UnsupportedError(f"puts the batch among the {size} elements of axis {axis}")
    return Place(axis, outer.pop())


def together(values: Value, place: Place) -> Value:
    """Values of the elements of a batch, stacked on a first axis, as one value of the batch."""
    n, *shape = values.shape
    before, size, after = shape[: place.axis], shape[place.axis], shape[place.axis + 1 :]
    parted = values.reshape(n, *before, place.outer, size // place.outer, *after)
    moved = jnp.moveaxis(parted, 0, place.axis + 1)
    return moved.reshape(*before, n * size, *after)


def shapes_of(values: Mapping[int, Value]) -> dict[int, Shape]:
    """Shapes by the batch's size. Raises: UnsupportedError if the values are no tensors."""
    if not all(hasattr(value, "shape") for value in values.values()):
        raise UnsupportedError("makes a sequence or a map, in which no batch can be followed")
    return {n: tuple(value.shape) for n, value in values.items()}
