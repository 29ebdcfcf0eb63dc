"""A case as a function that JAX can trace, and what is wrong if a property does not hold of it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import onnxla
from onnxla import ir
from onnxla.ops.values import is_floating
from onnxla.testing.case import Case
from onnxla.testing.outcomes import output_difference


class PropertyViolated(AssertionError):
    """A property does not hold. The message has the case as a script.

    For example:

        case = onnxla.testing.example("Neg", 13, x)
        for holds in onnxla.testing.PROPERTIES:
            holds(case)  # raises PropertyViolated if it does not
    """

    def __init__(self, case: Case, text: str) -> None:
        self.case = case
        self.text = text
        super().__init__(f"{text}\n{case!r}\n\n{case.script()}")


@dataclass(frozen=True)
class Traceable:
    """A case as a function that JAX can trace.

    Attributes:
        module: The loaded model.
        function: The outputs as a function of `traced` (by name); random ones from a fixed key.
        traced: Numeric inputs that decide no shape.
        known: The other inputs.
    """

    module: onnxla.Module
    function: Callable[[Mapping[str, Any]], list[Any]]
    traced: dict[str, np.ndarray]
    known: dict[str, Any]


@functools.lru_cache(maxsize=1)
def traceable(case: Case) -> Traceable | None:
    """A case as a function for JAX, or None where there is nothing to trace."""
    module = onnxla.load(case.model)
    if module.program.data_dependent:
        return None
    static = module.program.parameters.static_inputs
    arrays = {k: v for k, v in case.inputs.items() if isinstance(v, np.ndarray) and k not in static}
    numeric = {k: v for k, v in arrays.items() if v.dtype != ir.STRING}
    # An integer may turn out to decide a shape; then none of them is traced.
    floats = {k: v for k, v in numeric.items() if is_floating(v)}
    for traced in (numeric, floats):
        known = {k: v for k, v in case.inputs.items() if k not in traced}
        found = Traceable(module, functools.partial(run_traced, module, known), traced, known)
        if not traced:
            return None
        try:
            jax.eval_shape(found.function, on_device(traced))
        except (onnxla.StaticOperandError, onnxla.UnsupportedError):
            continue
        return found
    return None


@functools.lru_cache(maxsize=1)
def compiled(case: Case) -> list[Any] | None:
    """The outputs of the compiled program, or None where there is nothing to trace."""
    if (f := traceable(case)) is None:
        return None
    outputs: list[Any] = as_numpy(jax.jit(f.function)(on_device(f.traced)))
    return outputs


def run_traced(
    module: onnxla.Module, known: Mapping[str, Any], traced: Mapping[str, Any]
) -> list[Any]:
    """The outputs of a module whose inputs are known in part, and traced for the rest."""
    inputs = [{**known, **traced}[name] for name in module.input_names]
    outputs = module.apply(module.params, *inputs, key=jax.random.key(0))
    return [outputs] if len(module.output_names) == 1 else list(outputs)


def on_device(arrays: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
    """Arrays as JAX has them, those of 64 bits too."""
    with jax.enable_x64(True):
        return {name: jnp.asarray(value) for name, value in arrays.items()}


def assert_same(case: Case, got: Any, expected: Any, text: str) -> None:
    """Raises PropertyViolated where outputs differ by more than the tolerance of a case."""
    # Random values come from one key: they are the same, too.
    exact = replace(case, tolerance=replace(case.tolerance, random=False))
    if found := output_difference(exact, as_numpy(got), as_numpy(expected)):
        raise PropertyViolated(case, f"{text}: {found}")


def as_numpy(values: Any) -> Any:
    """Outputs as numpy arrays; optionals and maps as they are."""
    if isinstance(values, list | tuple):
        return [as_numpy(value) for value in values]
    return values if values is None or isinstance(values, dict) else np.asarray(values)
