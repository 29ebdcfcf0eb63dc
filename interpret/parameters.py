"""Which constant tensors of a model are parameters, by what name, and in which role.

A parameter is a floating-point tensor that decides no shape: an initializer, or the value of a
`Constant` node, since several exporters put every weight there. (A scalar that is only an exponent
is part of a formula, and none.) A parameter's role is read off the operands that it feeds, possibly
through operators that only rearrange it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from onnxla.interpret.binding import SHAPE_READERS
from onnxla.ir.dtypes import STRING, is_float
from onnxla.ir.edit import subgraphs
from onnxla.ir.model import Function, Graph, Model, Node, Tensor
from onnxla.ops.table import lookup

TRAINABLE = frozenset({"weight", "embedding", "bias", "scale"})
# A tensor with several uses has the first of these roles that one of them gives it.
ROLES = (
    "weight",
    "embedding",
    "bias",
    "scale",
    "running_statistic",
    "quantization_scale",
    "constant",
)
# Operators whose result is their operands' elements, moved or converted.
REARRANGING = frozenset(
    {
        *("Identity", "Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Expand"),
        *("Cast", "CastLike", "QuantizeLinear", "DequantizeLinear", "Concat", "Split", "Dropout"),
    }
)
# Their roles hold for vectors alone: a scalar operand, or a whole table, is an exporter's constant
# (an epsilon, 1/sqrt(d), a mask, a position table).
BROADCASTING = frozenset({"Add", "Sub", "Mul", "Div"})
# How many of the first operands decide where control flow goes. What constants they are computed
# from is a setting such as a bound, and must be known for a loop to be counted.
CONTROLLING = {"If": 1, "Loop": 2}
# Smaller tensors that are no parameters are compiled into the program; larger ones are passed.
BUFFER_SIZE = 1024


@dataclass(frozen=True)
class Parameters:
    """The constant tensors of a model that are passed to its compiled function.

    Attributes:
        params: Parameters by name, in the order of the file.
        roles: Role of each parameter.
        buffers: Large tensors that are not floating point, by name.
        static_inputs: Graph inputs that decide a shape by their value.
    """

    params: Mapping[str, Tensor]
    roles: Mapping[str, str]
    buffers: Mapping[str, Tensor]
    static_inputs: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Producer:
    """What computes a value: a node, and the sources of the operands that its result depends on."""

    node: Node
    operands: tuple[Source, ...]


@dataclass(frozen=True)
class Formal:
    """An input of the main graph or of a model-local function."""

    name: str
    function: tuple[str, str, str] | None = None


Source: TypeAlias = "Tensor | Producer | Formal | None"


@dataclass
class Analysis:
    """Uses of the sources in a model, gathered by a walk over it."""

    model: Model
    static: set[Tensor | Formal] = field(default_factory=set)
    uses: dict[Tensor | Formal, set[str]] = field(default_factory=dict)
    functions: dict[tuple[str, str, str], tuple[set[str], dict[str, set[str]]]] = field(
        default_factory=dict
    )

    def walk(
        self, nodes: Sequence[Node], env: dict[str, Source], opsets: Mapping[str, int]
    ) -> None:
        """Notes each operand's use, and in `env` what each output is computed from."""
        for node in nodes:
            operands = tuple(env.get(name) for name in node.inputs)
            value = node.attributes.get("value")
            if node.op_type == "Constant" and isinstance(value, Tensor):
                env[node.outputs[0]] = value
                continue
            results: list[Source] = []
            for graph in subgraphs(node):
                inner = dict(env) | dict.fromkeys(v.name for v in graph.inputs)
                inner |= {t.name: t for t in graph.initializers if isinstance(t, Tensor)}
                self.walk(graph.nodes, inner, opsets)
                outputs = [inner.get(value.name) for value in graph.outputs]
                if node.op_type == "Loop" and outputs:
                    self.mark_static(outputs[0], inputs=False)  # whether it goes on
                results += outputs
            self.note_uses(node, operands, opsets)
            env.update(dict.fromkeys(node.outputs, Producer(node, (*operands, *results))))

    def note_uses(self, node: Node, operands: Sequence[Source], opsets: Mapping[str, int]) -> None:
        """Marks what feeds a static operand, or one that has a role."""
        key = (node.domain, node.op_type, node.overload)
        if function := next(
            (f for f in self.model.functions if (f.domain, f.name, f.overload) == key), None
        ):
            static, roles = self.note_function(key, function)
            for name, source in zip(function.inputs, operands, strict=False):
                if name in static:
                    self.mark_static(source)
                for role in roles.get(name, ()):
                    self.mark_role(source, role, node)
        elif operator := lookup(node.domain, node.op_type, opsets.get(node.domain, 1)):
            for source in operands[: CONTROLLING.get(node.op_type, 0)]:
                self.mark_static(source, inputs=False)
            for index, source in enumerate(operands):
                name = operator.input_name(index) if operator.inputs else ""
                if name in operator.static:
                    self.mark_static(source)
                self.mark_role(source, operator.roles.get(name, "constant"), node)

    def note_function(
        self, key: tuple[str, str, str], function: Function
    ) -> tuple[set[str], dict[str, set[str]]]:
        """Which inputs of a function are static, and the roles of its inputs; walked once."""
        if key not in self.functions:
            formals = {name: Formal(name, key) for name in function.inputs}
            self.walk(function.nodes, {**formals}, function.opsets)
            self.functions[key] = (
                {name for name, formal in formals.items() if formal in self.static},
                {name: self.uses.get(formal, set()) for name, formal in formals.items()},
            )
        return self.functions[key]

    def mark_static(self, source: Source, inputs: bool = True) -> None:
        """Marks the tensors, and `inputs`, that a value is computed from as deciding a shape.

        The search ends at shapes, which are known in any case, and at operators with weights: what
        a network computes is data, not shape arithmetic.
        """
        pending, seen = [source], set()
        while pending:
            match pending.pop():
                case Producer(node, operands) as producer if producer not in seen:
                    seen.add(producer)
                    operator = lookup(node.domain, node.op_type, 1 << 30)
                    weighted = operator is not None and "weight" in operator.roles.values()
                    if node.op_type not in SHAPE_READERS and not weighted:
                        pending += operands
                case Tensor() | Formal() as leaf if inputs or isinstance(leaf, Tensor):
                    self.static.add(leaf)

    def mark_role(self, source: Source, role: str, node: Node) -> None:
        """Gives the tensors that a value consists of a role."""
        while isinstance(source, Producer) and source.node.op_type in REARRANGING:
            first, *others = source.operands
            for other in others if source.node.op_type == "Concat" else ():
                self.mark_role(other, role, node)
            source = first
        if isinstance(source, Tensor | Formal):
            table = isinstance(source, Tensor) and sum(size > 1 for size in source.shape) != 1
            role = "constant" if table and node.op_type in BROADCASTING else role
            self.uses.setdefault(source, set()).add(role)


