"""What `fit` calls while it runs: functions and objects of the user's, loggers among them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from onnxla.parameters.processes import is_first
from onnxla.train.history import History

EVENTS = ("start", "step", "validation", "epoch", "checkpoint", "end")


@dataclass(frozen=True)
class TrainingRun:
    """What a callback's `start` is told of the run that begins or goes on.

    Attributes:
        step: Number of steps done before: 0, unless the run goes on from a checkpoint.
        epoch: Number of epochs done before.
        total: Number of steps at which it ends, where it is known.
        history: Its numbers, to which those to come are added.
        settings: By name what `fit` was asked for, as text and numbers.
    """

    step: int
    epoch: int
    total: int | None
    history: History
    settings: Mapping[str, Any] = field(default_factory=dict)


class Logger:
    """A callback that writes, and does so once where several processes train one model."""


class Callbacks:
    """Callbacks of a run, told of events in the order in which they were given.

    Args:
        given: Functions of (step, logs), or objects with methods among `EVENTS`; or one of these.

    Raises:
        TypeError: One is neither.
    """

    def __init__(self, given: Any = ()) -> None:
        self.members: Sequence[Any] = given if isinstance(given, list | tuple) else [given]
        for member in self.members:
            known = callable(member) or any(hasattr(member, event) for event in EVENTS)
            if isinstance(member, type) or not known:
                raise TypeError(
                    "callbacks are functions of (step, logs), or objects with one of the methods"
                    f" {', '.join(EVENTS)}; got {member!r:.100}"
                )

    def tell(self, event: str, *arguments: Any) -> bool:
        """Tells all of an event, and whether one of them returned True: it asks to stop the run.

        Of several processes each tells its own, and those of `onnxla.loggers` the first one's.
        """
        stop = False
        for member in self.members:
            if isinstance(member, Logger) and not is_first():
                continue
            function = getattr(member, event, None)
            if function is None and event == "step" and callable(member):
                function = member
            if function is not None:
                own = [dict(each) if isinstance(each, dict) else each for each in arguments]
                stop |= function(*own) is True
        return stop
