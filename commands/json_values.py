"""Numbers and arrays as JSON has them."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np


def printed(document: Any) -> str:
    """A document as it is printed; numbers that JSON does not have are texts, such as "inf"."""
    return json.dumps(finite(document), indent=2)


def finite(value: Any) -> Any:
    """A value of lists and dicts in which numbers that are not finite are texts."""
    if isinstance(value, dict):
        return {key: finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [finite(each) for each in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def array_record(array: np.ndarray) -> dict[str, Any]:
    """An array's dtype, shape and elements; complex numbers and objects are texts."""
    known = array.dtype.kind in "biuf" or array.dtype.kind == "V"
    values = array.astype(np.float64) if array.dtype.kind == "V" else array
    elements = values.tolist() if known else values.astype(str).tolist()
    return {"dtype": str(array.dtype), "shape": [*array.shape], "values": elements}
