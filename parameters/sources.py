"""What a value of a graph is computed from, back to constant tensors and inputs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from onnxla.ir.model import FunctionId, Graph, Node, Tensor
from onnxla.ir.traverse import is_standard
from onnxla.ops.table import Operator

# How a value has the elements of another: all of them, in their order or in another.
Order: TypeAlias = Literal["kept", "permuted"]


@dataclass(frozen=True, eq=False)
class Producer:
    """What computes a value: a node, and the sources of the operands that its result depends on.

    An input of a subgraph is one too: of what the node with the subgraph hands in.

    Attributes:
        operator: The table's row for the node; None of a model-local function.
        operands: Where the operands, and the outputs of subgraphs, come from.
        constant: Whether it depends on constant tensors alone.
        elements: The sources of which it consists, moved or converted; none if it is computed.
        order: How it has the elements of the one source that it consists of.
        output: Which of the node's outputs it is, of a function or a node with subgraphs.
        origin: Where the elements come from that it consists of.
    """

    node: Node
    operator: Operator | None
    operands: tuple[Source, ...]
    constant: bool
    elements: tuple[Source, ...] = ()
    order: Order | None = None
    output: int = 0
    origin: Source = field(init=False)

    def __post_init__(self) -> None:
        origin = rearranged(self.elements[0]) if self.elements else self
        object.__setattr__(self, "origin", origin)

    def role(self, index: int) -> str | None:
        """What a parameter is that feeds an operand of the node, if the table says so."""
        if self.operator is None or not self.operator.inputs:
            return None
        return self.operator.roles.get(self.operator.input_name(index))


@dataclass(frozen=True)
class Formal:
    """An input of the main graph or of a model-local function."""

    name: str
    function: FunctionId | None = None


Source: TypeAlias = "Tensor | Producer | Formal | None"


def is_constant(source: Source) -> bool:
    """Whether a value depends on constant tensors alone."""
    return isinstance(source, Tensor) or (isinstance(source, Producer) and source.constant)


def rearranged(source: Source) -> Source:
    """What a value's elements come from."""
    return source.origin if isinstance(source, Producer) else source


def extent(tensor: Tensor) -> int:
    """Along how many axes a tensor has several elements: 0 for a scalar, 1 for a vector."""
    return sum(size > 1 for size in tensor.shape)


def elements_of(operator: Operator | None, operands: Sequence[Source]) -> tuple[Source, ...]:
    """The operands of which an operator's result consists."""
    if operator is None or not operands:
        return ()
    if operator.moves == "joined":
        return tuple(operands)
    passes = operator.converts or operator.moves not in (None, "gathered")
    return (operands[0],) if passes else ()


def order_of(operator: Operator | None) -> Order | None:
    """How an operator's result has the elements of its first operand, if it has all of them."""
    if operator is None or (operator.converts and operator.roles):  # on another scale
        return None
    if operator.moves == "permuted":
        return "permuted"
    return "kept" if operator.converts or operator.moves == "reshaped" else None


def leaves(source: Source) -> Iterator[Tensor | Formal]:
    """The tensors and inputs of which a value consists, moved or converted."""
    pending, seen = [source], set[Source]()
    while pending:
        match pending.pop():
            case Tensor() | Formal() as leaf:
                yield leaf
            case Producer() as producer if producer not in seen:
                seen.add(producer)
                pending += producer.elements


@dataclass(frozen=True)
class LoopBody:
    """How a node's subgraph is fed, and what its outputs become.

    A loop hands in its last operands: a state, which steps may change, then what they go through,
    an element at a time. Its subgraph's outputs are whether to go on, the next state, and more.

    Attributes:
        first: The first operand of the node that is handed in.
        before: How many inputs of the subgraph come before it.
        state: How many values of the state there are.
        skipped: How many outputs of the subgraph come before the state.
    """

    first: int
    before: int
    state: int
    skipped: int

    @classmethod
    def of(cls, node: Node, graph: Graph, operator: Operator | None) -> LoopBody:
        """That of a subgraph of a node."""
        controls = operator.controls if operator is not None and graph.inputs else 0
        handed = 0
        if is_standard(node, "Loop", "Scan"):
            handed = max(0, min(len(graph.inputs), len(node.inputs) - controls))
        scanned = node.attributes.get("num_scan_inputs", 0)
        state = max(0, handed - scanned) if isinstance(scanned, int) else handed
        first, before = len(node.inputs) - handed, len(graph.inputs) - handed
        return cls(first, before, state, 1 if controls else 0)

    def handed_in(self, graph: Graph) -> Iterator[tuple[int, str, str | None]]:
        """Operand's position, input's name, and the output that follows it, if it is a state."""
        for index, value in enumerate(graph.inputs[self.before :]):
            following = graph.outputs[self.skipped :][index : index + 1]
            follower = following[0].name if index < self.state and following else None
            yield self.first + index, value.name, follower
