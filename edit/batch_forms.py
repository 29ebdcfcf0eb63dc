"""Other forms of a node, in which constants no longer say that the batch is 1."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from onnxla import ir
from onnxla.edit.batch_places import Place, Shape, reshaped
from onnxla.ir.rewrite import need_opset
from onnxla.ir.traverse import names_of
from onnxla.ops.table import Operator


class Writer:
    """New tensors, and the nodes that read the size of the batch from an input.

    Attributes:
        tensors: Tensors that the new nodes read.
        first: Nodes that stand before all others: they compute from the size of the batch.
    """

    def __init__(self, model: ir.Model, name: str, axis: int) -> None:
        self.model, self.input, self.axis = model, name, axis
        self.names = names_of(model)[0]
        self.tensors: list[ir.Tensor] = []
        self.first: list[ir.Node] = []
        self.computed: dict[tuple[int, int], str] = {}

    def fresh(self, name: str) -> str:
        """A name that nothing has."""
        while name in self.names:
            name += "_"
        self.names.add(name)
        return name

    def numbers(self, name: str, values: Sequence[int]) -> str:
        """The name of a new tensor of integers."""
        name = self.fresh(name)
        self.tensors.append(ir.Tensor.of(name, np.array(values, np.int64)))
        return name

    def emit(self, op_type: str, inputs: Sequence[str], name: str, **attributes: int) -> str:
        """The name of what a new node makes, which stands before all others."""
        name = self.fresh(name)
        self.first.append(ir.Node(op_type, tuple(inputs), (name,), attributes, name=name))
        return name

    def factors(self, rank: int, axis: int) -> str:
        """The name of a vector of `rank` ones, but for the batch's size at `axis`.

        Raises:
            UnsupportedError: The model's opset has no nodes that compute sizes.
        """
        need_opset(self.model, 8, "a size that is computed from the batch's")
        if (1, 0) not in self.computed:
            shape = self.emit("Shape", [self.input], "batch.shape")
            place = self.numbers("batch.axis", [self.axis])
            self.computed[1, 0] = self.emit("Gather", [shape, place], "batch.size", axis=0)
        if (rank, axis) not in self.computed:
            around = [[1] * axis, [1] * (rank - 1 - axis)]
            before, after = ([self.numbers("batch.ones", ones)] if ones else [] for ones in around)
            parts = [*before, self.computed[1, 0], *after]
            self.computed[rank, axis] = self.emit("Concat", parts, "batch.factors", axis=0)
        return self.computed[rank, axis]


@dataclass(frozen=True)
class Subject:
    """A node of the original, and what is known of it for a batch of 1.

    Attributes:
        places: Where the batch lies in its operands.
        shapes: The shapes of its operands, and of its results.
        constants: Numbers of its operands that are constants of the file.
        open: Whether the model has other sizes that are not fixed.
    """

    node: ir.Node
    operator: Operator
    places: Mapping[str, Place | None]
    shapes: Mapping[str, Shape]
    constants: Mapping[str, np.ndarray]
    open: bool

    @property
    def place(self) -> Place | None:
        """Where the batch lies in the first operand."""
        return self.places.get(self.node.inputs[0]) if self.node.inputs else None

    @property
    def result(self) -> Shape:
        """The shape of the first result."""
        return self.shapes[self.node.outputs[0]]

    @property
    def states(self) -> dict[str, str]:
        """Of control flow, what a state becomes by what it is at first, if both have a shape."""
        pairs = zip(self.node.inputs[self.operator.controls :], self.node.outputs, strict=False)
        return {
            first: last
            for first, last in pairs
            if first in self.shapes and self.shapes[first] == self.shapes.get(last)
        }

    @property
    def options(self) -> list[Place]:
        """Where the batch may lie in the result of a node that only reshapes its operand."""
        data, *_ = self.node.inputs
        if self.place is None or math.prod(self.shapes[data]) != math.prod(self.result):
            return []
        return reshaped(self.place, self.shapes[data], self.result)


def other_forms(subject: Subject, writer: Writer) -> Iterator[tuple[ir.Node, ...]]:
    """What may make n times as much of a batch of n, where the node itself does not."""
    if subject.operator.moves and not subject.open and len(subject.node.outputs) == 1:
        yield from as_reshape(subject, writer)
    if subject.operator.shaped_by:
        yield from with_stated_size(subject, writer)


def matched(subject: Subject, writer: Writer) -> tuple[ir.Node, ...]:
    """The node, after nodes that expand operands of size 1 which it does not broadcast.

    As a class token that stands before patches, or the state before the first step.
    """
    node, operator = subject.node, subject.operator
    others = [place.axis for name in node.inputs if (place := subject.places.get(name))]
    along: Any = node.attributes.get("axis", operator.attributes.get("axis"))
    along = 1 if along is None else along  # as the first version of Concat
    axes: dict[str, int] = {}
    for index, name in enumerate(node.inputs):
        operand = operator.input_name(index)
        if not name or not others or operand not in operator.matched:
            continue
        axis = operator.matched_axis(operand, node.attributes, min(others))
        aligned = operator.matched[operand] is None
        rank = max(len(subject.shapes[name]), 1)
        if not aligned or along % rank != axis:  # there, elements are joined or picked
            axes[name] = axis
    return expanded(subject, axes, writer)


def expanded(subject: Subject, axes: Mapping[str, int], writer: Writer) -> tuple[ir.Node, ...]:
    """The node, after nodes that expand operands without a batch along axes of size 1."""
    made: dict[str, ir.Node] = {}
    for name, axis in axes.items():
        shape = subject.shapes[name]
        if subject.places.get(name) is None and axis < len(shape) and shape[axis] == 1:
            output = writer.fresh(f"{name}.expanded")
            inputs = (name, writer.factors(len(shape), axis))
            made[name] = ir.Node("Expand", inputs, (output,), name=output)
    if not made:
        return (subject.node,)
    named = (made[name].outputs[0] if name in made else name for name in subject.node.inputs)
    return (*made.values(), replace(subject.node, inputs=tuple(named)))


def as_reshape(subject: Subject, writer: Writer) -> Iterator[tuple[ir.Node, ...]]:
    """A Reshape in the place of a node that for a batch of 1 does no more.

    So do Squeeze of the batch, Gather of its first element and Slice of all of them.
    """
    for place in subject.options[:1]:
        need_opset(writer.model, 5, "a Reshape to a size that is not known")
        node = subject.node
        sizes = [-1 if axis == place.axis else n for axis, n in enumerate(subject.result)]
        shape = writer.numbers(f"{node.outputs[0]}.shape", sizes)
        yield (ir.Node("Reshape", (node.inputs[0], shape), node.outputs, name=node.name),)


def with_stated_size(subject: Subject, writer: Writer) -> Iterator[tuple[ir.Node, ...]]:
    """The node with the size of the batch in the operand that states its result's sizes."""
    node, operator = subject.node, subject.operator
    assert operator.shaped_by is not None
    index = operator.inputs.index(operator.shaped_by)
    stated = node.inputs[index] if len(node.inputs) > index else ""
    places = subject.options if operator.moves else [subject.place]
    if not stated or not places or places[0] is None:
        return
    (count,), axis = subject.shapes[stated], places[0].axis
    axes: Any = node.attributes.get("axes")
    if axes:  # of others, nothing is stated
        axes = [each % len(subject.result) for each in axes]
        if axis not in axes:
            return
        axis = axes.index(axis)
    before: tuple[ir.Node, ...] = ()
    numbers = subject.constants.get(stated)
    if operator.moves and numbers is not None and -1 not in numbers:
        sizes = [-1 if i == axis else n for i, n in enumerate(numbers.tolist())]
        new = writer.numbers(f"{node.outputs[0]}.shape", sizes)
    else:
        new = writer.fresh(f"{node.outputs[0]}.shape")
        factors = writer.factors(count, axis)
        before = (ir.Node("Mul", (stated, factors), (new,), name=new),)
    inputs = (*node.inputs[:index], new, *node.inputs[index + 1 :])
    yield (*before, replace(node, inputs=inputs))
