"""Control flow: If, Loop and Scan, with small bodies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from onnxla.ir import dtypes
from onnxla.testing.draw import Draw
from onnxla.testing.operator_cases import strategy
from onnxla.testing.strategies.optional import any_value, element_type, simplest_first
from onnxla.testing.types import dtype_of, tensor_type, type_proto
from onnxla.testing.use import Use


class Body:
    """A subgraph in the making. Its values are known by their names."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.nodes: list[onnx.NodeProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []
        self.stored: list[onnx.TensorProto] = []
        self._count = 0

    def fresh(self) -> str:
        """A name that no value has, neither here nor outside."""
        self._count += 1
        return f"{self.name}_{self._count}"

    def input(self, text: str, shape: Sequence[int] | None = None) -> str:
        """A further input of a type."""
        name = self.fresh()
        known = None if shape is None else tuple(shape)
        self.inputs.append(helper.make_value_info(name, type_proto(text, known)))
        return name

    def constant(self, array: np.ndarray) -> str:
        """A tensor that the subgraph stores."""
        name = self.fresh()
        self.stored.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def node(self, op_type: str, *inputs: str, **attributes: Any) -> str:
        """The one output of a further node."""
        name = self.fresh()
        self.nodes.append(helper.make_node(op_type, inputs, [name], **attributes))
        return name

    def output(self, name: str, text: str, shape: Sequence[int] | None = None) -> None:
        """Makes a value an output; each one only once, and nothing that is stored."""
        known = None if shape is None else tuple(shape)
        self.outputs.append(helper.make_value_info(name, type_proto(text, known)))

    def graph(self) -> onnx.GraphProto:
        """The subgraph."""
        return helper.make_graph(self.nodes, self.name, self.inputs, self.outputs, self.stored)


@dataclass
class Item:
    """A value in a body: its name there, its type, and of a tensor the shape."""

    name: str
    type: str
    shape: tuple[int, ...] = ()

    @property
    def is_tensor(self) -> bool:
        """Whether it is no sequence and no optional."""
        return self.type.startswith("tensor(")


def supports(op_type: str, version: int, text: str) -> bool:
    """Whether an operator exists in an opset and takes operands of a type."""
    try:
        found = onnx.defs.get_schema(op_type, version, "")
    except onnx.defs.SchemaError:
        return False
    return any(text in c.allowed_type_strs for c in found.type_constraints)


def number_types(draw: Draw, operand: str) -> list[str]:
    """Types of tensors that an operand may have and that can be added in the opset."""
    return simplest_first(
        t for t in draw.schema.allowed(operand) if supports("Add", draw.version, t)
    )


def stored_item(draw: Draw, body: Body, text: str, shape: Sequence[int]) -> Item:
    """A constant of a type."""
    array = draw.array(dtype_of(text), shape)
    return Item(body.constant(array), text, array.shape)


def combined(draw: Draw, body: Body, a: Item, b: Item) -> Item:
    """A value of the type and shape that two tensors have, computed from both or one of them."""
    numbers = [op for op in ("Add", "Sub") if supports(op, draw.version, a.type)]
    logic = ["Or", "Xor"] if a.type == "tensor(bool)" else []
    op = draw.choice([*numbers, *logic, "Identity"])
    inputs = (a.name,) if op == "Identity" else (a.name, b.name)
    return Item(body.node(op, *inputs), a.type, a.shape)


# If.


