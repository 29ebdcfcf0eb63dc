"""What a drawing shows: nodes, the inputs and outputs of graphs, and clusters of these.

Values have a name of their own each, whatever scope they are in: see `Reader`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeAlias

from onnxla.ir.model import Node, SparseTensor, Tensor

Constant: TypeAlias = Tensor | SparseTensor


@dataclass(eq=False)
class Leaf:
    """A node.

    Attributes:
        node: The node, as the model has it.
        reads: The values that it reads, constants excepted.
        makes: The values that it makes.
        constants: The constants that it reads, by the position of the input.
        path: Its scope, from the outside in.
        opsets: The opset imports that hold for it.
        inner: Whether it is in a subgraph or a function, whose values have no name outside.
        gone: Whether it is only in the model that this one is compared with.
    """

    node: Node
    reads: tuple[str, ...]
    makes: tuple[str, ...]
    constants: dict[int, Constant] = field(default_factory=dict)
    path: tuple[str, ...] = ()
    opsets: Mapping[str, int] = field(default_factory=dict)
    inner: bool = False
    gone: bool = False


@dataclass(eq=False)
class Pin:
    """An input or output of a graph or subgraph, called `name`."""

    name: str
    reads: tuple[str, ...] = ()
    makes: tuple[str, ...] = ()


@dataclass(eq=False)
class Cluster:
    """Members that are drawn as one box until somebody opens it.

    Attributes:
        title: What it is called: a scope, a function, a branch.
        kind: `graph`, `scope`, `run` of equal clusters, `block`, `part`, `subgraph` or `node`, the
            last with subgraphs among its members.
        members: What is inside, in the order of the file.
        result: A value that stands for what a subgraph hands to its node.
        path: The scope around it, from the outside in.
    """

    title: str
    kind: str
    members: list[Member]
    result: str = ""
    path: tuple[str, ...] = ()

    @cached_property
    def leaves(self) -> tuple[Leaf, ...]:
        """All nodes inside."""
        return tuple(self._leaves())

    def _leaves(self) -> Iterator[Leaf]:
        for member in self.members:
            if isinstance(member, Leaf):
                yield member
            elif isinstance(member, Cluster):
                yield from member.leaves

    @cached_property
    def makes(self) -> tuple[str, ...]:
        """The values made inside, in order."""
        made = dict.fromkeys(name for member in self.members for name in member.makes)
        if self.result:
            made[self.result] = None
        return tuple(made)

    @cached_property
    def reads(self) -> tuple[str, ...]:
        """The values that are read inside and not made there."""
        made = {*self.makes}
        read = dict.fromkeys(name for member in self.members for name in member.reads)
        return tuple(name for name in read if name not in made)


Member: TypeAlias = Leaf | Pin | Cluster


def clusters(members: Sequence[Member]) -> Iterator[Cluster]:
    """All clusters among some members and inside of them, the outer ones first."""
    for member in members:
        if isinstance(member, Cluster):
            yield member
            yield from clusters(member.members)
