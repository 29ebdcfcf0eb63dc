"""A model's nodes on the way to XLA: what several of them mean together is one."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace

from onnxla.interpret.composite import with_composites
from onnxla.interpret.normalizations import normalization
from onnxla.interpret.rolling.graph import NEVER, Rolling
from onnxla.interpret.transposed_products import transposed_product
from onnxla.ir.model import Function, FunctionId, Graph, Node


@dataclass(frozen=True)
class Lowering:
    """Composite nodes for what graphs spell out, and for blocks that they repeat.

    Attributes:
        rolling: Which repeated blocks become loops where they are many.
        roll: Whether repeated blocks become loops; None: where they are many.
        recognize: Whether operators that are spelled out are evaluated as such.
        lowered: What `functions_for` has made.
    """

    rolling: Rolling
    roll: bool | None
    recognize: bool
    lowered: dict[int, dict[FunctionId, Function]] = field(default_factory=dict)

    def graph(self, graph: Graph, joined: int) -> Graph:
        """A graph with composite nodes.

        `joined`: from how many blocks on those with weights of their own become a loop.
        """
        kept = {value.name for value in graph.outputs}
        return self.rolling_from(joined).graph(
            replace(graph, nodes=self.recognized(graph.nodes, kept))
        )

    def functions_for(self, joined: int) -> dict[FunctionId, Function]:
        """The functions that nodes of such a graph call."""
        if joined not in self.lowered:
            rolling = self.rolling_from(joined)
            self.lowered[joined] = {
                key: rolling.function(replace(f, nodes=self.recognized(f.nodes, f.outputs)))
                for key, f in self.rolling.functions.items()
            }
        return self.lowered[joined]

    def recognized(self, nodes: tuple[Node, ...], kept: Collection[str]) -> tuple[Node, ...]:
        """The nodes of a scope with those that spell out an operator as one.

        Not where operators mean something else, or one evaluates others of its scope again.
        """
        standard = all(domain for domain, *_ in self.rolling.functions)
        if not (self.recognize and standard) or any(map(self.rolling.reads_around, nodes)):
            return nodes
        return with_composites(nodes, kept, (normalization, transposed_product))

    def rolling_from(self, joined: int) -> Rolling:
        """Which repeated blocks become loops."""
        if self.roll is None:
            return replace(self.rolling, joined=joined)
        least = 2 if self.roll else NEVER
        return replace(self.rolling, blocks=least, nodes=least, joined=least)
