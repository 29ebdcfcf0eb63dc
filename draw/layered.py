"""A layered layout: boxes in rows, each below what it reads, after Sugiyama.

Rows are longest paths, shortened where that costs nothing. A line that passes rows has a place in
each, so that it crosses no box; the lines of one box share theirs. The order within rows is by
barycentres; where they are across is `across`.
"""

from __future__ import annotations

import itertools
from bisect import bisect_right, insort
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from onnxla.draw.across import LINE, Rows, positions

ROW = 46.0  # between rows
SWEEPS = 10  # over all rows


@dataclass(frozen=True)
class Route:
    """A line from one box to another.

    Attributes:
        start: Index of the box that it leaves.
        end: Index of the box that it reaches.
        leaves: Height of the lower side of the first row, or of the upper side if it goes up.
        passes: Where it passes rows: across, and from which height to which.
        reaches: Height of the side of the last row.
    """

    start: int
    end: int
    leaves: float
    passes: tuple[tuple[float, float, float], ...]
    reaches: float


@dataclass
class Placing:
    """Where boxes and lines are.

    Attributes:
        width: The width of it all.
        height: The height of it all.
        centres: The centre of each box.
        routes: The lines.
    """

    width: float
    height: float
    centres: list[tuple[float, float]]
    routes: list[Route]


def place(
    sizes: Sequence[tuple[float, float]],
    lines: Collection[tuple[int, int]],
    first: Collection[int] = (),
    last: Collection[int] = (),
) -> Placing:
    """Places boxes and lines.

    Args:
        sizes: Width and height of each box.
        lines: From which box to which; in circles some go upwards.
        first: Boxes of the first row, into which no line goes.
        last: Boxes of the last row, from which no line goes.
    """
    if not sizes:
        return Placing(0.0, 0.0, [], [])
    down = {(a, b): (a, b) if forward else (b, a) for a, b, forward in acyclic(len(sizes), lines)}
    level = levels(len(sizes), {*down.values()}, first, last)
    rows = with_passes(sizes, level, {*down.values()})
    arrange(rows)
    across = positions(rows)
    return placed(sizes, rows, across, down)


def acyclic(count: int, lines: Collection[tuple[int, int]]) -> Iterator[tuple[int, int, bool]]:
    """Each line, and whether it goes down; those that close a circle go up."""
    after: list[list[int]] = [[] for _ in range(count)]
    for start, end in sorted(lines):
        if start != end:
            after[start].append(end)
    state = [0] * count  # 1: on the way, 2: done
    for root in range(count):
        if state[root]:
            continue
        state[root], pending = 1, [(root, iter(after[root]))]
        while pending:
            box, rest = pending[-1]
            for end in rest:
                yield box, end, state[end] != 1
                if not state[end]:
                    state[end] = 1
                    pending.append((end, iter(after[end])))
                    break
            else:
                state[box] = 2
                pending.pop()


def levels(
    count: int,
    lines: Collection[tuple[int, int]],
    first: Collection[int],
    last: Collection[int],
) -> list[int]:
    """The row of each box."""
    before: list[list[int]] = [[] for _ in range(count)]
    after: list[list[int]] = [[] for _ in range(count)]
    for start, end in sorted(lines):
        after[start].append(end)
        before[end].append(start)
    order, missing = [i for i in range(count) if not before[i]], [len(b) for b in before]
    for box in order:
        for end in after[box]:
            missing[end] -= 1
            if not missing[end]:
                order.append(end)
    lowest = 1 if first else 0
    level = [lowest] * count
    for box in order:
        level[box] = max((level[b] + 1 for b in before[box]), default=lowest)
    for box in first:
        level[box] = 0
    for _ in range(2):
        for box in reversed(order):  # nearer to those that read it, if fewer feed it
            if after[box] and len(after[box]) > len(before[box]) - (not before[box]):
                level[box] = min(level[end] for end in after[box]) - 1
        for box in first:
            level[box] = 0
    bottom = max(level) + (
        1 if any(level[i] == max(level) for i in range(count) if i not in last) else 0
    )
    for box in last:
        level[box] = max(bottom, 1)
    used = sorted({*level})
    return [used.index(each) for each in level]


