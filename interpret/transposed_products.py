"""Products with the transpose of a matrix, as exporters write the layers of a text model.

XLA copies the transpose on a CPU if the other operand has but one row, as where a text model makes
word after word; that takes 20 times as long as the product, which is A @ B.T = (B @ A.T).T.
"""

from __future__ import annotations

import math
from collections import ChainMap
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

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
        rank, shape = np.ndim(env[a]), np.shape(env[a])
        if np.ndim(env[b]) != 2 or not rank or math.prod(shape[:-1]) != 1:
            nodes = [self.transposing(b, "B.T"), self.multiplying(a, "B.T", out)]
        elif rank == 1:
            nodes = [self.multiplying(b, a, out)]
        else:
            perm = (*range(rank - 2), rank - 1, rank - 2)
            nodes = [
                self.transposing(a, "A.T", perm),
                self.multiplying(b, "A.T", "(A @ B.T).T"),
                self.transposing("(A @ B.T).T", out, perm),
            ]
        scope: Scope = ChainMap({}, env)  # type: ignore[arg-type]  # which is only read
        for index in range(len(nodes)):
            evaluate(index, nodes, scope, context)
        return {out: scope[out]}

    def transposing(self, x: str, y: str, perm: tuple[int, ...] = (1, 0)) -> Node:
        """Y = Transpose(x)."""
        return replace(self.transpose, inputs=(x,), outputs=(y,), attributes={"perm": perm})

    def multiplying(self, a: str, b: str, y: str) -> Node:
        """Y = MatMul(a, b)."""
        return replace(self.product, inputs=(a, b), outputs=(y,))


def transposed_product(node: Node, makers: Mapping[str, Node]) -> TransposedProduct | None:
    """The product with a transpose that ends with a node, if one does.

    Args:
        node: A node.
        makers: The nodes of its scope by what they make.
    """
    transpose = makers.get(node.inputs[1]) if is_standard(node, "MatMul") else None
    if transpose is None or not is_standard(transpose, "Transpose"):
        return None
    perm: Any = transpose.attributes.get("perm", (1, 0))
    if tuple(perm) != (1, 0):
        return None
    return TransposedProduct(
        op_type="TransposedProduct",
        inputs=(node.inputs[0], *transpose.inputs),
        outputs=node.outputs,
        name=node.name,
        transpose=transpose,
        product=node,
    )
