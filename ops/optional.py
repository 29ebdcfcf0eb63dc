"""Optional values. An optional is the value that it holds, or None."""

from __future__ import annotations

from typing import Any

import numpy as np

from onnxla.ir.errors import ModelError
from onnxla.ops.table import op
from onnxla.ops.values import Value


@op("Optional", since=(15, 28))
def optional(input: Value | None = None, *, type: Any = None) -> Value | None:
    """An optional with `input`, or an empty one."""
    return input


@op("OptionalHasElement", since=(15, 18, 28), reads_shape=True)
def optional_has_element(input: Value | None = None) -> np.ndarray:
    """Whether an optional holds a value; a scalar. Known even if the value is not."""
    return np.asarray(input is not None)


@op("OptionalGetElement", since=(15, 18, 28))
def optional_get_element(input: Value) -> Value:
    """The value that an optional holds."""
    if input is None:
        raise ModelError("OptionalGetElement of an empty optional")
    return input
