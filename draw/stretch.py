"""A drawing with some clusters open: their insides in the place of their boxes.

The plane is stretched until an open cluster has room where its box was: at each height by the most
that one of the boxes there needs, and the same across. Other boxes move with their centres and keep
their size, so nothing overlaps that did not, and what was left, right, above or below stays so.
`page.js` does the same when somebody opens a cluster; a test compares the two.
"""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from onnxla.draw.layered import Route
from onnxla.draw.members import Cluster, Pin
from onnxla.draw.scene import Item, Plan, Port

HEAD, PAD = 34.0, 16.0  # room in an open cluster above what is inside, and around it


@dataclass(frozen=True)
class Place:
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

    item: Item
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
    places: list[Place] = field(default_factory=list)
    wires: list[Wire] = field(default_factory=list)
    ports: dict[tuple[str, bool], tuple[float, float]] = field(default_factory=dict)

    def moved(self, x: float, y: float) -> Iterator[Place]:
        """The places as part of a larger drawing."""
        for p in self.places:
            yield replace(p, x=p.x + x, y=p.y + y, depth=p.depth + 1)


@dataclass(frozen=True)
class Stretch:
    """An ascending map of lengths that nowhere makes them shorter."""

    ends: Sequence[float]
    slopes: Sequence[float]
    images: Sequence[float]

    @classmethod
    def of(cls, needs: Sequence[tuple[float, float, float]]) -> Stretch:
        """The map that gives each interval (start, end, length) at least its length."""
        ends = sorted({end for start, stop, _ in needs for end in (start, stop)})
        slopes = [
            max((n / (b - a) for a, b, n in needs if a <= start and b >= stop), default=1.0)
            for start, stop in itertools.pairwise(ends)
        ]
        slopes = [max(slope, 1.0) for slope in slopes]
        images, at = [], ends[0] if ends else 0.0
        for start, stop, slope in zip(ends, ends[1:], slopes, strict=False):
            images.append(at)
            at += (stop - start) * slope
        return cls(ends, slopes, [*images, at])

    def __call__(self, length: float) -> float:
        """Where a length is mapped to."""
        index = bisect_right(self.ends, length) - 1
        if not self.ends or index < 0:
            return length
        slope = self.slopes[index] if index < len(self.slopes) else 1.0
        return self.images[index] + (length - self.ends[index]) * slope


def shown(root: Cluster, plans: Mapping[Cluster, Plan], is_open: Collection[Cluster]) -> Shown:
    """The drawing with some clusters open, of which the root is one."""
    return inside(root, plans, is_open, is_root=True)


def inside(
    cluster: Cluster, plans: Mapping[Cluster, Plan], is_open: Collection[Cluster], is_root: bool
) -> Shown:
    """An open cluster."""
    plan = plans[cluster]
    parts = {
        i: inside(item, plans, is_open, False)
        for i, item in enumerate(plan.items)
        if isinstance(item, Cluster) and item in is_open
    }
    sizes = [
        (parts[i].width, parts[i].height) if i in parts else s for i, s in enumerate(plan.sizes)
    ]
    across, down = (
        Stretch.of(
            [
                (
                    c[axis] - plan.sizes[i][axis] / 2,
                    c[axis] + plan.sizes[i][axis] / 2,
                    sizes[i][axis],
                )
                for i, c in enumerate(plan.placing.centres)
                if i in parts
            ]
        )
        for axis in (0, 1)
    )
    head = PAD if is_root else HEAD
    made = Shown(across(plan.placing.width) + 2 * PAD, down(plan.placing.height) + head + PAD)
    corners = []
    for i, item in enumerate(plan.items):
        (x, y), (width, height) = plan.placing.centres[i], sizes[i]
        left, top = across(x) + PAD - width / 2, down(y) + head - height / 2
        if isinstance(item, Port):
            top = -height / 2 if item.enters else made.height - height / 2
            made.ports[item.value, item.enters] = left + width / 2, top + height / 2
        corners.append((left, top))
        made.places.append(Place(item, left, top, width, height, 0, i in parts))
    for route in plan.placing.routes:
        made.wires += wires(plan, route, corners, sizes, parts, (across, down, head))
    for i, part in parts.items():
        left, top = corners[i]
        made.places += part.moved(left, top)
        made.wires += [
            replace(w, points=tuple((x + left, y + top) for x, y in w.points)) for w in part.wires
        ]
    return made


def wires(
    plan: Plan,
    route: Route,
    corners: Sequence[tuple[float, float]],
    sizes: Sequence[tuple[float, float]],
    parts: Mapping[int, Shown],
    maps: tuple[Stretch, Stretch, float],
) -> Iterator[Wire]:
    """A line between two boxes; between open clusters one for each value."""
    across, down, head = maps
    a, b = route.start, route.end
    upward = plan.placing.centres[a][1] > plan.placing.centres[b][1]
    values = plan.values[a, b]
    middle = [
        (across(x) + PAD, down(y) + head)
        for x, top, bottom in route.passes
        for y in ((bottom, top) if upward else (top, bottom))
    ]
    leaves, reaches = down(route.leaves) + head, down(route.reaches) + head
    apart = [(value,) for value in values] if a in parts or b in parts else [values]
    for some in apart:
        ends = []
        for i, enters in ((a, False), (b, True)):
            x = corners[i][0] + sizes[i][0] / 2
            lower = enters == upward
            y = corners[i][1] + (sizes[i][1] if lower else 0.0)
            if enters and i not in parts:
                x += plan.lands[a, b]
            if i in parts and (some[0], enters) in parts[i].ports:
                x = corners[i][0] + parts[i].ports[some[0], enters][0]
            ends.append((x, y))
        (x0, y0), (x1, y1) = ends
        points = ((x0, y0), (x0, leaves), *middle, (x1, reaches), (x1, y1))
        text = not upward and not isinstance(plan.items[a], Port | Pin)
        yield Wire(
            points, some, text, upward, b not in parts and not isinstance(plan.items[b], Port)
        )


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
