"""A graph while it is drawn, node by node."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
from hypothesis import strategies as st
from onnx import NodeProto, helper, numpy_helper

from onnxla.testing.case import CLOSE, Case
from onnxla.testing.fault_records import fault_of
from onnxla.testing.operator_cases import STRATEGIES, stored_operands
from onnxla.testing.random_graphs.connecting import ConnectingDraw
from onnxla.testing.random_graphs.evaluation import evaluated
from onnxla.testing.random_graphs.functions import outline
from onnxla.testing.random_graphs.protos import (
    every_node,
    info_of,
    model_of,
    names_read,
    needed_nodes,
)
from onnxla.testing.random_graphs.values import (
    DrawnScope,
    DrawnValue,
    Runs,
    are_near,
    with_errors,
)
from onnxla.testing.random_graphs.vocabulary import SUBGRAPHS, is_number, schema_at, takes
from onnxla.testing.schemas import Schema
from onnxla.testing.types import Typed, tensor_type, type_proto, type_string
from onnxla.testing.use import Use, add_shapes, case_of

T = TypeVar("T")

SEEDS = st.integers(0, 2**32 - 1)
MAX_DEPTH = 2  # of subgraphs within each other
MAX_FUNCTIONS = 2
KINDS = 7  # one step in so many more makes a node with subgraphs
# Among how many of the deepest values a node chooses: all for a broad graph, few for a deep one.
REACHES = (1000, 1, 2, 4)
PEERS = ("reference", "onnxruntime", "shape inference")


class DrawnGraph:
    """What is drawn of a graph so far.

    Attributes:
        ops: Names of operators.
        opset: The opset version.
        dtypes: Dtypes of operands that are likely.
        state: A hash of all that has been drawn.
        left: How many nodes there may still be.
        reach: Among how many of the deepest values a node chooses its operands.
        main: The main graph.
        inputs: Its inputs by name.
        settings: `rtol` and `steps` of each node, by its first output.
    """

    def __init__(
        self,
        draw: st.DrawFn,
        max_nodes: int,
        ops: Sequence[str],
        opset: int,
        dtypes: Sequence[np.dtype[Any]],
        state: int = 0,
    ) -> None:
        self._draw = draw
        self.state = state
        self.ops = ops
        self.opset = opset
        self.dtypes = dtypes
        self.left = max_nodes
        self._asked = 0
        # As examples are when they shrink, and few others.
        self._plain = self.draw(st.tuples(SEEDS, SEEDS, SEEDS)) == (0, 0, 0)
        self.reach = self.draw(st.sampled_from(REACHES))
        self.main = DrawnScope()
        self.inputs: dict[str, np.ndarray] = {}
        self.settings: dict[str, tuple[float, int]] = {}
        self._count = 0

    def draw(self, strategy: st.SearchStrategy[T]) -> T:
        """Draws, and remembers what."""
        return self._remember(self._draw(strategy))

    def _remember(self, value: T) -> T:
        self.state = zlib.crc32(repr(value).encode(), self.state)
        return value

    def integer(self, low: int, high: int) -> int:
        """A drawn integer, both bounds included."""
        return int(self.draw(st.integers(low, high)))

    def rng(self) -> np.random.Generator:
        """Random numbers that follow from all that has been drawn, others each time.

        They decide which operands connect and what numbers they have. Most examples that Hypothesis
        makes differ from others in a choice or two; so these, too, are other graphs. In a plain
        graph they follow from what was drawn for a node, so that others can be deleted.
        """
        self._asked += 1
        return np.random.default_rng((self.state, self._asked))

    def chance(self, probability: float) -> bool:
        """True with a probability; False in a plain graph."""
        return not self._plain and bool(self.rng().random() < probability)

    def name(self, kind: str) -> str:
        """A name that no other value has."""
        self._count += 1
        return f"{kind}{self._count}"

    # Values.

    def usable(self, scope: DrawnScope) -> list[DrawnValue]:
        """Values that a new node may use, the deepest last."""
        found = [value for value in scope.visible() if value.usable]
        return sorted(found, key=lambda value: value.depth)

    def one_of(self, values: Sequence[DrawnValue]) -> DrawnValue:
        """One of the deepest of some values."""
        return values[-1 - int(self.rng().integers(min(len(values), self.reach)))]

    def focus(self, scope: DrawnScope) -> DrawnValue | None:
        """The value that a new node is to use, if it can."""
        usable = self.usable(scope)
        return self.one_of(usable) if usable and self.chance(0.9) else None

    def leaves_the_chain(self, operands: Sequence[DrawnValue | None]) -> bool:
        """Whether a node of a deep graph is not to be added, as it uses none of the deepest values.

        A few are, or there would be no branches.
        """
        deepest = max((value.depth for value in self.main.values), default=0)
        near = max((value.depth for value in operands if value), default=0) >= deepest - self.reach
        return not near and self.chance(0.8)

    def constant(self, scope: DrawnScope, array: np.ndarray, stored: bool) -> DrawnValue:
        """A new initializer, or a new input of the main graph."""
        home = scope if stored else scope.root()
        value = DrawnValue(self.name("w" if stored else "x"), (array, array, array))
        home.values.append(value)
        if stored:
            scope.initializers.append(numpy_helper.from_array(array, value.name))
        else:
            self.inputs[value.name] = array
        return value

    def append(
        self,
        scope: DrawnScope,
        node: NodeProto,
        results: Sequence[Runs],
        operands: Sequence[DrawnValue],
        rtol: float = 0.0,
        steps: int = 0,
    ) -> list[DrawnValue]:
        """A node that has been evaluated; the values that it makes."""
        scope.nodes.append(node)
        depth = 1 + max((value.depth for value in operands), default=0)
        named = [name for name in node.output if name]
        values = []
        for name, runs in zip(named, results, strict=True):
            self.settings[name] = rtol, steps
            moved = with_errors(runs, rtol, steps, self.rng())
            values.append(DrawnValue(name, moved, depth))
        scope.values += values
        return values

    def identity(self, scope: DrawnScope, value: DrawnValue) -> DrawnValue:
        """A node that makes a copy of a value: a subgraph returns only what it makes."""
        node = helper.make_node("Identity", [value.name], [self.name("y")])
        return self.append(scope, node, [value.runs], [value])[0]

    def agree(self, results: Sequence[Runs], rtol: float, steps: int) -> bool:
        """Whether the errors in what was computed before leave results that can be compared."""
        settings = [*self.settings.values(), (rtol, steps)]
        loosest = max(rtol for rtol, _ in settings) * len(settings)
        most = max(steps for _, steps in settings)
        return all(are_near(runs[0], run, loosest, most) for runs in results for run in runs[1:])

    # Nodes.

    def add_nodes(self, scope: DrawnScope, count: int) -> None:
        """About as many nodes, those of subgraphs included."""
        until = self.left - count
        for _ in range(2 * count):
            if self.left <= until:
                break
            # In a strategy of its own, so that a node can be deleted when an example shrinks.
            self._draw(drawn_step(self, scope))

    def step(self, kind: int, scope: DrawnScope) -> None:
        """One more node, if what is drawn turns out to be one: of a high kind with subgraphs."""
        from onnxla.testing.random_graphs.subgraphs import MAKERS

        if self._plain:
            self.state = self._asked = 0
        kinds = [name for name in SUBGRAPHS if name in self.ops]
        names = [name for name in self.ops if name not in SUBGRAPHS]
        room = scope.depth < MAX_DEPTH and self.left >= 3
        if kinds and room and (not names or self._remember(kind) == KINDS):
            make: Any = MAKERS[self.draw(st.sampled_from(kinds))]
            make(self, scope)
        elif names:
            focus = self.focus(scope)
            if focus is not None:
                dtype = focus.array.dtype
                names = [name for name in names if takes(name, dtype, self.opset)] or names
            self.operator(scope, self.draw(st.sampled_from(names)), focus)

    def operator(
        self,
        scope: DrawnScope,
        name: str,
        focus: DrawnValue | None = None,
        asked: tuple[np.dtype[Any], tuple[int, ...]] | None = None,
    ) -> list[DrawnValue]:
        """A node of an operator; the values that it makes, none if it is not added."""
        self.left -= 1
        found = schema_at(name, self.opset)
        graph: Any = self  # it and the class that the other file names have two paths
        drawing = ConnectingDraw(graph, scope, found, focus, asked)
        use = STRATEGIES["", name](drawing)
        added = self._add(scope, found, drawing, use)
        if not added:
            self.left += 1
        return added

    def _add(
        self, scope: DrawnScope, found: Schema, drawing: ConnectingDraw, use: Use
    ) -> list[DrawnValue]:
        if use.tolerance.random or any(isinstance(value, Typed | list) for value in use.inputs):
            return []
        taken = [drawing.value_of(array) for array in use.inputs]
        if self.leaves_the_chain(taken):
            return []
        stored = stored_operands(drawing)
        case = case_of(use, found.version, lambda i, name: taken[i] is None and stored(i, name))
        ends = (*case.proto.graph.input, *case.proto.graph.output)
        texts = [type_string(value.type) for value in ends]
        if not all(map(is_number, texts)) or fault_of(case, PEERS):
            return []
        rtol, steps = use.tolerance.scaled, use.tolerance.steps or 0
        formals = case.node.input
        while True:
            given = [(f, value) for f, value in zip(formals, taken, strict=False) if value]
            feeds = [{**case.inputs, **{f: v.runs[run] for f, v in given}} for run in range(3)]
            results = evaluated(case.proto, feeds)
            if results is None:
                return []
            if self.agree(results, rtol, steps):
                break
            if all(value is None or value.exact for value in taken):
                return []
            taken = [v if v is None or v.exact else None for v in taken]
            if self.leaves_the_chain(taken):
                return []
        initializers = {t.name: numpy_helper.to_array(t) for t in case.proto.graph.initializer}
        names = []
        for formal, value in zip(formals, taken, strict=False):
            if formal and value is None:
                array = initializers.get(formal, case.inputs.get(formal))
                value = self.constant(scope, np.asarray(array), formal in initializers)
            names.append(value.name if value else "")
        proto = NodeProto()
        proto.CopyFrom(case.node)
        proto.input[:] = names
        proto.output[:] = [name and self.name("y") for name in case.node.output]
        return self.append(scope, proto, results, [v for v in taken if v], rtol, steps)

    def append_subgraphs(
        self, scope: DrawnScope, node: NodeProto, kinds: Sequence[np.dtype[Any]]
    ) -> None:
        """A node with subgraphs, if it can be evaluated and its results can be compared."""
        visible = {value.name: value for value in scope.visible()}
        read = [visible[name] for name in sorted(names_read(node)) if name in visible]
        model = model_of(
            DrawnScope(nodes=[node]),
            [info_of(value) for value in read],
            [
                helper.make_value_info(name, type_proto(tensor_type(dtype)))
                for name, dtype in zip(node.output, kinds, strict=True)
            ],
            self.opset,
        )
        feeds = [{value.name: value.runs[run] for value in read} for run in range(3)]
        results = evaluated(model, feeds)
        if results is not None and self.agree(results, 0.0, 0):
            self.append(scope, node, results, read)

    # The whole.

    def case(self) -> Case | None:
        """The graph with some of its values as outputs, and without nodes that none needs."""
        made = self.main.made()
        if not made:
            return None
        used = {name for node in self.main.nodes for name in names_read(node)}
        # Mostly the values that no node uses, and a few others.
        outputs = [
            value for value in made if self.chance(0.25 if value.name in used else 0.95)
        ] or made[:1]
        nodes = needed_nodes(self.main.nodes, {value.name for value in outputs})
        read = {name for node in nodes for name in names_read(node)}
        inputs = {name: array for name, array in self.inputs.items() if name in read}
        values = {value.name: value for value in self.main.values}
        kept = DrawnScope(
            nodes=nodes,
            initializers=[t for t in self.main.initializers if t.name in read],
        )
        model = model_of(
            kept,
            [info_of(values[name]) for name in inputs],
            [
                helper.make_value_info(v.name, type_proto(tensor_type(v.array.dtype)))
                for v in outputs
            ],
            self.opset,
        )
        add_shapes(model, inputs, {value.name: value.array.ndim for value in outputs})
        every = list(every_node(nodes))
        if len(every) > 2:
            for number in range(self.integer(0, MAX_FUNCTIONS)):
                outline(self.integer, model, f"F{number + 1}")
        settings = [self.settings[next(filter(None, node.output))] for node in every]
        return Case(
            model.SerializeToString(),
            inputs,
            replace(
                CLOSE,
                scaled=max(CLOSE.scaled, max(rtol for rtol, _ in settings)) * len(every),
                steps=max(steps for _, steps in settings),
            ),
        )


@st.composite
def drawn_step(draw: st.DrawFn, graph: DrawnGraph, scope: DrawnScope) -> None:
    """One more node."""
    graph.step(draw(st.integers(0, KINDS)), scope)
