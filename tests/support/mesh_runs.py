"""Runs on a mesh of devices, as a program that tells what they did.

    python tests/support/mesh_runs.py '{"kind": "fsdp", "steps": 4}' ...

Each argument has arguments of `run`; a line is what it returns.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any
from unittest import mock

import jax
import numpy as np
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

import onnxla
from onnxla.train.loop import Loop
from onnxla.train.start import Start, make_start
from support.processes import join
from support.small_models import header, make

RNG = np.random.default_rng(0)
WIDE = 512
TENSORS = {
    "table": RNG.normal(size=(WIDE, 16)),
    "w": RNG.normal(size=(16, WIDE)) / 4,
    "v": RNG.normal(size=(WIDE, 16)) / 16,
    "b": RNG.normal(size=16),
    "mean": np.zeros(WIDE),
    "var": np.ones(WIDE),
    "scale": np.ones(WIDE),
    "shift": np.zeros(WIDE),
}
MODEL = make(
    header() + " m (int64[N] ids, float[N, 16] x) => (float[N, 16] y) {"
    "e = Gather (table, ids) a = Add (e, x) h = MatMul (a, w)"
    "n = BatchNormalization (h, scale, shift, mean, var) g = Gelu (n) r = MatMul (g, v)"
    "y = Add (r, b) }",
    **{name: value.astype(np.float32) for name, value in TENSORS.items()},
)
IDS, X = RNG.integers(0, WIDE, 76), RNG.normal(size=(76, 16)).astype(np.float32)
LABELS = RNG.integers(0, 16, 76)
SIZE = 32
# Several axes: parameters apart over the second, batches over the first.
RULES = {"weight": P(None, "model"), "table": P("model")}


def rows(start: int, stop: int) -> Any:
    """Some samples."""
    taken = slice(start, stop)
    return {"ids": IDS[taken], "x": X[taken]}, LABELS[taken]


def stream(part: int, parts: int) -> list[Any]:
    """Batches, or this process's part of each."""
    own = SIZE // parts
    return [rows(at + part * own, at + (part + 1) * own) for at in (0, SIZE)]


def mesh_of(kind: str, axes: str) -> Any:
    """All devices; of a few kinds of runs over two axes."""
    shape, names = ((jax.device_count(),), ("data",))
    if kind == "by rule":
        shape, names = ((jax.device_count() // 2, 2), ("data", "model"))
    return jax.make_mesh(shape, names, axis_types=(getattr(AxisType, axes),) * len(names))


def by_path(tree: Any) -> dict[str, str]:
    """How arrays are split, by their paths."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): str(x.sharding.spec) for path, x in leaves}


def run(
    kind: str = "one device",
    axes: str = "Explicit",
    *,
    steps: int = 4,
    folder: str | None = None,
    streams: bool = False,
    size: int = SIZE,
    dies_at: int | None = None,
    dies_of: int = signal.SIGKILL,
    saves: str | None = None,
    measured: bool = True,
) -> dict[str, Any]:
    """A run, and what it did.

    Args:
        kind: "one device", "everywhere", "fsdp", "by rule", or "given": by `with_sharding`.
        axes: Of the mesh: "Explicit" or "Auto".
        steps: How many.
        folder: Where checkpoints go, after every second step.
        streams: Whether the data is batches, of which each process has its part.
        size: Samples in a batch.
        dies_at: The step at which the last process kills itself, if there are several.
        dies_of: The signal that it sends itself.
        saves: Where the result is saved.
        measured: Whether it is evaluated.
    """
    module, options = onnxla.load(MODEL), dict[str, Any]()
    if kind == "given":
        module = module.with_sharding(mesh_of(kind, axes), "fsdp")
    elif kind != "one device":
        sharding = {"fsdp": "fsdp", "by rule": RULES}.get(kind)
        options = {"mesh": mesh_of(kind, axes), "sharding": sharding}
    starts, ends = list[Start](), list[Loop]()
    count, number = jax.process_count(), jax.process_index()

    def begin(*arguments: Any, **named: Any) -> Start:
        starts.append(make_start(*arguments, **named))
        return starts[0]

    def may_die(step: int, logs: Any) -> None:
        if step == dies_at and number == count - 1:
            os.kill(os.getpid(), dies_of)

    def end(loop: Loop) -> None:
        ends.append(loop)
        end_run(loop)

    end_run = Loop.end_run
    with (
        mock.patch("onnxla.train.fitting.make_start", begin),
        mock.patch.object(Loop, "end_run", end),
    ):
        result = onnxla.fit(
            module,
            stream(number, count) if streams else rows(0, 64),
            "cross_entropy",
            steps=steps,
            batch_size=size,
            learning_rate=1e-2,
            schedule="constant",
            warmup=0.0,
            weight_average=0.9,
            validation=rows(38, 76),
            metrics="accuracy",
            callbacks=may_die,
            checkpoint=folder,
            checkpoint_every=folder and 2,
            progress=False,
            **options,
        )
    (start,), (loop,) = starts, ends
    if saves is not None:
        result.module.save(saves)
    on_mesh = jax.device_count() > 1 and kind != "one device"
    told = {
        "loss": result.history.loss,
        "validation": result.history.epochs["validation_loss"],
        "notes": result.history.notes,
        "compiled": start.step.step._cache_size(),
        "state": by_path(loop.state) if on_mesh else {},
        "params": by_path(result.module.params) if on_mesh else {},
        "axes": result.module.params["w"].sharding.mesh.axis_types[0].name if on_mesh else "",
    }
    if measured:
        data = rows(38, 76)
        told["evaluated"] = onnxla.evaluate(result.module, data, "cross_entropy", "accuracy")
        told["predicted"] = onnxla.predict(result.module, data, progress=False).tolist()
    return told


if __name__ == "__main__":
    join()
    for arguments in sys.argv[1:]:
        print(json.dumps(run(**json.loads(arguments))), flush=True)
