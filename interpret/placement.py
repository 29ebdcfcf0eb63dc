"""A graph whose operands are sharded over explicit axes of a mesh.

JAX's meshes have explicit axes by default: the type of an array tells how it is sharded, and an
operation whose result could be sharded in several ways (a gather, a reshape) asks its caller which.
A graph does not say. So within one the axes are automatic, which lets XLA decide, and its outputs
are sharded as the inputs are: an axis of an output that grows with an axis of an input is sharded
as that is. What grows with nothing that is sharded is replicated.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax import ShapeDtypeStruct
from jax.sharding import AxisType, PartitionSpec, auto_axes, use_abstract_mesh

from onnxla.ir.errors import OnnxlaError
from onnxla.ops.values import Value

Computation = Callable[[Any, Any], Any]
"""Of parameters, or whatever else keeps its shape, and of inputs."""
InputAxis = tuple[int, int]
"""The number of an input, and an axis."""


def spec_of(x: Value) -> tuple[Any, ...]:
    """By axis of an array, the explicit axes of a mesh that it is sharded over, or None."""
    if not isinstance(x, jax.Array):
        return ()
    sharding = jax.typeof(x).sharding
    return tuple(sharding.spec) if AxisType.Explicit in sharding.mesh.axis_types else ()


def is_placed(operands: Any) -> bool:
    """Whether an operand is sharded over explicit axes."""
    return any(any(spec_of(x)) for x in jax.tree.leaves(operands))


def placed(function: Computation, params: Any, inputs: Any) -> Any:
    """The function's results, computed with automatic axes where operands have explicit ones."""
    if not is_placed((params, inputs)):
        return function(params, inputs)
    split = next(x for x in jax.tree.leaves((params, inputs)) if any(spec_of(x)))
    # The mesh in force, which need not be set where it is that of the arrays.
    with jax.enable_x64(True), use_abstract_mesh(jax.typeof(split).sharding.mesh):
        specs = output_specs(function, params, inputs)
        automatic: Any = auto_axes(function, out_sharding=specs)
        return automatic(params, inputs)


def output_specs(function: Computation, params: Any, inputs: Any) -> Any:
    """How the results are to be sharded: as the axes of inputs that they grow with."""
    leaves, inputs_of = jax.tree.flatten(inputs)
    places: defaultdict[Any, list[InputAxis]] = defaultdict(list)
    for number, x in enumerate(leaves):
        for axis, names in enumerate(spec_of(x)):
            if names is not None:
                places[names].append((number, axis))

    def results(grown: Sequence[InputAxis]) -> Any:
        """Shapes of the results if some axes are twice as long."""
        shapes = [[*x.shape] for x in leaves]
        for number, axis in grown:
            shapes[number][axis] *= 2
        like = [ShapeDtypeStruct(n, x.dtype) for n, x in zip(shapes, leaves, strict=True)]
        bare = jax.tree.map(lambda x: ShapeDtypeStruct(x.shape, x.dtype), params)
        return jax.eval_shape(function, bare, jax.tree.unflatten(inputs_of, like))

    plain, outputs_of = jax.tree.flatten(results([]))
    specs: list[list[Any]] = [[None] * y.ndim for y in plain]
    for names, grown in places.items():
        devices = devices_of(leaves[grown[0][0]], names)
        try:
            doubled = jax.tree.leaves(results(grown))
        except (OnnxlaError, TypeError, ValueError):  # the graph has one size alone
            continue
        for spec, one, two in zip(specs, plain, doubled, strict=True):
            for axis, (size, other) in enumerate(zip(one.shape, two.shape, strict=False)):
                if other == 2 * size > 0 and size % devices == 0 and names not in spec:
                    spec[axis] = names
    return jax.tree.unflatten(outputs_of, [PartitionSpec(*spec) for spec in specs])


def devices_of(x: Value, names: Any) -> int:
    """Over how many devices axes of a mesh shard."""
    sizes = jax.typeof(x).sharding.mesh.shape
    return math.prod(sizes[name] for name in (names if isinstance(names, tuple) else (names,)))
