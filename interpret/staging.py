"""Binding-time analysis: which inputs and nodes must be known while a graph is traced, and why.

A value must be known (static) where it decides a shape, or meets strings, which JAX has no type
for. Shapes themselves are known. What an operator needs known, its row in the table says; so a pass
over a graph finds, before anything is traced, the inputs that a call has to be compiled for and the
nodes that have to be evaluated on concrete values. Some needs come up only while tracing: whether
the branches of an `If` agree in their shapes, say. Then `origins` traces them back.
"""

from __future__ import annotations

import itertools
from collections import ChainMap
from collections.abc import Collection, Iterable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from onnxla.ir.errors import StaticOperandError
from onnxla.ir.model import (
    Function,
    Graph,
    Node,
    OptionalType,
    SequenceType,
    Tensor,
    TensorType,
    Type,
)
from onnxla.ir.names import listed, plain, quoted
from onnxla.ir.traverse import names_read, subgraphs
from onnxla.ops.sizes import at_least
from onnxla.ops.table import Operator, lookup
from onnxla.ops.values import NOT_IN_JAX, Value, is_known, is_opaque

# A known input is part of the key under which a compiled program is kept, so it must be small; and
# if it is floating point it must be a few numbers such as scales, not data that differs every time.
KNOWN_SIZE, KNOWN_FLOATS = 1024, 8
# More operands XLA takes minutes to compile: its time grows with their square.
COMPILED = 1024
# Of more inputs it is not noted from which a value is computed.
NOTED = 256
# Stands for all that a value is computed from and that cannot become known: parameters, random
# numbers, and what is found while a graph runs.
DATA = ""
# Characters that each list of names in an error's advice takes at most, unless one takes more.
FEW = 60


def may_be_known(value: Value) -> bool:
    """Whether an input may decide a shape by being part of a compiled program's key."""
    if not hasattr(value, "dtype"):  # a sequence
        return False
    return at_least((KNOWN_SIZE if value.dtype.kind in "iub" else KNOWN_FLOATS) - value.size, 0)


@dataclass(frozen=True)
class Binding:
    """The binding time of a value: known, if it is computed from nothing that is traced.

    Attributes:
        roots: The traced inputs that it is computed from, and `DATA`.
        sure: Whether that is certain without evaluating it.
        opaque: Whether it has elements that JAX has no type for.
    """

    roots: frozenset[str] = frozenset()
    sure: bool = True
    opaque: bool = False


KNOWN, TRACED = Binding(), Binding(frozenset({DATA}))


def join(bindings: Iterable[Binding]) -> Binding:
    """The binding time of what is computed from several values."""
    roots, sure = KNOWN.roots, True
    for binding in bindings:
        sure &= binding.sure
        if not binding.roots <= roots:
            roots |= binding.roots
    return Binding(roots, sure)


@dataclass(frozen=True)
class Demand:
    """That values must be known: the roots of what decides a shape, and why."""

    roots: frozenset[str]
    reason: str


def demand(binding: Binding, reason: str) -> list[Demand]:
    """A demand for a value, if it is certainly not known."""
    return [Demand(binding.roots, reason)] if binding.roots and binding.sure else []


@dataclass(frozen=True)
class Plan:
    """What must be known of a graph for certain inputs, by reason.

    Attributes:
        static: Inputs for whose values a call is compiled.
        concrete: Nodes to evaluate on concrete values, between compiled programs.
        bindings: The binding time of each value.
    """

    static: Mapping[str, str] = field(default_factory=dict)
    concrete: Mapping[Node, str] = field(default_factory=dict)
    bindings: Mapping[str, Binding] = field(default_factory=dict)


