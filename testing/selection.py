"""Selecting is no product with zero: an infinity reaches only results that depend on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnx

from onnxla.ops import lookup
from onnxla.ops.values import is_floating
from onnxla.peers.difference import is_integer
from onnxla.testing.case import Case
from onnxla.testing.traceable import PropertyViolated, as_numpy, on_device, traceable

Arrays = Mapping[str, np.ndarray]
Outputs = list[np.ndarray]
# Small numbers, which saturate nothing; and numbers that are greater, and less, than those that
# strategies draw, also in half precision.
INSTEAD = (0.25, -0.25, 30000, -30000)


def infinities_reach_what_depends_on_them(case: Case) -> bool:
    """An infinity reaches no result that depends on other elements of its operand, but not on it.

    Nor does NaN. Operands that an operator says it multiplies by zeros of its own are left out.
    """
    if case.tolerance.random or (f := traceable(with_numbers_as_inputs(case))) is None:
        return False
    rng = np.random.default_rng(0)
    program = jax.jit(f.function)

    def run(arrays: Arrays) -> Outputs:
        outputs = as_numpy(jax.tree.leaves(program(on_device(arrays))))
        return [y.astype(np.float64) for y in outputs if is_floating(y)]

    near = {k: nearby(v, rng) for k, v in f.traced.items()}
    start, exempt = run(f.traced), meets_zeros(case)
    names = [k for k, v in f.traced.items() if is_floating(v) and v.size > 1 and k not in exempt]
    for name in names:
        place = int(rng.integers(f.traced[name].size))
        selects = selected(run, f.traced, near, name, place)
        for special in (np.inf, np.nan):
            found = run(with_element(f.traced, name, place, special))
            for select, x, y in zip(selects, start, found, strict=True):
                if reached := int(np.sum(select & ~same(x, y))):
                    text = (
                        f"{special} in '{name}' reaches {reached} results that do not depend on it"
                    )
                    raise PropertyViolated(case, text)
    return bool(names)


def selected(
    run: Callable[[Arrays], Outputs], arrays: Arrays, near: Arrays, name: str, place: int
) -> list[np.ndarray]:
    """Which results depend on elements of an operand, but not on the one at a place.

    A result depends on an element if it changes with it, here or where all numbers are a little
    different, so that no zero among them hides a product.
    """
    value = arrays[name].flat[place]
    others = with_element({**arrays, name: near[name]}, name, place, value)
    found = [~same(x, y) for x, y in zip(run(arrays), run(others), strict=True)]
    for base in (arrays, near):
        here = run(base)
        for other in INSTEAD:
            there = run(with_element(base, name, place, other))
            found = [s & same(x, y) for s, x, y in zip(found, here, there, strict=True)]
    return found


def nearby(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Numbers that differ a little from those of x, and are not zero; of quantized ones, any.

    Other integers, which may be indices, stay.
    """
    if is_floating(x):
        finite = np.nan_to_num(x.astype(np.float64), posinf=0, neginf=0)
        return (x + (np.abs(finite) + 0.1) * rng.uniform(0.01, 0.1, x.shape)).astype(x.dtype)
    if is_quantized(x):
        limits = jnp.iinfo(x.dtype)
        return rng.integers(limits.min, limits.max + 1, x.shape).astype(x.dtype)
    return x


def is_quantized(x: np.ndarray) -> bool:
    """Whether elements are integers of at most 8 bits, which are no indices."""
    return x.dtype.itemsize == 1 and is_integer(x.dtype)


def same(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Where elements are equal, or both NaN."""
    found: np.ndarray = (x == y) | (np.isnan(x) & np.isnan(y))
    return found


def with_element(arrays: Arrays, name: str, place: int, value: float) -> dict[str, np.ndarray]:
    """Arrays of which one has another element at a place."""
    changed = arrays[name].copy()
    changed.flat[place] = value
    return {**arrays, name: changed}


def meets_zeros(case: Case) -> set[str]:
    """Names of the operands that the operator says it multiplies by zeros of its own."""
    operator = lookup(case.domain, case.op_type, case.version)
    if operator is None:
        return set()
    names = enumerate(case.node.input)
    return {name for i, name in names if operator.input_name(i) in operator.times_zero}


def with_numbers_as_inputs(case: Case) -> Case:
    """A case whose model stores neither floats nor quantized numbers; those are inputs."""
    model = onnx.ModelProto()
    model.CopyFrom(case.proto)
    inputs: dict[str, Any] = dict(case.inputs)
    for tensor in case.proto.graph.initializer:
        array = onnx.numpy_helper.to_array(tensor)
        if is_floating(array) or is_quantized(array):
            model.graph.initializer.remove(tensor)
            value = onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            model.graph.input.append(value)
            inputs[tensor.name] = array
    return replace(case, model=model.SerializeToString(), inputs=inputs)
