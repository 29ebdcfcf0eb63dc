"""Products with the transpose of matrices, as exporters write a text model's layers and attention.

XLA copies the transpose on a CPU if the other operand has but one row, as where a text model makes
word after word; that takes 20 times as long as the product, which is A @ B.T = (B @ A.T).T.
"""

from __future__ import annotations

import math
from collections import ChainMap
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from onnxla.interpret.calls import Context, Env, Scope
from onnxla.interpret.composite import Composite, Evaluate
from onnxla.ir.model import Node
from onnxla.ir.traverse import is_standard
from onnxla.ops.values import Value

TRANSPOSE, PRODUCT = Node("Transpose"), Node("MatMul")


@dataclass(frozen=True, eq=False)
class TransposedProduct(Composite):
    """A product with a transpose.

    Attributes:
        transpose: The node that transposes.
        product: The node that multiplies by it.
    """

    transpose: Node = TRANSPOSE
    product: Node = PRODUCT

    def evaluate(self, env: Env, context: Context, evaluate: Evaluate) -> Mapping[str, Value]:
        """Its output, whose other operand is the one that is transposed where it has one row."""
        (a, b), (out,) = self.inputs, self.outputs
        given = env[a], env[b]
        nodes = self.turned(np.ndim(env[a])) if has_one_row(*map(np.shape, given)) else self.plain()
        scope: Scope = ChainMap({}, env)  # type: ignore[arg-type]  # which is only read
        for index in range(len(nodes)):
            evaluate(index, nodes, scope, context)
        return {out: scope[out]}

    def plain(self) -> tuple[Node, ...]:
        """The nodes that it stands for."""
        a, b = self.inputs
        transpose = replace(self.transpose, inputs=(b,))
        return transpose, replace(self.product, inputs=(a, *transpose.outputs))

    def turned(self, rank: int) -> tuple[Node, ...]:
        """Nodes for (B @ A.T).T, which call all that they make as the output."""
        (a, b), (out,) = self.inputs, self.outputs
        if rank == 1:
            return (replace(self.product, inputs=(b, a)),)
        perm = {"perm": swapped(rank)}
        swap = replace(self.transpose, inputs=(out,), outputs=(out,), attributes=perm)
        return replace(swap, inputs=(a,)), replace(self.product, inputs=(b, out)), swap


def swapped(rank: int) -> tuple[int, ...]:
    """A permutation of axes that exchanges the last two."""
    return (*range(rank - 2), rank - 1, rank - 2)


def has_one_row(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    """Whether operands of such shapes have one row for each matrix to transpose."""
    if len(b) > 2:
        return len(a) == len(b) and a[:-2] == b[:-2] and a[-2:] == (1, b[-1])
    return len(b) == 2 and len(a) > 0 and a[-1] == b[1] and math.prod(a[:-1]) == 1


def transposed_product(node: Node, makers: Mapping[str, Node]) -> TransposedProduct | None:
    """The product with a transpose that ends with a node, if one does.

    Args:
        node: A node.
        makers: The nodes of its scope by what they make.
    """
    transpose = makers.get(node.inputs[1]) if is_standard(node, "MatMul") else None
    if transpose is None or not is_standard(transpose, "Transpose"):
        return None
    perm = transpose.attributes.get("perm", (1, 0))
    if not isinstance(perm, tuple) or perm != swapped(len(perm)):
        return None
    return TransposedProduct(
        op_type="TransposedProduct",
        inputs=(node.inputs[0], *transpose.inputs),
        outputs=node.outputs,
        name=node.name,
        transpose=transpose,
        product=node,
    )
