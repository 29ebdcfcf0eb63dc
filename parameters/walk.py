"""What the constant tensors of a model are used for: where they go in its graph, and as what.

A parameter's role is read off the operands that it feeds, possibly through operators that only
rearrange it, and off its numbers: exporters store Fourier bases, windows, position tables and
epsilons like weights.
"""

from __future__ import annotations

import functools
from collections import ChainMap
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeGuard

from onnxla.ir.dtypes import is_float
from onnxla.ir.model import Function, FunctionId, Graph, Model, Node, Tensor
from onnxla.ir.traverse import is_standard, subgraphs
from onnxla.ops.table import Operator, lookup
from onnxla.parameters import formulas
from onnxla.parameters.learned import ELEMENTWISE_ROLES, is_formula
from onnxla.parameters.patterns import (
    has_one_channel,
    is_filler,
    is_normalized,
    is_product,
    is_scaled,
    multiplies,
)
from onnxla.parameters.sources import (
    Formal,
    LoopBody,
    Order,
    Producer,
    Source,
    elements_of,
    extent,
    is_constant,
    leaves,
    order_of,
    rearranged,
)

# Uses that hand on to what a constant is computed from.
COMPUTED = {"weight", "embedding", "scale", "bias", "ingredient", "state", *ELEMENTWISE_ROLES}
ANSWERS = ("nothing", "formulas", "weights")  # to by what a value is computed; the last one wins


