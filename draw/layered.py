"""A layered layout: boxes in rows, each below what it reads, after Sugiyama.

Ranks are longest paths, shortened where that costs nothing. A line that passes rows has a place in
each, so that it crosses no box; the lines of one box share theirs. The order within rows is by
barycentres; where they are across is `across`.
"""

from __future__ import annotations

import itertools
from bisect import bisect_right, insort
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from onnxla.draw.across import LINE, Ranks, positions, settled

ROW = 46.0  # between rows
SWEEPS = 10  # over all rows


@dataclass(frozen=True)
class Route:
    """A line from one box to another.

    Attributes:
        start: Index of the box that it leaves.
        end: Index of the box that it reaches.
        passes: The places that it passes, from start to end.
        upward: Whether it goes up.
    """

    start: int
    end: int
    passes: tuple[int, ...]
    upward: bool


@dataclass(frozen=True)
class Placing:
    """Boxes and lines in rows, and where they are across.

    Attributes:
        rows: The rows.
        across: The centre of each place, while all boxes are folded.
        routes: The lines.
    """

    rows: Ranks
    across: list[float]
    routes: list[Route]


@dataclass(frozen=True)
class Spread:
    """Where boxes of certain sizes are.

    Attributes:
        width: The width of it all.
        height: The height of it all.
        across: The centre of each place.
        tops: The upper side of each row.
        bottoms: The lower side of each row.
    """

    width: float
    height: float
    across: list[float]
    tops: list[float]
    bottoms: list[float]


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
    down = {(a, b): (a, b) if forward else (b, a) for a, b, forward in acyclic(len(sizes), lines)}
    level = levels(len(sizes), {*down.values()}, first, last)
    rows, chains = with_passes(level, {*down.values()})
    arrange(rows)
    routes = []
    for (start, end), (upper, lower) in down.items():
        passes = chains[upper, lower]
        upward = start != upper
        routes.append(Route(start, end, tuple(reversed(passes) if upward else passes), upward))
    return Placing(rows, positions(rows, [width for width, _ in sizes]), routes)


def spread(placing: Placing, sizes: Sequence[tuple[float, float]], moved: bool) -> Spread:
    """Where boxes are, some of which may be larger than they were when they were placed.

    Args:
        placing: The boxes.
        sizes: The width and height that each has now.
        moved: Whether some have another size.
    """
    rows = placing.rows
    widths = [width for width, _ in sizes]
    across = settled(rows, widths, placing.across) if moved else placing.across
    half = [width / 2 for width in widths] + [LINE / 2] * (len(across) - len(sizes))
    left = min(x - h for x, h in zip(across, half, strict=True))
    right = max(x + h for x, h in zip(across, half, strict=True))
    tops, bottoms, y = [], [], 0.0
    for row in rows.rows:
        tops.append(y)
        y += max((sizes[b][1] for b in row if b < rows.boxes), default=0.0)
        bottoms.append(y)
        y += ROW
    return Spread(right - left, bottoms[-1], [x - left for x in across], tops, bottoms)


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
    bottom = max(level, default=0) + (
        1 if any(level[i] == max(level) for i in range(count) if i not in last) else 0
    )
    for box in last:
        level[box] = max(bottom, 1)
    used = sorted({*level})
    return [used.index(each) for each in level]


def with_passes(
    level: Sequence[int], lines: Collection[tuple[int, int]]
) -> tuple[Ranks, dict[tuple[int, int], list[int]]]:
    """Boxes in rows, with places for the lines that pass; and those that each line passes."""
    count = len(level)
    rows = Ranks(count, [*level], [[] for _ in level], [[] for _ in level])
    joined: set[tuple[int, int]] = set()

    def join(upper: int, lower: int) -> None:
        if (upper, lower) not in joined:
            joined.add((upper, lower))
            rows.below[upper].append(lower)
            rows.above[lower].append(upper)

    shared: dict[int, list[int]] = {}
    chains: dict[tuple[int, int], list[int]] = {}
    for start, end in sorted(lines, key=lambda line: (line[0], level[line[1]], line[1])):
        chain = shared.setdefault(start, [])
        while level[start] + len(chain) + 1 < level[end]:
            rows.level.append(level[start] + len(chain) + 1)
            rows.above.append([])
            rows.below.append([])
            chain.append(len(rows.level) - 1)
        passes = chain[: level[end] - level[start] - 1]
        chains[start, end] = passes
        for upper, lower in itertools.pairwise([start, *passes, end]):
            join(upper, lower)
    rows.rows = [[] for _ in range(max(rows.level, default=-1) + 1)]
    for place, row in enumerate(rows.level):
        rows.rows[row].append(place)
    return rows, chains


def arrange(rows: Ranks) -> None:
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


def crossings(rows: Ranks) -> int:
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
