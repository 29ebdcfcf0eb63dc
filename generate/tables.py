"""Tables that a graph looks positions up in, and whether a position is beyond their end.

They are learned embeddings, cosines and sines, or masks. What is read beyond the end is no error in
a compiled program, and the tokens after it are wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from onnxla import ir
from onnxla.interpret.eval import eval_graph
from onnxla.interpret.program import Program
from onnxla.ir.names import quoted
from onnxla.ops.values import Value, is_known
from onnxla.parameters.sources import is_constant

MICROSOFT = "com.microsoft"
# By operator: the operand that is a table, and those, the first that is there, that say where it
# is read.
TABLES = {
    ("", "Gather"): (0, 1),
    ("", "GatherND"): (0, 1),
    ("", "Slice"): (0, 1, 2, 3, 4),
    ("", "RotaryEmbedding"): (1, 3),
    (MICROSOFT, "RotaryEmbedding"): (2, 1),
    (MICROSOFT, "GatherBlockQuantized"): (0, 1),
    (MICROSOFT, "GroupQueryAttention"): (7, 9, 5),
}
UNENDING = 2**31 - 1  # an end from here on means the end of the axis, wherever that is


@dataclass(frozen=True)
class Exceeded:
    """A table that ends before a position.

    Attributes:
        node: The node that reads it.
        name: What it is called.
        size: How long it is.
        missing: How much too short.
    """

    node: ir.Node
    name: str
    size: int
    missing: int

    def __str__(self) -> str:
        """Which node reads which table, and its length."""
        node = f"{self.node.op_type} {quoted(self.node.name or self.node.outputs[0])}"
        return f"{node} has a table of {self.size}, {quoted(self.name)}"


@dataclass(frozen=True)
class TableRead:
    """A node that looks something up in a constant or parameter.

    Attributes:
        node: The node.
        names: Of the table, and of what says where it is read; "" for what is absent.
    """

    node: ir.Node
    names: tuple[str, ...]


def table_reads(program: Program) -> list[TableRead]:
    """The nodes of a graph that may look positions up."""
    found = []
    for node in program.model.graph.nodes:
        places = TABLES.get((node.domain, node.op_type), ())
        sources = dict(enumerate(program.analysis.operands.get(node, ())))
        table, *where = (sources.get(place) for place in places) if places else (None,)
        if is_constant(table) and not all(is_constant(each) for each in where if each is not None):
            names = dict(enumerate(node.inputs))
            found.append(TableRead(node, tuple(names.get(place, "") for place in places)))
    return found


def exceeded(
    program: Program, given: Sequence[Any], inputs: Any, known: Mapping[str, Value]
) -> Exceeded | None:
    """The table that is the most too short for what some inputs make a graph look up in it.

    Args:
        program: The graph.
        given: Its parameters and large constants.
        inputs: Inputs of which only shapes and types count.
        known: Numpy arrays for the others: positions, masks and the like.
    """
    nodes = table_reads(program)
    wanted = tuple(dict.fromkeys(name for each in nodes for name in each.names if name))
    found: list[Exceeded] = []

    def look(given: Sequence[Any], inputs: Any) -> None:
        """Evaluates what these nodes read, and nothing else of the graph."""
        params, buffers = given
        inputs = {**program.fixed, **inputs, **known}
        context = program.context(params, buffers, None, given=inputs)
        values = dict(zip(wanted, eval_graph(program.graph(wanted), inputs, context), strict=True))
        for each in nodes:
            table, *where = each.names
            shape, places = np.shape(values[table]), [values.get(name) for name in where]
            for size, last in looked_up(each.node, shape, places):
                if last >= size:
                    found.append(Exceeded(each.node, each.names[0], size, last + 1 - size))

    if nodes:
        jax.eval_shape(look, given, inputs)
    return max(found, key=lambda each: each.missing, default=None)


def looked_up(
    node: ir.Node, shape: tuple[int, ...], where: Sequence[Any]
) -> Iterator[tuple[int, int]]:
    """The sizes of a table's axes, and the last position of each that a node reads, if known."""
    if node.op_type == "Slice":
        yield from sliced(shape, where)
        return
    at = next((each for each in where if each is not None), None)
    if at is None or not is_known(at) or not np.size(at):
        return
    if node.op_type == "GatherND":
        if not node.attributes.get("batch_dims"):
            yield from zip(shape, at.reshape(-1, at.shape[-1]).max(0).tolist(), strict=False)
        return
    axis = node.attributes.get("axis", node.attributes.get("gather_axis", 0))
    yield shape[int(str(axis))], int(at.max())


def sliced(shape: Sequence[int], operands: Sequence[Any]) -> Iterator[tuple[int, int]]:
    """As `looked_up`, of what is sliced forwards; operands are starts, ends, axes and steps."""
    starts, ends, axes, steps = operands
    if not is_known([*operands]):
        return
    axes = np.arange(len(starts)) if axes is None else axes
    steps = np.ones(len(starts), np.int64) if steps is None else steps
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if step == 1:
            yield shape[int(axis)], int(start if end >= UNENDING else max(start, end - 1))