@dataclass
class Analysis:
    """Uses of the sources in a model, gathered by a walk over it.

    What has been found about a value is kept, as a file can make each value of the one before it
    twice; and only what a file cannot nest deeply is walked by recursion: graphs and functions.

    Attributes:
        static: What decides a shape.
        operands: What each node's operands are computed from, those in subgraphs included.
        uses: Roles of what each tensor feeds, `addend` and `factor` among them.
        scopes: What the values of each function are computed from.
        formulas: Of those tensors that have been looked at, whether they hold a formula.
        held: The same for a use of each, by its numbers alone.
        computed: By what the values are computed that have been looked at; see `computed_by`.
        passed: What has the elements of outputs of functions; see `passed_through`.
        consists: Of what outputs of functions consist; see `elements_of_call`.
        seen: What has been marked, so that no search for it goes on.
        operators: The operators with running statistics, by node.
        layers: The layers with running statistics, by node; see `statistics`.
    """

    model: Model
    static: set[Tensor | Formal] = field(default_factory=set)
    operands: dict[Node, tuple[Source, ...]] = field(default_factory=dict)
    uses: dict[Tensor | Formal, set[str]] = field(default_factory=dict)
    functions: dict[FunctionId, tuple[set[str], dict[str, set[str]]]] = field(default_factory=dict)
    scopes: dict[FunctionId, dict[str, Source]] = field(default_factory=dict)
    formulas: dict[Tensor, bool] = field(default_factory=dict)
    held: dict[tuple[str, Tensor], bool] = field(default_factory=dict)
    computed: dict[Producer, str] = field(default_factory=dict)
    passed: dict[tuple[FunctionId, int], Source] = field(default_factory=dict)
    consists: dict[tuple[FunctionId, int], tuple[Source, ...]] = field(default_factory=dict)
    seen: set[tuple[Source, str | bool]] = field(default_factory=set)
    operators: dict[Node, Operator] = field(default_factory=dict)
    layers: dict[Node, list[Any]] = field(default_factory=dict)

    def walk(
        self, nodes: Sequence[Node], env: MutableMapping[str, Source], opsets: Mapping[str, int]
    ) -> None:
        """Notes each operand's use, and in `env` what each output is computed from."""
        for node in nodes:
            operands = self.operands[node] = tuple(env.get(name) for name in node.inputs)
            value = node.attributes.get("value")
            if is_standard(node, "Constant") and isinstance(value, Tensor):
                env[node.outputs[0]] = value
                continue
            operator = lookup(node.domain, node.op_type, opsets.get(node.domain, 1))
            if self.function_of(node):
                operator = None
            made: list[tuple[LoopBody, list[Source]]] = []
            for graph in subgraphs(node):
                body = LoopBody.of(node, graph, operator)
                made.append((body, self.walk_subgraph(node, graph, body, env, opsets)))
            given = [source for name, source in zip(node.inputs, operands, strict=True) if name]
            results = [source for _, outputs in made for source in outputs]
            constant = all(map(is_constant, (*given, *results)))
            if operator is not None and "running_statistic" in operator.roles.values():
                self.operators[node] = operator
            elements, order = elements_of(operator, operands), order_of(operator)
            producer = Producer(node, operator, (*operands, *results), constant, elements, order)
            self.note_uses(producer)
            if operator is not None and not made:
                env.update(dict.fromkeys(node.outputs, producer))
                continue
            for position, name in enumerate(node.outputs):
                if made:
                    elements = self.returned(position, operands, made)
                elif (function := self.function_of(node)) and position < len(function.outputs):
                    elements = self.elements_of_call(function, operands, position)
                env[name] = replace(producer, elements=elements, output=position)

    def walk_subgraph(
        self,
        node: Node,
        graph: Graph,
        body: LoopBody,
        env: MutableMapping[str, Source],
        opsets: Mapping[str, int],
    ) -> list[Source]:
        """`walk` of a node's subgraph; returns what its outputs are computed from."""
        own: dict[str, Source] = dict.fromkeys(value.name for value in graph.inputs)
        same = {n.outputs[0]: n.inputs[0] for n in graph.nodes if is_standard(n, "Identity")}
        for index, name, following in body.handed_in(graph):
            source = self.operands[node][index]
            kept = following is not None and name in (following, same.get(following))
            fixed = is_constant(source) and (kept or following is None)
            if following is not None and not kept:
                self.mark_role(source, "state")
            order: Order | None = "kept" if kept else None
            own[name] = Producer(node, None, (source,), fixed, (source,), order, output=-1)
        own |= {t.name: t for t in graph.initializers if isinstance(t, Tensor)}
        inner = ChainMap(own, env)  # no copy: there may be many subgraphs
        self.walk(graph.nodes, inner, opsets)
        outputs = [inner.get(value.name) for value in graph.outputs]
        for source in outputs[: body.skipped]:
            self.mark_static(source, inputs=False)  # whether it goes on
        return outputs

    def returned(
        self, output: int, operands: Sequence[Source], made: Sequence[tuple[LoopBody, list[Source]]]
    ) -> tuple[Source, ...]:
        """Of what an output of a node with subgraphs consists."""
        found: list[Source] = []
        for body, outputs in made:
            if output < body.state:  # it may run no step
                found.append(operands[body.first + output])
            found += outputs[body.skipped + output :][:1]
        return tuple(found)

    @functools.cached_property
    def called(self) -> dict[FunctionId, Function]:
        """Model-local functions by domain, name and overload."""
        return {function.key: function for function in self.model.functions}

    def function_of(self, node: Node) -> Function | None:
        """The model-local function that a node calls, if it calls one."""
        return self.called.get((node.domain, node.op_type, node.overload))

    def operator_of(self, node: Node) -> Operator | None:
        """The table's row for a node of the graph; none for a call of a function."""
        if self.function_of(node):
            return None
        return lookup(node.domain, node.op_type, self.model.opsets.get(node.domain, 1))

    def role_at(self, node: Node, index: int) -> str | None:
        """What a parameter is that feeds an operand of a node of the graph, by the table."""
        operator = self.operator_of(node)
        if operator is None or not operator.inputs:
            return None
        return operator.roles.get(operator.input_name(index))

    def note_uses(self, producer: Producer) -> None:
        """Marks what feeds a static operand, or one that has a role."""
        node, operator = producer.node, producer.operator
        operands = producer.operands[: len(node.inputs)]
        if function := self.function_of(node):
            static, roles = self.note_function(function)
            for name, source in zip(function.inputs, operands, strict=False):
                if name in static:
                    self.mark_static(source)
                for role in roles.get(name, ()):
                    self.mark_role(source, role)
        elif operator is not None:
            for source in operands[: operator.controls]:
                self.mark_static(source, inputs=False)
            for index, source in enumerate(operands):
                handed_in = bool(subgraphs(node)) and index >= operator.controls
                if handed_in or source in producer.elements:  # and is used there, or further on
                    continue
                if operator.inputs and operator.input_name(index) in operator.static:
                    self.mark_static(source)
                self.mark_role(source, self.use_of(producer, index, operands))

    def use_of(self, producer: Producer, index: int, operands: Sequence[Source]) -> str:
        """What an operand is used as."""
        role, source = producer.role(index) or "constant", operands[index]
        if producer.constant and role in (*ELEMENTWISE_ROLES, "weight"):
            return "constant"  # what its result is used as, tells
        if role == "weight" and self.is_mel_basis(source, operands):
            self.formulas[source] = True
            return "constant"
        if role in ELEMENTWISE_ROLES and len(operands) == 2:
            return self.elementwise_use(role, source, operands[1 - index])
        if is_filler(producer, index):
            return "constant"
        return role

    def note_function(self, function: Function) -> tuple[set[str], dict[str, set[str]]]:
        """Which inputs of a function are static, and the roles of its inputs; walked once."""
        key = function.key
        if key not in self.functions:
            formals = {name: Formal(name, key) for name in function.inputs}
            self.scopes[key] = {**formals}
            self.walk(function.nodes, self.scopes[key], function.opsets)
            self.functions[key] = (
                {name for name, formal in formals.items() if formal in self.static},
                {name: self.uses.get(formal, set()) for name, formal in formals.items()},
            )
        return self.functions[key]

    def in_same_order(self, source: Source) -> Source:
        """What has the elements of a value in the same order, through functions too.

        None where these are in another order, or of an argument that a call leaves out.
        """
        permuted = False
        while isinstance(source, Producer):
            function = self.function_of(source.node)
            if function is not None and source.output >= 0:
                found = self.passed_through(function, source.output)
                if not (isinstance(found, Formal) and found.function == function.key):
                    return found
                position = function.inputs.index(found.name)
                given = source.operands[: len(source.node.inputs)]
                source = given[position] if position < len(given) else None
            elif source.order is not None and len(source.elements) == 1:
                permuted |= source.order == "permuted"
                (source,) = source.elements
            else:
                return source
        one_axis = isinstance(source, Tensor) and extent(source) <= 1
        return source if one_axis or not permuted else None

    def passed_through(self, function: Function, output: int) -> Source:
        """What has the elements of a function's output in the same order; looked for once."""
        key = function.key, output
        if key not in self.passed:
            made = self.scopes[function.key].get(function.outputs[output])
            self.passed[key] = self.in_same_order(made)
        return self.passed[key]

    def elements_of_call(
        self, function: Function, operands: Sequence[Source], output: int
    ) -> tuple[Source, ...]:
        """Of what an output of a call of a function consists."""
        key = function.key, output
        if key not in self.consists:
            made = self.scopes[function.key].get(function.outputs[output])
            self.consists[key] = tuple(leaves(made))
        found: list[Source] = []
        for leaf in self.consists[key]:
            if isinstance(leaf, Formal) and leaf.function == function.key:
                found += operands[function.inputs.index(leaf.name) :][:1]
            else:
                found.append(leaf)
        return tuple(found)

    def sources(self, node: Node) -> list[Source]:
        """What has the elements of the operands of a node of the model, in their order."""
        return [self.in_same_order(source) for source in self.operands.get(node, ())]

    def mark_static(self, source: Source, inputs: bool = True) -> None:
        """Marks the tensors, and `inputs`, that a value is computed from as deciding a shape.

        The search ends at shapes, which are known in any case, and at operators with weights: what
        a network computes is data, not shape arithmetic.
        """
        pending = [source]
        while pending:
            match pending.pop():
                case Producer() as producer if (producer, inputs) not in self.seen:
                    self.seen.add((producer, inputs))
                    operator = producer.operator
                    if operator is None or not (
                        operator.reads_shape or "weight" in operator.roles.values()
                    ):
                        pending += producer.operands
                case Tensor() | Formal() as leaf if inputs or isinstance(leaf, Tensor):
                    self.static.add(leaf)

    def mark_role(self, source: Source, role: str) -> None:
        """Notes a use of the tensors that a value, or a computed constant, consists of."""
        pending = [(source, role)]
        while pending:
            match pending.pop():
                case (Tensor() | Formal() as leaf, use):
                    self.uses.setdefault(leaf, set()).add(use)
                case (Producer() as producer, use) if (producer, use) not in self.seen:
                    self.seen.add((producer, use))
                    pending += consists_of(producer, use)

    def elementwise_use(self, role: str, source: Source, other: Source) -> str:
        """What is added to, subtracted from, or multiplies or divides, what `other` computes."""
        stored = rearranged(source)
        if isinstance(stored, Tensor) and extent(stored) == 1:
            if role == "factor" and is_normalized(other):
                return "scale"
            if role == "addend" and is_scaled(other):
                return "bias"
        if not isinstance(source, Tensor):
            return role
        scalar, by = not extent(source), self.computed_by(other)
        if role == "addend" and scalar and source.shape and has_one_channel(other):
            return "bias"
        if role == "addend" and extent(source) == 1 and is_product(other):
            return "bias"
        vector = extent(source) == 1 and role in ("subtrahend", "divisor")
        if by == "nothing" and (scalar or vector):
            return "constant"  # an input is normalized by fixed numbers
        return "constant" if by == "formulas" and not scalar else role

    def is_mel_basis(self, source: Source, operands: Sequence[Source]) -> TypeGuard[Tensor]:
        """Whether a matrix is one that sums bands of a spectrum, which another operand is."""
        return (
            isinstance(source, Tensor)
            and is_float(source.dtype)
            and any(self.computed_by(other) == "formulas" for other in operands)
            and formulas.is_filterbank_matrix(source.numpy())
        )

    def computed_by(self, source: Source) -> str:
        """By what a value is computed: by learned "weights", by "formulas" alone, or by "nothing".

        Formulas are the Fourier transform and what else `formulas` finds among the weights.
        """
        if not isinstance(source, Producer) or source.constant:
            return "nothing"
        pending = [source]
        while pending:
            producer = pending[-1]
            if producer in self.computed:
                pending.pop()
                continue
            answer = self.own(producer)
            varying = [x for x in producer.operands if isinstance(x, Producer) and not x.constant]
            if answer == "weights":
                varying = []
            if missing := [x for x in varying if x not in self.computed]:
                pending += missing
            else:
                answers = (answer, *(self.computed[x] for x in varying))
                self.computed[pending.pop()] = max(answers, key=ANSWERS.index)
        return self.computed[source]

    def own(self, producer: Producer) -> str:
        """What a node itself adds to by what its value is computed; see `computed_by`."""
        operator = producer.operator
        answer = "formulas" if operator is not None and operator.transform else "nothing"
        if operator is not None and "key" in operator.reserved and not operator.moves:
            return "weights"  # noise is no input
        for index, operand in enumerate(producer.operands[: len(producer.node.inputs)]):
            role, tensor = producer.role(index), rearranged(operand)
            learned = role in ("weight", "embedding", "running_statistic")
            if role and learned and isinstance(tensor, Tensor):
                if not self.is_formula(tensor, role):
                    return "weights"
                answer = "formulas"
        return answer

    def is_formula(self, tensor: Tensor, role: str) -> bool:
        """Whether a tensor in a role holds no learned numbers; looked at once."""
        if tensor not in self.formulas:
            learned = role == "running_statistic" or not is_float(tensor.dtype)
            self.formulas[tensor] = not learned and self.holds_formula(role, tensor)
        return self.formulas[tensor]

    def holds_formula(self, use: str, tensor: Tensor) -> bool:
        """Whether the numbers of a weight or embedding are of a formula; looked at once."""
        key = use, tensor
        if key not in self.held:
            self.held[key] = is_formula(use, tensor)
        return self.held[key]


def consists_of(producer: Producer, use: str) -> Iterator[tuple[Source, str]]:
    """The operands that give a value its elements; those that a used constant is computed from."""
    if producer.elements:
        yield from ((source, use) for source in producer.elements)
    elif producer.constant and use in COMPUTED:
        for index, source in enumerate(producer.operands[: len(producer.node.inputs)]):
            # A product with a vector, as in spectral normalization, makes no weight of it.
            vector = isinstance(source, Tensor) and extent(source) < 2 and multiplies(producer)
            if not vector and producer.role(index) != "exponent":
                yield source, "ingredient"
