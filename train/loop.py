"""The training loop: steps, epochs and checkpoints."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from onnxla.ctrl_c import ctrl_c
from onnxla.interpret.rolling.stacks import NO_STACKS, Stacks
from onnxla.ir.errors import OnnxlaError
from onnxla.ir.names import no_such, quoted
from onnxla.module import Module
from onnxla.ops.values import Value
from onnxla.parameters.processes import are_told_to_end, can_end_together
from onnxla.progress import ProgressBar
from onnxla.train.averages import trained
from onnxla.train.batches import ArrayBatches, Batch, StreamedBatches
from onnxla.train.callbacks import Callbacks, TrainingRun
from onnxla.train.checkpoints import CheckpointError, Checkpoints
from onnxla.train.history import History
from onnxla.train.mesh import ONE_DEVICE, Placement
from onnxla.train.monitor import METRIC, Monitor
from onnxla.train.plateau import SCALE, FallingRate

REPORTED = 10  # steps between two updates of the progress bar's numbers


class NonFiniteLossError(OnnxlaError):
    """A loss or its gradient is NaN or infinite.

    For example:

        try:
            onnxla.fit(module, (x, x[:, 0] * np.nan), lambda y, t: (y[:, 0] - t).sum())
        except onnxla.NonFiniteLossError as error:
            print(error)

    Attributes:
        result: What `fit` would have returned before that step.
    """

    result: FitResult


class TrainingInterrupted(KeyboardInterrupt):
    """Somebody pressed Ctrl-C during `fit`; or one of several processes got a SIGTERM.

    For example:

        try:
            result = onnxla.fit(module, (x, labels), "cross_entropy")
        except onnxla.TrainingInterrupted as stopped:  # by Ctrl-C
            result = stopped.result

    Attributes:
        result: What `fit` would have returned after the last step.
    """

    result: FitResult


@dataclass(frozen=True)
class FitResult:
    """What a training run made.

    For example:

        result = onnxla.fit(module, (x, labels), "cross_entropy")
        print(result.history.epochs["loss"])

    Attributes:
        module: The module with the trained parameters and running statistics.
        history: Losses and metrics.
    """

    module: Module
    history: History

    def __repr__(self) -> str:
        return f"{self.module!r}\n{self.history}"

    def _repr_html_(self) -> str:
        return self.history._repr_html_()


@dataclass
class Loop:
    """A training run.

    Attributes:
        module: The module in training, with the parameters that it started from.
        prepare: From a batch's inputs by name to those of a step.
        take_step: The compiled step, see `make_step`.
        state: What steps change, see `make_step`.
        frozen: The other parameters.
        stacks: Which parameters are one array, in the state and among the frozen ones.
        placement: Where the arrays are.
        batches: The training data.
        evaluate: The validation loss (`loss`) and metrics for all parameters.
        epochs: Number of epochs at which the run ends.
        total: Number of steps at which the run ends.
        validate_every: Number of steps between validations, beside those after each epoch.
        monitor: Which number of the validation says which is the best.
        keep_best: Whether the result has the parameters of the best validation.
        patience: Number of validations after the best one after which the run ends.
        falling: How far the learning rate has fallen by what the history says.
        callbacks: What is told of steps, epochs and the like.
        settings: What they are told of the run.
        checkpoints: Where checkpoints go.
        every: Number of steps between them, beside those after each epoch and each validation.
        description: What a run that goes on from a checkpoint must have in common with this one.
        length: Number of steps at which the run ends, as its optimizer knows it.
        step: Number of steps done.
        begun: Number of steps that were done before, where the run goes on from a checkpoint.
        epoch: Number of epochs done.
        position: Number of steps done in the epoch at hand.
        best: Parameters and statistics of the best validation.
        stopping: The step at which the run ends since a callback asked for it.
        clock: When the last step's numbers were read, or what came between it and the next ended.
        pending: The step whose numbers have not been read: its number, batch and numbers. Reading
            waits for the device, which should have its next step by then.
    """

    module: Module
    prepare: Callable[[Mapping[str, Value]], dict[str, Value]]
    take_step: Callable[..., Any]
    state: dict[str, Any]
    frozen: Mapping[str, Value]
    batches: ArrayBatches | StreamedBatches
    evaluate: Callable[[Mapping[str, Value]], dict[str, float]] | None = None
    epochs: int | None = None
    total: int | None = None
    validate_every: int | None = None
    monitor: Monitor = field(default_factory=Monitor)
    keep_best: bool = False
    patience: int | None = None
    falling: FallingRate | None = None
    callbacks: Callbacks = field(default_factory=Callbacks)
    settings: Mapping[str, Any] = field(default_factory=dict)
    checkpoints: Checkpoints | None = None
    every: int | None = None
    description: Mapping[str, Any] = field(default_factory=dict)
    length: int | None = None
    history: History = field(default_factory=History)
    step: int = 0
    begun: int = 0
    epoch: int = 0
    position: int = 0
    stacks: Stacks = NO_STACKS
    placement: Placement = ONE_DEVICE
    best: dict[str, Value] | None = None
    stopping: int | None = None
    clock: float = 0.0
    pending: tuple[int, Batch, dict[str, Any]] | None = None

    def run(self, bar: ProgressBar) -> FitResult:
        """Trains to the end. Raises what `fit` says, with the attribute `result`."""
        run = TrainingRun(self.step, self.epoch, self.length, self.history, self.settings)
        self.clock, self.begun = time.perf_counter(), self.step
        self.tell("start", run)
        try:
            with interrupts() as pressed:
                while not self.finished():
                    self.run_epoch(pressed, bar)
                self.end_run()
        except (NonFiniteLossError, CheckpointError, TrainingInterrupted) as error:
            error.result = self.result()
            raise
        finally:
            self.tell("end", self.result_if_any())
        return self.result()

    def tell(self, event: str, *arguments: Any) -> bool:
        """Tells callbacks of an event, and whether one asks to stop.

        An error of theirs has the attribute `result`, as those of the loop.
        """
        try:
            return self.callbacks.tell(event, *arguments)
        except Exception as error:
            error.result = self.result_if_any()  # type: ignore[attr-defined]
            raise

    def run_epoch(self, pressed: Callable[[int], bool], bar: ProgressBar) -> None:
        """Trains to the end of the epoch at hand, or of the run."""
        started = self.position
        for inputs, targets in self.batches.epoch(self.epoch, skip=self.position):
            prepared = self.prepare(inputs)
            self.state, seen = self.take_step(
                self.state, self.frozen, np.uint32(self.step), prepared, targets
            )
            self.read()
            self.pending = self.step, (inputs, targets), seen
            self.step += 1
            self.position += 1
            self.count_step(bar)
            if self.validate_every and self.step % self.validate_every == 0:
                self.validate()
            elif self.every and self.step % self.every == 0 and not self.at_last_step():
                self.save()
            if pressed(self.step):
                self.interrupt()
            if self.at_last_step():
                break
        if self.position == started == 0:
            self.run_dry()
        elif not self.at_last_step():
            self.end_epoch()

    def at_last_step(self) -> bool:
        """Whether the run ends at this step, wherever in an epoch that is."""
        asked = self.stopping is not None and self.step >= self.stopping
        return asked or self.step == self.total

    def run_dry(self) -> None:
        """Ends the run where an iterator has no more batches."""
        if self.step == 0:
            raise ValueError("the data has no batches")
        text = f"the data ended after {self.step} steps" + (
            f" of {self.total}" if self.total is not None else ""
        )
        warnings.warn(text, stacklevel=5)
        self.history.note(text)
        self.total = self.step

    def read(self) -> None:
        """Waits for the last step and notes its numbers.

        Raises:
            NonFiniteLossError: One of them is not finite.
        """
        if self.pending is None:
            return
        number, batch, seen = self.pending
        self.pending = None
        values = {name: float(value) for name, value in jax.device_get(seen).items()}
        if not (math.isfinite(values["loss"]) and math.isfinite(values["gradient_norm"])):
            raise NonFiniteLossError(describe_failure(number, self.epoch, batch, values))
        self.history.add_step(**values)
        now = time.perf_counter()
        speed = samples_in(batch) / (now - self.clock)
        self.history.add_speed(speed)
        self.clock = now
        if self.tell("step", number + 1, {**values, "samples_per_second": speed}):
            # The device may have the next step already, and always has it where nothing is saved.
            self.stopping = number + 2

    def count_step(self, bar: ProgressBar) -> None:
        """Shows a step on the progress bar. The first of this process is compiled by then."""
        if self.step % REPORTED == 0 and self.history.loss:
            bar.show("training", epoch=self.epoch, loss=f"{self.history.loss[-1]:.4g}")
        elif self.step == self.begun + 1:
            bar.show("training")
        bar.advance()

    def interrupt(self) -> None:
        """Saves, and ends the run."""
        self.read()
        text = f"stopped after step {self.step}"
        if self.checkpoints is None:
            raise TrainingInterrupted(
                f"{text}; nothing was saved, as no checkpoint folder was given"
            )
        self.save()
        raise TrainingInterrupted(f"{text}; its checkpoint is in '{self.checkpoints.folder}'")

    def end_epoch(self) -> None:
        """Evaluates, notes the epoch, and saves."""
        self.note_epoch()
        if self.checkpoints is not None:
            self.save()

    def end_run(self) -> None:
        """Ends an epoch at the last step. It is saved as it is there, so that more steps go on."""
        reason = self.reason()
        if self.position:
            if self.checkpoints is not None and self.step not in self.checkpoints.steps:
                self.save()
            self.note_epoch()
        if reason:
            self.history.note(reason)

    def reason(self) -> str:
        """Why the run ends before its end, if it does."""
        if self.out_of_patience():
            best, _ = self.monitor.best(self.history) or (None, None)
            done = f"{self.step} steps" if self.position else f"{self.epoch} epochs"
            return f"stopped after {done}: the {self.monitor} was at step {best}"
        if self.stopping is not None:
            return f"stopped after {self.step} steps, as a callback asked for it"
        return ""

    def note_epoch(self) -> None:
        """Evaluates and notes the epoch at hand."""
        self.read()
        losses = self.history.loss[self.step - self.position :]
        measured = self.history.take_validation(self.step) or self.measure()
        row = {"step": self.step, "loss": math.fsum(losses) / len(losses), **measured}
        self.history.add_epoch(**row)
        self.take_best()
        self.lower_rate()
        if self.tell("epoch", self.epoch, row):
            self.stopping = self.step
        self.epoch += 1
        self.position = 0

    def validate(self) -> None:
        """Evaluates within an epoch, and saves."""
        self.read()
        measured = self.measure()
        self.history.add_validation(step=self.step, **measured)
        self.take_best()
        self.lower_rate()
        if self.tell("validation", self.step, measured) or self.out_of_patience():
            self.stopping = self.step
        if self.checkpoints is not None:
            self.save()

    def measure(self) -> dict[str, float]:
        """The validation's numbers, if there is one.

        Raises:
            ValueError: The one that is to be monitored is not among them.
        """
        if self.evaluate is None:
            return {}
        measured = self.evaluate(self.params())
        if "loss" in measured:
            measured = {METRIC: measured.pop("loss"), **measured}
        if self.keep_best and self.monitor.name not in measured:
            raise ValueError(no_such("number of the validation", self.monitor.name, measured))
        self.clock = time.perf_counter()
        return measured

    def take_best(self) -> None:
        """Keeps the parameters at hand if they are the best so far."""
        best = self.monitor.best(self.history)
        if self.keep_best and best is not None and best[0] == self.step:
            self.best = jax.tree.map(jnp.copy, self.stacks.by_name(self.moving()))

    def lower_rate(self) -> None:
        """Lowers the learning rate where the last value was one too many that is no better."""
        if self.falling is not None:
            scale = jnp.full_like(self.state[SCALE], self.falling.scale(self.history))
            self.state = {**self.state, SCALE: scale}

    def out_of_patience(self) -> bool:
        """Whether there were so many validations after the best one."""
        return self.patience is not None and self.monitor.waited(self.history) >= self.patience

    def finished(self) -> bool:
        """Whether the run is at its end."""
        if self.out_of_patience() or self.stopping is not None:
            return True
        ends = ((self.step, self.total), (self.epoch, self.epochs))
        return any(end is not None and now >= end for now, end in ends)

    def params(self) -> dict[str, Value]:
        """All parameters as they are now, in the model's dtypes."""
        return self.rounded(self.stacks.by_name({**self.frozen, **self.moving()}))

    def moving(self) -> dict[str, Value]:
        """What steps change of the parameters, averaged where the state has an average."""
        return trained(self.state)

    def rounded(self, params: Mapping[str, Value]) -> dict[str, Value]:
        """Parameters in the model's dtypes."""
        return {
            name: value.astype(self.module.params[name].dtype) for name, value in params.items()
        }

    def result(self) -> FitResult:
        """The parameters of the best validation where they are asked for, else those of now."""
        params = self.params() if self.best is None else self.rounded(self.best)
        return FitResult(self.placement.returned(self.module.replace(params)), self.history)

    def result_if_any(self) -> FitResult | None:
        """The result; None where a step that failed has taken the parameters with it."""
        try:
            return self.result()
        except RuntimeError:
            return None

    def save(self) -> None:
        """Writes a checkpoint."""
        self.read()
        assert self.checkpoints is not None
        run: dict[str, Any] = {"description": self.description, "history": self.history.to_dict()}
        run |= {"epoch": self.epoch, "position": self.position, "length": self.length}
        if isinstance(self.batches, StreamedBatches) and self.batches.drawn is not None:
            run["drawn"] = asdict(self.batches.drawn)
        best, _ = self.monitor.best(self.history) or (None, None)
        self.checkpoints.save(self.step, self.stacks.by_name(self.state), run, best)
        self.tell("checkpoint", self.step, self.checkpoints.folder / str(self.step))
        self.clock = time.perf_counter()


