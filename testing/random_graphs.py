"""Small graphs: operators that feed each other, with subgraphs, as cases for two runtimes.

A node is drawn by its operator's strategy, which asks for arrays. Where it takes any numbers of a
dtype and shape, it is given a value that the graph has already. Every node is evaluated at once, by
the reference evaluator, three times: as it is, and twice with small errors in all that was computed
before. Where the errors grow, as in a difference of nearly equal numbers, or where they change an
integer, as in Floor of a number that is just one, two runtimes may rightly differ; then the node
gets copies of the computed values as inputs. So the numbers of a graph stay comparable.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import ml_dtypes
import numpy as np
import onnx
from hypothesis import strategies as st
from onnx import NodeProto, TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from onnxla.ir import STRING, dtypes
from onnxla.ops import lookup
from onnxla.peers.difference import is_integer
from onnxla.testing.case import CLOSE, Case
from onnxla.testing.draw import Draw
from onnxla.testing.fault_records import fault_of
from onnxla.testing.operator_cases import STRATEGIES, operators, stored_operands
from onnxla.testing.schemas import Schema, schema
from onnxla.testing.types import Typed, dtype_of, tensor_type, type_proto, type_string
from onnxla.testing.use import IR_VERSION, Use, add_shapes, case_of
from onnxla.testing.wanted import Wanted

OPSET = onnx.defs.onnx_opset_version()
SUBGRAPHS = ("If", "Loop")
MAX_DEPTH = 2  # of subgraphs within each other
MAX_SIZE = 500  # elements of a value that is used again
MAX_NUMBER = 16.0  # its largest: near those that strategies draw, where no sigmoid saturates
# Operators that make a value of any shape, for a node that asks for one that the graph lacks.
PRODUCERS = ("Add", "Mul", "Sub", "Relu", "Tanh", "Neg", "Abs", "Sigmoid", "And", "Not")
NUMBERS = tuple(d for number in range(1, 27) if (d := dtypes.dtype_of(number)) != STRING)
USUAL = (np.dtype(np.float32), np.dtype(np.int64), np.dtype(np.bool_))
PEERS = ("reference", "onnxruntime")

# A value as it is, and twice with small errors.
Runs = tuple[np.ndarray, np.ndarray, np.ndarray]


def graphs(max_nodes: int = 6, ops: Iterable[str] | None = None) -> st.SearchStrategy[Case]:
    """Directed acyclic graphs of ONNX's own operators, at the newest opset.

    Values are shared; some are both used and output; branches and loops use values of the graph
    around them. A node that meets a known fault of the reference evaluator or of ONNX Runtime, or
    that the reference evaluator cannot run, does not occur.

    Args:
        max_nodes: How many nodes there are at most, those of subgraphs included.
        ops: Names of the operators; by default those of `graph_operators`, If and Loop.

    Raises:
        KeyError: An operator has no strategy.
    """
    names = (*graph_operators(), *SUBGRAPHS) if ops is None else tuple(ops)
    for name in names:
        if name not in SUBGRAPHS and ("", name) not in operators():
            raise KeyError(f"no strategy for the operator ai.onnx.{name}")
    return drawn_graphs(max_nodes, names)


@functools.cache
def graph_operators() -> tuple[str, ...]:
    """Operators that graphs have: tensors of numbers go in and come out, and none is random.

    So those are left out that need strings, sequences, optionals or maps, and those with
    subgraphs. If and Loop, whose branches are drawn as graphs, are not listed.
    """
    names = []
    for (domain, name), versions in operators().items():
        if domain or not onnx.defs.has(name):
            continue
        described = onnx.defs.get_schema(name, OPSET)
        found = schema(name, versions[-1])
        operator = lookup("", name, versions[-1])
        if (
            not described.deprecated
            and not (operator and "key" in operator.reserved)
            and all(a.type != a.type.GRAPH for a in described.attributes.values())
            and all(any(map(is_number, found.allowed(n))) for n in (*found.inputs, *found.outputs))
        ):
            names.append(name)
    return tuple(sorted(names, key=lambda n: PRODUCERS.index(n) if n in PRODUCERS else 99))


def is_number(text: str) -> bool:
    """Whether a type string is that of a tensor of numbers."""
    return text.startswith("tensor(") and text != "tensor(string)"


@dataclass(frozen=True, eq=False)
class DrawnValue:
    """A value of the graph.

    Attributes:
        name: Its name.
        runs: Its numbers.
        by_node: Whether a node makes it.
    """

    name: str
    runs: Runs
    by_node: bool

    @property
    def array(self) -> np.ndarray:
        """The value as it is."""
        return self.runs[0]

    @property
    def exact(self) -> bool:
        """Whether any two runtimes have the same numbers."""
        return all(np.array_equal(run, self.array) for run in self.runs[1:])

    @functools.cached_property
    def usable(self) -> bool:
        """Whether other nodes may use it."""
        if self.array.size > MAX_SIZE:
            return False
        with np.errstate(all="ignore"):
            return bool(np.all(np.abs(as_double(self.array)) <= MAX_NUMBER))


@dataclass(eq=False)
class DrawnScope:
    """The main graph, or a subgraph, while it is drawn.

    Attributes:
        outer: The graph around it.
        values: What has been made in it so far.
        nodes: Its nodes, in order.
        initializers: Its initializers.
        depth: How many graphs are around it.
    """

    outer: DrawnScope | None = None
    values: list[DrawnValue] = field(default_factory=list)
    nodes: list[NodeProto] = field(default_factory=list)
    initializers: list[TensorProto] = field(default_factory=list)
    depth: int = 0

    def visible(self) -> list[DrawnValue]:
        """All values that a node of this scope may read."""
        return (self.outer.visible() if self.outer else []) + self.values

    def made(self) -> list[DrawnValue]:
        """Values that its own nodes make."""
        return [value for value in self.values if value.by_node]

    def root(self) -> DrawnScope:
        """The main graph."""
        return self.outer.root() if self.outer else self


class DrawnGraph:
    """What is drawn of a graph so far.

    Attributes:
        draw: Draws.
        ops: Names of operators.
        left: How many nodes there may still be.
        main: The main graph.
        inputs: Its inputs by name.
        settings: `rtol` and `steps` of each node, by its first output.
    """

    def __init__(self, draw: st.DrawFn, max_nodes: int, ops: Sequence[str]) -> None:
        self.draw = draw
        self.ops = ops
        self.left = max_nodes
        self.main = DrawnScope()
        self.inputs: dict[str, np.ndarray] = {}
        self.settings: dict[str, tuple[float, int]] = {}
        self._count = 0

    def integer(self, low: int, high: int) -> int:
        """A drawn integer, both bounds included."""
        return int(self.draw(st.integers(low, high)))

    def often(self) -> bool:
        """True in most cases; false is the simpler one."""
        return self.integer(0, 9) > 0

    def name(self, kind: str) -> str:
        """A name that no other value has."""
        self._count += 1
        return f"{kind}{self._count}"

    # Values.

    def constant(self, scope: DrawnScope, array: np.ndarray, stored: bool) -> DrawnValue:
        """A new initializer, or a new input of the main graph."""
        home = scope if stored else scope.root()
        value = DrawnValue(self.name("w" if stored else "x"), (array, array, array), by_node=False)
        home.values.append(value)
        if stored:
            scope.initializers.append(numpy_helper.from_array(array, value.name))
        else:
            self.inputs[value.name] = array
        return value

    def append(
        self, scope: DrawnScope, node: NodeProto, results: Sequence[Runs], rtol: float, steps: int
    ) -> list[DrawnValue]:
        """A node that has been evaluated; the values that it makes."""
        scope.nodes.append(node)
        named = [name for name in node.output if name]
        values = []
        for name, runs in zip(named, results, strict=True):
            self.settings[name] = rtol, steps
            values.append(DrawnValue(name, self._with_errors(runs, rtol, steps), by_node=True))
        scope.values += values
        return values

    def identity(self, scope: DrawnScope, value: DrawnValue) -> DrawnValue:
        """A node that makes a copy of a value: a subgraph returns only what it makes."""
        node = helper.make_node("Identity", [value.name], [self.name("y")])
        return self.append(scope, node, [value.runs], 0.0, 0)[0]

    def _with_errors(self, runs: Runs, rtol: float, steps: int) -> Runs:
        """Results as another runtime might have them: with errors of opposite signs."""
        first, second, third = runs
        signs = np.random.default_rng(self._count).choice((-1, 1), first.shape)
        if first.dtype == np.bool_ or (is_integer(first.dtype) and not steps):
            return runs
        with np.errstate(all="ignore"):
            if is_integer(first.dtype):
                info = ml_dtypes.iinfo(first.dtype)
                moved = [
                    np.clip(run.astype(np.int64) + sign * steps, int(info.min), int(info.max))
                    for run, sign in ((second, signs), (third, -signs))
                ]
            else:
                error = signs * (tolerance_of(first.dtype, rtol) * scale_of(first) / 4)
                moved = [as_double(second) + error, as_double(third) - error]
            return first, moved[0].astype(first.dtype), moved[1].astype(first.dtype)

    def agree(self, results: Sequence[Runs], rtol: float, steps: int) -> bool:
        """Whether the errors in what was computed before leave results that can be compared."""
        settings = [*self.settings.values(), (rtol, steps)]
        loosest = max(rtol for rtol, _ in settings) * len(settings)
        most = max(steps for _, steps in settings)
        return all(are_near(runs[0], run, loosest, most) for runs in results for run in runs[1:])

    # Nodes.

    def step(self, draw: st.DrawFn, scope: DrawnScope) -> None:
        """One more node, if what is drawn turns out to be one."""
        kinds = [name for name in SUBGRAPHS if name in self.ops]
        names = [name for name in self.ops if name not in SUBGRAPHS]
        room = scope.depth < MAX_DEPTH and self.left >= 3
        if kinds and room and (not names or draw(st.integers(0, 7)) == 7):
            if draw(st.sampled_from(kinds)) == "If":
                self.branches(scope)
            else:
                self.loop(scope)
        elif names:
            self.operator(scope, draw(st.sampled_from(names)))

    def operator(
        self,
        scope: DrawnScope,
        name: str,
        wanted: tuple[np.dtype[Any], tuple[int, ...]] | None = None,
    ) -> list[DrawnValue]:
        """A node of an operator; the values that it makes, none if it is not added."""
        self.left -= 1
        found = schema(name, operators()["", name][-1])
        drawing = ConnectingDraw(self, scope, found, wanted)
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
        return self.append(scope, proto, results, rtol, steps)

    def subgraph(self, scope: DrawnScope, values: Sequence[DrawnValue] = ()) -> DrawnScope:
        """A subgraph of one or two nodes, that knows some values of its own from the start."""
        inner = DrawnScope(scope, [*values], depth=scope.depth + 1)
        for _ in range(self.integer(1, 2)):
            if self.left > 0:
                self.draw(drawn_step(self, inner))
        return inner

    def branches(self, scope: DrawnScope) -> None:
        """An If, both of whose branches are drawn."""
        self.left -= 1
        drawing = ConnectingDraw(self, scope, schema("If", operators_version("If")))
        condition = drawing.place(drawing.array(np.bool_, ()))
        then, other = self.subgraph(scope), self.subgraph(scope)
        if not then.made():
            self.identity(then, drawing.place(drawing.array(np.float32, drawing.shape())))
        results = then.made()[-self.integer(1, 2) :]
        matching: list[DrawnValue] = []
        for value in results:
            matching.append(self.value_like(other, value, matching))
        node = helper.make_node(
            "If",
            [condition.name],
            [self.name("y") for _ in results],
            then_branch=subgraph_proto("then", then, results),
            else_branch=subgraph_proto("else", other, matching),
        )
        self._add_subgraphs(scope, node, [value.array.dtype for value in results])

    def value_like(
        self, scope: DrawnScope, wanted: DrawnValue, but: Sequence[DrawnValue]
    ) -> DrawnValue:
        """A value that a subgraph makes, of the dtype and rank of another, and not one of some."""
        own = [value for value in scope.made() if same_kind(value, wanted) and value not in but]
        if own:
            return own[-1]
        around = [value for value in scope.visible() if same_kind(value, wanted)]
        if not around:
            drawing = ConnectingDraw(self, scope, schema("If", operators_version("If")))
            array = Draw.array(drawing, wanted.array.dtype, wanted.array.shape)
            around = [self.constant(scope, array, stored=True)]
        return self.identity(scope, around[-1])

    def loop(self, scope: DrawnScope) -> None:
        """A Loop of up to three steps that carries a value or two, and may stack a third."""
        self.left -= 1
        drawing = ConnectingDraw(self, scope, schema("Loop", operators_version("Loop")))
        stacks = drawing.flag()
        # No runtime can know the shape of a stack of nothing, so then there is a step.
        trips = drawing.place(drawing.array(np.int64, (), low=1 if stacks else 0, high=3))
        # The reference evaluator takes an absent condition for a false one, so it is there.
        true = np.array(True)
        condition = drawing.place(true if stacks else drawing.array(np.bool_, ()))
        carried = []
        for _ in range(self.integer(1, 2)):
            drawing.refocus()
            dtype = drawing.focus.array.dtype if drawing.focus else np.dtype(np.float32)
            carried.append(drawing.place(drawing.array(dtype, drawing.shape())))
        zero = np.array(0, np.int64)
        index = DrawnValue(self.name("i"), (zero, zero, zero), by_node=False)
        going = DrawnValue(self.name("c"), (true, true, true), by_node=False)
        ins = [DrawnValue(self.name("v"), value.runs, by_node=False) for value in carried]
        body = self.subgraph(scope, [index, going, *ins])
        again = [v for v in body.made() if v.array.dtype == np.bool_ and v.array.shape == ()]
        outs = [again[-1] if again and drawing.flag() else self.identity(body, going)]
        for value in ins:
            own = [
                v
                for v in body.made()
                if v.usable and same_shape_and_kind(v, value) and v not in outs
            ]
            outs.append(own[-1] if own else self.identity(body, value))
        # The reference evaluator stacks vectors alone rightly.
        if stacks and (own := [v for v in body.made() if v.array.ndim == 1 and v not in outs]):
            outs.append(own[-1])
        node = helper.make_node(
            "Loop",
            [trips.name, condition.name, *(v.name for v in carried)],
            [self.name("y") for _ in outs[1:]],
            body=subgraph_proto("body", body, outs, [index, going, *ins]),
        )
        self._add_subgraphs(scope, node, [value.array.dtype for value in outs[1:]])

    def _add_subgraphs(
        self, scope: DrawnScope, node: NodeProto, kinds: Sequence[np.dtype[Any]]
    ) -> None:
        """Adds an If or Loop, if it can be evaluated and its results can be compared."""
        visible = {value.name: value for value in scope.visible()}
        read = [visible[name] for name in sorted(names_read(node)) if name in visible]
        model = model_of(
            DrawnScope(nodes=[node]),
            [info_of(value) for value in read],
            [
                helper.make_value_info(name, type_proto(tensor_type(dtype)))
                for name, dtype in zip(node.output, kinds, strict=True)
            ],
        )
        feeds = [{value.name: value.runs[run] for value in read} for run in range(3)]
        results = evaluated(model, feeds)
        if results is not None and self.agree(results, 0.0, 0):
            self.append(scope, node, results, 0.0, 0)

    # The whole.

    def case(self) -> Case | None:
        """The graph with some of its values as outputs, and without nodes that none needs."""
        made = self.main.made()
        if not made:
            return None
        used = {name for node in self.main.nodes for name in names_read(node)}
        # Mostly the values that no node uses, and a few others.
        outputs = [
            value for value in made if self.integer(0, 15) > (6 if value.name in used else 0)
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
        )
        add_shapes(model, inputs, {value.name: value.array.ndim for value in outputs})
        every = [node for node in every_node(nodes)]
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


class ConnectingDraw(Draw):
    """Draws parts of a node, and gives it values that the graph has already.

    Attributes:
        focus: The value whose dtype and shape the node's are likely to be.
    """

    def __init__(
        self,
        graph: DrawnGraph,
        scope: DrawnScope,
        schema: Schema,
        wanted: tuple[np.dtype[Any], tuple[int, ...]] | None = None,
    ) -> None:
        super().__init__(graph.draw, schema)
        self.graph = graph
        self.scope = scope
        self.asked = wanted
        self._taken: list[tuple[np.ndarray, DrawnValue]] = []
        self.focus: DrawnValue | None = None
        if wanted is None:
            self.refocus()
        likely: Sequence[np.dtype[Any]] = NUMBERS
        if wanted is not None:
            likely = wanted[:1]
        elif self.focus is not None:
            likely = (self.focus.array.dtype,)
        elif self.flag():
            likely = USUAL
        self.wanted = Wanted(dtypes=tuple(likely))

    def refocus(self) -> None:
        """Looks for another value that the node may use."""
        usable = [value for value in self.scope.visible() if value.usable]
        self.focus = None
        if usable and self.graph.often():
            self.focus = usable[-1 - self.integer(0, len(usable) - 1)]

    def value_of(self, array: Any) -> DrawnValue | None:
        """The value that an array is, unless it is new or the strategy has changed it."""
        for given, value in self._taken:
            if given is array and np.array_equal(given, value.array):
                return value
        return None

    def place(self, array: np.ndarray) -> DrawnValue:
        """The value that an array is, a new one if need be."""
        return self.value_of(array) or self.graph.constant(self.scope, array, self.flag())

    def shape(
        self, rank: tuple[int, int] = (0, 4), side: tuple[int, int] = (0, 5)
    ) -> tuple[int, ...]:
        """The shape of a value of the graph, or another."""
        shape = self.asked[1] if self.asked else self.focus.array.shape if self.focus else None
        if (
            shape is not None
            and rank[0] <= len(shape) <= rank[1]
            and all(side[0] <= n <= max(side[1], 5) for n in shape)
        ):
            return shape
        return super().shape(rank, side)

    def array(
        self,
        dtype: Any,
        shape: Sequence[int] = (),
        low: float | None = None,
        high: float | None = None,
        distinct: bool = False,
    ) -> np.ndarray:
        """A copy of a value of the graph if one fits, or other numbers."""
        dtype, shape = np.dtype(dtype), tuple(shape)
        if dtype == STRING or distinct or not self.graph.often():
            return super().array(dtype, shape, low, high, distinct)
        fitting = [
            value
            for value in self.scope.visible()
            if value.usable
            and (value.array.dtype, value.array.shape) == (dtype, shape)
            and is_within(value, low, high)
        ]
        if fitting:
            return self._take(fitting[-1 - self.integer(0, len(fitting) - 1)])
        if low is None and high is None and self.asked is None and self.graph.left > 0:
            names = [name for name in PRODUCERS if name in self.graph.ops and can_make(name, dtype)]
            if names and self.flag():
                name = self.choice(names)
                for value in self.graph.operator(self.scope, name, (dtype, shape)):
                    if value.usable and (value.array.dtype, value.array.shape) == (dtype, shape):
                        return self._take(value)
        return super().array(dtype, shape, low, high)

    def _take(self, value: DrawnValue) -> np.ndarray:
        copy = value.array.copy()
        self._taken.append((copy, value))
        return copy


@st.composite
def drawn_graphs(draw: st.DrawFn, max_nodes: int, ops: Sequence[str]) -> Case:
    """A graph of some nodes, as a case."""
    while True:
        graph = DrawnGraph(draw, max_nodes, ops)
        # Hypothesis draws the first of a choice far more often than others, so there is one choice
        # of how many nodes, and none before each whether it is the last.
        wanted = draw(st.sampled_from((*range(1, max_nodes + 1), *[max_nodes] * max_nodes)))
        for _ in range(2 * max_nodes):
            if graph.left <= max_nodes - wanted:
                break
            draw(drawn_step(graph, graph.main))
        if (case := graph.case()) is not None:
            return case


# In a strategy of its own, so that a node can be deleted when an example shrinks.
@st.composite
def drawn_step(draw: st.DrawFn, graph: DrawnGraph, scope: DrawnScope) -> None:
    """One more node."""
    graph.step(draw, scope)


def operators_version(name: str) -> int:
    """The newest schema version of an operator."""
    return int(onnx.defs.get_schema(name, OPSET).since_version)


def can_make(name: str, dtype: np.dtype[Any]) -> bool:
    """Whether an operator makes values of a dtype of values that have it too."""
    found = schema(name, operators_version(name))
    return tensor_type(dtype) in found.allowed(next(iter(found.inputs)))


def as_double(array: np.ndarray) -> np.ndarray:
    """Numbers in a type that holds them all."""
    return array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)


def scale_of(array: np.ndarray) -> float:
    """The largest finite number."""
    numbers = np.abs(as_double(array))
    finite = numbers[np.isfinite(numbers)]
    return float(finite.max()) if finite.size else 0.0


def tolerance_of(dtype: np.dtype[Any], rtol: float) -> float:
    """Relative tolerance of floats, as `comparison` has it."""
    return max(rtol, 4 * float(ml_dtypes.finfo(dtype).eps))


def are_near(a: np.ndarray, b: np.ndarray, rtol: float, steps: int) -> bool:
    """Whether two runs of a value can be told from each other."""
    if a.shape != b.shape:
        return False
    if a.dtype == np.bool_:
        return np.array_equal(a, b)
    if is_integer(a.dtype):
        same = np.array_equal(a, b)
        return same or bool(np.all(np.abs(a.astype(np.float64) - b.astype(np.float64)) <= steps))
    allowed = tolerance_of(a.dtype, rtol) * scale_of(a)
    with np.errstate(all="ignore"):
        a, b = as_double(a), as_double(b)
        return bool(np.all((np.abs(a - b) <= allowed) | (a == b) | (np.isnan(a) & np.isnan(b))))


def is_within(value: DrawnValue, low: float | None, high: float | None) -> bool:
    """Whether all numbers of a value lie within bounds, in all its runs."""
    if low is None and high is None:
        return True
    if value.array.dtype.kind == "c":
        return False
    return all(
        np.all(as_double(run) >= (-np.inf if low is None else low))
        and np.all(as_double(run) <= (np.inf if high is None else high))
        for run in value.runs
    )


def same_kind(a: DrawnValue, b: DrawnValue) -> bool:
    """Whether two values have the same dtype and rank."""
    return a.array.dtype == b.array.dtype and a.array.ndim == b.array.ndim


def same_shape_and_kind(a: DrawnValue, b: DrawnValue) -> bool:
    """Whether two values have the same dtype and shape."""
    return a.array.dtype == b.array.dtype and a.array.shape == b.array.shape


def names_read(node: NodeProto) -> set[str]:
    """Names that a node or its subgraphs read, those that subgraphs make included."""
    names = set(filter(None, node.input))
    for inner in subgraphs_of(node):
        names |= {name for other in inner.node for name in names_read(other)}
    return names


def subgraphs_of(node: NodeProto) -> list[onnx.GraphProto]:
    """The subgraphs of a node."""
    return [a.g for a in node.attribute if a.type == a.GRAPH]


def every_node(nodes: Iterable[NodeProto]) -> Iterator[NodeProto]:
    """Nodes and those of their subgraphs."""
    for node in nodes:
        yield node
        for inner in subgraphs_of(node):
            yield from every_node(inner.node)


def needed_nodes(nodes: Sequence[NodeProto], names: set[str]) -> list[NodeProto]:
    """Nodes without those that the values named do not need."""
    kept = []
    for node in reversed(nodes):
        if names.intersection(node.output):
            kept.append(node)
            names = names | names_read(node)
    return kept[::-1]


def info_of(value: DrawnValue) -> onnx.ValueInfoProto:
    """What a graph states of a value."""
    kind = type_proto(tensor_type(value.array.dtype), value.array.shape)
    return helper.make_value_info(value.name, kind)


def subgraph_proto(
    name: str, scope: DrawnScope, outputs: Sequence[DrawnValue], inputs: Sequence[DrawnValue] = ()
) -> onnx.GraphProto:
    """A subgraph; its outputs have no shape, which differs between branches."""
    nodes = needed_nodes(scope.nodes, {value.name for value in outputs})
    read = {name for node in nodes for name in names_read(node)}
    return helper.make_graph(
        nodes,
        name,
        [info_of(value) for value in inputs],
        [helper.make_value_info(v.name, type_proto(tensor_type(v.array.dtype))) for v in outputs],
        [tensor for tensor in scope.initializers if tensor.name in read],
    )


def model_of(
    scope: DrawnScope, inputs: Sequence[onnx.ValueInfoProto], outputs: Sequence[onnx.ValueInfoProto]
) -> onnx.ModelProto:
    """A model of the nodes of the outermost scope."""
    return helper.make_model(
        helper.make_graph(scope.nodes, "graph", inputs, outputs, scope.initializers),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )


def evaluated(model: onnx.ModelProto, feeds: Sequence[dict[str, Any]]) -> list[Runs] | None:
    """Runs of each output; None if the reference evaluator fails, or contradicts the model."""
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            evaluator = ReferenceEvaluator(model)
            results = [evaluator.run(None, dict(feed)) for feed in feeds]
    except Exception:  # of whatever kind: it has many
        return None
    for value, runs in zip(model.graph.output, zip(*results, strict=True), strict=True):
        if any(contradicts(value, run) for run in runs):
            return None
    first, second, third = results
    return [
        (np.asarray(a), np.asarray(b), np.asarray(c))
        for a, b, c in zip(first, second, third, strict=True)
    ]


def contradicts(value: onnx.ValueInfoProto, run: Any) -> bool:
    """Whether a result is not of the dtype and shape that a model declares."""
    if not isinstance(run, np.ndarray | np.generic):
        return True
    kind = value.type.tensor_type
    if run.dtype != dtype_of(type_string(value.type)):
        return True
    if not kind.HasField("shape"):
        return False
    sizes = [dim.dim_value if dim.HasField("dim_value") else None for dim in kind.shape.dim]
    return len(sizes) != run.ndim or any(
        size not in (None, n) for size, n in zip(sizes, run.shape, strict=True)
    )
