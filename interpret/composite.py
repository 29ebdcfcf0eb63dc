"""Nodes that stand for several, on the way to XLA; the file keeps its own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from onnxla.interpret.calls import Context, Env, Scope
from onnxla.ir.model import Node
from onnxla.ir.traverse import names_read
from onnxla.ops.values import Value

Evaluate: TypeAlias = Callable[[int, Sequence[Node], Scope, Context], None]
"""`eval_at`: evaluates one of some nodes, reading from and writing to a scope."""


@dataclass(frozen=True, eq=False)
class Composite(Node, ABC):
    """A node that stands for others. Attributes are all that its values depend on but inputs."""

    @abstractmethod
    def evaluate(self, env: Env, context: Context, evaluate: Evaluate) -> Mapping[str, Value]:
        """The values of its outputs, and maybe others, in an environment."""


Find: TypeAlias = Callable[[Node, Mapping[str, Node]], Composite | None]
"""What ends with a node, if something does; by the nodes of its scope by what they make."""


def with_composites(
    nodes: Sequence[Node], kept: Collection[str], finders: Iterable[Find]
) -> tuple[Node, ...]:
    """Nodes of which those that a composite node stands for are one.

    Args:
        nodes: The nodes of a scope.
        kept: Names that are read after all of them.
        finders: What is looked for.
    """
    makers = {name: node for node in nodes for name in node.outputs}
    found = {
        node: new for find in finders for node in nodes if (new := find(node, makers)) is not None
    }
    read, left = {*kept}, []
    for node in reversed([found.get(node, node) for node in nodes]):
        if not found or not read.isdisjoint(node.outputs):
            read |= names_read(node)
            left.append(node)
    return tuple(reversed(left))
