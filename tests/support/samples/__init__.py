"""The table of operator samples: one line shows an operator's use, at some schema versions.

Each family has a file here with a list `SAMPLES`. `test_samples.py` runs every line against another
runtime, at the latest version of each function that implements it, every version by some line; and
checks gradients by finite differences.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxla.peers.difference import Tolerance
from onnxla.testing import Use


@dataclass(frozen=True)
class Sample(Use):
    """One use of an operator, and what is tested of it.

    Attributes:
        versions: Schema versions at which this use is valid; default: all that the table lists.
        grad: Positions of the inputs by which to differentiate; they must be away from kinks.
        expected: The outputs as a numpy function of the inputs, for versions that no other runtime
            implements, with the reason in a comment.
        rtol: Tolerance against the other runtime, relative to each element.
        atol: The same, absolute.
    """

    versions: Sequence[int] | None = None
    grad: Sequence[int] = ()
    expected: Any = None
    rtol: float = 1e-5
    atol: float = 1e-6

    def __post_init__(self) -> None:
        tolerance = Tolerance(relative=self.rtol, absolute=self.atol)
        object.__setattr__(self, "tolerance", tolerance)


def f32(*shape: int, low: float = -2.0, high: float = 2.0, seed: int = 0) -> np.ndarray:
    """Random float32 numbers between `low` and `high`."""
    rng = np.random.default_rng([seed, *shape])
    return rng.uniform(low, high, shape).astype(np.float32)


def i64(*values: Any) -> np.ndarray:
    """An int64 array of `values`."""
    return np.asarray(values, np.int64)


def samples() -> Iterator[Sample]:
    """All lines of all families."""
    for module in pkgutil.iter_modules(__path__):
        yield from importlib.import_module(f"{__name__}.{module.name}").SAMPLES