def constants(
    nodes: Sequence[Node], graph: Graph | None = None, path: str = ""
) -> Iterator[tuple[str, str, Tensor]]:
    """Constant tensors with their path and name, those of subgraphs included."""
    for tensor in graph.initializers if graph else ():
        if isinstance(tensor, Tensor):
            yield path, tensor.name, tensor
    for node in nodes:
        value = node.attributes.get("value")
        if node.op_type == "Constant" and isinstance(value, Tensor):
            yield path, node.outputs[0], value
        for key, attribute in node.attributes.items():
            items: Iterable[object] = attribute if isinstance(attribute, tuple) else (attribute,)
            for item in items:
                if isinstance(item, Graph):
                    inner = f"{path}{node.name or node.outputs[0]}/{key}/"
                    yield from constants(item.nodes, item, inner)


def find_parameters(model: Model) -> Parameters:
    """The parameters of a model. A name that several subgraphs use is preceded by its path."""
    analysis = Analysis(model)
    env: dict[str, Source] = {v.name: Formal(v.name) for v in model.graph.inputs}
    env |= {t.name: t for t in model.graph.initializers if isinstance(t, Tensor)}
    analysis.walk(model.graph.nodes, env, model.opsets)
    found = list(constants(model.graph.nodes, model.graph))
    for function in model.functions:
        found += constants(function.nodes, path=f"{function.domain}.{function.name}/")
    counts = Counter(name for _, name, _ in found)
    params, roles, buffers = {}, {}, {}
    for path, name, tensor in found:
        unique = name if counts[name] == 1 or not path else path + name
        uses = analysis.uses.get(tensor, set())
        if tensor in analysis.static or tensor.dtype == STRING:
            continue
        if uses == {"exponent"} and tensor.shape in ((), (1,)):
            continue  # x**2 is a formula; as a function of its exponent it is not even real
        if is_float(tensor.dtype):
            params[unique] = tensor
            roles[unique] = next((role for role in ROLES if role in uses), "constant")
        elif np.prod(tensor.shape, dtype=float) >= BUFFER_SIZE:
            buffers[unique] = tensor
    inputs = (value.name for value in model.graph.inputs)
    static_inputs = tuple(name for name in inputs if Formal(name) in analysis.static)
    return Parameters(params, roles, buffers, static_inputs)
