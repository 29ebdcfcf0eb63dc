"""How nodes use a weight, and what a low-rank update of it is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from onnxla import ir
from onnxla.edit.views import Shape, View, ViewStep, swapped, undone


class Refusal(Exception):
    """Why no low-rank path can be put beside a node's use of a weight."""


@dataclass(frozen=True)
class Application:
    """A node that computes x @ M (`right`), M' @ x (`left`), rows x of M, or a convolution of x.

    Or anything else that is `linear` in a weight, of which then M is what `matrix` makes.
    M [..., K, N] is the view of a weight, with the last two axes swapped if `transposed`.

    Attributes:
        x: Name of the operand that the weight is applied to; of `linear`, of the weight itself.
        transpose_x: Whether the node swaps the axes of x first.
        factor: What the node multiplies the product by.
        group: The convolution's number of groups.
        matrix: How the operand's elements are rearranged to M.
        left_out: Inputs of the node that are added to what is linear in the weight.
        scaled: What makes floating-point numbers of the node's product of integers, if it is of
            such: then the update is added to what this node makes.
        x_grid: Scale and zero point of x, where no floating-point numbers of it are at hand.
        requantized: Whether the result is quantized and stays so, so that the update is added
            before it is rounded.
    """

    node: ir.Node
    view: View
    form: Literal["right", "left", "rows", "convolution", "linear"]
    x: str
    transposed: bool = False
    transpose_x: bool = False
    factor: float = 1.0
    group: int = 1
    matrix: tuple[ViewStep, ...] = ()
    left_out: frozenset[str] = frozenset()
    scaled: ir.Node | None = None
    x_grid: tuple[str, ...] = ()
    requantized: bool = False

    @property
    def end(self) -> ir.Node:
        """The node whose first output the update is added to."""
        return self.scaled or self.node


@dataclass(frozen=True)
class AdaptableWeight:
    """A weight that a low-rank update can be put beside.

    The update is shared by all nodes that use the weight. It is made of two factors, A and B: of a
    matrix M [..., K, N] it is A [..., K, R] @ B [..., R, N]; of a convolution's kernels
    [M, C / group, ...] it is, group by group, B [M, R, 1, ...] times A [group * R, C / group, ...].

    Attributes:
        name: The weight's name among the constant tensors of the model.
        applications: All nodes that use it; the first decides what M is.
    """

    name: str
    applications: tuple[Application, ...]

    @property
    def view(self) -> View:
        """The weight as its first user sees it."""
        return self.applications[0].view

    @property
    def shape(self) -> Shape:
        """Shape of M, or of the kernels."""
        shape = self.view.shape
        return swapped(shape) if self.applications[0].transposed else shape

    def factor_shapes(self, rank: int) -> tuple[Shape, Shape]:
        """Shapes of A and B."""
        shape, first = self.shape, self.applications[0]
        if first.form == "convolution":
            ones = (1,) * (len(shape) - 2)
            return (first.group * rank, *shape[1:]), (shape[0], rank, *ones)
        *batch, rows, columns = shape
        return (*batch, rows, rank), (*batch, rank, columns)

    def rank(self, shape: Shape) -> int:
        """The rank of an update whose factor A has a shape."""
        first = self.applications[0]
        return shape[0] // first.group if first.form == "convolution" else shape[-1]

    def saves(self, rank: int) -> bool:
        """Whether the factors are smaller than the weight."""
        return sum(map(math.prod, self.factor_shapes(rank))) < math.prod(self.shape)

    def update(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """What is added to the weight: the product of the factors, in the weight's own shape."""
        first = self.applications[0]
        if first.form == "convolution":
            a, b = (x.reshape(first.group, x.shape[0] // first.group, -1) for x in (a, b))
            update: np.ndarray = (b @ a).reshape(self.shape)
        else:
            update = a @ b
            update = np.swapaxes(update, -1, -2) if first.transposed else update
        for kind, how in undone(first.view.steps):
            update = update.transpose(how) if kind == "transpose" else update.reshape(how)
        return update