@dataclass(frozen=True)
class Staging:
    """The analysis of the scopes of a model.

    Attributes:
        opsets: Opset imports of the model, or of the function being looked at.
        functions: Model-local functions by (domain, name, overload).
        traced: Constant tensors whose values are not known while tracing: parameters and buffers.
        random: Whether a key is given, so that random numbers are not known.
        calls: Of the functions that were called, and with what, the results of `of_call`.
    """

    opsets: Mapping[str, int]
    functions: Mapping[tuple[str, str, str], Function]
    traced: Collection[object]
    random: bool = False
    calls: dict[Any, tuple[list[Binding], list[Demand]]] = field(default_factory=dict)

    def plan(
        self,
        graph: Graph,
        inputs: Mapping[str, Value],
        known: Collection[str],
        candidates: Collection[str] = (),
    ) -> Plan:
        """What must be known to evaluate a graph.

        Args:
            graph: The graph.
            inputs: Its inputs by name.
            known: Inputs whose values are known.
            candidates: Inputs that may become known.
        """
        candidates = frozenset(itertools.islice(candidates, NOTED))
        given = {
            k: Binding(frozenset({k if k in candidates else DATA}), opaque=is_opaque(v))
            for k, v in inputs.items()
        }
        static: dict[str, str] = {}
        while True:
            env = {**self.constants(graph), **given}
            env |= {name: replace(env[name], roots=frozenset()) for name in (*known, *static)}
            concrete: dict[Node, str] = {}
            found: dict[str, str] = {}
            for node, demands in self.walk(graph.nodes, env):
                if unmet := [d for d in demands if not d.roots.issubset(candidates)]:
                    concrete[node] = unmet[0].reason
                    env |= {name: replace(TRACED, opaque=env[name].opaque) for name in node.outputs}
                else:
                    found |= {name: d.reason for d in demands for name in d.roots}
            if not found:
                return Plan(static, concrete, env)
            static |= found

    def constants(self, graph: Graph) -> dict[str, Binding]:
        """The binding times of a graph's initializers."""
        return {tensor.name: self.of_tensor(tensor) for tensor in graph.initializers}

    def of_tensor(self, tensor: object) -> Binding:
        """The binding time of a constant tensor."""
        if not isinstance(tensor, Tensor):
            return KNOWN
        return TRACED if tensor in self.traced else Binding(opaque=tensor.dtype in NOT_IN_JAX)

    def walk(
        self, nodes: Sequence[Node], env: MutableMapping[str, Binding]
    ) -> Iterator[tuple[Node, list[Demand]]]:
        """Binds the outputs of node after node in `env`; yields what each one demands."""
        for node in nodes:
            operands = [env.get(name, KNOWN) for name in node.inputs]
            results, demands = self.of_node(node, operands, env)
            env.update(zip(node.outputs, results, strict=False))
            yield node, demands

    def demands(self, nodes: Sequence[Node], env: MutableMapping[str, Binding]) -> list[Demand]:
        """What all nodes of an inner scope demand."""
        return [demand for _, demands in self.walk(nodes, env) for demand in demands]

    def of_node(
        self, node: Node, operands: list[Binding], env: MutableMapping[str, Binding]
    ) -> tuple[list[Binding], list[Demand]]:
        """Binding times of a node's outputs, and what it demands."""
        if function := self.functions.get((node.domain, node.op_type, node.overload)):
            return self.of_call(function, operands)
        operator = lookup(node.domain, node.op_type, self.opsets.get(node.domain, 1))
        if operator is None or operator.reads_shape:
            return [KNOWN] * len(node.outputs), []
        demands = []
        if (count := sum(bool(operand.roots) for operand in operands)) > COMPILED:
            demands.append(Demand(TRACED.roots, f"its {count:,} operands are too many to compile"))
        meets_strings = any(operand.opaque for operand in operands)
        for index, operand in enumerate(operands):
            name = operator.input_name(index) if operator.inputs else ""
            if name in operator.static or meets_strings:
                why = "decides a shape" if name in operator.static else "meets strings"
                demands += demand(operand, f"operand '{name}' ({quoted(node.inputs[index])}) {why}")
        if graphs := subgraphs(node):
            results, further = self.of_control(operator, node, operands, graphs, env)
            return results, demands + further
        tensors = [self.of_tensor(attribute) for attribute in node.attributes.values()]
        result = join([*operands, *tensors])
        # Of a conversion of what is known, the other operands may count for their types alone.
        sure = result.sure and not (operator.converts and not operands[0].roots)
        sure &= not ("key" in operator.reserved and self.random)
        moved = operands if operator.moves else tensors
        opaque = any(binding.opaque for binding in moved)
        return [replace(result, sure=sure, opaque=opaque)] * len(node.outputs), demands

    def of_call(
        self, function: Function, operands: list[Binding]
    ) -> tuple[list[Binding], list[Demand]]:
        """`of_node` for a call of a function: once for all calls with operands of these kinds."""
        key = (function, *operands)
        if key not in self.calls:
            scope = dict(zip(function.inputs, operands, strict=False))
            demands = replace(self, opsets=function.opsets).demands(function.nodes, scope)
            outputs = [scope.get(name, KNOWN) for name in function.outputs]
            self.calls[key] = outputs, list(dict.fromkeys(demands))
        return self.calls[key]

    def of_control(
        self,
        operator: Operator,
        node: Node,
        operands: list[Binding],
        graphs: Sequence[Graph],
        env: MutableMapping[str, Binding],
    ) -> tuple[list[Binding], list[Demand]]:
        """`of_node` for one with subgraphs, which are bound as for one step of a loop.

        What the branches of an `If` demand counts if both are evaluated. A loop's counter and state
        are known if they are in the first step, since the loop can be unrolled.
        """
        controls = join(operands[: operator.controls])
        demands: list[Demand] = []
        made: list[list[Binding]] = []
        for graph in graphs:
            # A subgraph's inputs are the last operands; those of a branch are none.
            pairs = zip(reversed(graph.inputs), reversed(operands), strict=False)
            given = {value.name: binding for value, binding in pairs}
            scope = ChainMap({**self.constants(graph), **given}, env)  # no copy
            demanded = self.demands(graph.nodes, scope)
            demands += demanded if len(graphs) == 1 or controls.roots else []
            made.append([scope.get(value.name, KNOWN) for value in graph.outputs])
        reason = f"{node.op_type} decides which shapes there are"
        if operator.controls and must_agree(graphs):
            demands += demand(controls, reason)
            if graphs[0].inputs and made[0]:  # a loop, whose first value is whether it goes on
                demands += demand(made[0][0], reason)
        skipped = 1 if operator.controls and graphs[0].inputs else 0
        around = join([*operands, *(env.get(name, KNOWN) for name in names_read(node))])
        results = []
        for bindings in zip(*(outputs[skipped:] for outputs in made), strict=False):
            result = join([controls, *bindings])
            certain = all(b.roots for b in bindings) or not (around.roots or result.roots)
            results.append(replace(result, sure=result.sure and certain))
        return results, demands


