"""How a run makes updates: an optimizer of optax, with what `fit` puts around it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from onnxla.ir.names import no_such
from onnxla.train.digests import digest_of_optimizer
from onnxla.train.monitor import Monitor
from onnxla.train.optimizer import (
    DEFAULT,
    LEARNING_RATE,
    LINE_SEARCH,
    NORMALIZED,
    OPTIMIZERS,
    bare_optimizer,
)
from onnxla.train.plateau import FallingRate, Plateau
from onnxla.train.schedules import SCHEDULES
from onnxla.train.sparsity import keeping_zeros
from onnxla.train.task import Task

WARMUP = 0.05  # share of the steps
PLATEAU = "plateau"  # the name of a schedule that goes by more than the number of steps


@dataclass(frozen=True)
class Recipe:
    """How a run makes updates, as `fit` is told.

    Attributes:
        optimizer: An optax optimizer, or the name of one; None for AdamW.
        learning_rate: The largest of one by name, or a schedule of optax.
        schedule: The name of a schedule, or a plateau.
        warmup: Share of the steps in which the learning rate rises, by default a twentieth.
        accumulate: Number of steps whose mean gradient makes one update.
        clip_norm: Largest norm of a gradient.
    """

    optimizer: Any = None
    learning_rate: Any = None
    schedule: str | Plateau | None = None
    warmup: float | None = None
    accumulate: int = 1
    clip_norm: float | None = None

    @property
    def chosen(self) -> Any:
        """The optimizer, or its name."""
        return DEFAULT if self.optimizer is None else self.optimizer

    @property
    def name(self) -> str:
        """The name of the optimizer, or the type of one that was given."""
        return self.chosen if isinstance(self.chosen, str) else type(self.chosen).__name__

    @property
    def plateau(self) -> Plateau | None:
        """The plateau at which the learning rate falls, if it does so."""
        if self.schedule == PLATEAU:
            return Plateau()
        return self.schedule if isinstance(self.schedule, Plateau) else None

    def falling(self, monitor: Monitor) -> FallingRate | None:
        """How far the learning rate falls by what a monitor says, if it does so."""
        return None if self.plateau is None else FallingRate(self.plateau, monitor)

    def rate(self, length: int | None) -> Any:
        """The learning rate of an optimizer by name: a number, a function of the number of updates.

        None for an optimizer that is given, which has its own, and for L-BFGS, which searches for
        one.

        Args:
            length: Number of steps of the run, where it is known.

        Raises:
            ValueError: An optimizer and a learning rate are given, or a name is not known.
        """
        rate: Any = self.learning_rate
        schedule: Any = self.schedule
        if not isinstance(self.chosen, str):
            if any(given is not None for given in (rate, schedule, self.warmup)):
                raise ValueError(
                    "learning_rate, schedule and warmup are of an optimizer by name, by default"
                    " 'adamw'; one that is given has its own"
                )
            return None
        if self.name not in OPTIMIZERS:
            raise ValueError(no_such("optimizer", self.name, OPTIMIZERS))
        if self.plateau is not None:
            schedule = "constant"  # which `Loop` lowers
        if schedule is not None and schedule not in SCHEDULES:
            raise ValueError(no_such("schedule", schedule, [*SCHEDULES, PLATEAU]))
        if callable(rate):
            for name, given in (("schedule", self.schedule), ("warmup", self.warmup)):
                if given is not None:
                    raise ValueError(
                        f"learning_rate is a schedule already, besides {name}={given!r}"
                    )
            return rate
        if rate is None and self.name in NORMALIZED:
            rate = LEARNING_RATE
        if self.name == LINE_SEARCH and schedule is None:
            return rate
        if rate is None:
            raise ValueError(f"{self.name} has no learning rate by default: pass learning_rate=")
        if length is None and schedule not in (None, "constant"):
            raise ValueError(f"schedule={schedule!r} needs the number of steps: pass steps=")
        if length is None:
            return rate
        updates = max(1, length // self.accumulate)
        warmup = WARMUP if self.warmup is None else self.warmup
        return SCHEDULES[schedule or "cosine"](rate, int(warmup * updates), updates)

    def given(self, length: int | None) -> Any:
        """The optimizer that somebody asked for, with nothing around it; None for the default."""
        rate = self.rate(length)
        return None if self.name == DEFAULT else bare_optimizer(self.chosen, rate)

    def make(self, roles: Mapping[str, str], length: int | None, sparse: Sequence[str] = ()) -> Any:
        """The optimizer, with clipping before, and accumulation around it.

        Args:
            roles: The parameters in training, with their roles.
            length: Number of steps of the run, where it is known.
            sparse: Names of parameters whose zeros stay zero.
        """
        import optax

        made = bare_optimizer(self.chosen, self.rate(length), roles)
        if self.clip_norm is not None:
            made = optax.chain(optax.clip_by_global_norm(self.clip_norm), made)
        if self.accumulate > 1:
            steps: Any = optax.MultiSteps(made, self.accumulate)
            made = optax.GradientTransformationExtraArgs(steps.init, steps.update)
        return keeping_zeros(made, sparse) if sparse else made

    def of_task(self, task: Task, length: int | None) -> Any:
        """The optimizer of a task's parameters by their names."""
        return self.make(task.roles, length, task.sparse)

    def digest(self, task: Task, length: int | None) -> str:
        """The digest of what the optimizer computes in a run of so many steps."""
        return digest_of_optimizer(self.of_task(task, length), task.masters)