@strategy("If")
def if_(draw: Draw) -> Use:
    """A condition of one element, and two branches with one to three outputs of the same types.

    The branches may use tensors from outside, which only they use.
    """
    cond = draw.array(np.bool_, draw.choice(((), (1,))))
    count = draw.integer(1, 3)
    types = [branch_type(draw) for _ in range(count)]
    shapes = [draw.any_shape((0, 3), 3) for _ in range(count)]
    outer = {
        f"outer_{i}": draw.array(dtype_of(text), shape)
        for i, (text, shape) in enumerate(zip(types, shapes, strict=True))
        if text.startswith("tensor(") and draw.flag()
    }
    branches = []
    ranks: dict[str, int] = {}
    for name in ("then", "else"):
        body = Body(name)
        for i, (text, shape) in enumerate(zip(types, shapes, strict=True)):
            # Since opset 11 the branches' shapes may differ.
            if draw.version >= 11 and draw.flag():
                shape = draw.any_shape((0, 3), 3)
            captured = f"outer_{i}"
            if captured in outer and draw.flag():
                outside = Item(captured, text, shapes[i])
                other = stored_item(draw, body, text, shapes[i])
                item = combined(draw, body, outside, other)
            else:
                item = branch_item(draw, body, text, shape, cond)
            body.output(item.name, text, draw.choice((item.shape, None)))
            if item.is_tensor and bool(cond.item()) == (name == "then"):
                ranks[f"y{i}"] = len(item.shape)
        branches.append(body.graph())
    return draw.use(
        (cond,),
        {"then_branch": branches[0], "else_branch": branches[1]},
        outputs=count,
        types={f"y{i}": text for i, text in enumerate(types)},
        ranks=ranks,
        outer=outer,
    )


def branch_type(draw: Draw) -> str:
    """The type of a branch's output: half of the time one that can be computed with."""
    if not draw.flag():
        return draw.choice(number_types(draw, "outputs"))
    texts = simplest_first(draw.schema.allowed("outputs"))
    return draw.choice([t for t in texts if can_make(draw, t)])


def can_make(draw: Draw, text: str) -> bool:
    """Whether an operator of the opset makes a value of a type."""
    if text.startswith("optional("):
        return supports("Optional", draw.version, element_type(text))
    if text.startswith("seq("):
        return supports("SequenceConstruct", draw.version, text)
    return supports("Identity", draw.version, text)


def branch_item(
    draw: Draw, body: Body, text: str, shape: Sequence[int], cond: np.ndarray, depth: int = 0
) -> Item:
    """An output of a branch: of constants, of the condition outside, or of an inner If."""
    if depth == 0 and draw.integer(0, 5) == 5:
        inner = []
        for name in ("inner_then", "inner_else"):
            branch = Body(f"{name}_{len(body.nodes)}_{body.name}")
            item = branch_item(draw, branch, text, shape, cond, 1)
            branch.output(item.name, text, item.shape)
            inner.append(branch.graph())
        name = body.node("If", "cond", then_branch=inner[0], else_branch=inner[1])
        return Item(name, text, item.shape)
    if text.startswith("optional("):
        element = element_type(text)
        if not draw.flag():
            return Item(body.node("Optional", type=type_proto(element)), text)
        held = branch_item(draw, body, element, shape, cond, 1)
        return Item(body.node("Optional", held.name), text)
    if text.startswith("seq("):
        tensor = tensor_type(dtype_of(text))
        parts = [stored_item(draw, body, tensor, shape) for _ in range(draw.integer(0, 2))]
        if not parts:
            number = dtypes.number_of(dtype_of(text))
            return Item(body.node("SequenceEmpty", dtype=number), text)
        return Item(body.node("SequenceConstruct", *(p.name for p in parts)), text)
    item = stored_item(draw, body, text, shape)
    # A condition of shape [1] would give a scalar an axis.
    broadcasts = draw.version >= 7 and (item.shape or cond.ndim == 0)
    if broadcasts and text in number_types(draw, "outputs") and draw.flag():
        number = dtypes.number_of(dtype_of(text))
        captured = body.node("Cast", "cond", to=number)
        return Item(body.node("Sub", item.name, captured), text, item.shape)
    return combined(draw, body, item, stored_item(draw, body, text, item.shape))


# Loop.


