"""Mixed precision: products in a narrow dtype, everything else as the model says.

Casting a model's parameters and inputs alone would not do. A float32 constant, or a `Cast` to
float32 as exporters write around masks and norms, widens what follows, and then a product has
operands of two dtypes; and sums, norms and running statistics lose what they need float32 for.
So an operator that spends its time in products gets narrow operands and its result is widened
again: between operators, dtypes are those of the file. XLA fuses the conversions.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import numpy as np

from onnxla.interpret.calls import Call, Results, Rule, Then
from onnxla.ops.values import Value


def autocast(wide: np.dtype, dtype: np.dtype) -> Rule:
    """A rule that gives `wide` operands in `dtype` to operators whose time goes into products."""

    def narrowed(call: Call, then: Then) -> Results:
        if not call.operator.product or not any(has_dtype(x, wide) for x in call.operands):
            return then(call)
        operands = [in_dtype(x, wide, dtype) for x in call.operands]
        results = then(replace(call, operands=operands))
        widened: Results = jax.tree.map(lambda x: in_dtype(x, dtype, wide), results)
        return widened

    return narrowed


def has_dtype(value: Value, dtype: Any) -> bool:
    """Whether a value is an array of this dtype."""
    return hasattr(value, "dtype") and bool(value.dtype == dtype)  # None == float64 is true


def in_dtype(value: Value, old: Any, new: Any) -> Value:
    """A value in the dtype `new` if it has the dtype `old`."""
    return value.astype(new) if has_dtype(value, old) else value
