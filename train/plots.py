"""Curves drawn with matplotlib, which is imported with this file.

A history here is a `History`, which draws itself with these functions.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Any

try:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
except ImportError as error:
    raise ImportError("plots need matplotlib: pip install 'onnxla[notebook]'") from error

from onnxla.train.smoothing import is_wide, smoothed

SMOOTHED = 20  # values from which on a curve is smoothed


class Picture(Figure):
    """A figure that a notebook shows, whether or not pyplot was imported there."""

    def _repr_png_(self) -> bytes:
        return png_of(self)


def png_of(figure: Any, dpi: int = 80) -> bytes:
    """A figure as a PNG file."""
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=dpi)
    return picture.getvalue()


def draw_history(history: Any) -> Picture:
    """Panels of the loss, the metrics and the learning rate: those that there are."""
    rates = history.steps.get("learning_rate", [])
    metrics = history.metrics
    heights = [3.0, *([1.8] if metrics else []), *([1.2] if rates else [])]
    figure = Picture(figsize=(6.4, 1 + sum(heights)), layout="constrained")
    panels = figure.subplots(len(heights), sharex=True, height_ratios=heights, squeeze=False)[:, 0]
    draw_loss(panels[0], history)
    if metrics:
        draw_metrics(panels[1], history, metrics)
    if rates:
        curve(panels[-1], range(1, len(rates) + 1), rates, color="C2", linewidth=1)
        panels[-1].set_ylabel("learning rate")
    for panel in panels:
        panel.grid(alpha=0.3)
    panels[-1].set_xlabel("step")
    return figure


def draw_loss(axes: Axes, history: Any) -> None:
    """The loss of each step, thin, and smoothed; the validation loss with its points."""
    steps = range(1, len(history.loss) + 1)
    smooth = len(history.loss) >= SMOOTHED
    curve(axes, steps, history.loss, "C0", 1.0, alpha=0.35 if smooth else 1.0, label="loss")
    if smooth:
        curve(axes, steps, smoothed(history.loss), "C0", 1.6, label="loss, smoothed")
    validation = history.evaluations("validation_loss")
    if validation:
        points = [step for step, _ in validation], [value for _, value in validation]
        curve(axes, *points, "C1", 1.6, marker="o", markersize=3, label="validation loss")
    if is_wide([*history.loss, *(value for _, value in validation)]):
        axes.set_yscale("log")
    axes.set_ylabel("loss")
    if smooth or validation:
        axes.legend()


def draw_metrics(axes: Axes, history: Any, names: Sequence[str]) -> None:
    """Each metric of the validation, with its points."""
    for number, name in enumerate(names):
        pairs = history.evaluations(name)
        points = [step for step, _ in pairs], [value for _, value in pairs]
        curve(axes, *points, f"C{number + 3}", 1.6, marker="o", markersize=3, label=name)
    if is_wide([value for name in names for _, value in history.evaluations(name)]):
        axes.set_yscale("log")
    axes.legend()


def curve(
    axes: Axes,
    steps: Sequence[float],
    values: Any,
    color: str,
    linewidth: float,
    **style: Any,
) -> None:
    """A curve; values that are not finite leave gaps."""
    shown = [value if math.isfinite(value) else math.nan for value in values]
    axes.plot(steps, shown, color=color, linewidth=linewidth, **style)


def draw_rates(
    axes: Axes, rates: Sequence[float], losses: Sequence[float], suggestion: float | None
) -> None:
    """Losses over learning rates, thin, and smoothed; the suggestion as a line."""
    curve(axes, rates, losses, "C0", 1.0, alpha=0.35, label="loss")
    curve(axes, rates, smoothed(losses, share=0.1), "C0", 1.6, label="loss, smoothed")
    if suggestion is not None:
        axes.axvline(suggestion, color="C1", label=f"steepest at {suggestion:.2g}")
    axes.set_xscale("log")
    axes.set_xlabel("learning rate")
    axes.set_ylabel("loss")
    axes.grid(alpha=0.3)
    axes.legend()
