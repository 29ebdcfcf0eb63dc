"""Losses and metrics as `fit` is given them: names, functions, and those with arguments fixed."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from onnxla.ir.names import listed, no_such
from onnxla.train.losses import LOSSES, Measure
from onnxla.train.means import Sums, Weighted, unweighted


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


def as_numbers(value: Any, what: str) -> jax.Array:
    """What a loss or metric returned, as an array. Raises: TypeError, if it is none."""
    try:
        if isinstance(value, str | bytes):
            raise TypeError
        return jnp.asarray(value)
    except (TypeError, ValueError):
        raise TypeError(f"{what}; got {type(value).__name__}") from None


def call_measure(measure: Measure, outputs: Any, targets: Any) -> Any:
    """What a loss or metric returns, which gets weights where there are any.

    Raises:
        TypeError: It takes none; or it takes an array of targets, and they are none.
    """
    with telling_targets(measure, targets):
        if not isinstance(targets, Weighted):
            return measure(outputs, targets)
        try:
            inspect.signature(measure).bind(outputs, targets.targets, targets.weights)
        except TypeError:
            name = spelled(measure)
            raise TypeError(
                f"the data has weights, or padding that weighs nothing, and {name} takes none: it"
                f" needs a third argument, as in def {name}(outputs, targets, weights)"
            ) from None
        return measure(outputs, targets.targets, targets.weights)


@contextlib.contextmanager
def telling_targets(measure: Measure, targets: Any) -> Iterator[None]:
    """Says in an error of onnxla's losses and metrics that the targets are no array."""
    try:
        yield
    except AttributeError as error:
        reason = no_array(targets)
        if not reason or not (known_loss(measure) or hasattr(plain(measure), "of_batch")):
            raise
        raise TypeError(f"{spelled(measure)} is of one array of targets{reason}") from error


def spelled(measure: Measure) -> str:
    """A loss's or metric's name in a message."""
    inner = plain(measure)
    named = known_loss(measure) or getattr(inner, "name", None) or getattr(inner, "__name__", None)
    return str(named or type(inner).__name__)


def no_array(targets: Any) -> str:
    """What to say where targets are no array: there are none, or several by name."""
    targets, _ = unweighted(targets)
    if targets is None:
        return ": the data is inputs alone; pass (inputs, targets), or a dict with one more array"
    if not isinstance(targets, Mapping):
        return ""
    return (
        f", and the data has {listed(targets)} beside the inputs: leave out what is no target, or"
        " pass a function of (outputs, targets)"
    )