def must_agree(graphs: Sequence[Graph]) -> bool:
    """Whether control flow of subgraphs cannot be traced with a traced condition.

    The branches are stated to make values of different shapes; or a loop collects what its steps
    make, or carries a sequence, which may grow.
    """
    first, *others = graphs
    if first.inputs:
        grows = any(isinstance(v.type, SequenceType | OptionalType) for v in first.inputs)
        return grows or len(first.outputs) + 1 > len(first.inputs)
    pairs = [pair for other in others for pair in zip(first.outputs, other.outputs, strict=False)]
    return any(differ(a.type, b.type) for a, b in pairs)


def differ(a: Type, b: Type) -> bool:
    """Whether two types, as far as they are stated, are those of values of different shapes."""
    if isinstance(a, OptionalType) or isinstance(b, OptionalType):
        return True
    if not (isinstance(a, TensorType) and isinstance(b, TensorType)) or None in (a.shape, b.shape):
        return False
    sizes = zip(a.shape or (), b.shape or (), strict=False)
    different = any(isinstance(m, int) and isinstance(n, int) and m != n for m, n in sizes)
    return different or len(a.shape or ()) != len(b.shape or ())


def origins(
    names: Sequence[str],
    node: Node,
    before: Sequence[Node],
    env: Mapping[str, Value],
    opsets: Mapping[str, int],
) -> tuple[str, ...]:
    """Traced values that enter this scope from outside and that `names` are computed from.

    Args:
        names: Values that were found to be traced, in the scope of `node` or of its subgraphs.
        node: The node at which that was found.
        before: The nodes that were evaluated before it.
        env: Values so far.
        opsets: Opset imports of the scope.
    """
    producers = {output: producer for producer in before for output in producer.outputs}
    # A name that is not of this scope is one that `node` passed to its subgraph.
    pending = {n for name in names for n in ([name] if name in env else node.inputs) if n}
    found: set[str] = set()
    seen: set[str] = set()
    while pending:
        name = pending.pop()
        seen.add(name)
        if is_known(env.get(name)):  # or not there any more, in a later region
            continue
        producer = producers.get(name)
        if producer is None:
            found.add(name)
            continue
        operator = lookup(producer.domain, producer.op_type, opsets.get(producer.domain, 1))
        if operator is None or not operator.reads_shape:
            pending |= names_read(producer) - seen
    return tuple(sorted(found))


def advise(
    error: StaticOperandError,
    inputs: Mapping[str, Value],
    params: Collection[str],
    graph: Graph,
    plan: Plan,
) -> str:
    """The error's message with where the operand comes from and what to do.

    Args:
        error: What a trace of the whole graph raised.
        inputs: The graph's inputs.
        params: Names of the parameters.
        graph: The graph.
        plan: What must be known of it; the node that failed may be missing from it.
    """
    message, few = str(error), partial(listed, room=FEW)
    given = [name for name in error.names if name in inputs]
    if learned := [name for name in error.names if name in params]:
        message += f"; it is computed from the parameters {few(learned)}"
    if given:
        message += f"; it is computed from the graph inputs {few(given)}"
    if given and all(may_be_known(inputs[name]) for name in given):
        fixed = few([f"{plain(name)}=value" for name in given], str)
        message += f". Fix them with module.specialize({fixed}) or pass them as numpy arrays"
    nodes = [node for node in graph.nodes if node in plan.concrete or node is error.node]
    message += f". Nodes that need concrete values: {few([*map(short, nodes)], str)}"
    message += ". A call, module(...), evaluates them between compiled regions"
    if made := made_before(nodes, graph, plan):
        message += f"; apply can evaluate what comes before: module.cut(outputs=[{few(made)}])"
    return message


def short(node: Node) -> str:
    """A node by its name, or without one by what it makes."""
    return f"{plain(node.op_type)} {quoted(node.name)}" if node.name else str(node)


def made_before(nodes: Collection[Node], graph: Graph, plan: Plan) -> list[str]:
    """Names of traced values that are read by some nodes, or after them, but do not need them."""
    read, made, missing = {value.name for value in graph.outputs}, set[str](), set[str]()
    for node in graph.nodes:
        names = names_read(node)
        if node in nodes or names & missing:
            missing.update(node.outputs)
            read |= names
        else:
            made.update(name for name in node.outputs if plan.bindings[name] != KNOWN)
    return sorted(read & made)
