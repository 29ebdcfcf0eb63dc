"""A model followed node by node for batches of several sizes at once; nothing is computed."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from onnxla import ir
from onnxla.edit.batch_check import Replacement, is_static
from onnxla.edit.batch_forms import Subject, Writer, expanded, matched, other_forms
from onnxla.edit.batch_places import Place, grown_axis, merged_place, reshaped, shapes_of
from onnxla.interpret.eval import eval_at
from onnxla.interpret.program import Program
from onnxla.ir.names import quoted
from onnxla.ir.problems import Problems
from onnxla.ir.traverse import is_standard, names_read, subgraphs
from onnxla.ops.table import Operator, lookup
from onnxla.ops.values import Value, is_known

# The sizes of the batch. Two are larger than 1, since one may by chance be that of another axis.
SIZES = (1, 2, 3)
Values = dict[int, dict[str, Value]]


class Following:
    """What is known of the values of a model for a batch of each of `SIZES`.

    Attributes:
        places: Where the batch lies in each value; None if it has none.
        replacements: The nodes that could be followed, with what they become.
        problems: What is said of the others.
        values: By the batch's size, the values: known, or abstract.
    """

    def __init__(
        self,
        program: Program,
        axes: Mapping[str, int],
        shapes: Mapping[str, tuple[int, ...]],
        *,
        open: bool,
    ) -> None:
        self.program, self.axes, self.shapes, self.open = program, axes, shapes, open
        self.graph = program.graph(None)
        self.writer = Writer(program.model, *next(iter(axes.items())))
        self.constants = {t.name: t for t in self.graph.initializers if isinstance(t, ir.Tensor)}
        self.constants |= {
            node.outputs[0]: value
            for node in self.graph.nodes
            if is_standard(node, "Constant")
            and isinstance(value := node.attributes.get("value"), ir.Tensor)
        }
        self.places: dict[str, Place | None] = {}
        self.lost: set[str] = set()
        self.replacements: list[Replacement] = []
        self.problems = Problems()
        self.values: Values = {n: {} for n in SIZES}
        self.context = program.context(program.parameters.params, program.buffers, None)

    def follow(self) -> None:
        """Follows all nodes.

        Raises:
            OnnxlaError, TypeError, ValueError: The original cannot be evaluated so.
        """
        params = {
            name: jax.ShapeDtypeStruct(tensor.shape, tensor.dtype)
            for name, tensor in self.program.parameters.params.items()
        }
        inputs = {n: self.inputs(n) for n in SIZES}
        static = {
            n: {
                k: np.zeros(v.shape, v.dtype)
                for k, v in given.items()
                if is_static(self.program, k)
            }
            for n, given in inputs.items()
        }
        traced = {
            n: {k: v for k, v in given.items() if k not in static[n]} for n, given in inputs.items()
        }

        def walk(params: Any, traced: Mapping[int, Mapping[str, Value]]) -> tuple[()]:
            for n in SIZES:
                given = {**self.program.fixed, **static[n], **traced[n]}
                self.context = self.program.context(params, self.program.buffers, None, given=given)
                constants = {t.name: self.context.read(t) for t in self.graph.initializers}
                self.values[n] = {**constants, **given}
            self.places = dict.fromkeys(self.values[1])
            self.places |= {name: Place(axis) for name, axis in self.axes.items()}
            for node in self.graph.nodes:
                self.settle(node)
            return ()

        with jax.enable_x64(True), self.program.explaining_errors():
            jax.eval_shape(walk, params, traced)

    def inputs(self, n: int) -> dict[str, jax.ShapeDtypeStruct]:
        """The inputs for a batch of n."""
        found = {}
        for value in self.program.inputs:
            assert isinstance(value.type, ir.TensorType)
            shape = list(self.shapes[value.name])
            if value.name in self.axes:
                shape[self.axes[value.name]] = n
            found[value.name] = jax.ShapeDtypeStruct(shape, value.type.dtype)
        return found

    def settle(self, node: ir.Node) -> None:
        """Finds the form in which a node makes n times as much of a batch of n, and its values."""
        if names_read(node) & self.lost:  # only a consequence
            self.lost.update(node.outputs)
            return
        operator = self.operator(node)
        if operator and any(self.places.get(name) for name in node.inputs[: operator.controls]):
            self.problems.add(f"{node} is control flow that each element of a batch decides")
            self.lost.update(node.outputs)
            return
        forms = self.forms(node, self.evaluate((node,), sizes=(1,))[1])
        reasons: list[str] = []
        while True:
            try:
                if (form := next(forms, None)) is None:
                    break
                self.catch_up()
                made = self.evaluate(form)
                places = self.find_places(node, made, form)
            except (ir.OnnxlaError, TypeError, ValueError) as error:
                reasons.append(str(error).split("\n")[0])
                continue
            for n in SIZES:
                self.values[n] |= made[n]
            self.places |= places
            self.replacements.append(Replacement(node, form))
            return
        self.problems.add(f"{node} {reasons[0]}")
        self.lost.update(node.outputs)

    def forms(self, node: ir.Node, made: Mapping[str, Value]) -> Iterator[tuple[ir.Node, ...]]:
        """The node, with operands that match, and what it may become otherwise."""
        operator = self.operator(node)
        if operator is None or not any(self.places.get(name) for name in names_read(node)):
            yield (node,)
            return
        values = {**made, **{name: self.values[1][name] for name in node.inputs if name}}
        subject = Subject(
            node,
            operator,
            self.places,
            {k: tuple(v.shape) for k, v in values.items() if hasattr(v, "shape")},
            {
                name: self.constants[name].numpy()
                for name in node.inputs
                if name in self.constants and name not in self.program.parameters.params
            },
            self.open,
        )
        if subgraphs(node):
            yield expanded(subject, self.growing(subject), self.writer)
            return
        yield matched(subject, self.writer)
        yield from other_forms(subject, self.writer)

    def growing(self, subject: Subject) -> dict[str, int]:
        """The axes along which states of control flow grow that have no batch at first.

        If they are not known since control flow fails, the first of each.
        """
        try:
            made = self.evaluate((subject.node,))
        except ir.UnsupportedError:
            return dict.fromkeys(subject.states, 0)
        axes: dict[str, int] = {}
        for first, last in subject.states.items():
            axis = grown_axis(shapes_of({n: made[n][last] for n in SIZES}))
            if axis is not None:
                axes[first] = axis
        return axes

    def operator(self, node: ir.Node) -> Operator | None:
        """The table's row of a node; None for a call of a function."""
        if (node.domain, node.op_type, node.overload) in self.program.functions:
            return None
        return lookup(node.domain, node.op_type, self.program.model.opsets.get(node.domain, 1))

    def catch_up(self) -> None:
        """Evaluates the tensors and nodes that the writer has added before all others."""
        for n in SIZES:
            self.values[n] |= {tensor.name: tensor.numpy() for tensor in self.writer.tensors}
        new = [node for node in self.writer.first if node.outputs[0] not in self.values[1]]
        for n, made in self.evaluate(new).items():
            self.values[n] |= made

    def evaluate(self, nodes: Sequence[ir.Node], sizes: Sequence[int] = SIZES) -> Values:
        """What nodes make for batches of some sizes.

        Raises:
            UnsupportedError: They fail for a batch of more than 1.
            OnnxlaError, TypeError, ValueError: They fail for a batch of 1.
        """
        found: Values = {n: {} for n in sizes}
        for n in sizes:
            scope = ChainMap(found[n], self.values[n])
            try:
                for index in range(len(nodes)):
                    eval_at(index, nodes, scope, self.context)
            except Exception as error:
                if n == 1:
                    raise
                raise ir.UnsupportedError(f"fails for a batch of {n}: {error}") from error
        return found

    def find_places(
        self, node: ir.Node, made: Values, form: tuple[ir.Node, ...]
    ) -> dict[str, Place | None]:
        """Where the batch lies in a node's results.

        Raises:
            UnsupportedError: In one of them it has no place, or it lies where it need not.
        """
        operator = self.operator(node)
        # Of a conversion, the other operands may count for their types alone.
        first = operator is not None and operator.converts
        read = node.inputs[:1] if first else sorted(names_read(node))
        given = {name: place for name in read if (place := self.places.get(name))}
        shapes = {name: tuple(self.values[1][name].shape) for name in given}
        places: dict[str, Place | None] = {}
        for name in filter(None, node.outputs):
            results = {n: made[n][name] for n in SIZES}
            sizes = shapes_of(results)
            axis = grown_axis(sizes)
            if axis is not None:
                operands = [(place, shapes[each]) for each, place in given.items()]
                places[name] = self.place(node, form, sizes[1], axis, operands)
            elif given and not subgraphs(node) and not all(map(is_known, results.values())):
                # Control flow may hand on what has no batch; values show whether it has.
                operand = next(iter(given))
                raise ir.UnsupportedError(
                    f"takes the elements of a batch together: of {quoted(operand)}"
                    f" {list(shapes[operand])} it makes {list(sizes[1])} for a batch of any size"
                )
            else:
                places[name] = None
        return places

    def place(
        self,
        node: ir.Node,
        form: tuple[ir.Node, ...],
        result: tuple[int, ...],
        axis: int,
        operands: Sequence[tuple[Place, tuple[int, ...]]],
    ) -> Place:
        """Where the batch lies in a result that grows on an axis.

        Raises:
            UnsupportedError: It cannot be told, or the axis has other elements without need.
        """
        last = self.operator(form[-1])
        data = node.inputs[0] if node.inputs else ""
        place = self.places.get(data)
        if last is None or last.moves != "reshaped" or place is None:
            return merged_place(axis, result[axis], operands)
        shape = tuple(self.values[1][data].shape)
        options = reshaped(place, shape, result)
        chosen = next((each for each in options if each.axis == axis), None)
        if chosen is None or (result[axis] != 1 and result[options[0].axis] == 1):
            raise ir.UnsupportedError(f"puts the batch among the elements of axis {axis}")
        return chosen
