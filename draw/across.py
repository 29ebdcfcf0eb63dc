"""Where the places of rows are across: chains in straight lines, and lines short.

First row by row: each is moved to where the sum of the distances to its neighbours is least. Then
what is connected without crossing is made one upright block, after Brandes and Köpf, and blocks are
moved to where theirs is, as far as their neighbours leave room. This last step is done again when a
box grows since it is opened: `page.js` has it too, and a test compares the two.
"""

from __future__ import annotations

import itertools
import math
from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

GAP, LINES = 26.0, 16.0  # between boxes of a row, and between lines
SWEEPS = 8  # over all rows
MOST = 64  # numbers of which a median is taken
LINE = 2.0  # width of a line that passes a row


@dataclass
class Ranks:
    """Boxes and passing lines in rows: the places, of which boxes have the first indices.

    Attributes:
        boxes: The number of boxes.
        level: The row of each place.
        above: For each place, those in the row above that it is connected with.
        below: The same of the row below.
        rows: The places of each row, from left to right.
        block: For each place, the number of the upright block that it is part of.
    """

    boxes: int
    level: list[int]
    above: list[list[int]]
    below: list[list[int]]
    rows: list[list[int]] = field(default_factory=list)
    block: list[int] = field(default_factory=list)

    def is_line(self, place: int) -> bool:
        """Whether a place is that of a line."""
        return place >= self.boxes

    def apart(self, left: int, right: int, widths: Sequence[float]) -> float:
        """How far the centres of neighbours are apart at least."""
        half = sum(widths[p] / 2 if p < self.boxes else LINE / 2 for p in (left, right))
        return half + (LINES if self.is_line(left) or self.is_line(right) else GAP)

    def weight(self, upper: int, lower: int) -> float:
        """How much it counts that a connection is straight: more, the more of it is a line."""
        return (1.0, 2.0, 8.0)[self.is_line(upper) + self.is_line(lower)]


def positions(rows: Ranks, widths: Sequence[float]) -> list[float]:
    """The centre of each place across; notes the blocks. `widths`: those of boxes."""
    x = row_by_row(rows, widths)
    rows.block = blocks(rows)
    return settled(rows, widths, x)


def row_by_row(rows: Ranks, widths: Sequence[float]) -> list[float]:
    """Centres, such that each row is well placed by the rows beside it."""
    x = [0.0] * len(rows.level)
    offsets = []
    for row in rows.rows:
        places = [0.0]
        for left, right in itertools.pairwise(row):
            places.append(places[-1] + rows.apart(left, right, widths))
        for place, at in zip(row, places, strict=False):
            x[place] = at - places[-1] / 2
        offsets.append(places)

    def settle(index: int, nears: Sequence[list[list[int]]]) -> None:
        row, places = rows.rows[index], offsets[index]
        wanted = [
            [(x[n] - at, rows.weight(place, n)) for near in nears for n in near[place]]
            or [(x[place] - at, 0.01)]
            for place, at in zip(row, places, strict=False)
        ]
        for place, at, value in zip(row, places, isotonic(wanted), strict=False):
            x[place] = value + at

    count = len(rows.rows)
    for sweep in range(SWEEPS):
        both = (rows.above, rows.below) if sweep > SWEEPS - 3 else None
        for index in range(count):
            settle(index, both or (rows.above,))
        for index in reversed(range(count)):
            settle(index, both or (rows.below,))
    return x


def isotonic(wanted: Sequence[Sequence[tuple[float, float]]]) -> list[float]:
    """Ascending numbers of which each is as near as can be to those that it wants to be, by weight.

    The sum of the weighted distances is the least; neighbours that are in each other's way share
    the median of what all of them want, or the mean where that is very much.
    """
    pools: list[tuple[float, list[tuple[float, float]], int]] = []
    for targets in wanted:
        pool, size = sorted(targets), 1
        value = median(pool)
        while pools and pools[-1][0] > value:
            _, before, members = pools.pop()
            pool, size = sorted([*before, *pool]), size + members
            if len(pool) > MOST:
                total = sum(weight for _, weight in pool)
                pool = [(sum(x * weight for x, weight in pool) / total, total)]
            value = median(pool)
        pools.append((value, pool, size))
    return [value for value, _, size in pools for _ in range(size)]


def median(targets: Sequence[tuple[float, float]]) -> float:
    """The weighted median of sorted numbers; the middle where there is more than one."""
    half, total = sum(weight for _, weight in targets) / 2, 0.0
    for index, (value, weight) in enumerate(targets):
        total += weight
        if total > half + 1e-9:
            return value
        if total > half - 1e-9 and index + 1 < len(targets):
            return (value + targets[index + 1][0]) / 2
    return targets[-1][0]


