"""Every cluster of a drawing laid out for itself, with what is inside of it folded.

So each layout is small, whatever the size of the model, and a cluster that is opened needs no other
layout: `compose` puts it in the place of its box.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from onnxla.draw.labels import TITLE, Label, width_of
from onnxla.draw.layered import Placing, place
from onnxla.draw.members import Cluster, Member, Pin

PORT = 8.0  # size of a port
SPREAD = 9.0  # between the ends of lines at a box


@dataclass(frozen=True, eq=False)
class Port:
    """Where a value goes into a cluster, or comes out of it.

    Attributes:
        value: The value.
        enters: Whether it goes in.
    """

    value: str
    enters: bool

    @property
    def reads(self) -> tuple[str, ...]:
        """The value, if it comes out."""
        return () if self.enters else (self.value,)

    @property
    def makes(self) -> tuple[str, ...]:
        """The value, if it goes in."""
        return (self.value,) if self.enters else ()


Drawable: TypeAlias = Member | Port


@dataclass(frozen=True)
class Inside:
    """The inside of a cluster.

    Attributes:
        items: What is there.
        sizes: Width and height of each, folded.
        placing: Where they are.
        values: The values that go along each line, by its ends.
        lands: How far from the middle of its box each line ends.
        title: How wide the title is; 0 of the whole graph, which has none.
    """

    items: tuple[Drawable, ...]
    sizes: tuple[tuple[float, float], ...]
    placing: Placing
    values: Mapping[tuple[int, int], tuple[str, ...]]
    lands: Mapping[tuple[int, int], float]
    title: float


def plans(root: Cluster, labels: Callable[[Member], Label]) -> dict[Cluster, Inside]:
    """The inside of every cluster, the root's first."""
    found: dict[Cluster, Inside] = {}
    pending: list[tuple[Cluster, Collection[str]]] = [(root, ())]
    while pending:
        cluster, exports = pending.pop()
        plan = found[cluster] = planned(cluster, exports, labels, cluster is root)
        wanted: dict[str, set[Drawable]] = {}
        for item in plan.items:
            for value in item.reads:
                wanted.setdefault(value, set()).add(item)
        for item in plan.items:
            if isinstance(item, Cluster):
                inside = [v for v in item.makes if wanted.get(v, set()) - {item}]
                pending.append((item, inside))
    return found


def planned(
    cluster: Cluster, exports: Iterable[str], labels: Callable[[Member], Label], is_root: bool
) -> Inside:
    """The inside of a cluster of which some values are read outside."""
    entries = [] if is_root else [Port(value, True) for value in cluster.reads]
    exits = [] if is_root else [Port(value, False) for value in exports]
    items: tuple[Drawable, ...] = (*entries, *cluster.members, *exits)
    makers = {value: i for i, item in enumerate(items) for value in item.makes}
    values: dict[tuple[int, int], list[str]] = {}
    for i, item in enumerate(items):
        for value in item.reads:
            if value in makers and makers[value] != i:
                values.setdefault((makers[value], i), []).append(value)
        if isinstance(item, Port) and item.value == cluster.result and not item.enters:
            for j, pin in enumerate(items):  # what a subgraph hands to its node
                if isinstance(pin, Pin) and pin.reads:
                    values[j, i] = [cluster.result]
    sizes = []
    for item in items:
        if isinstance(item, Port):
            sizes.append((PORT, PORT))
        else:
            found = labels(item)
            sizes.append((found.width, found.height))
    first = range(len(entries))
    last = range(len(items) - len(exits), len(items))
    placing = place(sizes, [*values], first, last)
    texts = {line: tuple(names) for line, names in values.items()}
    title = 0.0 if is_root else round(width_of(labels(cluster).title, TITLE, bold=True), 1)
    return Inside(items, tuple(sizes), placing, texts, landings(sizes, placing), title)


def landings(
    sizes: Sequence[tuple[float, float]], placing: Placing
) -> dict[tuple[int, int], float]:
    """How far from the middle of its box each line ends, so that several are seen apart."""
    into: dict[int, list[tuple[float, int, bool]]] = {}
    block, across = placing.rows.block, placing.across
    for route in placing.routes:
        last = route.passes[-1] if route.passes else route.start
        straight = block[last] == block[route.end]
        into.setdefault(route.end, []).append((across[last], route.start, straight))
    found = {}
    for end, lines in into.items():
        lines.sort()
        straights = [i for i, (_, _, straight) in enumerate(lines) if straight]
        middle = straights[0] if straights else (len(lines) - 1) / 2
        most = max(middle, len(lines) - 1 - middle, 1.0)
        step = max(min(SPREAD, (sizes[end][0] / 2 - 12) / most), 0.0)
        for i, (_, start, _) in enumerate(lines):
            found[start, end] = round(step * (i - middle), 1)
    return found
