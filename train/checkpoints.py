"""Checkpoints of a training run in a folder, written with orbax: whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from onnxla.ir.errors import OnnxlaError
from onnxla.ir.traverse import all_nodes
from onnxla.module import Module

METRIC = "validation_loss"
# Format 1, of version 0.1.0, states no format, and knows the model by nodes without attributes.
FORMAT = 2


class CheckpointError(OnnxlaError):
    """A checkpoint could not be written, or is not of this run.

    Attributes:
        result: What `fit` would have returned, if it could not be written.
    """

    result: Any = None


class Checkpoints:
    """The checkpoints in a folder: the last few, and that with the lowest validation loss.

    Each is a folder named after its step. Orbax writes it under another name and renames it when it
    is complete, so that a crash leaves those before.
    """

    def __init__(self, folder: Any, keep: int = 3) -> None:
        import orbax.checkpoint as ocp

        policies = ocp.checkpoint_managers
        best = policies.BestN(
            get_metric_fn=lambda metrics: metrics[METRIC],
            reverse=True,
            n=1,
            keep_checkpoints_without_metrics=False,
        )
        self.folder = Path(folder).absolute()
        self._ocp = ocp
        self._manager = ocp.CheckpointManager(
            self.folder,
            options=ocp.CheckpointManagerOptions(
                preservation_policy=policies.AnyPreservationPolicy([policies.LatestN(keep), best]),
                enable_async_checkpointing=False,  # an error is then that of the step that saved
                cleanup_tmp_directories=True,
            ),
            item_names=("state", "run"),
        )

    @property
    def steps(self) -> list[int]:
        """Steps that have a checkpoint, ascending."""
        return sorted(self._manager.all_steps())

    def save(self, step: int, state: Any, run: Mapping[str, Any], metric: float | None) -> None:
        """Writes a checkpoint, in place of one of the same step.

        Args:
            step: Its name.
            state: A tree of arrays.
            run: Whatever JSON can hold; the number of the format is added.
            metric: The validation loss, if the state has one.

        Raises:
            CheckpointError: It could not be written; those before are as they were.
        """
        save = self._ocp.args
        items = save.Composite(
            state=save.StandardSave(jax.tree.map(np.asarray, state)),
            run=save.JsonSave({"format": FORMAT, **run}),
        )
        metrics = None if metric is None else {METRIC: metric}
        try:
            with quiet():
                if step in self.steps:
                    self._manager.delete(step)
                self._manager.save(step, args=items, metrics=metrics, force=True)
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
        """What `save` was given as `run`.

        Raises:
            CheckpointError: A newer version of onnxla wrote it.
        """
        items = self._ocp.args.Composite(run=self._ocp.args.JsonRestore())
        restored: Any = self._manager.restore(step, args=items)
        run = {"format": 1, **restored.run}
        if run["format"] not in range(1, FORMAT + 1):
            raise CheckpointError(
                f"the checkpoint of step {step} in '{self.folder}' has format {run['format']}; "
                f"this version of onnxla reads formats up to {FORMAT}"
            )
        return run

    def read_state(self, step: int, like: Any) -> Any:
        """The state at a step as JAX arrays, for a tree `like` it."""
        abstract = jax.tree.map(np.asarray, like)
        items = self._ocp.args.Composite(state=self._ocp.args.StandardRestore(abstract))
        restored: Any = self._manager.restore(step, args=items)
        return jax.tree.map(jnp.asarray, restored.state)

    def close(self) -> None:
        """Ends orbax's threads."""
        self._manager.close()


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


def fingerprint_of_format_1(module: Module) -> str:
    """How checkpoints of format 1 know a module: by its nodes, without attributes, and params."""
    hashed = hashlib.sha256()
    for node, _ in all_nodes(module.program.model):
        hashed.update(repr((node.domain, node.op_type, node.inputs, node.outputs)).encode())
    for name, value in module.params.items():
        hashed.update(name.encode())
        hashed.update(np.asarray(value).tobytes())
    return hashed.hexdigest()[:16]


def require_same(saved: Mapping[str, Any], now: Mapping[str, Any], where: str) -> None:
    """Raises CheckpointError with what differs between a run that was saved and the one at hand."""
    found = differences(saved, now)
    if found:
        raise CheckpointError(
            f"the checkpoint {where} is of another run: "
            + "; ".join(found)
            + ". Choose another folder, or make the run as it was"
        )


def differences(saved: Any, now: Any, path: str = "") -> list[str]:
    """Where two trees of dicts differ, in words."""
    if isinstance(saved, Mapping) and isinstance(now, Mapping):
        return [
            text
            for key in sorted({*saved, *now})
            for text in differences(saved.get(key), now.get(key), f"{path}.{key}".lstrip("."))
        ]
    if saved == now:
        return []
    return [f"{path} was {saved if saved is not None else 'absent'}, is {now or 'absent'}"]