def settled(rows: Ranks, widths: Sequence[float], x: Sequence[float]) -> list[float]:
    """Centres near to `x` in which every block is upright and no place is on another."""
    block = rows.block
    count = max(block, default=-1) + 1
    members: list[list[int]] = [[] for _ in range(count)]
    for place, number in enumerate(block):
        members[number].append(place)
    lefts: list[dict[int, float]] = [{} for _ in range(count)]
    rights: list[dict[int, float]] = [{} for _ in range(count)]
    for row in rows.rows:
        for a, b in itertools.pairwise(row):
            left, right, gap = block[a], block[b], rows.apart(a, b, widths)
            lefts[right][left] = max(lefts[right].get(left, 0.0), gap)
            rights[left][right] = max(rights[left].get(right, 0.0), gap)
    order = in_order(lefts, rights)
    wanted = [sum(x[place] for place in places) / len(places) for places in members]
    low, high = [*wanted], [*wanted]
    for b in order:
        low[b] = max([low[b], *(low[left] + gap for left, gap in lefts[b].items())])
    for b in reversed(order):
        high[b] = min([high[b], *(high[right] - gap for right, gap in rights[b].items())])
    at = [(a + b) / 2 for a, b in zip(low, high, strict=True)]  # which is apart, as both are
    pulls = [
        [
            (block[n], rows.weight(place, n))
            for place in places
            for n in (*rows.above[place], *rows.below[place])
            if block[n] != b
        ]
        for b, places in enumerate(members)
    ]
    for sweep in range(SWEEPS):
        for b in order if sweep % 2 else reversed(order):
            if pulls[b]:
                least = max((at[left] + gap for left, gap in lefts[b].items()), default=-math.inf)
                most = min((at[right] - gap for right, gap in rights[b].items()), default=math.inf)
                best = median(sorted((at[n], weight) for n, weight in pulls[b]))
                at[b] = max(min(best, most), least)
    return [at[number] for number in block]


def in_order(lefts: Sequence[dict[int, float]], rights: Sequence[dict[int, float]]) -> list[int]:
    """Blocks, each after those on its left."""
    missing = [len(left) for left in lefts]
    found = [b for b, count in enumerate(missing) if not count]
    for b in found:
        for right in rights[b]:
            missing[right] -= 1
            if not missing[right]:
                found.append(right)
    return found


def blocks(rows: Ranks) -> list[int]:
    """The block of each place. Connections that make blocks do not cross."""
    place_of = {p: at for row in rows.rows for at, p in enumerate(row)}
    after: dict[int, int] = {}
    taken: set[int] = set()
    for index in range(len(rows.rows) - 1):
        candidates = sorted(
            (-strength(rows, a, b, place_of), place_of[a], place_of[b], a, b)
            for a in rows.rows[index]
            for b in rows.below[a]
        )
        chosen: list[tuple[int, int]] = []
        for negative, i, j, a, b in candidates:
            if not negative or a in after or b in taken:
                continue
            at = bisect_left(chosen, (i, j))
            if (at and chosen[at - 1][1] > j) or (at < len(chosen) and chosen[at][1] < j):
                continue
            insort(chosen, (i, j))
            after[a] = b
            taken.add(b)
    block, count = [-1] * len(rows.level), 0
    for row in rows.rows:
        for place in row:
            if block[place] < 0:
                for each in followed(place, after):
                    block[each] = count
                count += 1
    return block


def followed(place: int, after: dict[int, int]) -> Iterator[int]:
    """A place and those below it in its block."""
    at: int | None = place
    while at is not None:
        yield at
        at = after.get(at)


def strength(rows: Ranks, upper: int, lower: int, place_of: dict[int, int]) -> float:
    """How much a connection is to be straight: lines most; of several neighbours the middle ones.

    0 of a box with an even number of neighbours, which is in the middle of two, and of a neighbour
    at which a way begins or ends, beside others.
    """
    aside, boxes = 0.0, not rows.is_line(upper) and not rows.is_line(lower)
    for near, other, further in (
        (rows.below[upper], lower, rows.below),
        (rows.above[lower], upper, rows.above),
    ):
        going = [n for n in near if further[n]] or near
        if other not in going or (boxes and len(going) % 2 == 0):
            return 0.0
        places = sorted(place_of[n] for n in going)
        aside += abs(places.index(place_of[other]) - (len(places) - 1) / 2)
    return rows.weight(upper, lower) * 1000 - aside
