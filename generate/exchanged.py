"""Nodes that a step evaluates otherwise than their file says."""

from __future__ import annotations

from abc import abstractmethod
from collections import ChainMap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from onnxla import ir
from onnxla.interpret.calls import Context, Env, Scope
from onnxla.interpret.composite import Composite, Evaluate
from onnxla.ops.values import Value


@dataclass(frozen=True, eq=False, kw_only=True)
class Exchanged(Composite):
    """A node of one output in the place of the file's.

    Attributes:
        node: The file's node.
    """

    node: ir.Node

    def evaluate(self, env: Env, context: Context, evaluate: Evaluate) -> Mapping[str, Value]:
        """The value of its output."""

        def result(changed: Mapping[int, Value] | None = None) -> Value:
            own = {self.inputs[index]: value for index, value in (changed or {}).items()}
            scope: Scope = ChainMap(own, env)  # type: ignore[arg-type]  # which is only read
            evaluate(0, (self.node,), scope, context)
            return scope[self.outputs[0]]

        return {self.outputs[0]: self.value(env, result)}

    @abstractmethod
    def value(self, env: Env, result: Callable[..., Value]) -> Value:
        """What the node makes; `result({0: x})` is what the file's makes of x as first operand."""


def standing_for(kind: Callable[..., Exchanged], node: ir.Node, **more: Any) -> Exchanged:
    """An exchanged node of a kind with all that a node has, and more."""
    same = {field.name: getattr(node, field.name) for field in fields(ir.Node)}
    return kind(**same, node=node, **more)


def exchange(model: ir.Model, new: Callable[[ir.Node], ir.Node]) -> ir.Model:
    """The model with each node of its main graph exchanged for what a function says."""
    return replace(model, graph=replace(model.graph, nodes=tuple(map(new, model.graph.nodes))))
