"""Known and traced values: the two binding times of partial evaluation.

While a graph is traced, a value is *known* (numpy; a list of known values for a sequence; None
where an optional input is absent) or *traced* (a JAX array or tracer). What is computed from known
values alone is known, so shape arithmetic is exact and gone before XLA sees the graph.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
from jax.core import Tracer
from jax.interpreters import mlir

from onnxla.ir.dtypes import STRING
from onnxla.ops.sizes import Sizes

# numpy array, JAX array or tracer; a list of values for a sequence; None for what is absent; for a
# map a dict of Python's `int` or `str` to numbers or `str`, which is always known.
# `Any`, since numpy's and JAX's functions do not accept each other's types statically.
Value: TypeAlias = Any

# Element types that JAX, or XLA, does not have: values of them are always concrete.
NOT_IN_JAX = {
    STRING,
    np.dtype(ml_dtypes.float6_e2m3fn),
    np.dtype(ml_dtypes.float6_e3m2fn),
}


def is_known(value: Value) -> bool:
    """Whether a value is available while tracing."""
    if isinstance(value, list | tuple):
        return all(map(is_known, value))
    if isinstance(value, dict):
        return is_known([*value.values()])
    return value is None or isinstance(value, np.ndarray | np.generic | int | float | str | bytes)


def xp(*values: Value) -> ModuleType:
    """`numpy` when all values are known, else `jax.numpy`: one code path for both binding times."""
    return np if all(map(is_known, values)) else jnp


def has_no_type_in_jax(value: Value) -> bool:
    """Whether a value is an array of elements that JAX does not have."""
    return isinstance(value, np.ndarray) and value.dtype in NOT_IN_JAX


def is_opaque(value: Value) -> bool:
    """Whether a value is or holds what cannot be traced, such as strings, or a map."""
    if isinstance(value, list | tuple):
        return any(map(is_opaque, value))
    return isinstance(value, dict) or (value is not None and value.dtype in NOT_IN_JAX)


def as_known(value: Value) -> Value:
    """A concrete value as numpy (lists element by element), its dtype unchanged."""
    if isinstance(value, list | tuple):
        return [as_known(v) for v in value]
    if isinstance(value, str):  # what numpy makes of a tensor of one string
        return np.asarray(value, object)
    if isinstance(value, Sizes):
        return value
    return value if value is None or isinstance(value, dict) else np.asarray(value)


def as_traced(value: Value) -> Value:
    """A value as JAX arrays; what JAX has no type for, such as strings and maps, stays as it is."""
    if isinstance(value, list | tuple):
        return [as_traced(v) for v in value]
    if value is None or isinstance(value, dict) or has_no_type_in_jax(value):
        return value
    return value.traced() if isinstance(value, Sizes) else jnp.asarray(value)


def is_concrete(value: Value) -> bool:
    """Whether a value could be read as numpy now: known, or a JAX array that is no tracer."""
    if isinstance(value, list | tuple):
        return all(map(is_concrete, value))
    if isinstance(value, dict):
        return is_concrete([*value.values()])
    return not isinstance(value, Tracer)


def is_floating(value: Value) -> bool:
    """Whether the elements are real floating point, the ml_dtypes kinds included."""
    return bool(jnp.issubdtype(value.dtype, jnp.floating))


def at_least_float32(dtype: np.dtype) -> np.dtype:
    """float64 for itself, and float32 for all smaller floats."""
    return dtype if dtype == np.float64 else np.dtype(np.float32)


def wide(x: Value) -> Value:
    """`x` in a dtype in which sums are accurate: float32 for narrower floats."""
    return x.astype(np.promote_types(x.dtype, np.float32))


def lower_exactly(function: Callable[..., Value]) -> Callable[..., Any]:
    """How a primitive is lowered: as the function says, with its dtypes.

    A program of 64-bit types may be lowered by a caller who has them disabled.
    """

    def exact(*operands: Value, **parameters: Any) -> Value:
        with jax.enable_x64(True):
            return function(*operands, **parameters)

    return mlir.lower_fun(exact, multiple_results=False)


def alike(*values: Value) -> tuple[Value, ...]:
    """Operands that have one dtype in the model, in one dtype.

    In training floats may hold quantized integers (see `quantize`), while others, such as a
    constant that they are compared to, are integers.
    """
    dtype = next((v.dtype for v in values if v is not None and is_floating(v)), None)
    if dtype is None:
        return values
    return tuple(v if v is None or is_floating(v) else v.astype(dtype) for v in values)
