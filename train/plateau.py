"""A learning rate that falls where a number no longer gets better."""

from __future__ import annotations

import math
from dataclasses import dataclass

from onnxla.train.history import History
from onnxla.train.monitor import Monitor

SCALE = "scale"  # of a run's updates, in its state


@dataclass(frozen=True)
class Plateau:
    """A schedule that lowers the learning rate where the number that is monitored stays as it is.

    It is `ReduceLROnPlateau` of Keras and PyTorch. The number is that of `monitor=`, by default the
    loss, at each validation; without validation data it is the mean loss of each epoch.

    For example:

        plateau = onnxla.Plateau(factor=0.5, patience=2)
        onnxla.fit(module, (x, labels), "cross_entropy", epochs=4, schedule=plateau)

    Args:
        factor: What the learning rate is multiplied by.
        patience: After how many values in a row that are not better than the best.
        lowest: The share of the learning rate below which it does not fall.

    Raises:
        ValueError: A number is out of range.
    """

    factor: float = 0.1
    patience: int = 10
    lowest: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.factor < 1:
            raise ValueError(f"factor is between 0 and 1, got {self.factor}")
        if self.patience < 1:
            raise ValueError(f"patience is at least 1, got {self.patience}")
        if not 0 <= self.lowest < 1:
            raise ValueError(f"lowest is at least 0 and below 1, got {self.lowest}")


@dataclass(frozen=True)
class FallingRate:
    """How far a plateau has lowered the learning rate, as a history tells.

    Attributes:
        plateau: When it falls, and how far.
        monitor: Which number decides.
    """

    plateau: Plateau
    monitor: Monitor

    def scale(self, history: History) -> float:
        """What the learning rate is multiplied by after what a history has."""
        best, waited, scale = math.nan, 0, 1.0
        for _, value in history.evaluations(self.monitor.name):
            if math.isfinite(value) and (math.isnan(best) or self.monitor.is_better(value, best)):
                best, waited = value, 0
                continue
            waited += 1
            if waited == self.plateau.patience:
                waited, scale = 0, max(scale * self.plateau.factor, self.plateau.lowest)
        return scale

    def __str__(self) -> str:
        text = f"plateau of {self.monitor}, factor {self.plateau.factor:g}, patience"
        lowest = f", lowest {self.plateau.lowest:g}" if self.plateau.lowest else ""
        return f"{text} {self.plateau.patience}{lowest}"
