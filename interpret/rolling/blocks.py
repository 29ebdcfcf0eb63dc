"""Finding equal blocks in a graph, each fed by the one before: the layers of a network.

By structure, whatever the nodes and constants are called and in whichever order they stand. Nodes
that look alike a few steps back may be the ends of blocks, their roots. What a root needs and the
root before it does not is its block, if that is so again, node by node, for the roots before and
after.

A block's *leaves* are the values that it reads and does not make. Each of them is the same value in
all blocks (shared), or something that the block before makes (carried), or one of several values
that are there before the first block (stacked).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, TypeAlias

from onnxla.ir.fingerprint import fingerprint
from onnxla.ir.model import Node
from onnxla.ir.traverse import is_standard, subgraphs

DEPTH = 3  # steps back in which the roots of blocks look alike
TRIED = 16  # kinds of nodes that are tried as roots
VISITS = 2_000_000  # of nodes, after which a search ends: some seconds

Slot: TypeAlias = tuple[int, int]  # a node, and the position of one of its inputs or outputs
Column: TypeAlias = tuple[str, ...]  # what a value of a block is called in one block after another


@dataclass(frozen=True)
class Run:
    """Equal blocks, each fed by the one before.

    Attributes:
        blocks: Positions of their nodes in the graph, in corresponding order, in which each block
            can be evaluated.
        shared: Leaves that are the same value for all blocks.
        carried: Leaves that the block before makes. The first block's come from elsewhere.
        stacked: Leaves that are another value for each block.
    """

    blocks: tuple[tuple[int, ...], ...]
    shared: tuple[Column, ...]
    carried: tuple[Column, ...]
    stacked: tuple[Column, ...]

    @property
    def size(self) -> int:
        """The number of nodes."""
        return len(self.blocks) * len(self.blocks[0])


@dataclass(frozen=True)
class Block:
    """What repeats: nodes by which others are compared.

    Attributes:
        nodes: Their positions, so that a node comes before those that need it; the root is last.
        leaves: The inputs that are leaves.
        carry: One of them that is an output of the root before.
    """

    nodes: tuple[int, ...]
    leaves: tuple[Slot, ...]
    carry: Slot


class BlockSearch:
    """The search for runs of equal blocks.

    Args:
        nodes: Nodes in an order in which they can be evaluated.
        kinds: Dtype and shape of constants.
        contents: What stands for the values of those constants that are known while tracing.
        repeatable: Whether a node may be part of a block.
        static: Positions of the inputs of a node that have to be known.
    """

    def __init__(
        self,
        nodes: Sequence[Node],
        kinds: Mapping[str, Hashable],
        contents: Mapping[str, Hashable],
        repeatable: Callable[[Node], bool],
        static: Callable[[Node], Collection[int]],
    ) -> None:
        self.nodes, self.kinds, self.contents, self.static = nodes, kinds, contents, static
        self.makers: dict[str, Slot] = {
            name: (index, slot)
            for index, node in enumerate(nodes)
            if not is_standard(node, "Constant")  # as good as an initializer
            for slot, name in enumerate(node.outputs)
            if name
        }
        self.labels = [self.label(node) if repeatable(node) else None for node in nodes]
        self.visits = VISITS
        self.uses: dict[int, int] = {}
        for node in nodes:
            for maker in self.needs(node):
                self.uses[maker] = self.uses.get(maker, 0) + 1

    def label(self, node: Node) -> Hashable:
        """What nodes in corresponding places have in common; None of what is not repeated."""
        if subgraphs(node) or is_standard(node, "Constant"):
            return None
        operands = tuple(name and self.kinds.get(name, "value") for name in node.inputs)
        outputs = tuple(map(bool, node.outputs))
        attributes = fingerprint(node.attributes) if node.attributes else ""
        return node.domain, node.op_type, node.overload, operands, outputs, attributes

    def needs(self, node: Node) -> Iterator[int]:
        """The nodes that make a node's operands."""
        return (self.makers[name][0] for name in node.inputs if name in self.makers)

    def maker(self, name: str) -> int | None:
        """The node that makes a value, if one does."""
        return self.makers[name][0] if name in self.makers else None

    def runs(self, least: int) -> Iterator[Run]:
        """Runs of at least so many blocks that have no node in common, the largest first."""
        classes, free = self.classes(), {*range(len(self.nodes))}
        while self.visits > 0:
            alive = [kept for roots in classes if len(kept := [i for i in roots if i in free]) > 1]
            found = [run for roots in alive[:TRIED] if (run := self.run_of(roots, free, least))]
            if not found:
                return
            best = max(found, key=lambda run: (run.size, -len(run.carried)))
            yield best
            free.difference_update(*best.blocks)

    def classes(self) -> list[list[int]]:
        """Nodes that look alike, those first whose values are used often, and that come often."""
        labels: list[Any] = self.labels
        for _ in range(DEPTH):
            labels = [
                label and hash((label, *(labels[i] for i in self.needs(node))))
                for label, node in zip(labels, self.nodes, strict=True)
            ]
        found: dict[Hashable, list[int]] = {}
        for index, label in enumerate(labels):
            if label is not None:
                found.setdefault(label, []).append(index)
        several = [indices for indices in found.values() if len(indices) > 1]
        return sorted(several, key=lambda roots: (-self.uses.get(roots[0], 0), -len(roots)))

    def run_of(self, roots: Sequence[int], free: AbstractSet[int], least: int) -> Run | None:
        """The largest of the runs of blocks around some roots that follow each other."""
        n = len(roots)
        middles = {max(n * quarter // 4, 1) for quarter in (1, 2, 3)}
        self.visits -= len(middles) * len(self.nodes)
        if self.visits < 0:
            return None
        found = (self.run_around(roots, middle, free, least) for middle in middles)
        return max(filter(None, found), key=lambda run: run.size, default=None)

    def run_around(
        self, roots: Sequence[int], middle: int, free: AbstractSet[int], least: int
    ) -> Run | None:
        """The run of blocks around a root and the one before, if these are the ends of such."""
        block = self.block(roots[middle - 1], roots[middle])
        if block is None or not free >= {*block.nodes}:
            return None
        blocks: list[tuple[int, ...]] = [block.nodes]
        taken = {*block.nodes}

        def take(root: int) -> tuple[int, ...] | None:
            found = self.equal(block, root)
            if found is None or not taken.isdisjoint(found) or not free >= {*found}:
                return None
            taken.update(found)
            return found

        root: int | None = roots[middle - 1]
        while root is not None and (found := take(root)) is not None:
            blocks.insert(0, found)
            root = self.root_before(block, found)
        for root in roots[middle + 1 :]:
            found = take(root)
            if found is None or self.root_before(block, found) != blocks[-1][-1]:
                break
            blocks.append(found)
        return self.longest(block, blocks, least)

    def block(self, before: int, root: int) -> Block | None:
        """What `root` needs and the root before it does not, if that one needs the like."""
        earlier = self.ancestors(before)
        if root in earlier or self.labels[root] != self.labels[before]:
            return None
        other, leaves, order = {root: before}, [], [root]
        for index in order:
            pair = self.nodes[index], self.nodes[other[index]]
            for position, names in enumerate(zip(*(node.inputs for node in pair), strict=True)):
                made = [self.makers.get(name) for name in names]
                if made[0] is None or made[0][0] in earlier or self.differs(made):
                    leaves.append((index, position))
                    continue
                if made[1] is None or made[0][1] != made[1][1]:
                    return None
                first, second = made[0][0], made[1][0]
                if first not in other:
                    if self.labels[first] is None or self.labels[first] != self.labels[second]:
                        return None
                    other[first] = second
                    order.append(first)
                elif other[first] != second:
                    return None
        for i, p in leaves:
            if self.maker(self.nodes[i].inputs[p]) == before:
                return Block(tuple(sorted(order)), tuple(leaves), (i, p))
        return None

    def differs(self, made: Sequence[Slot | None]) -> bool:
        """Whether two nodes have other known values where these decide a shape."""
        nodes = [self.nodes[place[0]] for place in made if place is not None]
        return len(nodes) == 2 and any(
            len({self.contents.get(node.inputs[i]) for node in nodes if i < len(node.inputs)}) > 1
            for i in self.static(nodes[0])
        )

    def ancestors(self, root: int) -> set[int]:
        """A node and all that it needs."""
        found, pending = {root}, [root]
        while pending:
            new = [i for i in self.needs(self.nodes[pending.pop()]) if i not in found]
            found.update(new)
            pending += new
        return found

    def equal(self, block: Block, root: int) -> tuple[int, ...] | None:
        """The nodes that end with `root` and correspond to those of a block, if there are such."""
        inside, leaves = {*block.nodes}, {*block.leaves}
        found = {block.nodes[-1]: root}
        if self.labels[root] != self.labels[block.nodes[-1]]:
            return None
        for index in reversed(block.nodes):
            own, other = self.nodes[index].inputs, self.nodes[found[index]].inputs
            for position, name in enumerate(own):
                if (index, position) in leaves:
                    continue
                (maker, slot), made = self.makers[name], self.makers.get(other[position])
                assert maker in inside
                if made is None or made[1] != slot or self.labels[made[0]] != self.labels[maker]:
                    return None
                if found.setdefault(maker, made[0]) != made[0]:
                    return None
        nodes = tuple(found[index] for index in block.nodes)
        return nodes if len({*nodes}) == len(nodes) else None

    def root_before(self, block: Block, nodes: Sequence[int]) -> int | None:
        """The node that feeds a block."""
        index, position = block.carry
        return self.maker(self.nodes[nodes[block.nodes.index(index)]].inputs[position])

    def longest(self, block: Block, blocks: Sequence[tuple[int, ...]], least: int) -> Run | None:
        """The run of the first blocks, as many as can be evaluated one after another."""
        while len(blocks) >= least and self.visits > 0:
            self.visits -= len(self.nodes)
            run, end = self.classified(block, blocks)
            if run is not None:
                return run
            blocks = blocks[:end]
        return None

    def classified(self, block: Block, blocks: Sequence[tuple[int, ...]]) -> tuple[Run | None, int]:
        """Blocks as a run with the leaves as they are; or None, and how many may be one."""
        inside = {index for nodes in blocks for index in nodes}
        after = self.depending(inside)
        place = {index: i for i, index in enumerate(block.nodes)}
        columns = dict.fromkeys(
            tuple(self.nodes[nodes[place[index]]].inputs[position] for nodes in blocks)
            for index, position in block.leaves
        )
        made = {
            tuple(self.nodes[nodes[i]].outputs[slot] for nodes in blocks[:-1]): None
            for i, index in enumerate(block.nodes)
            for slot, name in enumerate(self.nodes[index].outputs)
            if name
        }
        kinds: dict[str, list[Column]] = {"shared": [], "carried": [], "stacked": []}
        for column in columns:
            late = [name in self.makers and self.makers[name][0] in after for name in column]
            known = {self.contents.get(name, name) for name in column}
            if column[1:] in made and not late[0]:
                kinds["carried"].append(column)
            elif any(late):
                return None, late.index(True)
            elif len(known) == 1:
                kinds["shared"].append(column)
            elif len({self.kinds.get(name, "value") for name in column}) == 1:
                kinds["stacked"].append(column)
            else:
                return None, 0
        return Run(tuple(blocks), **{name: tuple(found) for name, found in kinds.items()}), 0

    def depending(self, inside: Collection[int]) -> set[int]:
        """Some nodes and all that need them."""
        found = {*inside}
        for index, node in enumerate(self.nodes):
            if index not in found and any(maker in found for maker in self.needs(node)):
                found.add(index)
        return found
