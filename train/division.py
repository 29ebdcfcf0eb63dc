"""A model in two, where a step cannot trace all of it: what meets strings, or makes shapes of data.

A node that needs concrete values has no gradient. Where it depends on nothing that trains, it is
evaluated before the step, on each batch, as a call of the module does; and the step begins behind.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import jax

from onnxla.ir.errors import StaticOperandError
from onnxla.ir.model import Node
from onnxla.ir.names import listed
from onnxla.ir.traverse import names_read
from onnxla.module import Module
from onnxla.ops.values import Value, as_traced


@dataclass(frozen=True)
class Divided:
    """A model in two.

    Attributes:
        module: The model.
        after: What can be traced, a function of the model's inputs and of the values at the cut;
            the model itself where it needs no cut.
        before: What makes the values at the cut of the model's inputs, on concrete values.
    """

    module: Module
    after: Module
    before: Module | None = None

    def prepare(
        self,
        inputs: Mapping[str, Value],
        params: Mapping[str, Value] | None = None,
        take: Callable[[Value], Value] = as_traced,
    ) -> dict[str, Value]:
        """Inputs of what can be traced, checked, as JAX arrays of the model's dtypes.

        Left to `jax.jit`, 64-bit integers would lose half of their bits.

        Args:
            inputs: The model's inputs by name.
            params: Its parameters; by default its own.
            take: What makes JAX arrays of them, if something else does.
        """
        given = self.module.check_inputs(inputs)
        made: dict[str, Value] = {}
        if (before := self.before) is not None:
            own = {name: (params or before.params)[name] for name in before.params}
            needed = {k: v for k, v in given.items() if k in before.program.declared}
            made = Module(own, before.program).run(needed)
        taken = {k: v for k, v in given.items() if k in self.after.program.declared}
        with jax.enable_x64(True):
            return {name: take(value) for name, value in {**taken, **made}.items()}


def divide(
    module: Module,
    inputs: Mapping[str, Value],
    outputs: Sequence[str],
    trained: Collection[str] = (),
) -> Divided:
    """The model up to some outputs in two, or whole if all of it can be traced.

    Args:
        module: The model.
        inputs: A batch, whose kinds decide what can be.
        outputs: Names of values of the model.
        trained: Names of the parameters to train.

    Raises:
        StaticOperandError: A node that cannot be traced depends on one of them.
    """
    nodes = concrete_nodes(module, inputs, outputs)
    graph = module.program.graph(tuple(outputs))
    others = [names_read(node) for node in graph.nodes if node not in nodes]
    read = set(outputs).union(*others)
    names = [name for node in graph.nodes if node in nodes for name in node.outputs if name in read]
    if not names:
        return Divided(module, module)
    before, after = module.inference().cut(outputs=names), module.cut(names, outputs)
    if found := [name for name in before.params if name in trained]:
        raise StaticOperandError(
            f"a step of training cannot go through {listed(nodes, str)}: they need concrete values,"
            f" and are computed from the parameters {listed(found)}, which train. freeze= them, or"
            " let outputs= name values before these nodes"
        )
    return Divided(module, after, before)


def concrete_nodes(
    module: Module, inputs: Mapping[str, Value], outputs: Sequence[str]
) -> list[Node]:
    """The nodes before some outputs that need concrete values, in the order of the graph.

    Some are found only where the others are evaluated, which is done if there are any.
    """
    program = module.program
    if program.batched:
        return []
    graph = program.graph(tuple(outputs))
    given = {**program.fixed, **module.check_inputs(inputs)}
    plan = program.staging(jax.random.key(0)).plan(graph, given, [*program.fixed])
    found = {*plan.concrete}
    if found:
        part = module.cut(outputs=outputs)
        part.run({k: v for k, v in given.items() if k in part.input_names}, jax.random.key(0))
        regions = part.program.regions.kept.values()
        found.update(graph.nodes[index] for region in regions for index in region.plan.concrete)
    return [node for node in graph.nodes if node in found]
