"""What a run must have in common with one that goes on from its checkpoint."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from typing import Any

import jax
import numpy as np

from onnxla.ir.traverse import all_nodes
from onnxla.module import Module
from onnxla.train.batches import ArrayBatches, StreamedBatches
from onnxla.train.checkpoints import CheckpointError
from onnxla.train.losses import Measure
from onnxla.train.measures import known_loss, options_of
from onnxla.train.monitor import METRIC, Monitor
from onnxla.train.recipe import Recipe
from onnxla.train.start import Start
from onnxla.train.task import Task

UPDATE, VERSIONS = "update", "versions"
# Digests say that there is a difference, not which: what to say, and what may say it better.
DIGESTS = {
    UPDATE: (
        "the optimizer computes another update: a hyper-parameter or a schedule differs",
        ("optimizer", "learning_rate", "accumulate", "clip_norm", "trained"),
    ),
    "loss_program": (
        "the loss has the same name and computes something else",
        ("loss", "model", "data", "trained", "outputs", "compute_dtype", "freeze_statistics"),
    ),
    "loops": (
        "repeated blocks run in other loops, which round otherwise: load(..., roll=) decides",
        ("model", "outputs", "trained"),
    ),
    "data.digest": ("the data has the same shapes and other contents", ("data",)),
    "validation.digest": (
        "the validation data has the same shapes and other contents",
        ("validation",),
    ),
}


def describe_run(
    task: Task,
    recipe: Recipe,
    start: Start,
    batches: ArrayBatches | StreamedBatches,
    held_out: ArrayBatches | StreamedBatches | None,
    monitor: Monitor,
    schedule: Any,
    length: int | None,
    **settings: Any,
) -> dict[str, Any]:
    """The description of a run, as JSON has it.

    Args:
        task: What it makes small.
        recipe: How it makes updates.
        start: What it begins with.
        batches: Its data.
        held_out: Its validation data.
        monitor: Which validation is the best.
        schedule: What becomes of the learning rate, if it is not the default.
        length: Number of steps, where it is known.
        **settings: What else `fit` was asked for.
    """
    objective, measure = task.objective, task.objective.loss
    trained = {name: f"{value.dtype}{list(value.shape)}" for name, value in task.masters.items()}
    state = jax.eval_shape(recipe.of_task(task, length).init, task.masters)
    frozen = objective.freeze_statistics
    every = {
        **settings,
        "model": task.module.fingerprint(),
        "trained": trained,
        "optimizer": ", ".join(re.findall(r"\w+State", str(jax.tree.structure(state)))),
        "schedule": None if schedule in (None, "cosine") else str(schedule),
        "warmup": recipe.warmup,
        "loss_options": describe_options(measure),
        "loss_program": None if known_loss(measure) else task.digest(),
        "data": batches.describe(),
        "validation": None if held_out is None else held_out.describe(),
        "monitor": None if monitor.name == METRIC else str(monitor),
        "freeze_statistics": () if frozen is None else frozen,
        "keep_zeros": task.sparse or None,
        "loops": objective.module.program.loops(objective.outputs, start.stacks) or None,
        "outputs": objective.outputs,
        "bucket": batches.reading.describe(),
        UPDATE: recipe.digest(task, length),
        VERSIONS: versions(),
    }
    return dict(json.loads(json.dumps(every)))


def versions() -> dict[str, str]:
    """Versions of what writes the programs that digests are of."""
    return {name: version(name) for name in ("jax", "optax")}


def require_same(saved: Mapping[str, Any], now: Mapping[str, Any], where: str) -> None:
    """Raises CheckpointError with what differs between a run that was saved and the one at hand."""
    found = {path: f"{path} {text}" for path, text in differences(saved, now)}
    for path, (text, explaining) in DIGESTS.items():
        if path in found:
            found[path] = text
            if any(other.startswith(explaining) for other in found if other != path):
                del found[path]  # something that has a name says why
    if found:
        raise CheckpointError(
            f"the checkpoint {where} is of another run: "
            + "; ".join(found.values())
            + ". Choose another folder, or make the run as it was"
        )


def differences(saved: Any, now: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Where two trees of dicts differ: paths, and what differs there in words."""
    if isinstance(saved, Mapping) and isinstance(now, Mapping):
        for key in sorted({*saved, *now}):
            yield from differences(saved.get(key), now.get(key), f"{path}.{key}".lstrip("."))
    elif saved != now:
        was, is_now = ("absent" if value is None else value for value in (saved, now))
        yield path, f"was {was}, is {is_now}"


def as_saved(run: Mapping[str, Any], module: Module, now: Mapping[str, Any]) -> dict[str, Any]:
    """The description of the run at hand as far as a checkpoint tells the like.

    Args:
        run: What the checkpoint says.
        module: The module of the run at hand.
        now: Its description as of today.
    """
    saved, described = run["description"]["data"], {**now}
    if not ("digest" in saved and "digest" in now["data"]):  # contents are compared when drawn
        described["data"] = {**now["data"], "digest": saved.get("digest")}
    if not (described["validation"] and run["description"].get("validation")):
        for part in ("validation", "monitor"):  # it may come and go
            described[part] = run["description"].get(part)
    if "loss_options" not in run["description"]:  # which earlier versions did not note
        del described["loss_options"]
    if run["format"] < 3:
        del described[UPDATE], described[VERSIONS], described["loss_program"]
    if run["format"] < 2:
        described["model"] = fingerprint_of_format_1(module)
    return described


def fingerprint_of_format_1(module: Module) -> str:
    """How checkpoints of format 1 know a module: by its nodes, without attributes, and params."""
    hashed = hashlib.sha256()
    for node, _ in all_nodes(module.program.model):
        hashed.update(repr((node.domain, node.op_type, node.inputs, node.outputs)).encode())
    for name, value in module.params.items():
        hashed.update(name.encode())
        hashed.update(np.asarray(value).tobytes())
    return hashed.hexdigest()[:16]


def describe_options(loss: Measure) -> dict[str, Any] | None:
    """The arguments that are fixed of a named loss, as data for JSON."""
    if known_loss(loss) is None:
        return None
    options = options_of(loss)
    return {name: jax.tree.map(lambda v: np.asarray(v).tolist(), options[name]) for name in options}
