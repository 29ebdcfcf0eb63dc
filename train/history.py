"""What happened in a training run, step by step and epoch by epoch."""

from __future__ import annotations

import base64
import math
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from typing import Any

from onnxla.tables import Report, Table

ROWS = 20  # of a table that are shown
OF_TRAINING = ("step", "loss")  # of an epoch


@dataclass
class History:
    """The numbers of a training run.

    Attributes:
        steps: By name the value at each step: `loss`, `gradient_norm` (before clipping),
            `learning_rate` where it is known, and what the loss returned besides.
        epochs: By name the value after each epoch: `step`, the number of steps until then; `loss`,
            the mean of the epoch's steps; with validation data `validation_loss` and the metrics.
        validations: By name the value at each validation within an epoch: `step`,
            `validation_loss` and the metrics.
        notes: What else a reader of the numbers should know.
        speed: Samples per second at each step, from its end to that of the one before. Two runs
            that are equal otherwise may differ in it.
    """

    steps: dict[str, list[float]] = field(default_factory=dict)
    epochs: dict[str, list[float]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    validations: dict[str, list[float]] = field(default_factory=dict)
    speed: list[float] = field(default_factory=list, compare=False)

    @property
    def loss(self) -> list[float]:
        """The training loss at each step."""
        return self.steps.get("loss", [])

    @property
    def metrics(self) -> list[str]:
        """Names of the validation's numbers besides its loss."""
        names = numbers({**self.validations, **self.epochs})
        return [name for name in names if name not in (*OF_TRAINING, "validation_loss")]

    def add_step(self, **values: float) -> None:
        """Appends the values of a step."""
        add_row(self.steps, values)

    def add_speed(self, value: float) -> None:
        """Notes how fast the last step was."""
        self.speed += [math.nan] * (len(self.loss) - 1 - len(self.speed)) + [value]

    def add_epoch(self, **values: float) -> None:
        """Appends the values of an epoch."""
        add_row(self.epochs, values)

    def add_validation(self, **values: float) -> None:
        """Appends the values of a validation within an epoch."""
        add_row(self.validations, values)

    def take_validation(self, step: int) -> dict[str, float]:
        """Removes the last validation within an epoch, if it is of this step, and returns it."""
        if self.validations.get("step", [])[-1:] != [step]:
            return {}
        row = {name: values.pop() for name, values in self.validations.items()}
        del row["step"]
        return row

    def evaluations(self, name: str) -> list[tuple[int, float]]:
        """Steps and values of a number of the validation: in order, those within epochs, too."""
        tables = (self.epochs, self.validations)
        rows = [zip(t.get("step", []), t.get(name, []), strict=False) for t in tables]
        return sorted(((int(s), v) for table in rows for s, v in table), key=lambda row: row[0])

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
        """A row for each epoch and each validation within one (the last twenty), and the notes."""
        title = f"{len(self.loss)} steps"
        if self.loss:
            title += f", loss {self.loss[0]:.6g} at the first and {self.loss[-1]:.6g} at the last"
        shown = sorted(value for value in self.speed if math.isfinite(value))
        if shown:
            title += f"; {shown[len(shown) // 2]:.3g} samples per second"
        epochs = as_table("epochs", "epoch", self.epochs)
        within = as_table("validations within epochs", "validation", self.validations)
        return Report([title, *epochs, *within, *self.notes])

    def __str__(self) -> str:
        return str(self.report)

    def plot(self, axes: Any = None) -> Any:
        """The losses, metrics and learning rates by step, drawn with matplotlib.

        Args:
            axes: Matplotlib axes to draw the losses on; by default a new figure has all.

        Returns:
            The figure, which a notebook shows and `savefig(path)` writes; or the axes given.
        """
        from onnxla.train.plots import draw_history, draw_loss

        if axes is None:
            return draw_history(self)
        draw_loss(axes, self)
        axes.set_xlabel("step")
        axes.grid(alpha=0.3)
        return axes

    def _repr_html_(self) -> str:
        """The table, and the curves where matplotlib is installed."""
        page = self.report._repr_html_()
        if self.loss and find_spec("matplotlib"):
            data = base64.b64encode(self.plot()._repr_png_()).decode()
            page += f"<img src='data:image/png;base64,{data}' alt='loss by step'>"
        return page


def add_row(table: dict[str, list[float]], values: dict[str, float]) -> None:
    """Appends a row to columns by name; what a row does not have is NaN there."""
    rows = max(map(len, table.values()), default=0)
    for name in dict.fromkeys([*table, *values]):
        column = table.setdefault(name, [])
        column += [math.nan] * (rows - len(column)) + [values.get(name, math.nan)]


def numbers(columns: dict[str, list[float]]) -> dict[str, list[float]]:
    """The columns of numbers: a metric may be a matrix, which is a list of lists here."""
    return {k: each for k, each in columns.items() if not any(isinstance(v, list) for v in each)}


def as_table(title: str, row: str, columns: dict[str, list[float]]) -> list[Table | str]:
    """The last rows of columns as a table, and how many are not shown."""
    count = len(columns.get("step", []))
    if not count:
        return []
    first = max(0, count - ROWS)
    shown = numbers(columns)
    rows = [
        (str(i), *(f"{values[i]:.6g}" if i < len(values) else "" for values in shown.values()))
        for i in range(first, count)
    ]
    table = Table(title, (row, *shown), rows)
    return [table, *([f"{first} earlier {title} are not shown"] if first else [])]
