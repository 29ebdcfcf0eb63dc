"""What the constant tensors of a model are used for: where they go in its graph, and as what.

A parameter's role is read off the operands that it feeds, possibly through operators that only
rearrange it, and off its numbers: exporters store Fourier bases, windows, position tables and
epsilons like weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias, TypeGuard

from onnxla.ir.dtypes import is_float
from onnxla.ir.model import Function, Model, Node, Tensor
from onnxla.ir.traverse import is_standard, subgraphs
from onnxla.ops.table import Operator, lookup
from onnxla.parameters import formulas

# What is added or multiplied may be a bias or a scale, but also an epsilon, 1/sqrt(d), a mask or a
# window; which it is, its shape and its numbers tell. (What is subtracted or divided by is a mean
# and a deviation: learned numbers are added and multiplied.)
ELEMENTWISE_ROLES = {"addend": "bias", "factor": "scale"}


@dataclass(frozen=True, eq=False)
class Producer:
    """What computes a value: a node, and the sources of the operands that its result depends on.

    Attributes:
        operator: The table's row for the node; None of a model-local function.
        constant: Whether it depends on constant tensors alone.
    """

    node: Node
    operator: Operator | None
    operands: tuple[Source, ...]
    constant: bool

    @property
    def passes(self) -> bool:
        """Whether the value consists of the first operand's elements, moved or converted."""
        traits = self.operator
        return traits is not None and (traits.converts or traits.moves not in (None, "gathered"))

    @property
    def joins(self) -> bool:
        """Whether the value consists of the elements of all operands."""
        return self.operator is not None and self.operator.moves == "joined"

    def role(self, index: int) -> str | None:
        """What a parameter is that feeds an operand of the node, if the table says so."""
        if self.operator is None or not self.operator.inputs:
            return None
        return self.operator.roles.get(self.operator.input_name(index))


@dataclass(frozen=True)
class Formal:
    """An input of the main graph or of a model-local function."""

    name: str
    function: tuple[str, str, str] | None = None


Source: TypeAlias = "Tensor | Producer | Formal | None"


