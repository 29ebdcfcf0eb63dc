"""Whether each node of a model with a free batch makes of a batch what it made of each element.

Each node is compared by itself, on what the nodes before it made in the original of the elements
one by one. If all agree, so does the whole; and a node that mixes elements is found whatever the
others do.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from onnxla import ir
from onnxla.edit.batch_places import Place, together
from onnxla.interpret.eval import eval_at
from onnxla.interpret.program import Program
from onnxla.ir.traverse import names_read
from onnxla.ops.values import Value, is_floating

# Rounding errors of a result, in units of its precision, and at most this part of its size.
ROUNDING, LARGEST = 1000, 1e-2
# Inputs of integers are below: a vocabulary's, and a mask's, if they are 0 or 1.
INTEGERS = 3
# What runs once is compiled quickly: LLVM's passes take longer.
QUICKLY = {"xla_backend_optimization_level": 0}


@dataclass(frozen=True)
class Replacement:
    """A node of the original, and those that make the same of a batch."""

    old: ir.Node
    new: tuple[ir.Node, ...]


def mixing_nodes(
    program: Program,
    replacements: Sequence[Replacement],
    places: Mapping[str, Place | None],
    known: Mapping[str, Value],
    elements: Mapping[str, Value],
    others: Mapping[str, Value],
) -> list[ir.Node]:
    """The nodes of the original that make other values of a batch than of each element.

    Args:
        program: The original.
        replacements: Its nodes, with what they become.
        places: Where the batch lies in each value.
        known: The values that are known for the batch, those of new nodes and tensors among them.
        elements: The inputs with a batch: its elements on a new first axis.
        others: The other inputs.
    """
    names = {name for each in replacements for name in names_read(each.old)}
    names |= {name for each in replacements for name in each.old.outputs}
    wanted = tuple(sorted(names & places.keys()))

    def run(
        params: Any, buffers: Any, elements: Mapping[str, Value], traced: Mapping[str, Value]
    ) -> list[Value]:
        rest = {**others, **traced}

        def one(inputs: Mapping[str, Value]) -> tuple[Value, ...]:
            return program.evaluate(params, {**rest, **inputs}, buffers, outputs=wanted)

        stacked = dict(zip(wanted, jax.vmap(one)(elements), strict=True))
        context = program.context(params, buffers, None, given=rest)
        constants = {t.name: context.read(t) for t in program.model.graph.initializers}
        expected = {
            name: together(value, place) if (place := places[name]) else value[0]
            for name, value in stacked.items()
        }
        env = {**constants, **expected, **known}
        agreements = []
        for each in replacements:
            made: dict[str, Value] = {}
            scope = ChainMap(made, env)
            for index in range(len(each.new)):
                eval_at(index, each.new, scope, context)
            compared = [n for n in each.old.outputs if n in expected and n not in known]
            same = [agree(made[n], expected[n]) for n in compared]
            # What has no batch is the same for all elements.
            same += [
                agree(jnp.broadcast_to(expected[n], stacked[n].shape), stacked[n])
                for n in compared
                if places[n] is None
            ]
            agreements.append(jnp.all(jnp.array(same, bool)))
        return agreements

    params = {name: tensor.numpy() for name, tensor in program.parameters.params.items()}
    traced = {name: value for name, value in others.items() if not is_static(program, name)}
    others = {name: value for name, value in others.items() if name not in traced}
    with jax.enable_x64(True), program.explaining_errors():
        compiled = jax.jit(run, compiler_options=QUICKLY)
        agreements = compiled(params, program.buffers, elements, traced)
    return [each.old for each, same in zip(replacements, agreements, strict=True) if not bool(same)]


def is_static(program: Program, name: str) -> bool:
    """Whether an input decides a shape."""
    return name in program.parameters.static_inputs


def agree(value: Value, expected: Value) -> Value:
    """Whether two arrays are the same but for rounding; bool []."""
    if value.shape != expected.shape or value.dtype != expected.dtype:
        return jnp.array(False)
    value, expected = jnp.asarray(value), jnp.asarray(expected)
    if not is_floating(value) and value.dtype.kind != "c":
        if value.dtype.kind in "iu" and value.dtype.itemsize == 1:  # quantized
            return jnp.all(abs(value.astype(np.int32) - expected.astype(np.int32)) <= 1)
        return jnp.all(value == expected)
    part = min(ROUNDING * float(jnp.finfo(value.dtype).eps), LARGEST)
    wide = value.dtype if value.dtype.itemsize >= 4 else np.dtype(np.float32)
    value, expected = value.astype(wide), expected.astype(wide)
    size = jnp.max(jnp.where(jnp.isfinite(expected), abs(expected), 0), initial=0)
    both_nan = jnp.isnan(value) & jnp.isnan(expected)
    return jnp.all((abs(value - expected) <= part * size) | (value == expected) | both_nan)


def random_input(shape: Sequence[int], dtype: np.dtype, n: int, seed: int) -> np.ndarray:
    """The elements of a batch of n on a first axis, of which no two that follow are the same."""
    rng = np.random.default_rng(seed)
    if ir.is_float(dtype):
        return rng.uniform(-1, 1, (n, *shape)).astype(dtype)
    first = rng.integers(0, INTEGERS, shape)
    several = np.stack([(first + index) % INTEGERS for index in range(n)])
    return several % 2 == 1 if dtype.kind == "b" else several.astype(dtype)
