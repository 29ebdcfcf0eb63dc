"""A drawing as an SVG picture, for where no script runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from onnxla.draw.compose import INDENT, Placed, Shown, Wire, path
from onnxla.draw.content import Content
from onnxla.draw.labels import LINE, SMALL, width_of
from onnxla.draw.members import Cluster, Pin
from onnxla.draw.scene import Port
from onnxla.draw.style import FONT, picture_css

MARGIN, CHIP, LEGEND = 12.0, 16.0, 20.0
LEAST = 360.0  # width of a picture


def svg(content: Content, drawing: Shown) -> str:
    """The picture."""
    wide = max(drawing.width, width_of(content.subtitle, SMALL))
    width = max(wide + 2 * MARGIN, LEAST)
    legend, top = legend_of(content, width)
    height = drawing.height + top + MARGIN
    left = (width - drawing.width) / 2
    found = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}"'
        f' viewBox="0 0 {width:.0f} {height:.0f}" font-family="{FONT}" role="img">',
        f"<title>{escape(content.title)}</title><style>{picture_css()}</style>",
        f'<rect class="back" width="{width:.0f}" height="{height:.0f}"/>',
        *legend,
        f'<g transform="translate({left:.1f} {top:.1f})">',
    ]
    for place in drawing.places:
        if place.is_open:
            found += cluster(place, content)
    for wire in drawing.wires:
        found += line(wire)
    found += texts_of(drawing.wires, content)
    for place in drawing.places:
        if not place.is_open:
            found += box(place, content)
    return "".join([*found, "</g></svg>\n"])


def legend_of(content: Content, width: float) -> tuple[list[str], float]:
    """The title and what colours mean, and the height that this takes."""
    about = text("s", MARGIN, 41, content.subtitle)
    if content.sizes:
        about = f"<g><title>{escape(content.sizes_in_full)}</title>{about}</g>"
    found = [text("t", MARGIN, 24, content.title), about]
    x, y = MARGIN, 62.0
    for role, words in content.legend:
        wide = CHIP + width_of(words, SMALL) + 14
        if x + wide > width - MARGIN and x > MARGIN:
            x, y = MARGIN, y + LEGEND
        found.append(
            f'<rect class="bar {role}" x="{x:.1f}" y="{y - 9:.1f}" width="10" height="10" rx="3"/>'
        )
        found.append(text("s", x + CHIP, y, words))
        x += wide
    return found, y + 14


def text(kind: str, x: float, y: float, words: str, more: str = "") -> str:
    """A line of text."""
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}"{more}>{escape(words)}</text>'


def cluster(place: Placed, content: Content) -> Iterator[str]:
    """An open cluster."""
    odd = " odd" if place.depth % 2 else ""
    yield (
        f'<g class="open{odd}"><rect class="rim" x="{place.x:.1f}" y="{place.y:.1f}"'
        f' width="{place.width:.1f}" height="{place.height:.1f}" rx="12"/>'
    )
    yield text("t", place.x + INDENT, place.y + 21, content.labels[place.item].title) + "</g>"


def line(wire: Wire) -> Iterator[str]:
    """A line with its tip."""
    up = " up" if wire.upward else ""
    yield f'<path class="wire{up}" d="{path(wire.points)}"/>'
    if not wire.tip:
        return
    x, y = wire.points[-1]
    back = 6 if wire.upward else -6
    yield f'<path class="tip" d="M{x:.1f} {y:.1f}l-3.5 {back}h7z"/>'


def texts_of(wires: Sequence[Wire], content: Content) -> Iterator[str]:
    """The types of the values that go along lines, once where some start, beside their curves."""
    starts: dict[tuple[float, float], list[Wire]] = {}
    for wire in wires:
        if wire.text:
            starts.setdefault(wire.points[0], []).append(wire)
    for (x, y), some in starts.items():
        if words := content.wire_text(some[0].values):
            turns = [wire.points[2][0] - x for wire in some]
            left = any(by > 1 for by in turns) and not any(by < -1 for by in turns)
            at, more = (x - 5, ' text-anchor="end"') if left else (x + 5, "")
            yield text("e", at, y + 14, words, more)


def box(place: Placed, content: Content) -> Iterator[str]:
    """A box that is not open, or a port."""
    item = place.item
    if isinstance(item, Port):
        yield (
            f'<circle class="port" cx="{place.x + place.width / 2:.1f}"'
            f' cy="{place.y + place.height / 2:.1f}" r="3"/>'
        )
        return
    label = content.labels[item]
    kind = (
        "pin"
        if isinstance(item, Pin)
        else "fold"
        if isinstance(item, Cluster)
        else content.role(item)
    )
    yield f'<g class="{kind}" transform="translate({place.x:.1f} {place.y:.1f})">'
    size = f'width="{place.width:.1f}" height="{place.height:.1f}"'
    if isinstance(item, Cluster) and item.kind == "run":
        for step in (6, 3):
            yield f'<rect class="sheet" x="{step}" y="{step}" {size} rx="9"/>'
    radius = 16 if isinstance(item, Pin) else 9 if isinstance(item, Cluster) else 7
    yield f'<rect class="rim" {size} rx="{radius}"/>'
    if not isinstance(item, Pin):
        heat = content.heat(item)
        if heat is not None:
            shade = f'fill-opacity="{0.05 + 0.55 * heat:.2f}"'
            yield f'<rect class="hot" {size} rx="{radius}" {shade}/>'
        y = 8.0
        for role, share in content.bars(item):
            tall = (place.height - 16) * share
            yield (
                f'<rect class="bar {role}" x="6" y="{y:.1f}" width="3.5" height="{tall:.1f}"'
                ' rx="1.75"/>'
            )
            y += tall
    if isinstance(item, Cluster):
        x = place.width - 15
        yield f'<path class="sign" d="M{x - 4:.1f} 15h8m-4 -4v8"/>'
    middle = ' text-anchor="middle"' if isinstance(item, Pin) else ""
    x = place.width / 2 if middle else 17.0
    yield text("t", x, 21, label.title, middle)
    figured = content.is_figured(item)
    for number, words in enumerate(label.lines):
        kind = "s figure" if figured and not number else "s"
        yield text(kind, x, 37 + LINE * number, words, middle)
    yield "</g>"