def with_passes(
    sizes: Sequence[tuple[float, float]], level: list[int], lines: Collection[tuple[int, int]]
) -> Rows:
    """Boxes in rows, with places for the lines that pass."""
    width = [w for w, _ in sizes]
    rows = Rows([*level], width, [[] for _ in sizes], [[] for _ in sizes])
    joined: set[tuple[int, int]] = set()

    def join(upper: int, lower: int) -> None:
        if (upper, lower) not in joined:
            joined.add((upper, lower))
            rows.below[upper].append(lower)
            rows.above[lower].append(upper)

    shared: dict[int, list[int]] = {}
    for start, end in sorted(lines, key=lambda line: (line[0], level[line[1]], line[1])):
        chain = shared.setdefault(start, [])
        while level[start] + len(chain) + 1 < level[end]:
            rows.level.append(level[start] + len(chain) + 1)
            rows.width.append(LINE)
            rows.above.append([])
            rows.below.append([])
            chain.append(len(rows.level) - 1)
        passes = chain[: level[end] - level[start] - 1]
        rows.chains[start, end] = [*passes]
        way = [start, *passes, end]
        for upper, lower in itertools.pairwise(way):
            join(upper, lower)
    rows.rows = [[] for _ in range(max(rows.level) + 1)]
    for box, row in enumerate(rows.level):
        rows.rows[row].append(box)
    return rows


def arrange(rows: Rows) -> None:
    """Puts the places of each row in an order in which few lines cross."""
    place_of = [0.0] * len(rows.level)

    def note(row: Sequence[int]) -> None:
        for at, box in enumerate(row):
            place_of[box] = float(at)

    for row in rows.rows:
        note(row)
    best, fewest = [[*row] for row in rows.rows], crossings(rows)
    for sweep in range(SWEEPS):
        if not fewest:
            break
        downward = sweep % 2 == 0
        near = rows.above if downward else rows.below
        for row in rows.rows if downward else reversed(rows.rows):
            centre = {
                b: sum(place_of[n] for n in near[b]) / len(near[b]) if near[b] else place_of[b]
                for b in row
            }
            row.sort(key=lambda b: (centre[b], place_of[b]))
            note(row)
        if (count := crossings(rows)) < fewest:
            best, fewest = [[*row] for row in rows.rows], count
    rows.rows = best


def crossings(rows: Rows) -> int:
    """How many pairs of lines cross between rows."""
    count = 0
    for upper, lower in zip(rows.rows, rows.rows[1:], strict=False):
        at = {box: i for i, box in enumerate(lower)}
        seen: list[int] = []
        for box in upper:
            ends = sorted(at[b] for b in rows.below[box])
            count += sum(len(seen) - bisect_right(seen, end) for end in ends)
            for end in ends:
                insort(seen, end)
    return count


def placed(
    sizes: Sequence[tuple[float, float]],
    rows: Rows,
    across: Sequence[float],
    down: dict[tuple[int, int], tuple[int, int]],
) -> Placing:
    """Centres and routes, with everything right of and below zero."""
    left = min(across[b] - rows.width[b] / 2 for b in range(len(across)))
    right = max(across[b] + rows.width[b] / 2 for b in range(len(across)))
    tops, bottoms, y = [], [], 0.0
    for row in rows.rows:
        height = max((sizes[b][1] for b in row if b < len(sizes)), default=0.0)
        tops.append(y)
        bottoms.append(y + height)
        y += height + ROW
    centres = [
        (across[b] - left, (tops[rows.level[b]] + bottoms[rows.level[b]]) / 2)
        for b in range(len(sizes))
    ]
    routes = []
    for (start, end), (upper, lower) in down.items():
        passes = [
            (across[b] - left, tops[rows.level[b]], bottoms[rows.level[b]])
            for b in rows.chains[upper, lower]
        ]
        leaves, reaches = bottoms[rows.level[upper]], tops[rows.level[lower]]
        if start != upper:
            passes = [(x, low, high) for x, high, low in reversed(passes)]
            leaves, reaches = reaches, leaves
        routes.append(Route(start, end, leaves, tuple(passes), reaches))
    return Placing(right - left, bottoms[-1], centres, routes)
