"""A share of the training data as validation data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

HELD_OUT = 1  # so that these random numbers are not those of an epoch's order


def hold_out(data: Any, share: float, seed: int) -> tuple[Any, Any]:
    """Data of arrays as training data and, of a random share of the samples, validation data.

    Args:
        data: Arrays with a leading sample axis: a tuple (inputs, targets), or a dict.
        share: Share of the samples to hold out, between 0 and 1.
        seed: Decides which.

    Raises:
        TypeError: The data is an iterable, of which nothing is known before it is drawn.
        ValueError: The share is not between 0 and 1, or leaves one of the two without samples.
    """
    if not 0 < share < 1:
        raise ValueError(f"validation is data, or a share between 0 and 1; got {share}")
    if not isinstance(data, tuple | Mapping):
        raise TypeError(
            f"validation={share} splits arrays, and the data is {type(data).__name__}: pass "
            "validation data of its own"
        )

    def is_array(value: Any) -> bool:
        return not isinstance(value, tuple | Mapping) or hasattr(value, "dtype")

    leaves = jax.tree.leaves(data, is_leaf=is_array)
    counts = {len(leaf) if np.ndim(leaf) else -1 for leaf in leaves}
    samples = max(counts, default=0)
    if len(counts) != 1 or samples < 2:
        raise ValueError(
            f"validation={share} needs arrays of one number of samples, at least 2; got "
            f"{', '.join(map(str, sorted(counts)))}"
        )
    held = min(max(round(share * samples), 1), samples - 1)
    order = np.random.default_rng([seed, HELD_OUT, samples]).permutation(samples)

    def part(rows: np.ndarray) -> Any:
        rows = np.sort(rows)
        return jax.tree.map(
            lambda x: x.iloc[rows] if hasattr(x, "iloc") else np.asarray(x)[rows],
            data,
            is_leaf=is_array,
        )

    return part(order[held:]), part(order[:held])