@dataclass
class Analysis:
    """Uses of the sources in a model, gathered by a walk over it.

    Attributes:
        static: What decides a shape.
        operands: What each node's operands are computed from, those in subgraphs included.
        uses: Roles of what each tensor feeds, `addend` and `factor` among them.
        scopes: What the values of each function are computed from.
        formulas: Of those tensors that have been looked at, whether they hold a formula.
    """

    model: Model
    static: set[Tensor | Formal] = field(default_factory=set)
    operands: dict[Node, tuple[Source, ...]] = field(default_factory=dict)
    uses: dict[Tensor | Formal, set[str]] = field(default_factory=dict)
    functions: dict[tuple[str, str, str], tuple[set[str], dict[str, set[str]]]] = field(
        default_factory=dict
    )
    scopes: dict[tuple[str, str, str], dict[str, Source]] = field(default_factory=dict)
    formulas: dict[Tensor, bool] = field(default_factory=dict)

    def walk(
        self, nodes: Sequence[Node], env: dict[str, Source], opsets: Mapping[str, int]
    ) -> None:
        """Notes each operand's use, and in `env` what each output is computed from."""
        for node in nodes:
            operands = self.operands[node] = tuple(env.get(name) for name in node.inputs)
            value = node.attributes.get("value")
            if is_standard(node, "Constant") and isinstance(value, Tensor):
                env[node.outputs[0]] = value
                continue
            results: list[Source] = []
            for graph in subgraphs(node):
                inner = dict(env) | dict.fromkeys(v.name for v in graph.inputs)
                inner |= {t.name: t for t in graph.initializers if isinstance(t, Tensor)}
                self.walk(graph.nodes, inner, opsets)
                outputs = [inner.get(value.name) for value in graph.outputs]
                if is_standard(node, "Loop") and outputs:
                    self.mark_static(outputs[0], inputs=False)  # whether it goes on
                results += outputs
            operator = lookup(node.domain, node.op_type, opsets.get(node.domain, 1))
            if self.function_of(node):
                operator = None
            given = [source for name, source in zip(node.inputs, operands, strict=True) if name]
            constant = all(map(is_constant, (*given, *results)))
            producer = Producer(node, operator, (*operands, *results), constant)
            self.note_uses(producer)
            env.update(dict.fromkeys(node.outputs, producer))

    def function_of(self, node: Node) -> Function | None:
        """The model-local function that a node calls, if it calls one."""
        key = (node.domain, node.op_type, node.overload)
        return next(
            (f for f in self.model.functions if (f.domain, f.name, f.overload) == key), None
        )

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
                if operator.inputs and operator.input_name(index) in operator.static:
                    self.mark_static(source)
                role = producer.role(index) or "constant"
                if role == "weight" and self.is_mel_basis(source, operands):
                    role = "constant"
                    self.formulas[source] = True
                if role in ELEMENTWISE_ROLES and len(operands) == 2:
                    role = self.elementwise_role(role, source, operands[1 - index])
                self.mark_role(source, role)

    def note_function(self, function: Function) -> tuple[set[str], dict[str, set[str]]]:
        """Which inputs of a function are static, and the roles of its inputs; walked once."""
        key = (function.domain, function.name, function.overload)
        if key not in self.functions:
            formals = {name: Formal(name, key) for name in function.inputs}
            self.scopes[key] = {**formals}
            self.walk(function.nodes, self.scopes[key], function.opsets)
            self.functions[key] = (
                {name for name, formal in formals.items() if formal in self.static},
                {name: self.uses.get(formal, set()) for name, formal in formals.items()},
            )
        return self.functions[key]

    def in_same_order(self, name: str, source: Source) -> Source:
        """What has the elements of the value `name` in the same order, through functions too."""
        permuted = False
        while isinstance(source, Producer):
            node, operands = source.node, source.operands
            function = self.function_of(node)
            if function is not None:
                key = (function.domain, function.name, function.overload)
                inner = function.outputs[node.outputs.index(name)]
                found = self.in_same_order(inner, self.scopes[key].get(inner))
                if not (isinstance(found, Formal) and found.function == key):
                    return found
                position = function.inputs.index(found.name)
            elif source.operator is not None and source.operator.moves in ("reshaped", "permuted"):
                position = 0
                permuted |= source.operator.moves == "permuted"
            else:
                return source
            if position >= len(node.inputs):  # an argument that the call leaves out
                return None
            name, source = node.inputs[position], operands[position]
        one_axis = isinstance(source, Tensor) and extent(source) <= 1
        return source if one_axis or not permuted else None

    def mark_static(self, source: Source, inputs: bool = True) -> None:
        """Marks the tensors, and `inputs`, that a value is computed from as deciding a shape.

        The search ends at shapes, which are known in any case, and at operators with weights: what
        a network computes is data, not shape arithmetic.
        """
        pending, seen = [source], set()
        while pending:
            match pending.pop():
                case Producer() as producer if producer not in seen:
                    seen.add(producer)
                    operator = producer.operator
                    if operator is None or not (
                        operator.reads_shape or "weight" in operator.roles.values()
                    ):
                        pending += producer.operands
                case Tensor() | Formal() as leaf if inputs or isinstance(leaf, Tensor):
                    self.static.add(leaf)

    def mark_role(self, source: Source, role: str) -> None:
        """Gives the tensors that a value consists of a role."""
        while isinstance(source, Producer) and source.passes:
            first, *others = source.operands
            for other in others if source.joins else ():
                self.mark_role(other, role)
            source = first
        if isinstance(source, Tensor | Formal):
            self.uses.setdefault(source, set()).add(role)
        elif role == "weight" and isinstance(source, Producer) and source.constant:
            # A weight that is computed, as of weight normalization: what has its rank is one too.
            for operand in source.operands:
                if not isinstance(operand, Tensor) or extent(operand) > 1:
                    self.mark_role(operand, role)

    def elementwise_role(self, role: str, source: Source, other: Source) -> str:
        """The role of an addend to, or a factor of, what `other` computes."""
        if not isinstance(source, Tensor):
            return role
        scalar = not extent(source)
        if role == "addend":
            if factor := self.affine_factor(source, other):
                self.mark_role(factor, "scale" if scalar else "factor")
                return "bias" if scalar else role
            if scalar and source.shape and has_one_channel(other):
                return "bias"
        if not scalar and self.computed_by(other) == "formulas":
            return "constant"
        return role

    def affine_factor(self, addend: Tensor, other: Source) -> Tensor | None:
        """What the values that `addend` is added to were multiplied by, if both may be learned.

        Scalars may if nobody would write them down, and what they scale is no input.
        """
        if not isinstance(other, Producer) or other.role(0) != "factor":
            return None
        for factor, data in zip(other.operands, reversed(other.operands), strict=True):
            if isinstance(factor, Tensor) and extent(factor) == extent(addend) <= 1:
                numbers = () if extent(addend) else (factor, addend)
                rounded = any(formulas.is_round(tensor.numpy()) for tensor in numbers)
                return None if rounded or self.computed_by(data) == "nothing" else factor
        return None

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
        pending, seen, answer = [source], set(), "nothing"
        while pending:
            producer = pending.pop()
            if not isinstance(producer, Producer) or producer in seen or producer.constant:
                continue
            seen.add(producer)
            if producer.operator is not None and producer.operator.transform:
                answer = "formulas"
            for index, operand in enumerate(producer.operands[: len(producer.node.inputs)]):
                role = producer.role(index)
                tensor = rearranged(operand)
                if role in ("weight", "embedding", "running_statistic") and isinstance(
                    tensor, Tensor
                ):
                    if not self.is_formula(tensor, role):
                        return "weights"
                    answer = "formulas"
            pending += producer.operands
        return answer

    def is_formula(self, tensor: Tensor, role: str) -> bool:
        """Whether a tensor in a role holds no learned numbers; looked at once."""
        if tensor not in self.formulas:
            found = is_float(tensor.dtype) and role_of(role, tensor) == "constant"
            self.formulas[tensor] = found
        return self.formulas[tensor]


