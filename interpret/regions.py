"""Regions: a graph whose shapes depend on data, as compiled programs with concrete nodes between.

A node must be evaluated on concrete values if a traced operand decides one of its shapes, or if it
reads strings or maps, which JAX has no type for. All nodes that depend on no such node form the
first region, one compiled program. Then the concrete nodes that became ready are evaluated; what
they made has shapes again, with which the next region is planned.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax

from onnxla.interpret.calls import Context
from onnxla.interpret.eval import eval_at
from onnxla.interpret.kept import Kept
from onnxla.ir.errors import StaticOperandError
from onnxla.ir.model import Graph, Node
from onnxla.ir.traverse import names_read
from onnxla.ops.values import Value, is_known, is_opaque


def trace_key(value: Value) -> Hashable:
    """What a trace depends on in a value that it does not know."""
    if isinstance(value, list | tuple):
        return tuple(map(trace_key, value))
    if value is None or is_opaque(value):
        return value is None
    return value.dtype, value.shape


@jax.tree_util.register_static
@dataclass(frozen=True, eq=False)
class RegionPlan:
    """What is left to do after a region's program; a part of what tracing it returns.

    Attributes:
        concrete: Positions of the nodes to evaluate on concrete values after the program.
        rest: Positions of the nodes that depend on those; they make the next region.
        known: Values read afterwards that follow from shapes alone.
    """

    concrete: Sequence[int]
    rest: Sequence[int]
    known: Mapping[str, Value]


class Region:
    """What can be compiled of some nodes once certain values are there, and what follows it.

    Attributes:
        plan: What is left to do after the program.
        is_empty: Whether the program computes nothing.
    """

    def __init__(
        self,
        graph: Graph,
        reads: Sequence[set[str]],
        context: Callable[..., Context],
        nodes: Sequence[int],
        given: Mapping[str, Value],
        needs: Collection[Node],
        args: tuple[Any, Mapping[str, Value], jax.Array | None],
    ) -> None:
        """Plans the region by tracing it, without compiling.

        Args:
            graph: The graph.
            reads: What each of its nodes reads.
            context: From params, buffers and a key to the context that nodes are evaluated in.
            nodes: Positions of the nodes that are left.
            given: Values that are known while tracing.
            needs: Nodes that need concrete values, as far as that is known already.
            args: Params and buffers, the other values, and the key.
        """
        self.graph, self.reads, self.context = graph, reads, context
        self.nodes, self.given, self.needs = nodes, given, needs
        self.opaque = {name for name, value in args[1].items() if is_opaque(value)}
        read = self.read_by(nodes)
        self.constants = [tensor for tensor in graph.initializers if tensor.name in read]
        # A function of its own, since `jax.jit` keeps programs by function.
        self.program = jax.jit(functools.partial(Region.trace, self))
        made, self.plan = self.program.eval_shape(*self.traceable(*args))
        self.is_empty = not made

    def traceable(
        self, constants: Any, values: Mapping[str, Value], key: jax.Array | None
    ) -> tuple[Any, Mapping[str, Value], jax.Array | None]:
        """Arguments of the program: all but what cannot be traced."""
        return constants, {k: v for k, v in values.items() if k not in self.opaque}, key

    def read_by(self, positions: Iterable[int]) -> set[str]:
        """Names that some nodes read, and those of the graph's outputs."""
        outputs = {value.name for value in self.graph.outputs}
        return outputs.union(*(self.reads[i] for i in positions))

    def environment(self, context: Context, values: Mapping[str, Value]) -> dict[str, Value]:
        """Values by name, from which the nodes are evaluated."""
        constants = {tensor.name: context.read(tensor) for tensor in self.constants}
        return {**constants, **self.given, **values}

    def trace(
        self, constants: Any, values: Mapping[str, Value], key: jax.Array | None
    ) -> tuple[dict[str, Value], RegionPlan]:
        """Evaluates all nodes that can be traced; returns what they make that is read later."""
        context = self.context(*constants, key, given=values)
        env = self.environment(context, values)
        concrete, rest = [], []
        missing: set[str] = set()
        for index in self.nodes:
            node = self.graph.nodes[index]
            read = self.reads[index]
            if read & missing:
                rest.append(index)
            elif read & self.opaque or node in self.needs:
                concrete.append(index)
            else:
                try:
                    eval_at(index, self.graph.nodes, env, context)
                    continue
                except StaticOperandError:
                    concrete.append(index)
            missing.update(node.outputs)
        given = {*values, *(tensor.name for tensor in self.constants)}
        later = self.read_by([*concrete, *rest]).intersection(env).difference(given)
        known = {name: env[name] for name in later if is_known(env[name])}
        made = {name: env[name] for name in later.difference(known)}
        return made, RegionPlan(concrete, rest, known)

    def run(
        self, constants: Any, values: Mapping[str, Value], key: jax.Array | None
    ) -> dict[str, Value]:
        """Values by name after the program and the concrete nodes that follow it."""
        made: dict[str, Value] = {}
        if not self.is_empty:
            made, _ = self.program(*self.traceable(constants, values, key))
        context = self.context(*constants, key, given=values)
        env = {**self.environment(context, values), **self.plan.known, **made}
        for index in self.plan.concrete:
            eval_at(index, self.graph.nodes, env, context)
        return env

    @functools.cached_property
    def carried(self) -> list[str]:
        """Names of the values that the next region is called with; known ones are in its trace."""
        constants = (tensor.name for tensor in self.constants)
        return sorted(self.read_by(self.plan.rest).difference(self.plan.known, constants))


class Regions:
    """A graph as a function that calls region after region.

    Args:
        graph: The graph.
        context: From params, buffers and a key to the context that nodes are evaluated in.
        needs: Nodes that need concrete values, as far as that is known already.
        size: How many regions are kept, each for the shapes that were met before it.
    """

    def __init__(
        self,
        graph: Graph,
        context: Callable[..., Context],
        needs: Collection[Node] = (),
        size: int = 128,
    ) -> None:
        self.graph, self.context, self.needs = graph, context, needs
        self.reads = [*map(names_read, graph.nodes)]
        self.kept: Kept[Region] = Kept(size)

    def __call__(
        self,
        constants: Any,
        known: Hashable,
        given: Mapping[str, Value],
        values: Mapping[str, Value],
        key: jax.Array | None,
    ) -> tuple[Value, ...]:
        """The graph's outputs for concrete `values`.

        Args:
            constants: Params and buffers.
            known: Stands for `given` in the key under which regions are kept.
            given: Inputs that are known while tracing.
            values: The other inputs.
            key: JAX key for operators that draw random numbers.
        """
        nodes: Sequence[int] = range(len(self.graph.nodes))
        region: Region | None = None
        while True:
            # What is known after the first region follows from the regions so far.
            met = region or known, tuple((name, trace_key(x)) for name, x in values.items())
            about = self.graph, self.reads, self.context, nodes, given, self.needs
            make = functools.partial(Region, *about, (constants, values, key))
            region = self.kept.get(met, make)
            env = region.run(constants, values, key)
            if not region.plan.rest:
                return tuple(env[value.name] for value in self.graph.outputs)
            nodes, given = region.plan.rest, region.plan.known
            values = {name: env[name] for name in region.carried if name in env}
