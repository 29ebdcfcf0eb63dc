"""What is written in each box, and how large that makes it."""

from __future__ import annotations

import math
import unicodedata
from collections import Counter
from dataclasses import dataclass

import numpy as np

from onnxla.draw.members import Cluster, Constant, Leaf, Pin
from onnxla.ir.model import Node, Tensor
from onnxla.ir.names import number_of, plain
from onnxla.ops.table import lookup

TITLE, SMALL = 13.0, 10.5  # sizes of type
LINE = 14.0  # height of a line in small type
TITLES, TEXTS, TYPES = 26, 32, 48  # characters of a line
CONSTANTS = 2  # of a node that are written in its box
TIMES = "\u00d7"
NUMBERS = 4  # of a small constant that are written out


@dataclass(frozen=True)
class Label:
    """A box's texts and size.

    Attributes:
        title: The first line.
        lines: Those below it.
        width: In pixels.
        height: In pixels.
    """

    title: str
    lines: tuple[str, ...]
    width: float
    height: float


def label(title: str, lines: tuple[str, ...], marks: float = 0.0, most: int = TEXTS) -> Label:
    """A label with room for its texts, and for marks beside the title."""
    title = cut(title, TITLES)
    lines = tuple(cut(line, most) for line in lines if line)
    wide = max(
        width_of(title, TITLE, bold=True) + marks, *(width_of(line, SMALL) for line in lines), 44
    )
    return Label(title, lines, round(wide + 26, 1), 32 + LINE * len(lines) + 2 * bool(lines))


def cut(text: object, most: int) -> str:
    """A text as one line; of a long one the beginning and the end."""
    line = plain(text)
    if len(line) <= most:
        return line
    start = (most - 1) // 3
    return f"{line[:start]}…{line[len(line) - (most - 1 - start) :]}"


def width_of(text: str, size: float, bold: bool = False) -> float:
    """About how wide a text is, and rather too wide: the reader's font is not known."""
    return size * sum(map(letter, text)) * (1.09 if bold else 1.02)


def letter(each: str) -> float:
    """The width of a letter, of a size of 1."""
    if each in "iljI.,:;|'!()[]/ ·":
        return 0.34
    if each in "ftr-" or unicodedata.combining(each):
        return 0.42
    if each in "mwMW@%…" or unicodedata.east_asian_width(each) in "WF":
        return 1.02
    if each == TIMES or each.isupper():
        return 0.78
    return 0.64 if each.isdigit() else 0.6


def shape_text(shape: tuple[object, ...]) -> str:
    """A shape such as 1×3×224×224; that of a scalar is empty."""
    return TIMES.join("?" if size is None else cut(size, 16) for size in shape)


def short_name(node: Node) -> str:
    """The last part of a node's name that says more than its operator; or what it makes."""
    name = node.name or next(iter(filter(None, node.outputs)), "")
    parts = [part for part in name.split(";")[0].split("/") if part]
    told = [part for part in parts if part != node.op_type]
    return told[-1] if told else ""


def constants_of(leaf: Leaf) -> list[tuple[str, Constant, str]]:
    """A node's constants: what the operator calls them, they themselves, and what they are."""
    node = leaf.node
    operator = lookup(node.domain, node.op_type, leaf.opsets.get(node.domain, 1))
    found = []
    for index, tensor in leaf.constants.items():
        known = operator is not None and bool(operator.inputs)
        name = operator.input_name(index) if known and operator else f"input {index}"
        found.append((name, tensor, constant_text(tensor)))
    return found


def constant_text(tensor: Constant) -> str:
    """A small constant's numbers, or the shape."""
    size = math.prod(tensor.shape)
    if isinstance(tensor, Tensor) and size <= NUMBERS and tensor.dtype.kind in "iufb":
        numbers = np.asarray(tensor.numpy()).reshape(-1).tolist()
        texts = [f"{n:.4g}" if isinstance(n, float) else str(n) for n in numbers]
        return ", ".join(texts) if texts else "[]"
    return shape_text(tensor.shape) or "scalar"


def of_leaf(leaf: Leaf, figure: str = "") -> Label:
    """A node: its operator, where it is, and the first of its constants."""
    found = constants_of(leaf)
    found.sort(key=lambda each: -math.prod(each[1].shape))
    lines = [f"{name} {text}" for name, _, text in found[:CONSTANTS]]
    if len(found) > CONSTANTS:
        lines[-1] += f"  +{len(found) - CONSTANTS}"
    domain = f"{leaf.node.domain}." if leaf.node.domain else ""
    return label(leaf.node.op_type, (figure, domain + short_name(leaf.node), *lines))


def of_cluster(cluster: Cluster, parameters: int, figure: str = "") -> Label:
    """A cluster: its name, and how much is inside."""
    count = len(cluster.leaves)
    text = number_of(count, "node")
    if parameters:
        text += f" · {rounded(parameters)} parameters"
    kinds = [n for n, _ in Counter(leaf.node.op_type for leaf in cluster.leaves).most_common(3)]
    while len(", ".join(kinds)) > TEXTS and len(kinds) > 1:
        kinds.pop()
    return label(cluster.title, (figure, text, ", ".join(kinds)), marks=40.0)


def of_pin(pin: Pin, kind: str) -> Label:
    """An input or an output."""
    return label(pin.name, (kind,), most=TYPES)


def rounded(number: float) -> str:
    """A number in a few characters, such as 25.6M."""
    size = abs(number)
    if not math.isfinite(number):
        return f"{number:g}"
    for limit, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if size >= limit:
            return f"{number / limit:.3g}{unit}"
    return f"{number:.3g}"
