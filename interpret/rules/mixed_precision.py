"""Mixed precision: products in a narrow dtype, everything else as the model says.

Casting a model's parameters and inputs alone would not do. A float32 constant, or a `Cast` to
float32 as exporters write around masks and norms, widens what follows, and then a product has
operands of two dtypes; and sums, norms and running statistics lose what they need float32 for.
So an operator that spends its time in products gets narrow operands and its result is widened
again: between operators, dtypes are those of the file. XLA fuses the conversions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from onnxla.ops.table import Operator
from onnxla.ops.values import Value


def autocast(operator: Operator, dtype: np.dtype | None) -> Callable[..., Any]:
    """An operator's function, with float32 operands in `dtype` if its time goes into products."""
    function = operator.function
    if dtype is None or not operator.product:
        return function

    def narrowed(*operands: Value, **keywords: Any) -> Any:
        if not any(has_dtype(value, jnp.float32) for value in operands):
            return function(*operands, **keywords)
        results = function(*(convert(value, jnp.float32, dtype) for value in operands), **keywords)
        return jax.tree.map(lambda value: convert(value, dtype, jnp.float32), results)

    return narrowed


def has_dtype(value: Value, dtype: Any) -> bool:
    """Whether a value is an array of this dtype."""
    return bool(getattr(value, "dtype", None) == dtype)


def convert(value: Value, old: Any, new: Any) -> Value:
    """A value in the dtype `new` if it has the dtype `old`."""
    return value.astype(new) if has_dtype(value, old) else value