@strategy("Loop")
def loop(draw: Draw) -> Use:
    """A trip count, a condition or both; up to three carried values, and up to two scan outputs.

    The body may use the initial values, from outside. It ends the loop by the number of steps, by
    its condition, or by a counter that it carries.
    """
    body = Body("body")
    step = Item(body.input("tensor(int64)", ()), "tensor(int64)", ())
    going = Item(body.input("tensor(bool)", ()), "tensor(bool)", ())
    operands = draw.choice(("M", "M and cond", "cond"))
    trips = draw.array(np.int64, draw.choice(((), (1,))), 0, 4) if "M" in operands else None
    cond = None
    if "cond" in operands:
        cond = np.array(draw.integer(0, 4) < 4)
    # Less has integers since opset 9.
    ways = ["counter", "step"] if draw.version >= 9 else []
    way = draw.choice(["on", "off", *ways] if trips is not None else ["off", *ways])
    values: list[Any] = []
    new: list[Item] = []
    shown: list[Item] = []  # tensors whose shapes stay the same
    if way == "counter":
        values.append(draw.array(np.int64, (), -2, 2))
        carried = Item(body.input("tensor(int64)", ()), "tensor(int64)", ())
        one = body.constant(np.array(draw.integer(1, 2)))
        new.append(Item(body.node("Add", carried.name, one), "tensor(int64)", ()))
        shown += [carried, new[-1]]
    # Before opset 11 a Loop carries something, later it has two operands: ONNX's shape inference
    # crashes with a single one.
    least = int(not values and (cond is None or draw.version < 11))
    for _ in range(draw.integer(least, 2)):
        carry(draw, body, values, new, shown)
    limit = body.constant(np.array(draw.integer(0, 4)))
    if way == "on":
        more = draw.choice((going.name, body.node("Identity", going.name)))
    elif way == "off":
        more = body.node("Not", going.name)
    else:
        left = new[0].name if way == "counter" else step.name
        more = body.node("Less", left, limit)
    body.output(more, "tensor(bool)", ())
    for item in new:
        shape = item.shape if item in shown and draw.flag() else None
        body.output(item.name, item.type, shape)
    scanned = []
    for _ in range(draw.integer(0 if new else 1, 2)):
        source = draw.choice([step, *shown])
        other = stored_item(draw, body, source.type, source.shape)
        scanned.append(combined(draw, body, source, other))
        body.output(scanned[-1].name, source.type, source.shape)
    results = [*new, *scanned]
    ranks = {}
    for i, item in enumerate(results):
        if item.is_tensor:
            ranks[f"y{i}"] = len(item.shape) + (i >= len(new))
    return draw.use(
        (trips, cond, *values),
        {"body": body.graph()},
        outputs=len(results),
        types={f"y{i}": item.type for i, item in enumerate(results)},
        ranks=ranks,
    )


def carry(draw: Draw, body: Body, values: list[Any], new: list[Item], shown: list[Item]) -> None:
    """Adds a value that a loop carries: its start, and in the body what becomes of it."""
    kind = draw.choice(("number", "any", "growing", "sequence", "optional"))
    outside = f"v_initial_{len(values) + 2}"
    if kind == "sequence" and draw.version >= 13:
        text = carried_type(draw, "seq(")
        values.append(any_value(draw, text))
        item = Item(body.input(text), text)
        part = stored_item(draw, body, tensor_type(dtype_of(text)), draw.shape((0, 2)))
        place = () if draw.flag() else (body.constant(np.array(0)),)
        new.append(Item(body.node("SequenceInsert", item.name, part.name, *place), text))
        return
    if kind == "optional" and draw.version >= 16:
        text = carried_type(draw, "optional(tensor")
        values.append(any_value(draw, text))
        item = Item(body.input(text), text)
        part = stored_item(draw, body, element_type(text), draw.shape((0, 2)))
        new.append(Item(body.node("Optional", part.name), text))
        return
    tensors = [t for t in draw.schema.allowed("v_initial") if t.startswith("tensor(")]
    texts = number_types(draw, "v_initial") if kind == "number" else simplest_first(tensors)
    text = draw.choice([t for t in texts if supports("Identity", draw.version, t)])
    shape = draw.any_shape((0, 3), 3)
    values.append(draw.array(dtype_of(text), shape))
    # Shapes may change since opset 11.
    grows = kind == "growing" and shape and draw.version >= 11
    if grows and supports("Concat", draw.version, text):
        item = Item(body.input(text), text)
        more = stored_item(draw, body, text, shape).name if draw.flag() else outside
        axis = draw.axis(len(shape))
        new.append(Item(body.node("Concat", item.name, more, axis=axis), text, shape))
        return
    item = Item(body.input(text, draw.choice((shape, None))), text, shape)
    other = stored_item(draw, body, text, shape)
    if draw.flag():
        other = Item(outside, text, shape)
    new.append(combined(draw, body, *((other, item) if draw.flag() else (item, other))))
    shown += [item, new[-1]]


