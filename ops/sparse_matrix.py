"""Products with sparse matrices along an axis, in which zeros of the matrix meet no element.

Interpolation is such a product. As one with a dense matrix it would make NaN of an infinity and of
all that it has no part in. The sparse one is a primitive, since its transpose is the product with
the transposed matrix, of which JAX would make additions one by one: several times slower.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from onnxla.ops.limits import check_size
from onnxla.ops.values import Value, lower_exactly

# Entries of a row up to which the loop over them is unrolled, and as many of a longer one at once.
UNROLLED = 16


@dataclass(frozen=True, eq=False)
class SparseMatrix:
    """A matrix [m, n], by row.

    Attributes:
        columns: Of the entries of each row; int64 [m, k].
        entries: Their values, 0 where a row has fewer than k; float64 [m, k].
        size: n.
    """

    columns: np.ndarray
    entries: np.ndarray
    size: int

    @functools.cached_property
    def transposed(self) -> SparseMatrix:
        """The matrix [n, m], without entries that are 0."""
        m = len(self.columns)
        places = self.columns * m + np.arange(m)[:, None]
        places, which = np.unique(places, return_inverse=True)
        entries = np.bincount(which.ravel(), self.entries.ravel(), len(places))
        columns, rows = np.divmod(places[entries != 0], m)
        counts = np.bincount(columns, minlength=self.size)
        place = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
        shape = check_size((self.size, counts.max(initial=1)), what="a sparse matrix")
        found = SparseMatrix(np.zeros(shape, np.int64), np.zeros(shape), m)
        found.columns[columns, place], found.entries[columns, place] = rows, entries[entries != 0]
        return found


def multiply(matrix: SparseMatrix, x: Value, axis: int) -> Value:
    """The product of a matrix [m, n] and x along an axis of size n, which then has size m."""
    return multiply_p.bind(x, matrix=matrix, axis=axis)


def gathered(x: Value, *, matrix: SparseMatrix, axis: int) -> Value:
    """What `multiply` computes: a sum over entries, the k-th of all rows at once."""
    x = lax.optimization_barrier(x)  # or XLA would compute it anew for each of the entries
    column = (-1, *(1,) * (x.ndim - 1 - axis))
    columns, entries = matrix.columns.T, matrix.entries.T.astype(x.dtype)

    def term(columns: Value, entries: Value) -> Value:
        found = jnp.take(x, columns, axis, mode="clip") * entries.reshape(column)
        if isinstance(entries, np.ndarray) and entries.all():
            return found
        return jnp.where(entries.reshape(column) == 0, 0, found)

    if len(columns) <= UNROLLED:
        return functools.reduce(operator.add, map(term, columns, entries))
    total, _ = lax.scan(
        lambda total, row: (total + term(*row), None),
        term(columns[0], entries[0]),
        (columns[1:], entries[1:]),
        unroll=UNROLLED,
    )
    return total


def batch(xs: Sequence[Value], dims: Sequence[int], matrix: SparseMatrix, axis: int) -> Any:
    """The rule for `vmap`: the mapped axis in front."""
    return multiply(matrix, jnp.moveaxis(xs[0], dims[0], 0), axis + 1), 0


def resized(x: Any, matrix: SparseMatrix, axis: int) -> Any:
    """The type of the product."""
    return x.update(shape=(*x.shape[:axis], len(matrix.columns), *x.shape[axis + 1 :]))


multiply_p = Primitive("sparse_matrix_multiply")
multiply_p.def_impl(gathered)
multiply_p.def_abstract_eval(resized)
ad.deflinear2(multiply_p, lambda ct, x, matrix, axis: [multiply(matrix.transposed, ct, axis)])
mlir.register_lowering(multiply_p, lower_exactly(gathered))
batching.primitive_batchers[multiply_p] = batch
