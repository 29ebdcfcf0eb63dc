"""What happened in a training run, step by step and epoch by epoch."""

from __future__ import annotations

import base64
import io
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from typing import Any

from onnxla.tables import Report, Table


@dataclass
class History:
    """The numbers of a training run.

    Attributes:
        steps: By name the value at each step: `loss`, `gradient_norm` (before clipping), and what
            the loss returned besides.
        epochs: By name the value after each epoch: `step`, the number of steps until then; `loss`,
            the mean of the epoch's steps; with validation data `validation_loss` and the metrics.
        notes: What else a reader of the numbers should know.
    """

    steps: dict[str, list[float]] = field(default_factory=dict)
    epochs: dict[str, list[float]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def loss(self) -> list[float]:
        """The training loss at each step."""
        return self.steps.get("loss", [])

    def add_step(self, **values: float) -> None:
        """Appends the values of a step."""
        for name, value in values.items():
            self.steps.setdefault(name, []).append(value)

    def add_epoch(self, **values: float) -> None:
        """Appends the values of an epoch."""
        for name, value in values.items():
            self.epochs.setdefault(name, []).append(value)

    def note(self, text: str) -> None:
        """Adds a note, once."""
        if text not in self.notes:
            self.notes.append(text)

    def best_epoch(self) -> int | None:
        """The index of the epoch with the lowest validation loss, if any has a finite one."""
        losses = self.epochs.get("validation_loss", [])
        finite = [i for i, loss in enumerate(losses) if loss < float("inf")]
        return min(finite, key=losses.__getitem__, default=None)

    def to_dict(self) -> dict[str, Any]:
        """The history as data for JSON; `History(**data)` is it again."""
        return asdict(self)

    @property
    def report(self) -> Report:
        """A row for each epoch (the last twenty), and the notes."""
        names = [k for k, each in self.epochs.items() if not any(isinstance(v, list) for v in each)]
        rows = [
            (str(i), *(f"{self.epochs[name][i]:.6g}" for name in names))
            for i in range(len(self.epochs.get("step", [])))
        ]
        title = f"{len(self.loss)} steps"
        if self.loss:
            title += f", loss {self.loss[0]:.6g} at the first and {self.loss[-1]:.6g} at the last"
        table = Table("epochs", ("epoch", *names), rows[-20:])
        return Report([title, *([table] if rows else []), *self.notes])

    def __str__(self) -> str:
        return str(self.report)

    def plot(self, axes: Any = None) -> Any:
        """The loss of each step and the validation loss of each epoch, drawn with matplotlib.

        Args:
            axes: Matplotlib axes to draw on; by default those of a new figure.

        Returns:
            The axes; `axes.figure.savefig(path)` writes the picture.
        """
        if axes is None:
            from matplotlib.figure import Figure

            axes = Figure(figsize=(6, 4), layout="constrained").subplots()
        axes.plot(range(1, len(self.loss) + 1), self.loss, label="loss", linewidth=1)
        if "validation_loss" in self.epochs:
            ends, losses = self.epochs["step"], self.epochs["validation_loss"]
            axes.plot(ends, losses, "o-", label="validation loss")
            axes.legend()
        axes.set_xlabel("step")
        axes.grid(alpha=0.3)
        return axes

    def _repr_html_(self) -> str:
        """The table, and the curve where matplotlib is installed."""
        page = self.report._repr_html_()
        if self.loss and find_spec("matplotlib"):
            picture = io.BytesIO()
            self.plot().figure.savefig(picture, format="png", dpi=80)
            data = base64.b64encode(picture.getvalue()).decode()
            page += f"<img src='data:image/png;base64,{data}' alt='loss by step'>"
        return page