def carried_type(draw: Draw, kind: str) -> str:
    """The type of a sequence or an optional that a loop may carry."""
    texts = [t for t in draw.schema.allowed("v_initial") if t.startswith(kind)]
    return draw.choice([t for t in texts if can_make(draw, t)])


# Scan.


@strategy("Scan")
def scan(draw: Draw) -> Use:
    """Up to two states, one or two tensors scanned along axes, and up to two outputs.

    Before opset 9 all have a batch axis before the scanned one, and sequences may end early.
    """
    batched = draw.version == 8
    body = Body("body")
    n, m = draw.integer(0, 2), draw.integer(1, 2)
    # Half of the time all have one type and shape, so that they can be combined.
    common = branch_kind(draw) if draw.flag() else None
    kinds = [common or branch_kind(draw) for _ in range(n + m)]
    items = [Item(body.input(text, shape), text, shape) for text, shape in kinds]
    states, elements = items[:n], items[n:]
    steps = draw.side(0, 4)
    batch = draw.side(1, 3)
    lead = (batch,) if batched else ()
    values = [draw.array(dtype_of(s.type), (*lead, *s.shape)) for s in states]
    axes = []
    for x in elements:
        rank = len(x.shape) + 1
        axes.append(scan_axis(draw, rank))
        shape = list(x.shape)
        shape.insert(axes[-1] % rank, steps)
        values.append(
            draw.array(dtype_of(x.type), (*lead, *(shape if not batched else (steps, *x.shape))))
        )
    new = [combined(draw, body, s, partner(draw, body, s, elements)) for s in states]
    scanned = []
    for _ in range(draw.integer(0 if n else 1, 2)):
        a = draw.choice([*elements, *states, *new])
        scanned.append(combined(draw, body, a, partner(draw, body, a, items)))
    for item in (*new, *scanned):
        body.output(item.name, item.type, item.shape)
    results = [*new, *scanned]
    attributes: dict[str, Any] = {"body": body.graph(), "num_scan_inputs": m}
    types = {f"y{i}": item.type for i, item in enumerate(results)}
    ranks = {f"y{i}": len(r.shape) + (i >= n) + batched for i, r in enumerate(results)}
    if batched:
        attributes["directions"] = draw.maybe(lambda: flags(draw, m))
        # Scan outputs beyond a sequence's end are undefined.
        least = steps if scanned else min(1, steps)
        lengths = draw.maybe(lambda: draw.array(np.int64, (batch,), least, steps))
        entries = [i + 1 for i in range(n + m)] + [0] * (lengths is not None)
        return draw.use((lengths, *values), attributes, len(results), types, ranks, batch=entries)
    attributes["scan_input_axes"] = axes if any(axes) or draw.flag() else None
    attributes["scan_input_directions"] = draw.maybe(lambda: flags(draw, m))
    if scanned:
        attributes["scan_output_axes"] = draw.maybe(
            lambda: [scan_axis(draw, len(y.shape) + 1) for y in scanned]
        )
        attributes["scan_output_directions"] = draw.maybe(lambda: flags(draw, len(scanned)))
    return draw.use(values, attributes, len(results), types, ranks)


def branch_kind(draw: Draw) -> tuple[str, tuple[int, ...]]:
    """The type and shape of a tensor in a Scan's body."""
    name = "initial_state_and_scan_inputs"
    if draw.flag():
        text = draw.choice(simplest_first(draw.schema.allowed(name)))
    else:
        text = draw.choice(number_types(draw, name))
    return text, draw.any_shape((0, 2), 3)


def partner(draw: Draw, body: Body, item: Item, among: Sequence[Item]) -> Item:
    """A tensor of the type and shape of `item`: one of some others, or else a constant."""
    fit = [o for o in among if o is not item and (o.type, o.shape) == (item.type, item.shape)]
    return draw.choice(fit) if fit else stored_item(draw, body, item.type, item.shape)


def scan_axis(draw: Draw, rank: int) -> int:
    """An axis to scan; since opset 11 it may be counted from the end."""
    return draw.axis(rank) if draw.version >= 11 else draw.integer(0, rank - 1)


def flags(draw: Draw, count: int) -> list[int]:
    """Directions: 0 forward, 1 backward."""
    return [int(draw.flag()) for _ in range(count)]