def describe_failure(number: int, epoch: int, batch: Batch, values: Mapping[str, float]) -> str:
    """What was seen in a step whose loss or gradient is not finite."""
    inputs, targets = batch
    named = {f"input {quoted(name)}": value for name, value in inputs.items()}
    named |= {
        f"targets{jax.tree_util.keystr(path)}": leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(targets)
    }
    seen = "; ".join(f"{name}: {range_of(np.asarray(v))}" for name, v in named.items())
    return (
        f"the loss of step {number} (epoch {epoch}) is {values['loss']}, the norm of its gradient "
        f"{values['gradient_norm']}; the parameters are those before it. The batch: {seen}. "
    ) + (
        "If these are as they should be, a lower learning_rate or clip_norm=1.0 may help"
        if number
        else "Nothing has been trained yet: these are the reason, as a label that is no class, or "
        "the file's parameters are"
    )


def samples_in(batch: Batch) -> int:
    """The length of the first axis of a batch's inputs, or 1."""
    return max((np.shape(leaf)[0] for leaf in batch[0].values() if np.ndim(leaf)), default=1)


def range_of(array: np.ndarray) -> str:
    """Dtype, shape and range of an array, and how many of its elements are not finite."""
    text = f"{array.dtype}{list(array.shape)}"
    if array.size == 0 or not np.issubdtype(array.dtype, np.number):
        return text
    finite = np.isfinite(array.astype(np.float64))
    if finite.any():
        text += f" in [{array[finite].min():.6g}, {array[finite].max():.6g}]"
    return text if finite.all() else text + f", {(~finite).sum()} of them not finite"


@contextlib.contextmanager
def interrupts() -> Iterator[Callable[[int], bool]]:
    """Whether Ctrl-C was pressed, as a function of the step, so that none is left half done.

    Pressed again, it interrupts at once. Of several processes, in one of which it is pressed or
    which gets a SIGTERM, all end after the same step.
    """
    if jax.process_count() == 1:
        with ctrl_c() as pressed:
            yield lambda step: pressed.is_set()
    elif can_end_together():
        with ctrl_c(lambda: os.kill(os.getpid(), signal.SIGTERM)):  # which JAX tells to all
            yield are_told_to_end
    else:
        yield lambda step: False  # at once, since the others would wait for further steps
