"""Nodes that stand for several, on the way to XLA; the file keeps its own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from onnxla.interpret.calls import Context, Env, Scope
from onnxla.ir.model import Node
from onnxla.ops.values import Value

Evaluate: TypeAlias = Callable[[int, Sequence[Node], Scope, Context], None]
"""`eval_at`: evaluates one of some nodes, reading from and writing to a scope."""


@dataclass(frozen=True, eq=False)
class Composite(Node, ABC):
    """A node that stands for others. Attributes are all that its values depend on but inputs."""

    @abstractmethod
    def evaluate(self, env: Env, context: Context, evaluate: Evaluate) -> Mapping[str, Value]:
        """The values of its outputs, and maybe others, in an environment."""
