"""Curves that a reader can follow."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

SHARE = 0.04  # of the values that an average is about


def smoothed(values: Sequence[float], share: float = SHARE) -> np.ndarray:
    """The exponential moving average [N] of values [N], unbiased at the beginning."""
    decay = 1 - 1 / max(1.0, share * len(values))
    found, average = np.empty(len(values)), 0.0
    for index, value in enumerate(values):
        average = decay * average + (1 - decay) * value
        found[index] = average / (1 - decay ** (index + 1))
    return found


def is_wide(values: Sequence[float]) -> bool:
    """Whether values span more than two decades, all positive: a logarithmic axis shows more."""
    finite = [value for value in values if np.isfinite(value)]
    return bool(finite) and min(finite) > 0 and max(finite) > 100 * min(finite)
