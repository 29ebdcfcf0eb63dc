"""Which number of the validation says that parameters are the best so far."""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from dataclasses import dataclass

from onnxla.ir.names import no_such, quoted
from onnxla.train.history import History
from onnxla.train.losses import LOSSES

METRIC = "validation_loss"
LOWER = re.compile(r"loss|error|brier|perplexity|entropy|(^|_)(r?ms[el]e?|mae|mape|[cw]er)($|_)")
HIGHER = re.compile(
    r"accuracy|precision|recall|sensitivity|specificity|score|correlation|top_?k|top_?\d"
    r"|(^|_)(f1|auc|ap|map|iou|r2|bleu|kappa|mcc|psnr|ssim)($|_)"
)


@dataclass(frozen=True)
class Monitor:
    """What decides between validations.

    Attributes:
        name: The name of a number of the validation.
        highest: Whether the highest is the best, not the lowest.
        min_delta: By how much a better one has to be better.
    """

    name: str = METRIC
    highest: bool = False
    min_delta: float = 0.0

    def best(self, history: History) -> tuple[int, float] | None:
        """The step of the best validation, and its value; None if none is finite."""
        index, pairs = self.find(history)
        return None if index is None else pairs[index]

    def waited(self, history: History) -> int:
        """The number of validations after the best one."""
        index, pairs = self.find(history)
        return 0 if index is None else len(pairs) - 1 - index

    def find(self, history: History) -> tuple[int | None, list[tuple[int, float]]]:
        """The index of the best validation, and the steps and values of all."""
        pairs = history.evaluations(self.name)
        best: int | None = None
        for index, (_, value) in enumerate(pairs):
            if math.isfinite(value) and (best is None or self.is_better(value, pairs[best][1])):
                best = index
        return best, pairs

    def is_better(self, value: float, before: float) -> bool:
        """Whether a value is better than the best before it."""
        return (value - before if self.highest else before - value) > self.min_delta

    def __str__(self) -> str:
        return f"{'highest' if self.highest else 'lowest'} {self.name}"


def find_monitor(
    given: str | tuple[str, str] | None, known: Collection[str], min_delta: float
) -> Monitor:
    """The monitor that somebody asked for.

    Args:
        given: A name, of which the direction is known; or a name and `"min"` or `"max"`; None for
            the validation loss.
        known: Names that the validation will have; empty if that is not known before it.
        min_delta: By how much a better value has to be better.

    Raises:
        ValueError: The validation has no such number, or its direction is not known.
    """
    name, direction = (given, None) if given is None or isinstance(given, str) else given
    name = METRIC if name in (None, "loss") else name
    if known and name not in known:
        raise ValueError(no_such("number of the validation", name, known))
    if direction is None:
        direction = direction_of(name)
    if direction not in ("min", "max"):
        raise ValueError(f"the direction of monitor= is 'min' or 'max', got {direction!r}")
    return Monitor(name, direction == "max", min_delta)


def direction_of(name: str) -> str:
    """Whether the lowest or the highest is best, by a number's name. Raises: ValueError."""
    if name in LOSSES or LOWER.search(name):
        return "min"
    if HIGHER.search(name):
        return "max"
    raise ValueError(
        f"whether a high or a low {quoted(name)} is good is not known: pass "
        f"monitor=({name!r}, 'max') or monitor=({name!r}, 'min')"
    )
