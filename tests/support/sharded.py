"""Operators on operands that are sharded over two devices, as a program that tells what they do.

    python tests/support/sharded.py PART PARTS

A line is a JSON list of an operator's name; "" or how its values, or those of its gradient, differ
from those of one device; how the output is sharded; and whether the program gathers what was apart.
Of each operator the first sample is taken whose first operands can have twice as many rows, and
rows are sharded; else the first one whose first operand has another axis of even size.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from support.compiling import TWO_DEVICES, known_options

if __name__ == "__main__":
    os.environ.update(TWO_DEVICES)

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

import onnxla
from onnxla.peers.difference import Tolerance, difference, together
from support.sample_models import ROWS, case_at
from support.samples import Sample, samples

AXIS = "data"
CLOSE = Tolerance(relative=1e-3, scaled=1e-4, absolute=1e-5, steps=1)


def uses() -> dict[str, list[Sample]]:
    """Samples by operator, those of whose first operand is an array that JAX can shard."""
    found: dict[str, list[Sample]] = {}
    for sample in samples():
        first = sample.inputs[0] if sample.inputs else None
        if isinstance(first, np.ndarray) and first.ndim and first.dtype.kind in "fiub":
            found.setdefault(f"{sample.domain}.{sample.op_type}".strip("."), []).append(sample)
    return found


def doubled(sample: Sample) -> Iterator[tuple[int, Sample]]:
    """A sample with twice as many rows of the first operands, of how many; and as it is."""
    first = sample.inputs[0]
    rows = [
        isinstance(x, np.ndarray) and x.ndim > 0 and len(x) == len(first) for x in sample.inputs
    ]
    alike = rows.index(False) if False in rows else len(rows)
    for count in sorted({alike, 1}, reverse=True):
        twice = [np.concatenate([x, x]) for x in sample.inputs[:count]]
        yield count, replace(sample, inputs=[*twice, *sample.inputs[count:]])
    yield 1, sample


def prepared(sample: Sample) -> tuple[onnxla.Module, dict[str, Any], list[str], int] | None:
    """A module, its inputs, which are to be sharded, and along which axis; or None."""
    listed = [version for version, _ in ROWS[sample.domain, sample.op_type]]
    versions = [v for v in listed if sample.versions is None or v in sample.versions]
    for count, use in doubled(sample) if versions else ():
        case = case_at(use, max(versions), use.inputs)
        module, inputs = onnxla.load(case.model), dict(case.inputs)
        even = [axis for axis, size in enumerate(use.inputs[0].shape) if size and size % 2 == 0]
        try:
            module.run(inputs)
        except Exception:  # no use of the operator
            continue
        names = [name for name in [*inputs][:count] if name not in module.program.static]
        if even and names and not module.program.data_dependent:
            return module, inputs, names, even[0]
    return None


def told(name: str, some: list[Sample]) -> list[Any] | None:
    """What is printed of an operator."""
    found = next(filter(None, map(prepared, some)), None)
    if found is None:
        return None
    module, inputs, names, axis = found
    known = {k: x for k, x in inputs.items() if k in module.program.static}
    traced = {k: jnp.asarray(x) for k, x in inputs.items() if k not in known}
    floats = {k: traced[k] for k in names if jnp.issubdtype(traced[k].dtype, jnp.floating)}

    @jax.jit
    def run(floats: dict[str, Any], traced: dict[str, Any]) -> Any:
        def scalar(floats: dict[str, Any]) -> Any:
            inputs = {**known, **traced, **floats}
            y = module.apply(module.params, *map(inputs.get, module.input_names))
            leaves = [v for v in jax.tree.leaves(y) if jnp.issubdtype(v.dtype, jnp.floating)]
            return jnp.float32(sum((v.astype(np.float32) ** 2).sum() for v in leaves)), y

        return jax.grad(scalar, has_aux=True)(floats)

    def split(values: dict[str, Any]) -> dict[str, Any]:
        spec = PartitionSpec(*[None] * axis, AXIS)
        return {k: jax.device_put(x, spec) if k in names else x for k, x in values.items()}

    operands = split(floats), split(traced)
    compiled = run.lower(*operands).compile(known_options())
    slope, values = compiled(*operands)
    own, one = run(floats, traced)
    wrong = ""
    for what, got, expected in (("values", values, one), ("gradient", slope, own)):
        leaves = map(jax.tree.leaves, (got, expected))
        deviation = together(difference(a, b, CLOSE) for a, b in zip(*leaves, strict=True))
        wrong = wrong or ("" if deviation.ok else f"{what}: {deviation}")
    spec = [str(leaf.sharding.spec) for leaf in jax.tree.leaves(values)]
    return [name, axis, wrong, spec, "all-gather" in compiled.as_text()]


if __name__ == "__main__":
    part, parts = map(int, sys.argv[1:])
    jax.set_mesh(jax.make_mesh((2,), (AXIS,)))
    for name, some in [*uses().items()][part::parts]:
        try:
            line = told(name, some)
        except Exception as error:
            line = [name, 0, f"{type(error).__name__}: {error}"[:1000], [], False]
        if line:
            print(json.dumps(line), flush=True)
