"""How far a long work has come: a bar in a terminal or a notebook, and nothing in a log."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any


def in_notebook() -> bool:
    """Whether this process is a notebook's kernel."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return getattr(shell, "kernel", None) is not None


def is_watched() -> bool:
    """Whether somebody sees a bar move: standard error is a terminal, or a notebook shows it."""
    return in_notebook() or sys.stderr.isatty()


class ProgressBar:
    """A bar of tqdm's, or nothing at all where that is not installed, wanted or watched.

    Args:
        total: Number of units, where it is known.
        what: What is done.
        unit: What is counted.
        done: Units done before.
        shown: Whether a bar is wanted.
    """

    def __init__(
        self, total: int | None, what: str, unit: str, *, done: int = 0, shown: bool = True
    ) -> None:
        self._bar: Any = None
        if shown and is_watched():
            try:
                from tqdm.auto import tqdm
            except ImportError:
                return
            self._bar = tqdm(total=total, initial=done, desc=what, unit=unit, dynamic_ncols=True)

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def advance(self, units: int = 1) -> None:
        """Counts units as done."""
        if self._bar is not None:
            self._bar.update(units)

    def show(self, what: str | None = None, **numbers: Any) -> None:
        """Says what is done now, and numbers beside it."""
        if self._bar is not None:
            if what is not None:
                self._bar.set_description(what, refresh=False)
            self._bar.set_postfix(numbers, refresh=False)

    def skip(self, units: int) -> None:
        """Takes units off the total: they need not be done."""
        if self._bar is not None and self._bar.total is not None:
            self._bar.total -= units
            self._bar.refresh()

    def say(self, text: str) -> None:
        """Prints a line to standard error, above the bar."""
        if self._bar is not None:
            self._bar.write(text, file=sys.stderr)
        else:
            print(text, file=sys.stderr, flush=True)
