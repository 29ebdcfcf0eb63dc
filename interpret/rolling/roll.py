"""Equal blocks of nodes as one node, which a loop evaluates."""

from __future__ import annotations

from collections import ChainMap, Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from onnxla.interpret.calls import Context, Env, Scope, fold_in
from onnxla.interpret.composite import Composite, Evaluate
from onnxla.interpret.remat import keeps_products
from onnxla.interpret.rolling.blocks import Column, Run
from onnxla.ir.errors import StaticOperandError
from onnxla.ir.model import Node, SparseTensor, Tensor
from onnxla.ir.traverse import names_read
from onnxla.ops.control import as_carried, signature
from onnxla.ops.values import Value


@dataclass(frozen=True, eq=False)
class Roll(Composite):
    """Equal blocks of nodes, each fed by the one before.

    Its inputs are what the blocks read and do not make, its outputs what is read outside.

    Attributes:
        blocks: The nodes of each block.
        body: Those of the first, with names of their own for what differs between the blocks.
        state: By name in the body, what the block before makes: under which name in the body, and
            what it is called for one block after another.
        stacked: By name in the body, the values for one block after another; constants as such.
        made: By name in the body, what a block makes that is read outside, block after block.
    """

    blocks: tuple[tuple[Node, ...], ...] = ()
    body: tuple[Node, ...] = ()
    state: Mapping[str, tuple[str, Column]] = field(default_factory=dict)
    stacked: Mapping[str, tuple[str | Tensor, ...]] = field(default_factory=dict)
    made: Mapping[str, Column] = field(default_factory=dict)

    def evaluate(self, env: Env, context: Context, evaluate: Evaluate) -> dict[str, Value]:
        """The values of its outputs, and others.

        A loop cannot change shapes. Where the first block does, it is evaluated by itself, and
        where others do, all are.
        """
        for alone in (0, 1):
            try:
                return self.loop(alone, env, context, evaluate)
            except StaticOperandError:
                continue
        return self.one_by_one(len(self.blocks), env, context, evaluate)

    def one_by_one(
        self, count: int, env: Env, context: Context, evaluate: Evaluate
    ) -> dict[str, Value]:
        """What the first blocks make, evaluated without a loop."""
        nodes = [node for block in self.blocks[:count] for node in block]
        values = [x for column in self.stacked.values() for x in column[:count]]
        made = {x.name: context.read(x) for x in values if isinstance(x, Tensor)}
        scope: Scope = ChainMap(made, env)  # type: ignore[arg-type]  # which is only read
        for index in range(len(nodes)):
            evaluate(index, nodes, scope, context)
        return made

    def loop(self, alone: int, env: Env, context: Context, evaluate: Evaluate) -> dict[str, Value]:
        """The values of its outputs, by a loop over all blocks but some, which stand alone.

        Raises:
            StaticOperandError: The blocks differ in shapes, or something has to be known.
        """
        found = self.one_by_one(alone, env, context, evaluate)
        scope: Scope = ChainMap(found, env)  # type: ignore[arg-type]
        start = as_carried([scope[column[alone]] for _, column in self.state.values()])
        xs = {k: stack(column[alone:], scope, context) for k, column in self.stacked.items()}
        last = {out: j for j, (out, _) in enumerate(self.state.values())}
        outputs = {*self.outputs}
        collected = [
            name
            for name, column in self.made.items()
            if name not in last or outputs.intersection(column[alone:-1])
        ]

        def step(carry: list[Value], x: tuple[Value, dict[str, Value]]) -> Any:
            index, own = x
            inner: Scope = ChainMap({**dict(zip(self.state, carry, strict=True)), **own}, scope)
            within = fold_in(context, index)
            for i in range(len(self.body)):
                evaluate(i, self.body, inner, within)
            state = as_carried([inner[name] for name in last])
            if signature(state) != signature(carry):
                raise StaticOperandError(
                    f"blocks change shapes from {signature(carry)} to {signature(state)}"
                )
            return state, as_carried([inner[name] for name in collected])

        length = len(self.blocks) - alone
        # All that JAX keeps of each step would be copied into arrays of all steps.
        policy = None if context.remat else keeps_products
        body = jax.checkpoint(step, policy=policy, prevent_cse=False)
        state, ys = lax.scan(body, start, (jnp.arange(length), xs))
        for name, y in zip(collected, ys, strict=True):
            found |= {key: y[i] for i, key in enumerate(self.made[name][alone:]) if key in outputs}
        for name, column in self.made.items():
            if name not in collected:
                found[column[-1]] = state[last[name]]
        return found


def stack(values: Sequence[str | Tensor], env: Env, context: Context) -> Value:
    """The values for one block after another as one array."""
    tensors = tuple(x for x in values if isinstance(x, Tensor))
    if len(tensors) == len(values):
        return context.read(tensors)
    return join_values([context.read(x) if isinstance(x, Tensor) else env[x] for x in values])


def join_values(values: Sequence[Value]) -> Value:
    """Values along a new first axis.

    Raises:
        StaticOperandError: They are of different shapes, or no arrays.
    """
    traced = as_carried(values)
    if len({str(signature(x)) for x in traced}) > 1 or not hasattr(traced[0], "dtype"):
        raise StaticOperandError(f"blocks read {signature(traced)}")
    return jnp.stack(traced)


def rolled(
    nodes: Sequence[Node],
    run: Run,
    constants: Mapping[str, Tensor | SparseTensor],
    kept: Collection[str],
) -> Roll:
    """A run of blocks as one node.

    Args:
        nodes: The nodes of a scope.
        run: Some of them.
        constants: Constant tensors by name.
        kept: Names that are read after all nodes.
    """
    inside = {index for block in run.blocks for index in block}
    others = [node for index, node in enumerate(nodes) if index not in inside]
    read = {*kept}.union(*map(names_read, others))
    blocks = tuple(tuple(nodes[i] for i in block) for block in run.blocks)
    first = Counter(column[0] for column in (*run.shared, *run.carried, *run.stacked))
    names = {
        column: column[0] if first[column[0]] == 1 else f"{column[0]} ({place})"
        for place, column in enumerate((*run.carried, *run.stacked))
    }
    body = []
    for row in zip(*blocks, strict=True):
        columns = zip(*(node.inputs for node in row), strict=True)
        inputs = tuple(names.get(column, column[0]) for column in columns)
        body.append(row[0] if inputs == row[0].inputs else replace(row[0], inputs=inputs))
    made = {
        column[0]: column
        for row in zip(*blocks, strict=True)
        for column in zip(*(node.outputs for node in row), strict=True)
        if column[0]
    }
    outs = {column[:-1]: name for name, column in made.items()}
    outputs = tuple(name for column in made.values() for name in column if name in read)

    def constant(name: str) -> str | Tensor:
        found = constants.get(name)
        return found if isinstance(found, Tensor) else name

    leaves = {column[0] for column in run.carried}
    # Equal constants may have names of their own, by which they are read one by one.
    leaves |= {name for column in run.shared for name in column}
    leaves |= {name for column in run.stacked for name in column if name not in constants}
    return Roll(
        op_type="Roll",
        inputs=tuple(filter(None, leaves)),
        outputs=outputs,
        name=f"{len(blocks)} times {blocks[0][0].name or blocks[0][0].op_type}",
        blocks=blocks,
        body=tuple(body),
        state={names[column]: (outs[column[1:]], column) for column in run.carried},
        stacked={names[column]: tuple(map(constant, column)) for column in run.stacked},
        made={name: column for name, column in made.items() if read.intersection(column)},
    )
