"""Picking and placing elements by index."""

from __future__ import annotations

from onnxla.ops.table import op
from onnxla.ops.values import Value, xp


@op("Gather", since=(1, 11, 13), roles={"data": "embedding"})
def gather(data: Value, indices: Value, *, axis: int = 0) -> Value:
    """Entries of `data` along `axis`; rank q + r - 1. Indices in [-n, n-1], n = data.shape[axis]."""
    n, m = data.shape[axis], xp(data, indices)
    return m.take(data, m.where(indices < 0, indices + n, indices), axis=axis)
