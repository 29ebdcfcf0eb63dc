"""Digests: whether arrays, or what an optimizer computes, are those of before."""

from __future__ import annotations

import hashlib
import math
import re
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr

from onnxla.parameters.devices import as_numpy
from onnxla.train.optimizer import update_of_some_loss

PIECE = 2**26  # bytes of an array that are hashed at a time: it may be a file's, larger than memory


@dataclass(frozen=True)
class Rows:
    """Some rows of an array, which are copied piece by piece, and count as an array of them."""

    array: np.ndarray
    rows: np.ndarray

    @property
    def dtype(self) -> np.dtype:
        """The elements' dtype."""
        return self.array.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of that array."""
        return (len(self.rows), *self.array.shape[1:])

    @property
    def nbytes(self) -> int:
        """Its size in bytes."""
        return math.prod(self.shape) * self.array.itemsize

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, rows: slice) -> np.ndarray:
        return np.asarray(self.array[self.rows[rows]])


def add_arrays(hashed: Any, tree: Any) -> None:
    """Hashes a tree of arrays: names, dtypes, shapes and elements.

    Args:
        hashed: What `hashlib` makes.
        tree: The tree of arrays or `Rows`; objects, such as strings, count by their text.
    """
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        array = leaf if isinstance(leaf, Rows) else np.atleast_1d(as_numpy(leaf))
        hashed.update(f"{jax.tree_util.keystr(path)} {array.dtype}{np.shape(leaf)}".encode())
        rows = max(1, PIECE * len(array) // max(array.nbytes, 1))
        for start in range(0, len(array), rows):
            hashed.update(bytes_of(array[start : start + rows]))


def bytes_of(array: np.ndarray) -> Any:
    """An array's elements as bytes."""
    if array.dtype.hasobject:
        return "\0".join(map(str, array.ravel())).encode()
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def digest_of(tree: Any) -> str:
    """The digest of a tree of arrays."""
    hashed = hashlib.sha256()
    add_arrays(hashed, tree)
    return hashed.hexdigest()


def digest_of_optimizer(optimizer: Any, params: Any) -> str:
    """The digest of what an optimizer computes: the programs of its first state and of its update.

    Hyper-parameters and schedules are constants in them. Other versions of JAX and optax may write
    the same in other words.
    """
    state = jax.eval_shape(optimizer.init, params)
    return digest_of_programs(
        jax.make_jaxpr(optimizer.init)(params),
        jax.make_jaxpr(update_of_some_loss(optimizer))(params, state, params),
    )


def digest_of_programs(*programs: ClosedJaxpr) -> str:
    """The digest of what programs compute, and of the constants in them."""
    hashed = hashlib.sha256()
    for program in programs:
        # Functions that JAX passes on are printed with their place in memory.
        hashed.update(re.sub(r" at 0x[0-9a-f]+|id=\d+", "", str(program)).encode())
        add_arrays(hashed, constants(program))
    return hashed.hexdigest()


def constants(program: ClosedJaxpr) -> list[Any]:
    """The constants of a program and of all within it, in order."""
    found, pending = [], [program]
    while pending:
        closed = pending.pop()
        found += closed.consts
        for equation in closed.jaxpr.eqns:
            values = jax.tree.leaves([*equation.params.values()], is_leaf=is_program)
            pending += filter(is_program, values)
    return found


def is_program(value: Any) -> bool:
    """Whether a value is a program with its constants."""
    return isinstance(value, ClosedJaxpr)
