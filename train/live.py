"""The history of a run while it runs, in a notebook."""

from __future__ import annotations

import time
from typing import Any

from onnxla.train.callbacks import TrainingRun
from onnxla.train.history import History

SECONDS = 3.0  # between two pictures, at least
SHARE = 0.05  # of the time that drawing may take


class Live:
    """A callback that shows the history in place of what it showed before.

    Runs of a few seconds show nothing: their result does.
    """

    def __init__(self) -> None:
        self.handle: Any = None

    def start(self, run: TrainingRun) -> None:
        """Begins to wait."""
        self.history, self.next = run.history, time.monotonic() + SECONDS

    def step(self, step: int, logs: dict[str, float]) -> None:
        """Shows the history, if it is time for it."""
        if time.monotonic() >= self.next:
            self.show(self.history)

    def end(self, result: Any) -> None:
        """Shows what there is in the end, if anything was shown before."""
        if self.handle is not None:
            self.show(result.history)

    def show(self, history: History) -> None:
        """Shows the history."""
        from IPython.display import display

        began = time.monotonic()
        if self.handle is None:
            self.handle = display(history, display_id=True)  # type: ignore[no-untyped-call]
        else:
            self.handle.update(history)
        now = time.monotonic()
        self.next = now + max(SECONDS, (now - began) / SHARE)
