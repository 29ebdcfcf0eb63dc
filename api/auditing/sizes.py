"""Sizes that constants in a file decide: a few bytes can ask for more memory than there is."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from onnxla.auditing.contents import Contents, GraphBody, domain_of, spell
from onnxla.auditing.remarks import Remark, Severity
from onnxla.ir.onnx_pb2 import NodeProto
from onnxla.ops.limits import spell as spell_number

ELEMENT = 4  # bytes, as of float32
NOTABLE = 16  # of the limit, the part from which a size is worth a warning

Numbers = Sequence[float]


def product(numbers: Numbers) -> float:
    """The elements of a shape; -1 and 0, which stand for other sizes, count as one."""
    return math.prod(abs(number) or 1 for number in numbers)


def padded(numbers: Numbers) -> float:
    """The elements of what is padded so much at the beginnings and the ends of its axes."""
    half = len(numbers) // 2
    pairs = zip(numbers[:half], numbers[half:], strict=False)
    return math.prod(1 + max(begin, 0) + max(end, 0) for begin, end in pairs)


# By operator: which inputs and attributes decide how many elements there are, and how.
INPUTS: dict[str, tuple[int, Callable[[Numbers], float]]] = {
    "AffineGrid": (1, product),
    "BlackmanWindow": (0, product),
    "CenterCropPad": (1, product),
    "Col2Im": (1, product),
    "ConstantOfShape": (0, product),
    "DFT": (1, product),
    "Expand": (1, product),
    "HammingWindow": (0, product),
    "HannWindow": (0, product),
    "MaxUnpool": (2, product),
    "MelWeightMatrix": (1, product),
    "OneHot": (1, product),
    "Pad": (1, padded),
    "Tile": (1, product),
    "Upsample": (1, product),
}
ATTRIBUTES: dict[str, Callable[[Numbers], float]] = {
    "kernel_shape": product,
    "num_outputs": product,
    "output_shape": product,
    "pads": padded,
    "sample_size": product,
    "shape": product,
}


def sizes(contents: Contents) -> Iterator[Remark]:
    """Nodes whose constants ask for much memory."""
    limit = contents.limits.bytes
    for node, scope in contents.nodes():
        if not domain_of(node) and (count := elements(node, scope)) * ELEMENT > limit / NOTABLE:
            size = ELEMENT * count
            severity: Severity = "danger" if size > limit else "warning"
            text = (
                f"its constants ask for about {spell_number(size)} bytes, or so many for each"
                f" element of its input; the limit of a value is {spell_number(limit)}"
            )
            yield Remark(severity, "size", spell(node), text)


def elements(node: NodeProto, scope: GraphBody) -> float:
    """How many elements a node's constants ask for, times those of its input where it has one."""
    counts: list[float] = [1]
    index, count = INPUTS.get(node.op_type, (-1, product))
    if index >= 0 and (known := scope.operand(node, index)) is not None:
        counts.append(count(as_numbers(known)))
    for attribute in node.attribute:
        if rule := ATTRIBUTES.get(attribute.name):
            counts.append(rule([*attribute.ints] or [attribute.i]))
    if node.op_type == "Resize":
        last = [scope.operand(node, index) for index in (2, 3)]
        counts += [product(as_numbers(known)) for known in last if known is not None]
    if node.op_type == "Range":
        counts.append(steps_of_range([scope.operand(node, index) for index in range(3)]))
    return max(counts)


def steps_of_range(ends: Sequence[np.ndarray | None]) -> float:
    """How many numbers a Range has, as far as its ends are known."""
    numbers = [as_numbers(known)[:1] if known is not None else [] for known in ends]
    if not all(numbers):
        return 1
    (start,), (limit,), (step,) = numbers
    return max((limit - start) / step, 1) if step else 1


def as_numbers(array: np.ndarray) -> list[float]:
    """Elements as Python's numbers; not a number, and infinity, as a very large one."""
    numbers = array.astype(object).ravel().tolist()
    return [each if abs(each) < math.inf else 2**1000 for each in map(number_of, numbers)]


def number_of(element: object) -> float:
    """One element as an integer if it is one, else as a float."""
    return element if isinstance(element, int) else float(str(element))
