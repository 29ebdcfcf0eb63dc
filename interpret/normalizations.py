"""Normalizations that a graph spells out, recognized on the way to XLA.

Before opset 17 ONNX had no operator for them, so files have a mean, differences, their squares,
the mean of these, a root and a quotient. As one operation their derivative is one expression, too;
see `onnxla.ops.standardize`. Scale and bias stay what they are: a product and a sum.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxla.interpret.calls import Context, Env, Scope
from onnxla.interpret.composite import Composite, Evaluate
from onnxla.ir.model import AttributeReference, Node
from onnxla.ir.traverse import is_standard
from onnxla.ops.standardize import standardized
from onnxla.ops.values import Value, as_known, is_concrete, is_known


@dataclass(frozen=True, eq=False)
class Normalization(Composite):
    """x over its deviation, less its mean before or not.

    Attributes:
        nodes: The nodes that it stands for, the last of which makes its output.
        given: What they call its inputs.
        means: Those of them that take a mean: of squares, and of x if that is taken off.
        x: What they call the value that is normalized.
        epsilon: What they call the number that is added to the variance.
        exponent: What they call the exponent of squares, if there is one.
        factor: What they call the number that is divided by the deviation, if it is not x.
    """

    nodes: tuple[Node, ...] = ()
    given: tuple[str, ...] = ()
    means: tuple[Node, ...] = ()
    x: str = ""
    epsilon: str = ""
    exponent: str = ""
    factor: str = ""

    def evaluate(self, env: Env, context: Context, evaluate: Evaluate) -> Mapping[str, Value]:
        """Its output; by its own nodes where they mean something else, or have another dtype."""
        values = dict(zip(self.given, (env[name] for name in self.inputs), strict=True))
        axes = [self.axes_of(node, values) for node in self.means]
        x, epsilon = values[self.x], values[self.epsilon]
        if axes[0] is not None and axes[0] == axes[-1] and self.is_usual(values):
            epsilon = epsilon.reshape(()).astype(x.dtype)
            n, *_ = standardized(x, axes[0], epsilon, len(axes) > 1)
            return {self.outputs[0]: n * values[self.factor].reshape(()) if self.factor else n}
        scope: Scope = ChainMap({}, values)
        for index in range(len(self.nodes)):
            evaluate(index, self.nodes, scope, context)
        return {self.outputs[0]: scope[self.nodes[-1].outputs[0]]}

    def is_usual(self, values: Mapping[str, Value]) -> bool:
        """Whether this is a normalization, as a part of a network in single precision or more."""
        x, epsilon = values[self.x], values[self.epsilon]
        squares = not self.exponent or is_number(values[self.exponent], 2)
        wide = hasattr(x, "dtype") and x.dtype in (np.float32, np.float64)
        numbers = [epsilon, *([values[self.factor]] if self.factor else [])]
        single = all(np.size(n) == 1 and np.ndim(n) <= np.ndim(x) for n in numbers)
        return squares and wide and single and not is_known(x)

    def axes_of(self, node: Node, values: Mapping[str, Value]) -> tuple[int, ...] | None:
        """The axes of a mean, ascending; None if they are not known, or not kept."""
        rank = np.ndim(values[self.x])
        axes: Any = node.attributes.get("axes")
        if len(node.inputs) > 1 and node.inputs[1]:
            axes = values[node.inputs[1]]
            axes = as_known(axes).tolist() if is_concrete(axes) else None
        if not axes or not node.attributes.get("keepdims", 1):
            return None
        if not all(-rank <= axis < rank for axis in axes):
            return None
        return tuple(sorted(axis % rank for axis in axes))


def is_number(value: Value, number: float) -> bool:
    """Whether a value is known to be one number."""
    return is_known(value) and np.size(value) == 1 and float(np.reshape(value, ())) == number


def normalization(node: Node, makers: Mapping[str, Node]) -> Normalization | None:
    """The normalization that ends with a node, if one does.

    Args:
        node: A node.
        makers: The nodes of its scope by what they make.
    """

    def made(name: str, *op_types: str) -> Node | None:
        """The node of some operator that makes a value."""
        maker = makers.get(name)
        return maker if maker is not None and is_plainly(maker, *op_types) else None

    for over, deviation, between in quotients(node, made):
        root = made(deviation, "Sqrt")
        total = made(root.inputs[0], "Add") if root else None
        if root is None or total is None:
            continue
        for variance, epsilon in (total.inputs, total.inputs[::-1]):
            mean = made(variance, "ReduceMean")
            squares = made(mean.inputs[0], "Pow", "Mul") if mean else None
            if mean is None or squares is None or len(squares.inputs) != 2:
                continue
            base, second = squares.inputs
            if squares.op_type == "Mul" and base != second:
                continue
            nodes, means, x = [squares, mean, total, root, *between, node], [mean], over
            first, last = made(base, "Sub"), made(over, "Sub")
            center = made(first.inputs[1], "ReduceMean") if first else None
            if (
                center
                and first
                and last
                and first.inputs == last.inputs == (center.inputs[0], center.outputs[0])
            ):
                nodes = [center, *dict.fromkeys((first, last)), *nodes]
                means, x = [mean, center], center.inputs[0]
            elif base != over:
                continue
            made_here = {name for each in nodes for name in each.outputs}
            given = dict.fromkeys(name for each in nodes for name in each.inputs if name)
            return Normalization(
                op_type="Normalization",
                inputs=(inputs := tuple(name for name in given if name not in made_here)),
                outputs=node.outputs,
                attributes={"nodes": tuple((n.op_type, [*n.attributes.items()]) for n in nodes)},
                name=node.name,
                nodes=tuple(nodes),
                given=inputs,
                means=tuple(means),
                x=x,
                epsilon=epsilon,
                exponent=second if squares.op_type == "Pow" else "",
                factor=between[0].inputs[0] if between and between[0].op_type == "Div" else "",
            )
    return None


def is_plainly(node: Node, *op_types: str) -> bool:
    """Whether a node is of an operator, and no attribute says how it broadcasts, or is a call's."""
    stated = not any(isinstance(v, AttributeReference) for v in node.attributes.values())
    plain = node.op_type == "ReduceMean" or not node.attributes
    return is_standard(node, *op_types) and stated and plain


def quotients(
    node: Node, made: Callable[..., Node | None]
) -> Iterator[tuple[str, str, tuple[Node, ...]]]:
    """How a node may be a quotient: what is divided, by what, and the nodes between."""
    if is_plainly(node, "Div"):
        yield node.inputs[0], node.inputs[1], ()
    elif is_plainly(node, "Mul"):
        for over, factor in (node.inputs, node.inputs[::-1]):
            if inverse := made(factor, "Reciprocal", "Div"):
                yield over, inverse.inputs[-1], (inverse,)
