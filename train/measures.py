"""Losses and metrics as `fit` is given them: names, functions, and those with arguments fixed."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from onnxla.ir.names import no_such
from onnxla.train.losses import LOSSES, Measure
from onnxla.train.means import Sums, Weighted


def find_measure(given: str | Measure, what: str, table: Mapping[str, Measure]) -> Measure:
    """A loss or metric by its name, or as it was given.

    Raises:
        ValueError: None has this name.
    """
    if callable(given):
        return given
    if given not in table:
        raise ValueError(no_such(what, given, table))
    return table[given]


def plain(measure: Measure) -> Measure:
    """A loss or metric without the arguments that `partial` fixed."""
    return measure.func if isinstance(measure, functools.partial) else measure


def options_of(measure: Measure) -> dict[str, Any]:
    """The arguments that `partial` fixed."""
    return dict(measure.keywords) if isinstance(measure, functools.partial) else {}


def known_loss(measure: Measure) -> str | None:
    """The name of one of `LOSSES`, perhaps with some arguments fixed by `partial`."""
    return next((name for name, known in LOSSES.items() if known is plain(measure)), None)


def sums_of(measure: Measure) -> Callable[..., Sums] | None:
    """What sums a loss divides, as a function of the same arguments, if it is one of `LOSSES`.

    Those of batches add up to those of all data.
    """
    if known_loss(measure) is None:
        return None
    sums: Any = inspect.unwrap(plain(measure))
    fixed = measure.args if isinstance(measure, functools.partial) else ()
    return functools.partial(sums, *fixed, **options_of(measure))


def call_measure(measure: Measure, outputs: Any, targets: Any) -> Any:
    """What a loss or metric returns, which gets weights where there are any.

    Raises:
        TypeError: It takes none.
    """
    if not isinstance(targets, Weighted):
        return measure(outputs, targets)
    try:
        inspect.signature(measure).bind(outputs, targets.targets, targets.weights)
    except TypeError:
        name = getattr(measure, "__name__", type(measure).__name__)
        raise TypeError(
            f"the data has weights, or padding that weighs nothing, and {name} takes none: it needs"
            f" a third argument, as in def {name}(outputs, targets, weights)"
        ) from None
    return measure(outputs, targets.targets, targets.weights)
