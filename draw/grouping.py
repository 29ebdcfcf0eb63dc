"""A model as a tree of clusters, of which none has too many members to look at.

First by scope. Then equal clusters that follow each other, as the layers of a network, are one;
so are equal blocks of nodes where no scope tells of them. What is still too much is cut into parts
where the fewest values go across.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence, Set
from heapq import heappop, heappush

from onnxla.draw.members import Cluster, Leaf, Member, Pin, clusters
from onnxla.draw.reading import Reader
from onnxla.interpret.rolling.blocks import BlockSearch
from onnxla.ir.model import Model, Tensor
from onnxla.ir.traverse import is_standard, subgraphs

FEW = 3  # nodes that need no cluster
EQUAL = 3  # clusters that become a run
MANY = 40  # members of a cluster
FLAT = 24  # nodes among which blocks are looked for
INVITING = ("scope", "subgraph", "node")  # kinds of clusters that are opened unasked
VISITS = 200_000  # of nodes in a search for blocks


def read(model: Model) -> tuple[Cluster, dict[str, str]]:
    """The main graph as a cluster without clusters of scopes, and what its values are called."""
    reader = Reader(model)
    root = Cluster(model.graph.name, "graph", reader.graph())
    everything = [root, *clusters(root.members)]
    used = {
        name
        for cluster in everything
        for member in cluster.members
        if not isinstance(member, Cluster)  # which would keep what they make
        for name in member.reads
    }
    for cluster in everything:
        cluster.members = [m for m in cluster.members if not is_idle(m, used)]
    return root, reader.names


def is_idle(member: Member, used: Set[str]) -> bool:
    """Whether it copies a constant that nobody reads: one of those that loading told apart."""
    copies = isinstance(member, Leaf) and is_standard(member.node, "Identity") and not member.reads
    return copies and used.isdisjoint(member.makes)


def grouped(cluster: Cluster) -> Cluster:
    """The same cluster with clusters inside."""
    members: list[Member] = []
    for member in cluster.members:
        members.append(grouped(member) if isinstance(member, Cluster) else member)
    if cluster.kind in ("graph", "subgraph", "node"):
        members = by_scope(members, 0)
    members = [*runs(members)]
    if sum(isinstance(member, Leaf) for member in members) >= FLAT:
        members = blocks(members)
    cluster.members = parts(members)
    return cluster


def by_scope(members: Sequence[Member], depth: int) -> list[Member]:
    """Members with a cluster for each scope that has more than a few nodes."""
    order: dict[object, list[Member]] = {}
    for member in members:
        path = () if not isinstance(member, Leaf | Cluster) else member.path
        key: object = path[depth] if len(path) > depth else member
        order.setdefault(key, []).append(member)
    found: list[Member] = []
    for key, inside in order.items():
        if not isinstance(key, str):
            found += inside
            continue
        inner = by_scope(inside, depth + 1)
        (only, *others) = inner
        if not others and isinstance(only, Cluster) and only.kind == "scope":
            only.title = f"{key}/{only.title}"
            found.append(only)
        elif len(inner) <= FEW and all(isinstance(member, Leaf) for member in inner):
            found += inner
        else:
            found.append(grouped(Cluster(key, "scope", inner)))
    return found


def signature(cluster: Cluster) -> object:
    """What equal clusters have in common."""
    kinds = sorted((leaf.node.domain, leaf.node.op_type) for leaf in cluster.leaves)
    return cluster.kind, re.sub(r"\d+", "#", cluster.title), tuple(kinds)


def runs(members: Sequence[Member]) -> Iterator[Member]:
    """Members in which equal clusters that follow each other are one."""
    places = [i for i, m in enumerate(members) if isinstance(m, Cluster) and m.kind == "scope"]
    at = 0
    while at < len(members):
        first = members[at]
        run = [first]
        if isinstance(first, Cluster) and at in places:
            kind = signature(first)
            while at + len(run) in places and signature(members[at + len(run)]) == kind:  # type: ignore[arg-type]
                run.append(members[at + len(run)])
        if EQUAL <= len(run) < len(members):
            names = [member.title for member in run if isinstance(member, Cluster)]
            yield Cluster(f"{names[0]} … {names[-1]}", "run", parts(run))
        else:
            yield from run
        at += len(run)


def blocks(members: Sequence[Member]) -> list[Member]:
    """Members in which equal blocks of nodes, each fed by the one before, are clusters."""
    leaves = [m for m in members if isinstance(m, Leaf)]
    kinds: dict[str, object] = {
        leaf.node.inputs[i]: (str(tensor.dtype), tensor.shape)
        for leaf in leaves
        for i, tensor in leaf.constants.items()
        if isinstance(tensor, Tensor)
    }
    search = BlockSearch(
        [leaf.node for leaf in leaves],
        kinds=kinds,
        contents={},
        repeatable=lambda node: not subgraphs(node),
        static=lambda node: (),
    )
    search.visits = VISITS
    taken: dict[Leaf, Cluster] = {}
    for run in search.runs(EQUAL):
        if len(run.blocks[0]) < FEW:
            continue
        inside: list[Member] = [
            Cluster(f"block {i}", "block", parts([leaves[at] for at in sorted(block)]))
            for i, block in enumerate(run.blocks, 1)
        ]
        cluster = Cluster(f"{len(inside)} equal blocks", "run", parts(inside))
        taken |= dict.fromkeys(cluster.leaves, cluster)
    return [*dict.fromkeys(taken.get(m, m) if isinstance(m, Leaf) else m for m in members)]


def parts(members: Sequence[Member]) -> list[Member]:
    """Members, cut into parts where they are many; large clusters stay, if that is enough."""
    if len(members) <= MANY:
        return [*members]
    found = between_large(members)
    if len(found) <= MANY:
        return found
    pins = [m for m in members if isinstance(m, Pin)]
    others = [m for m in in_order(members) if not isinstance(m, Pin)]
    pieces = min(-(-len(others) // (MANY // 2)), MANY // 2)
    return [*pins, *(in_parts(others, pieces, 0) if len(others) > MANY else others)]


def in_parts(members: Sequence[Member], pieces: int, before: int) -> list[Member]:
    """Members as so many parts, numbered after those before."""
    cut = [*cuts(members, pieces)]
    return [
        Cluster(f"part {before + number}", "part", parts(members[start:end]))
        for number, (start, end) in enumerate(zip([0, *cut], [*cut, len(members)], strict=True), 1)
    ]


def between_large(members: Sequence[Member]) -> list[Member]:
    """Members in which the nodes between large clusters are parts."""
    found: list[Member] = []
    count = 0
    for stretch in stretches(members):
        pieces = -(-len(stretch) // (MANY // 2))
        if pieces < 2 and (len(stretch) < FLAT or isinstance(stretch[0], Pin)):
            found += stretch
            continue
        found += in_parts(stretch, min(pieces, MANY // 2), count)
        count += min(pieces, MANY // 2)
    return found


def stretches(members: Sequence[Member]) -> Iterator[Sequence[Member]]:
    """What follows each other without a pin or a large cluster between, each of which is alone."""
    between: list[Member] = []
    for member in in_order(members):
        alone = isinstance(member, Pin) or (
            isinstance(member, Cluster)
            and len(member.leaves) >= MANY // 2
            and member.kind != "part"
        )
        if alone:
            yield from (between, [member]) if between else ([member],)
            between = []
        else:
            between.append(member)
    if between:
        yield between


def in_order(members: Sequence[Member]) -> list[Member]:
    """Members, each after those that it reads from; as they were where they wait for each other."""
    makers = {value: i for i, member in enumerate(members) for value in member.makes}
    needs = [
        {makers[v] for v in member.reads if makers.get(v, i) != i}
        for i, member in enumerate(members)
    ]
    readers: list[list[int]] = [[] for _ in members]
    for i, before in enumerate(needs):
        for each in before:
            readers[each].append(i)
    missing, done = [len(before) for before in needs], [False] * len(members)
    ready, left = [i for i, count in enumerate(missing) if not count], 0
    found: list[Member] = []
    while len(found) < len(members):
        while left < len(members) and done[left]:
            left += 1
        i = heappop(ready) if ready else left
        if done[i]:
            continue
        done[i] = True
        found.append(members[i])
        for reader in readers[i]:
            missing[reader] -= 1
            if not missing[reader] and not done[reader]:
                heappush(ready, reader)
    return found


def cuts(members: Sequence[Member], count: int) -> Iterator[int]:
    """Where members are cut into so many parts: near to even, and where few values cross."""
    last: dict[str, int] = {name: i for i, m in enumerate(members) for name in m.reads}
    change = [0] * (len(members) + 2)
    for i, member in enumerate(members):
        for name in member.makes:
            if last.get(name, i) > i:
                change[i + 1] += 1
                change[last[name] + 1] -= 1
    crossing, level = [], 0
    for step in change:
        level += step
        crossing.append(level)
    length = len(members) / count
    slack = int(length / 3)
    for number in range(1, count):
        even = round(number * length)
        yield min(range(even - slack, even + slack + 1), key=lambda i: (crossing[i], abs(i - even)))


def opened(root: Cluster, most: int, depth: int | None) -> set[Cluster]:
    """The clusters that are open at first: all down to a depth, or while there is room.

    Args:
        root: The whole graph, which is always open.
        most: Boxes to show; the outer and the small clusters are opened first, and those that are
            not scopes only where next to nothing else is to be seen.
        depth: How many clusters around a node are open; overrides `most`.
    """
    found = {root}
    level, shown, step = inner(root), len(root.members), 0
    folded: list[Cluster] = []
    while level:
        step += 1
        fits = []
        for cluster in sorted(level, key=size):
            room = shown + size(cluster) <= most
            if step <= depth if depth is not None else room and cluster.kind in INVITING:
                fits.append(cluster)
                shown += size(cluster)
            else:
                folded.append(cluster)
        found.update(fits)
        level = [each for cluster in fits for each in inner(cluster)]
        if not level and depth is None and shown < most / 4:
            level = [c for c in folded if shown + size(c) <= most][:1]
            folded = [c for c in folded if c not in level]
            found.update(level)
            shown += sum(map(size, level))
            level = [each for cluster in level for each in inner(cluster)]
    return found


def inner(cluster: Cluster) -> list[Cluster]:
    """The clusters that are members of one."""
    return [member for member in cluster.members if isinstance(member, Cluster)]


def size(cluster: Cluster) -> int:
    """How much there is to see in an open cluster."""
    return len(cluster.members) + len(cluster.reads)
