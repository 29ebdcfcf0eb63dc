"""Layouts: no box is on another, no line goes through one, and what can be straight is straight."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from onnxla.draw.across import isotonic, median
from onnxla.draw.layered import Placing, Spread, place, spread

Sizes = list[tuple[float, float]]
Lines = set[tuple[int, int]]


def random_graph(seed: int) -> tuple[Sizes, Lines]:
    """Boxes of random sizes, and lines among them of which some may close circles."""
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 50))
    sizes = [(float(w), float(h)) for w, h in rng.uniform((20, 10), (200, 90), (count, 2))]
    lines = set()
    for _ in range(int(rng.integers(0, 2 * count))):
        a, b = (int(i) for i in rng.integers(0, count, 2))
        if a != b:
            lines.add((a, b) if seed % 3 == 0 else (min(a, b), max(a, b)))
    return sizes, lines


def rectangles(placing: Placing, sizes: Sizes, where: Spread) -> np.ndarray:
    """Left, top, right, bottom of each box."""
    found = []
    for i, (width, height) in enumerate(sizes):
        row = placing.rows.level[i]
        x, y = where.across[i], (where.tops[row] + where.bottoms[row]) / 2
        found.append((x - width / 2, y - height / 2, x + width / 2, y + height / 2))
    return np.array(found)


def check_layout(placing: Placing, sizes: Sizes, where: Spread) -> None:
    """Checks that boxes are apart and within, and that passing lines keep off them."""
    boxes = rectangles(placing, sizes, where)
    assert boxes[:, :2].min() >= -1e-6
    assert (boxes[:, 2:].max(0) <= np.array([where.width, where.height]) + 1e-6).all()
    for a, b in itertools.combinations(boxes, 2):
        apart = max(a[0], b[0]) >= min(a[2], b[2]) + 5 or max(a[1], b[1]) >= min(a[3], b[3]) + 5
        assert apart, (a, b)
    for route in placing.routes:
        for passed in route.passes:
            x, row = where.across[passed], placing.rows.level[passed]
            for i, (left, _, right, _) in enumerate(boxes):
                if placing.rows.level[i] == row:
                    assert x <= left - 5 or x >= right + 5


@pytest.mark.parametrize("seed", range(30))
def test_no_box_is_on_another_and_no_line_passes_through_one(seed: int) -> None:
    sizes, lines = random_graph(seed)
    placing = place(sizes, lines)
    check_layout(placing, sizes, spread(placing, sizes, moved=False))
    assert {(route.start, route.end) for route in placing.routes} == lines
    if seed % 3:  # no circles: all lines go down
        level = placing.rows.level
        assert all(
            level[a] < level[b] and not r.upward
            for r in placing.routes
            for a, b in [(r.start, r.end)]
        )
    rng = np.random.default_rng(seed)
    grown = [
        (w * g, h * g) for (w, h), g in zip(sizes, rng.choice([1, 1, 5], len(sizes)), strict=True)
    ]
    check_layout(placing, grown, spread(placing, grown, moved=True))


def test_a_chain_is_one_straight_line() -> None:
    sizes = [(30.0 + 7 * i, 20.0) for i in range(12)]
    placing = place(sizes, {(i, i + 1) for i in range(11)})
    assert len({*placing.across}) == 1
    assert placing.rows.level == [*range(12)]


def test_a_line_that_passes_a_chain_is_straight() -> None:
    sizes = [(60.0, 20.0)] * 6
    placing = place(sizes, {(i, i + 1) for i in range(5)} | {(0, 5)})
    (route,) = [route for route in placing.routes if route.passes]
    assert len({placing.across[p] for p in route.passes}) == 1


def test_a_box_is_in_the_middle_of_two() -> None:
    placing = place([(40.0, 20.0)] * 4, {(0, 1), (0, 2), (1, 3), (2, 3)})
    x = placing.across
    assert x[0] == x[3] == pytest.approx((x[1] + x[2]) / 2)


def test_ports_are_in_the_first_and_the_last_row() -> None:
    sizes = [(8.0, 8.0), (8.0, 8.0), (50.0, 20.0), (50.0, 20.0), (8.0, 8.0)]
    placing = place(sizes, {(0, 2), (1, 3), (2, 3), (3, 4)}, first=(0, 1), last=(4,))
    assert placing.rows.level[:5] == [0, 0, 1, 2, 3]


def test_a_row_of_many_boxes_is_placed() -> None:
    count = 400
    sizes = [(50.0, 20.0)] * (count + 2)
    lines = {line for i in range(1, count + 1) for line in ((0, i), (i, count + 1))}
    placing = place(sizes, lines)
    check_layout(placing, sizes, spread(placing, sizes, moved=False))


def test_isotonic_medians() -> None:
    assert isotonic([[(3.0, 1.0)], [(1.0, 1.0)]]) == [2.0, 2.0]
    assert isotonic([[(0.0, 1.0)], [(5.0, 1.0)], [(4.0, 8.0)]]) == [0.0, 4.0, 4.0]
    assert median([(0.0, 1.0), (10.0, 1.0)]) == 5.0
    assert median([(0.0, 3.0), (10.0, 1.0)]) == 0.0