def is_constant(source: Source) -> bool:
    """Whether a value depends on constant tensors alone."""
    return isinstance(source, Tensor) or (isinstance(source, Producer) and source.constant)


def rearranged(source: Source) -> Source:
    """What a value's elements come from."""
    while isinstance(source, Producer) and source.passes:
        source = source.operands[0]
    return source


def has_one_channel(source: Source) -> bool:
    """Whether a value is what a weight with one output channel makes."""
    made = rearranged(source)
    if not isinstance(made, Producer) or made.operator is None:
        return False
    for name, operand in zip(made.operator.inputs, made.operands, strict=False):
        axis, weight = made.operator.channel_axis(name, made.node.attributes), rearranged(operand)
        if axis is not None and isinstance(weight, Tensor) and weight.shape[axis] == 1:
            return True
    return False


def extent(tensor: Tensor) -> int:
    """Along how many axes a tensor has several elements: 0 for a scalar, 1 for a vector."""
    return sum(size > 1 for size in tensor.shape)


def role_of(use: str, tensor: Tensor) -> str:
    """The role of a tensor with such a use, as its shape and numbers tell."""
    if 0 in tensor.shape:
        return "constant"
    axes = extent(tensor)
    if use in ELEMENTWISE_ROLES and axes == 1:
        return "constant" if formulas.is_window(tensor.numpy()) else ELEMENTWISE_ROLES[use]
    if use == "addend" and axes > 1:  # a position table, or a mask
        array = tensor.numpy()
        return "constant" if formulas.recurs(array) or formulas.repeats(array) else "embedding"
    if use in ELEMENTWISE_ROLES:
        return "constant"
    if use == "embedding" and (len(tensor.shape) < 2 or formulas.recurs(tensor.numpy())):
        return "constant"
    if use == "weight" and axes == 1 and formulas.recurs(tensor.numpy()):
        return "constant"  # such as the frequencies of rotary positions
    if use == "weight" and formulas.is_filter_bank(tensor.numpy()):
        return "constant"
    return use
