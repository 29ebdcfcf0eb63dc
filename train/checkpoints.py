"""Checkpoints of a training run in a folder, written with orbax: whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from onnxla.ir.errors import OnnxlaError
from onnxla.parameters.processes import is_first, together
from onnxla.train.digests import digest_of

# Format 1, of version 0.1.0, states no format, and knows the model by nodes without attributes.
# Format 2 has no checksum, and knows nothing of the data's contents and the optimizer's numbers.
FORMAT = 3
PARTS = frozenset({"description", "history", "epoch", "position"})  # of what every format says


class CheckpointError(OnnxlaError):
    """A checkpoint could not be written, or is not of this run.

    For example:

        onnxla.fit(module, (x, labels), "cross_entropy", checkpoint="run")
        try:
            onnxla.fit(module, (-x, labels), "cross_entropy", checkpoint="run")
        except onnxla.CheckpointError as error:
            print(error)

    Attributes:
        result: What `fit` would have returned, if it could not be written.
    """

    result: Any = None


class DamagedCheckpointError(CheckpointError):
    """A checkpoint is not as it was written."""


class Checkpoints:
    """The checkpoints in a folder: the last few, and that of the best validation.

    Each is a folder named after its step. Orbax writes it under another name and renames it when it
    is complete, so that a crash leaves those before. The folder is locked until `close`.

    Args:
        folder: Where they are.
        keep: How many of the last.

    Raises:
        CheckpointError: The folder cannot be written to, or another run writes to it.
    """

    def __init__(self, folder: Any, keep: int = 3) -> None:
        import orbax.checkpoint as ocp

        self.folder = Path(folder).absolute()
        self._lock: int | None = None
        with together(CheckpointError):
            if is_first():
                self._lock = lock(self.folder)

        policies = ocp.checkpoint_managers
        self._best = BestStep()
        self._ocp = ocp
        with quiet():
            self._manager = ocp.CheckpointManager(
                self.folder,
                options=ocp.CheckpointManagerOptions(
                    preservation_policy=policies.AnyPreservationPolicy(
                        [policies.LatestN(keep), self._best]
                    ),
                    # An error is then that of the step that saved.
                    enable_async_checkpointing=False,
                    cleanup_tmp_directories=True,
                ),
                item_names=("state", "run"),
            )

    @property
    def steps(self) -> list[int]:
        """Steps that have a checkpoint, ascending."""
        return sorted(self._manager.all_steps())

    def save(self, step: int, state: Any, run: Mapping[str, Any], best: int | None) -> None:
        """Writes a checkpoint, in place of one of the same step.

        Args:
            step: Its name.
            state: A tree of arrays.
            run: Whatever JSON can hold; the number of the format and checksums are added.
            best: The step of the best validation, if there was one: its checkpoint stays.

        Raises:
            CheckpointError: It could not be written; those before are as they were.
        """
        save = self._ocp.args
        state = jax.tree.map(as_saved, state)
        described = {"format": FORMAT, "step": step, "state": digest_of(state), **run}
        described["checksum"] = checksum(described)
        items = save.Composite(
            state=save.StandardSave(state),
            run=save.JsonSave(described),
        )
        self._best.step = best
        try:
            with quiet(), together(CheckpointError):
                if step in self.steps:
                    self._manager.delete(step)
                self._manager.save(step, args=items, force=True)
        except Exception as error:
            # What was written of it may be what fills the disk.
            for debris in self.folder.glob(f"{step}.*tmp*"):
                shutil.rmtree(debris, ignore_errors=True)
            kept = ", ".join(map(str, self.steps)) or "none"
            raise CheckpointError(
                f"the checkpoint of step {step} could not be written to '{self.folder}' "
                f"({reason(error)}); steps with a checkpoint: {kept}"
            ) from error

    def read_run(self, step: int) -> dict[str, Any]:
        """What `save` was given as `run`, with the number of the format.

        Raises:
            CheckpointError: A newer version of onnxla wrote it.
            DamagedCheckpointError: It is not as it was written.
        """
        restored: Any = self.restore(step, run=self._ocp.args.JsonRestore())
        if not isinstance(restored.run, dict) or not PARTS.issubset(restored.run):
            raise self.damaged(step, "its description lacks parts")
        run = {"format": 1, **restored.run}
        if run["format"] not in range(1, FORMAT + 1):
            raise CheckpointError(
                f"the checkpoint of step {step} in '{self.folder}' has format {run['format']}; "
                f"this version of onnxla reads formats up to {FORMAT}"
            )
        if run["format"] >= 3 and run.pop("checksum", None) != checksum(run):
            raise self.damaged(step, "its description has another checksum")
        if run.get("step", step) != step:
            raise self.damaged(step, f"it is a copy of that of step {run['step']}")
        return run

    def read_state(self, step: int, like: Any, digest: str | None) -> Any:
        """The state at a step as JAX arrays, for a tree `like` it.

        Raises:
            DamagedCheckpointError: It is not as it was written, as its digest tells where the
                checkpoint has one.
        """
        abstract = jax.tree.map(as_saved, like)
        restored: Any = self.restore(step, state=self._ocp.args.StandardRestore(abstract))
        if digest is not None and digest_of(restored.state) != digest:
            raise self.damaged(step, "its arrays have another checksum")
        return jax.tree.map(jnp.asarray, restored.state)

    def restore(self, step: int, **items: Any) -> Any:
        """Parts of a checkpoint. Raises: DamagedCheckpointError if it cannot be read."""
        try:
            with quiet(), together(DamagedCheckpointError):
                return self._manager.restore(step, args=self._ocp.args.Composite(**items))
        except Exception as error:
            raise self.damaged(step, reason(error)) from error

    def damaged(self, step: int, why: str) -> DamagedCheckpointError:
        """What says that a checkpoint is damaged."""
        return DamagedCheckpointError(
            f"the checkpoint of step {step} in '{self.folder}' is damaged: {why}"
        )

    def set_aside(self, step: int) -> Path:
        """Renames a checkpoint so that it counts no longer, and tells its new path."""
        path = self.folder / f"{step}.damaged"
        while path.exists():
            path = path.with_name(path.name + "_")
        with together(CheckpointError):  # all have seen which name is free
            pass
        with together(CheckpointError):
            if is_first():
                (self.folder / str(step)).rename(path)
        self._manager.reload()
        return path

    def close(self) -> None:
        """Ends orbax's threads, and unlocks the folder."""
        self._manager.close()
        if self._lock is not None:
            os.close(self._lock)


