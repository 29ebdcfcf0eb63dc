"""A drawing as a page: one file in which clusters open and fold, without network or server.

All texts of the model are data, which `page.js` shows as text; none of them is read as HTML.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Collection, Mapping
from html import escape
from typing import Any

from onnxla.draw.across import GAP, LINES, SWEEPS
from onnxla.draw.across import LINE as PASS
from onnxla.draw.compose import APART, EDGE, HEAD, INDENT, LANE, PAD, SIGN
from onnxla.draw.content import Content
from onnxla.draw.labels import LINE, constants_of
from onnxla.draw.layered import ROW
from onnxla.draw.members import Cluster, Member, Pin
from onnxla.draw.scene import Drawable, Inside, Port
from onnxla.draw.style import FONT, asset, page_css
from onnxla.ir.model import Attribute, AttributeReference, Graph, SparseTensor, Tensor
from onnxla.ir.names import plain
from onnxla.ir.number_list import NumberList

NUMBERS = 12  # of an attribute that are shown
NAME = 2_000  # characters of a name that can be copied


def page(content: Content, plans: Mapping[Cluster, Inside], opened: Collection[Cluster]) -> str:
    """The page."""
    script = asset("page.js")
    body = asset("page.html")
    parts = {
        "TITLE": escape(content.title),
        "STYLE": page_css(),
        "FONT": escape(FONT),
        "DATA": as_script(data(content, plans, opened)),
        "SCRIPT": script,
    }
    # Split, not replaced one by one: a name of the model may look like a place.
    return "".join(
        parts[piece[2:-2]] if piece[2:-2] in parts and piece.startswith("{{") else piece
        for piece in pieces(body)
    )


def pieces(body: str) -> list[str]:
    """A template's texts and places, such as {{DATA}}, in turn."""
    found = []
    for text in body.split("{{"):
        place, end, rest = text.partition("}}")
        found += [f"{{{{{place}}}}}", rest] if end else [text]
    return found


def as_script(value: Any) -> str:
    """JSON that can stand in a script element, whatever texts are in it."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=True)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def data(
    content: Content, plans: Mapping[Cluster, Inside], opened: Collection[Cluster]
) -> dict[str, Any]:
    """All that the page shows."""
    items: list[Member] = [content.root]
    for plan in plans.values():
        items += [item for item in plan.items if not isinstance(item, Port)]
    number: dict[Drawable, int] = {item: i for i, item in enumerate(items)}
    values = {value: i for i, value in enumerate(content.names)}
    for item in items:
        for value in (*item.makes, *item.reads):
            values.setdefault(value, len(values))
    parents = {
        item: number[cluster]
        for cluster, plan in plans.items()
        for item in plan.items
        if not isinstance(item, Port)
    }
    found = []
    for item in items:
        entry = described(item, content, values)
        if item in parents:
            entry["p"] = parents[item]
        if isinstance(item, Cluster):
            entry["plan"] = as_data(plans[item], number, values)
        found.append(entry)
    return {
        "title": content.title,
        "subtitle": content.subtitle,
        "sizes": content.sizes_in_full,
        "legend": content.legend,
        "items": found,
        "values": [
            [name_of(content.names.get(v, v)), content.types.get(v, ""), content.wire_text([v])]
            for v in values
        ],
        "open": [number[cluster] for cluster in plans if cluster in opened],
        "room": [HEAD, PAD, LINE, EDGE],
        "lanes": [INDENT, LANE, APART, SIGN],
        "gaps": [GAP, LINES, PASS, ROW, SWEEPS],
    }


def name_of(name: str) -> str:
    """A name as it can be copied; of one that is too long the beginning."""
    return name[:NAME]


def described(item: Member, content: Content, values: Mapping[str, int]) -> dict[str, Any]:
    """A box's texts and colours."""
    if item is content.root:
        return {"k": "c", "t": content.title}
    label = content.labels[item]
    found: dict[str, Any] = {"t": label.title, "l": label.lines}
    found["i"] = [values[v] for v in item.reads]
    found["o"] = [values[v] for v in item.makes]
    if isinstance(item, Pin):
        return {**found, "k": "i" if item.makes else "o", "n": name_of(item.name)}
    if content.figures and (heat := content.heat(item)) is not None:
        found |= {"f": round(heat, 3), "ft": content.figures.text(item)}
    found["b"] = [[role, round(share, 3)] for role, share in content.bars(item)]
    if isinstance(item, Cluster):
        return {**found, "k": "c", "kind": item.kind, "full": name_of(item.title)}
    node = item.node
    found |= {"k": "n", "op": ".".join(filter(None, (node.domain, node.op_type)))}
    found["n"] = name_of(node.name)
    if constants := constants_of(item):
        roles = content.roles
        found["c"] = [
            [
                name,
                name_of(
                    roles.names.get(tensor, tensor.name)
                    if isinstance(tensor, Tensor)
                    else tensor.name
                ),
                f"{tensor.dtype if tensor.dtype != object else 'string'} {text}",
            ]
            for name, tensor, text in constants
        ]
    attributes = [[name_of(key), text_of(value)] for key, value in node.attributes.items()]
    optional = {
        "a": attributes,
        "why": content.reason(item),
        "s": "/".join(item.path)[:NAME],
        "in": int(item.inner),
    }
    return {**found, **{key: value for key, value in optional.items() if value}}


def text_of(value: Attribute) -> str:
    """An attribute's value in a few characters."""
    match value:
        case Graph():
            return f"graph of {len(value.nodes)} nodes"
        case Tensor() | SparseTensor():
            return f"{value.dtype} {list(value.shape)}"
        case AttributeReference():
            return f"the caller's {plain(value.name)}"
        case tuple() | NumberList():
            texts = [text_of(each) for each in value[:NUMBERS]]
            return f"[{', '.join(texts)}{', …' if len(value) > NUMBERS else ''}]"
        case float():
            return f"{value:.6g}"
    return plain(value)


def as_data(
    plan: Inside, number: Mapping[Drawable, int], values: Mapping[str, int]
) -> dict[str, Any]:
    """The inside of a cluster."""
    placing = plan.placing
    return {
        "n": [
            [values[item.value], int(item.enters)] if isinstance(item, Port) else number[item]
            for item in plan.items
        ],
        "z": plan.sizes,
        "t": plan.title,
        "x": placing.across,
        "rows": placing.rows.rows,
        "block": placing.rows.block,
        "r": [
            [
                route.start,
                route.end,
                route.passes,
                int(route.upward),
                [values[value] for value in plan.values[route.start, route.end]],
                plan.lands[route.start, route.end],
            ]
            for route in placing.routes
        ],
    }


def in_notebook(html: str, svg: str, height: int) -> str:
    """The page in a frame of its own, for the output of a cell.

    Where scripts do not run, as on GitHub and in a notebook that is not trusted, the picture stays
    that is there at first. The frame has the theme of the notebook around.
    """
    picture = base64.b64encode(svg.encode()).decode()
    script = asset("notebook.js")
    return (
        '<div class="onnxla-drawing"><img alt="graph" style="max-width:100%"'
        f' src="data:image/svg+xml;base64,{picture}"><script>{script}'
        f"(document.currentScript,{as_script(html)},{height})</script></div>"
    )
