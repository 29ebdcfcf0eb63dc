"""A drawing with some clusters open: their insides in the place of their boxes.

The order of boxes in rows stays; the rows become as high as they need, and boxes move aside as far
as they must. `page.js` does the same when somebody opens a cluster; a test compares the two.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from onnxla.draw.layered import Route, Spread, spread
from onnxla.draw.members import Cluster, Pin
from onnxla.draw.scene import Drawable, Inside, Port

HEAD, PAD = 34.0, 16.0  # room in an open cluster above what is inside, and around it
EDGE = 4.0  # below a row of ports, which are on the rim
# Where the title begins, where lines go down beside it, between these, and for the sign that folds.
INDENT, LANE, APART, SIGN = 14.0, 18.0, 12.0, 30.0


@dataclass(frozen=True)
class Placed:
    """An item where it is drawn.

    Attributes:
        item: The item.
        x: Left side.
        y: Upper side.
        width: Width.
        height: Height.
        depth: How many open clusters are around it.
        is_open: Whether it is an open cluster.
    """

    item: Drawable
    x: float
    y: float
    width: float
    height: float
    depth: int
    is_open: bool


@dataclass(frozen=True)
class Wire:
    """A line where it is drawn: through points, from one to the next straight down or in a curve.

    Attributes:
        points: Where it goes.
        values: The values that go along it.
        text: Whether its first value's type is written where it starts.
        upward: Whether it goes up.
        tip: Whether it ends at a box, and not at a port.
    """

    points: tuple[tuple[float, float], ...]
    values: tuple[str, ...]
    text: bool
    upward: bool
    tip: bool


@dataclass
class Shown:
    """A drawing with some clusters open, of a width and height."""

    width: float
    height: float
    places: list[Placed] = field(default_factory=list)
    wires: list[Wire] = field(default_factory=list)
    ports: dict[tuple[str, bool], tuple[float, float]] = field(default_factory=dict)

    def moved(self, x: float, y: float) -> Iterator[Placed]:
        """The places as part of a larger drawing."""
        for p in self.places:
            yield replace(p, x=p.x + x, y=p.y + y, depth=p.depth + 1)


def shown(root: Cluster, plans: Mapping[Cluster, Inside], is_open: Collection[Cluster]) -> Shown:
    """The drawing with some clusters open, of which the root is one."""
    return inside(root, plans, is_open, is_root=True)


def inside(
    cluster: Cluster, plans: Mapping[Cluster, Inside], is_open: Collection[Cluster], is_root: bool
) -> Shown:
    """An open cluster."""
    plan = plans[cluster]
    parts = {
        i: inside(item, plans, is_open, False)
        for i, item in enumerate(plan.items)
        if isinstance(item, Cluster) and item in is_open
    }
    sizes = [
        (parts[i].width, parts[i].height) if i in parts else size
        for i, size in enumerate(plan.sizes)
    ]
    if not plan.items:
        return Shown(2 * PAD, HEAD + PAD)
    enters, leaves = (
        [i for i, item in enumerate(plan.items) if isinstance(item, Port) and item.enters == way]
        for way in (True, False)
    )
    head = PAD if is_root else LANE if enters else HEAD
    foot = EDGE if leaves else PAD
    where = spread(plan.placing, sizes, moved=bool(parts))
    title = 0.0 if is_root else INDENT + plan.title + APART
    least = title + APART * len(enters) + SIGN
    side = max(PAD, (least - where.width) / 2)
    made = Shown(where.width + 2 * side, where.height + head + foot)
    across = [x + side for x in where.across]
    for i, x in beside({i: across[i] for i in enters}, title, made.width - SIGN):
        across[i] = x
    corners = []
    for i, item in enumerate(plan.items):
        row, (width, height) = plan.placing.rows.level[i], sizes[i]
        left = across[i] - width / 2
        top = (where.tops[row] + where.bottoms[row]) / 2 + head - height / 2
        if isinstance(item, Port):
            top = -height / 2 if item.enters else made.height - height / 2
            made.ports[item.value, item.enters] = left + width / 2, top + height / 2
        corners.append((left, top))
        made.places.append(Placed(item, left, top, width, height, 0, i in parts))
    for route in plan.placing.routes:
        made.wires += wires(plan, route, where, head, across, corners, sizes, parts)
    for i, part in parts.items():
        left, top = corners[i]
        made.places += part.moved(left, top)
        made.wires += [
            replace(w, points=tuple((x + left, y + top) for x, y in w.points)) for w in part.wires
        ]
    return made


def beside(wanted: Mapping[int, float], start: float, end: float) -> Iterator[tuple[int, float]]:
    """Where lines go down between the title and the sign, as near as can be to where they would.

    Args:
        wanted: Where each would go down.
        start: The first place there is.
        end: The last one, far enough from the first for all lines.
    """
    for number, i in enumerate(sorted(wanted, key=wanted.__getitem__), 1):
        x = min(max(wanted[i], start), end - APART * (len(wanted) - number))
        start = x + APART
        yield i, x


def wires(
    plan: Inside,
    route: Route,
    where: Spread,
    head: float,
    across: Sequence[float],
    corners: Sequence[tuple[float, float]],
    sizes: Sequence[tuple[float, float]],
    parts: Mapping[int, Shown],
) -> Iterator[Wire]:
    """A line between two boxes; at open clusters one for each value."""
    a, b, upward = route.start, route.end, route.upward
    level = plan.placing.rows.level
    sides = (where.bottoms, where.tops) if upward else (where.tops, where.bottoms)
    middle = [(across[p], side[level[p]] + head) for p in route.passes for side in sides]
    leaves, reaches = sides[1][level[a]] + head, sides[0][level[b]] + head
    values = plan.values[a, b]
    for some in [(value,) for value in values] if a in parts or b in parts else [values]:
        ends = []
        for i, enters in ((a, False), (b, True)):
            x = corners[i][0] + sizes[i][0] / 2
            y = corners[i][1] + (sizes[i][1] if enters == upward else 0.0)
            if enters and i not in parts:
                x += plan.lands[a, b]
            port = parts[i].ports.get((some[0], enters)) if i in parts else None
            ends.append((corners[i][0] + port[0] if port else x, y))
        (x0, y0), (x1, y1) = ends
        points = ((x0, y0), (x0, leaves), *middle, (x1, reaches), (x1, y1))
        text = not upward and not isinstance(plan.items[a], Port | Pin)
        tip = b not in parts and not isinstance(plan.items[b], Port)
        yield Wire(points, some, text, upward, tip)


def path(points: Sequence[tuple[float, float]]) -> str:
    """The line through points as SVG has it."""
    (x, y) = points[0]
    found = [f"M{x:.1f} {y:.1f}"]
    for (x, y), (x1, y1) in itertools.pairwise(points):
        if abs(x - x1) < 0.05:
            found.append(f"V{y1:.1f}")
        else:
            middle = (y + y1) / 2
            found.append(f"C{x:.1f} {middle:.1f} {x1:.1f} {middle:.1f} {x1:.1f} {y1:.1f}")
    return "".join(found)
