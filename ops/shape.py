"""The shape of a tensor: reading it, and changing it without touching the elements' order."""

from __future__ import annotations

import numpy as np

from onnxla.ops.table import op
from onnxla.ops.values import Value


@op("Reshape", since=(5, 13, 14, 19, 21, 23, 24, 25), static=("shape",))
def reshape(data: Value, shape: np.ndarray, *, allowzero: int = 0) -> Value:
    """`data` with another shape. One -1 is inferred; 0 keeps the input's size unless `allowzero`."""
    sizes = [
        data.shape[i] if size == 0 and not allowzero else int(size) for i, size in enumerate(shape)
    ]
    return data.reshape(sizes)


@op("Reshape", since=(1,))
def reshape_1(data: Value, *, shape: tuple[int, ...] = ()) -> Value:
    """`reshape` with the shape as an attribute."""
    return reshape(data, np.asarray(shape))


@op("Shape", since=(1, 13, 15, 19, 21, 23, 24, 25))
def shape(data: Value, *, start: int = 0, end: int | None = None) -> np.ndarray:
    """Sizes of the axes from `start` to `end`; int64 [number of axes]. Known even if data is not."""
    return np.asarray(data.shape[slice(start, end)], np.int64)
