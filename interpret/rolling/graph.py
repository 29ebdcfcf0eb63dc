"""A graph with its repeated blocks as loops, on the way to XLA; the file keeps its nodes."""

from __future__ import annotations

import math
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace

from onnxla.interpret.composite import Composite
from onnxla.interpret.rolling.blocks import BlockSearch, Run
from onnxla.interpret.rolling.roll import rolled
from onnxla.ir.fingerprint import fingerprint
from onnxla.ir.model import Function, FunctionId, Graph, Node, SparseTensor, Tensor
from onnxla.ir.order import depth_first
from onnxla.ir.traverse import is_standard, names_read
from onnxla.ops.table import Operator, lookup
from onnxla.parameters.statistics import STATISTIC

# Fewer blocks, or fewer nodes, compile about as fast without a loop.
BLOCKS, NODES = 8, 128
# Blocks with weights of their own may run faster one by one; more compile too long. These hold if
# their weights come as one array, and if they come by name and have to be joined in each step.
HELD, JOINED = 16, 64
NEVER = 2**63
SMALL = 1024  # elements of constants whose values are compared


@dataclass(frozen=True)
class Rolling:
    """Which repeated blocks of a model become loops.

    Attributes:
        opsets: Opset imports of the scope.
        functions: Model-local functions by domain, name and overload.
        learned: Constant tensors whose values are not known while tracing.
        single: Nodes that are not like others, whatever they look like.
        blocks: The least number of blocks.
        nodes: The least number of nodes.
        joined: The least number of blocks that read learned constants of their own.
    """

    opsets: Mapping[str, int]
    functions: Mapping[FunctionId, Function]
    learned: Collection[object]
    single: Collection[Node]
    blocks: int = BLOCKS
    nodes: int = NODES
    joined: int = JOINED

    def graph(self, graph: Graph) -> Graph:
        """A graph with loops, without the constants that only these read."""
        inputs = {value.name for value in graph.inputs}  # whose constants are but defaults
        constants = {tensor.name: tensor for tensor in graph.initializers}
        kept = {value.name for value in graph.outputs}
        fixed = {name: tensor for name, tensor in constants.items() if name not in inputs}
        nodes = self.scope(graph.nodes, fixed, kept)
        if nodes is graph.nodes:
            return graph
        read = inputs.union(kept, *map(names_read, nodes))
        left = tuple(tensor for name, tensor in constants.items() if name in read)
        return replace(graph, nodes=nodes, initializers=left)

    def function(self, function: Function) -> Function:
        """A function with loops, whose inputs may be learned."""
        inner = replace(self, opsets=function.opsets, blocks=max(self.blocks, self.joined))
        nodes = inner.scope(function.nodes, {}, {*function.outputs})
        return function if nodes is function.nodes else replace(function, nodes=nodes)

    def scope(
        self,
        nodes: tuple[Node, ...],
        constants: Mapping[str, Tensor | SparseTensor],
        kept: Collection[str],
    ) -> tuple[Node, ...]:
        """The nodes of a scope with loops; themselves if there are none."""
        if len(nodes) < self.nodes or any(map(self.reads_around, nodes)):
            return nodes
        dense = [tensor for tensor in constants.values() if isinstance(tensor, Tensor)]
        found = BlockSearch(
            nodes,
            kinds={tensor.name: (str(tensor.dtype), tensor.shape) for tensor in dense},
            contents={**self.known(nodes, constants)},
            repeatable=self.is_repeatable,
            static=self.static,
        )
        runs = [run for run in found.runs(self.blocks) if self.is_worth(run, constants)]
        return with_loops(nodes, runs, constants, kept) if runs else nodes

    def known(
        self, nodes: Sequence[Node], constants: Mapping[str, Tensor | SparseTensor]
    ) -> Mapping[str, Hashable]:
        """What stands for the values of constants that are known while tracing."""
        small = {
            name: fingerprint(replace(tensor, name=""))
            for name, tensor in constants.items()
            if isinstance(tensor, Tensor) and tensor not in self.learned and size(tensor) <= SMALL
        }
        made = {
            node.outputs[0]: fingerprint(node.attributes)
            for node in nodes
            if is_standard(node, "Constant") and not self.is_learned(node)
        }
        return {**small, **made}

    def is_learned(self, node: Node) -> bool:
        """Whether a Constant's value is not known while tracing."""
        values = node.attributes.values()
        return any(isinstance(value, Tensor) and value in self.learned for value in values)

    def is_worth(self, run: Run, constants: Mapping[str, Tensor | SparseTensor]) -> bool:
        """Whether blocks become a loop."""
        own = {constants.get(name) for column in run.stacked for name in column}
        least = self.blocks if own.isdisjoint(self.learned) else self.joined
        return run.size >= self.nodes and len(run.blocks) >= least

    def operator(self, node: Node) -> Operator | None:
        """The table's row for a node."""
        return lookup(node.domain, node.op_type, self.opsets.get(node.domain, 1))

    def static(self, node: Node) -> list[int]:
        """Positions of the inputs of a node that decide a shape."""
        operator = self.operator(node)
        if operator is None or not operator.static:
            return []
        return [i for i in range(len(node.inputs)) if operator.input_name(i) in operator.static]

    def reads_around(self, node: Node) -> bool:
        """Whether a node evaluates others of its scope again."""
        operator = self.operator(node)
        return operator is not None and "between" in operator.reserved

    def is_repeatable(self, node: Node) -> bool:
        """Whether a node may be in a loop: it has no running statistics, and is known."""
        if function := self.functions.get((node.domain, node.op_type, node.overload)):
            inner = replace(self, opsets=function.opsets)
            return all(map(inner.is_repeatable, function.nodes))
        if isinstance(node, Composite):
            return True
        operator = self.operator(node)
        if operator is None or node in self.single:
            return False
        return STATISTIC not in operator.roles.values()


def size(tensor: Tensor) -> int:
    """The number of elements."""
    return math.prod(tensor.shape)


def with_loops(
    nodes: Sequence[Node],
    runs: Sequence[Run],
    constants: Mapping[str, Tensor | SparseTensor],
    kept: Collection[str],
) -> tuple[Node, ...]:
    """Nodes with runs of them as loops, each after what it needs."""
    inside = {index for run in runs for block in run.blocks for index in block}
    left = [(index, node) for index, node in enumerate(nodes) if index not in inside]
    loops = [(run.blocks[0][-1], rolled(nodes, run, constants, kept)) for run in runs]
    placed = [node for _, node in sorted([*left, *loops], key=lambda pair: pair[0])]
    makers = {name: node for node in placed for name in node.outputs if name}

    def needs(node: Node) -> list[Node]:
        return [*dict.fromkeys(makers[name] for name in sorted(names_read(node)) if name in makers)]

    order, cycle = depth_first(placed, needs)
    if not cycle:
        return tuple(order)
    return with_loops(nodes, runs[:-1], constants, kept)  # two of them wait for each other