@dataclass
class BestStep:
    """A policy of orbax that keeps the checkpoint of one step.

    Orbax's own goes by a number, which it does not write down: the next process has none.
    """

    step: int | None = None

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        """Which of some checkpoints stay."""
        return [each.step == self.step for each in checkpoints]


def lock(folder: Path) -> int:
    """Makes a folder if it is missing, and locks it while the descriptor that is returned is open.

    Systems without such locks on folders (Windows, some networks' file systems) do not protect two
    runs from each other.

    Raises:
        CheckpointError: It is no folder that can be written to, or is locked.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError("Permission denied")
        descriptor = os.open(folder if hasattr(os, "O_DIRECTORY") else os.devnull, os.O_RDONLY)
    except OSError as error:
        raise CheckpointError(
            f"checkpoints cannot be written to '{folder}' ({error.strerror or error})"
        ) from error
    try:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise CheckpointError(
            f"another run writes checkpoints to '{folder}': choose another folder, or resume from"
            " this one when that run has ended"
        ) from None
    except (ImportError, OSError):
        pass
    return descriptor


def as_saved(value: Any) -> Any:
    """An array as orbax takes it: of several devices each writes its part, and numpy the whole."""
    several = isinstance(value, jax.Array) and len(value.sharding.device_set) > 1
    return value if several else np.asarray(value)


def checksum(run: Mapping[str, Any]) -> str:
    """The checksum of what JSON can hold."""
    return hashlib.sha256(json.dumps(run, sort_keys=True).encode()).hexdigest()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps orbax from logging tracebacks of errors that it raises as well."""
    logger = logging.getLogger("absl")
    logger.addFilter(no_records)
    try:
        yield
    finally:
        logger.removeFilter(no_records)


def no_records(record: logging.LogRecord) -> bool:
    """A filter that lets nothing pass."""
    return False


def reason(error: BaseException) -> str:
    """What the system said, without the chain of who passed it on; or the error's type."""
    lines = str(error).splitlines() or [type(error).__name__]
    return lines[0].rsplit(": ", 1)[-1]
