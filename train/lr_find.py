"""`lr_find`: which learning rate to begin with, by a short run in which it rises."""

from __future__ import annotations

import base64
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np

from onnxla.arguments import check_arguments
from onnxla.module import Module
from onnxla.train.arguments import SEARCH
from onnxla.train.fitting import fit
from onnxla.train.loop import NonFiniteLossError
from onnxla.train.losses import Measure
from onnxla.train.smoothing import smoothed

DIVERGED = 4.0  # times the lowest loss, smoothed: what comes after tells nothing more
IGNORED = 0.1  # share of the curve at its beginning, where the average is of few values
CHOSEN = frozenset({"checkpoint", "epochs", "learning_rate", "schedule", "warmup", "callbacks"})


@dataclass(frozen=True)
class RateSearch:
    """The loss at rising learning rates.

    Attributes:
        rates: The learning rate of each step.
        losses: The loss of each step.
        suggestion: The rate at which the smoothed loss falls most steeply over the logarithm of the
            rate; None if it never falls.
    """

    rates: list[float]
    losses: list[float]
    suggestion: float | None

    def __str__(self) -> str:
        tried = f"{len(self.rates)} learning rates from {self.rates[0]:.3g} to {self.rates[-1]:.3g}"
        if self.suggestion is None:
            return f"{tried}: the loss falls at none of them"
        return f"{tried}: the loss falls most steeply at {self.suggestion:.3g}"

    __repr__ = __str__

    def plot(self, axes: Any = None) -> Any:
        """The losses over the rates, drawn with matplotlib.

        Args:
            axes: Matplotlib axes to draw on; by default those of a new figure.

        Returns:
            The figure, which a notebook shows and `savefig(path)` writes; or the axes given.
        """
        from onnxla.train.plots import Picture, draw_rates

        if axes is not None:
            draw_rates(axes, self.rates, self.losses, self.suggestion)
            return axes
        figure = Picture(figsize=(6.4, 4), layout="constrained")
        draw_rates(figure.subplots(), self.rates, self.losses, self.suggestion)
        return figure

    def _repr_html_(self) -> str:
        page = f"<p>{self}</p>"
        if find_spec("matplotlib"):
            data = base64.b64encode(self.plot()._repr_png_()).decode()
            page += f"<img src='data:image/png;base64,{data}' alt='loss by learning rate'>"
        return page


class StopWhenDiverged:
    """A callback that ends a run once the smoothed loss is a multiple of the lowest."""

    def __init__(self) -> None:
        self.average, self.lowest = 0.0, math.inf

    def step(self, step: int, logs: dict[str, float]) -> bool:
        """Whether it is."""
        self.average = logs["loss"] if step == 1 else 0.7 * self.average + 0.3 * logs["loss"]
        self.lowest = min(self.lowest, self.average)
        return self.average > DIVERGED * self.lowest > 0


def lr_find(
    module: Module,
    data: Any,
    loss: str | Measure,
    *,
    lowest: float = 1e-7,
    highest: float = 1.0,
    steps: int = 100,
    **options: Any,
) -> RateSearch:
    """The loss at learning rates from the lowest to the highest, and which to begin with.

    A copy of the parameters trains for some steps, each at a rate that is higher by one factor; the
    module stays as it is. It ends early where the loss diverges.

    For example:

        found = onnxla.lr_find(module, (x, labels), "cross_entropy", steps=20)
        result = onnxla.fit(module, (x, labels), "cross_entropy", learning_rate=found.suggestion)

    Args:
        module: The model that is to be trained.
        data: As for `fit`.
        loss: As for `fit`.
        lowest: The first learning rate.
        highest: The last.
        steps: Number of steps.
        **options: As for `fit`: those of the run to come, such as `optimizer="sgd"`,
            `batch_size=` and `train=`.

    Raises:
        TypeError, ValueError: As for `fit`; or an option is what this is to find.
    """
    import optax

    check_arguments(locals(), SEARCH)
    if not lowest < highest:
        raise ValueError(f"0 < lowest < highest, got {lowest} and {highest}")
    if wrong := sorted(CHOSEN & options.keys()):
        raise TypeError(f"lr_find takes no {', '.join(wrong)}: its run is short and is not kept")
    rising = optax.exponential_decay(lowest, steps - 1, highest / lowest)
    options |= {"steps": steps, "learning_rate": rising, "callbacks": [StopWhenDiverged()]}
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "the data ended after")
            result = fit(module, data, loss, **options)
    except NonFiniteLossError as error:
        result = error.result
        if not result.history.loss:
            raise
    history = result.history
    rates, losses = history.steps.get("learning_rate", []), history.loss
    return RateSearch(rates, losses, steepest(rates, losses))


def steepest(rates: Sequence[float], losses: Sequence[float]) -> float | None:
    """The rate at which the smoothed loss falls most steeply; None if it never falls."""
    if len(losses) < 3:
        return None
    curve = smoothed(losses, share=0.1)
    lowest = int(np.argmin(curve))
    first = min(int(IGNORED * len(losses)), max(lowest - 1, 0))
    slopes = np.gradient(curve, np.log(rates))[first : lowest + 1]
    best = int(np.argmin(slopes))
    return float(rates[first + best]) if slopes[best] < 0 else None
