"""Sizes that are known as symbols: `jax.export` traces a function for every size of an axis.

Then a shape holds symbolic dimensions, such as `b` or `2*b + 1`. They are known values like
numbers: shape arithmetic makes others of them, and they may be sizes again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.errors import InconclusiveDimensionOperation
from jax.export import is_symbolic_dim

from onnxla.ir.errors import StaticOperandError, UnsupportedError


class Sizes(np.ndarray[Any, Any]):
    """Integers of which some are symbolic: an array of objects that states the model's dtype."""

    kind: np.dtype = np.dtype(np.int64)

    def __array_finalize__(self, source: Any) -> None:
        self.kind = source.dtype if isinstance(source, Sizes) else np.dtype(np.int64)

    @property
    def dtype(self) -> np.dtype:
        """The integer type that the model gives them."""
        return self.kind

    def astype(self, dtype: Any, *args: Any, **kwargs: Any) -> Any:
        """The same sizes in another integer type; in another one, as a traced value."""
        if np.dtype(dtype).kind not in "iu":
            return self.traced().astype(dtype)
        result = self.view()
        result.kind = np.dtype(dtype)
        return result

    def traced(self) -> Any:
        """The sizes as a JAX array."""
        return jnp.asarray(self.tolist(), self.kind)


def is_symbolic(*dimensions: Any) -> bool:
    """Whether a size is not just a number."""
    return any(map(is_symbolic_dim, dimensions))


def at_least(size: Any, least: int) -> bool:
    """Whether a size is no less, whatever its symbols stand for."""
    try:
        return bool(size >= least)
    except InconclusiveDimensionOperation:
        return False


def equal_sizes(a: np.ndarray, b: np.ndarray) -> np.ndarray | None:
    """Where sizes are equal; None if that depends on a symbol.

    JAX itself takes sizes for different if they may be equal.
    """
    found = []
    for x, y in np.broadcast(a, b):
        equal = bool(x == y)  # certainly, if so
        if not (equal or at_least(x - y, 1) or at_least(y - x, 1)):
            return None
        found.append(equal)
    return np.array(found, bool).reshape(np.broadcast_shapes(a.shape, b.shape))


def number_and_size(number: Any, capacity: Any) -> tuple[Any, Any]:
    """A number and, if it is known, the same as a size; otherwise the capacity of what it fills.

    Raises:
        StaticOperandError: It is traced, and the capacity is 0.
    """
    if isinstance(number, np.ndarray | np.generic):
        return number.item(), number.item()
    if is_symbolic(capacity) or capacity:
        return number.reshape(()).astype(np.int64), capacity
    raise StaticOperandError(
        "a number decides a shape, unless it is about a buffer of fixed length and nothing shows"
        " how much of it is filled, so it must be known while tracing"
    )


def same_size(a: Any, b: Any) -> Any:
    """Whether two sizes are equal; traced if symbols decide it, or if one of them is traced."""
    known = all(isinstance(size, int) or is_symbolic(size) for size in (a, b))
    found = equal_sizes(np.asarray(a), np.asarray(b)) if known else None
    return as_number(a) == as_number(b) if found is None else bool(found)


def ratio(size: Any, n: Any) -> float:
    """How many times `n` a size is; 1 of nothing. Raises: UnsupportedError if symbols decide it."""
    if not is_symbolic(size, n):
        return size / n if n else 1.0
    times = size // n
    if not is_symbolic(times) and size == n * times:
        return float(times)
    raise UnsupportedError(f"the symbolic size {size} is not so many times {n}, whatever it is")


def scaled(n: Any, factor: float) -> Any:
    """A symbolic size times a factor, rounded down. Raises: UnsupportedError of other factors."""
    if factor == int(factor):
        return n * int(factor)
    if 0 < factor < 1 and 1 / factor == int(1 / factor):
        return n // int(1 / factor)
    raise UnsupportedError(f"the symbolic size {n} times {factor:g} is no symbolic size")


def as_sizes(values: Any, dtype: Any = np.int64) -> np.ndarray:
    """Numbers and symbolic dimensions as an array; without the latter, of numpy's integers."""
    if isinstance(values, Sizes):
        dtype = values.dtype
    found = np.asarray(values)
    if found.dtype != object or not is_symbolic(*found.flat):
        return found.astype(dtype)
    result = found.view(Sizes)
    result.kind = np.dtype(dtype)
    return result


def sum_dtype(x: Any) -> Any:
    """The dtype of sums and products: that of integers.

    None for sizes that have symbols, and for floating point: half precision is summed in single.
    """
    return None if isinstance(x, Sizes) or jnp.issubdtype(x.dtype, jnp.floating) else x.dtype


def numbered(size: Any) -> Any:
    """0, 1, ... up to a size, exclusive: numpy's if that is a number."""
    return (jnp if is_symbolic(size) else np).arange(size)


def open_mesh(shape: Sequence[Any]) -> list[Any]:
    """The number of each entry along each axis, as `numpy.ix_` has them."""
    return [
        numbered(n).reshape([-1 if i == axis else 1 for i in range(len(shape))])
        for axis, n in enumerate(shape)
    ]


def as_number(size: Any) -> Any:
    """A size as an operand: an array of JAX if it has symbols, else what it is."""
    return jnp.asarray(size, np.int64) if is_symbolic(size) else size


def repeated(
    x: Any, axis: int, factor: float, places: Callable[[int, int], np.ndarray] | None
) -> Any:
    """An array with an axis of a symbolic size resized by a whole factor.

    Args:
        x: The array.
        axis: The axis.
        factor: How many times it is repeated.
        places: Of so many elements, the one that each of so many is made of, if it is one.

    Raises:
        UnsupportedError: That is not each of them so many times.
    """
    times, n = int(factor), 8  # a sample axis, which shows how elements repeat
    made = places(n, n * times) if places is not None and times == factor else None
    if made is not None and np.array_equal(made, np.repeat(np.arange(n), times)):
        return jnp.repeat(x, times, axis)
    raise UnsupportedError(
        f"axis {axis}, of the symbolic size {x.shape[axis]}, can only be resized by repeating each"
        f" of its elements, not by {factor:g}"
    )
