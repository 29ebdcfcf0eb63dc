"""Where a run goes on after a stop: from its last checkpoint that is intact and of the same run."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import jax

from onnxla.ops.values import Value
from onnxla.parameters.processes import is_first
from onnxla.train.averages import trained
from onnxla.train.batches import Drawn, StreamedBatches
from onnxla.train.checkpoints import CheckpointError, Checkpoints, DamagedCheckpointError
from onnxla.train.description import UPDATE, VERSIONS, as_saved, require_same
from onnxla.train.history import History
from onnxla.train.loop import Loop

Update = Callable[[int | None], str]
"""The digest of what the optimizer computes in a run of so many steps."""


def go_on_after_stop(loop: Loop, update: Update) -> None:
    """Goes on from the last checkpoint that is intact, if there is one.

    Raises:
        CheckpointError: It is of another run, none is intact, or that of the best epoch is not.
    """
    checkpoints = loop.checkpoints
    assert checkpoints is not None
    if isinstance(loop.batches, StreamedBatches) and jax.process_count() == 1:
        loop.batches.drawn = Drawn()  # each of several processes draws others
    damaged: dict[int, DamagedCheckpointError] = {}
    for step in reversed(checkpoints.steps):
        try:
            go_on(loop, checkpoints, step, update)
        except DamagedCheckpointError as error:
            damaged[step] = error
        else:
            break
    else:
        if damaged:
            raise CheckpointError("; ".join(map(str, damaged.values())) + "; no other is intact")
    for step, problem in damaged.items():
        name = checkpoints.set_aside(step).name
        tell(loop, f"{problem}; it is kept as '{name}', and the run goes on from step {loop.step}")


def go_on(loop: Loop, checkpoints: Checkpoints, step: int, update: Update) -> None:
    """Takes up a run as it was at a step.

    Raises:
        CheckpointError: As for `go_on_after_stop`; a `DamagedCheckpointError` if it is not intact.
    """
    run = checkpoints.read_run(step)
    now, told = described_as(loop, run, update)
    require_same(run["description"], now, f"of step {step} in '{checkpoints.folder}'")
    by_name = loop.stacks.by_name(loop.state)
    state = loop.stacks.stacked(checkpoints.read_state(step, by_name, run.get("state")))
    state = loop.placement.put(state)
    history = History(**run["history"])
    if loop.keep_best and (best := loop.monitor.best(history)) is not None:
        loop.best = read_best(checkpoints, best[0], by_name)
    loop.state, loop.history = state, history
    loop.step, loop.epoch, loop.position = step, run["epoch"], run["position"]
    if isinstance(loop.batches, StreamedBatches) and "drawn" in run:
        loop.batches.drawn = Drawn(**{**run["drawn"], "resumed": True})
    if told and not loop.finished():
        tell(loop, told)


def described_as(loop: Loop, run: Mapping[str, Any], update: Update) -> tuple[Any, str]:
    """The description of the run at hand as a checkpoint has it, and what to tell of it.

    Where other versions wrote what the optimizer computes, that cannot be compared. Where only the
    number of steps differs, and with it the schedule, the run may go on all the same.
    """
    saved, now = run["description"], as_saved(run, loop.module, loop.description)
    if saved.get(VERSIONS) != now.get(VERSIONS):
        same = {key: saved[key] for key in (VERSIONS, UPDATE, "loss_program")}
        versions = ", ".join(f"{name} {number}" for name, number in saved[VERSIONS].items())
        text = f"the checkpoint was written with {versions}: whether optimizer and loss are the"
        return {**now, **same}, f"{text} same cannot be told"
    length = run.get("length")
    if (
        saved.get(UPDATE) != now.get(UPDATE)
        and length != loop.length
        and saved[UPDATE] == update(length)
    ):
        text = (
            f"the run was to have {length} steps, and now {loop.length}: from here on the learning"
            f" rate is that of a run of {loop.length}"
        )
        return {**now, UPDATE: saved[UPDATE]}, text
    return now, ""


def read_best(checkpoints: Checkpoints, step: int, like: Any) -> dict[str, Value]:
    """Parameters and statistics of the best validation.

    Raises:
        CheckpointError: Its checkpoint is missing or damaged.
    """
    try:
        if step not in checkpoints.steps:
            raise CheckpointError("it is missing")
        digest = checkpoints.read_run(step).get("state")
        state = checkpoints.read_state(step, like, digest)
    except CheckpointError as error:
        raise CheckpointError(
            f"the checkpoint of the best validation, of step {step}, cannot be read ({error});"
            " without patience= and monitor= the run can go on"
        ) from error
    return trained(state)


def tell(loop: Loop, text: str) -> None:
    """Warns of something, and notes it in the history."""
    if is_first():
        warnings.warn(text, stacklevel=5)
    loop.history.note(text)
