"""Losses and metrics of a model on data, without training."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from onnxla.inputs import unpack
from onnxla.ir.names import as_names
from onnxla.module import Module
from onnxla.ops.values import Value
from onnxla.train.batches import ArrayBatches, StreamedBatches, as_batches
from onnxla.train.division import Divided, divide
from onnxla.train.losses import LOSSES, METRICS, Measure, as_wide, find_measure, name_of
from onnxla.train.objective import Objective, make_objective, values_read
from onnxla.train.reading import make_reading
from onnxla.train.step import double_precision

Metrics = str | Measure | Sequence[str | Measure]


def evaluate(
    module: Module,
    data: Any,
    loss: str | Measure | None = None,
    metrics: Metrics = (),
    *,
    batch_size: int = 32,
    outputs: str | Sequence[str] | None = None,
    rename: Mapping[str, str] | None = None,
    batch_axis: Mapping[str, int] | None = None,
    bucket: Mapping[str, int] | None = None,
) -> dict[str, float]:
    """The mean loss (as `loss`) and metrics by name of a module on data: on every sample of it.

    Args:
        module: The model, which is applied as in inference (see `Module.inference`).
        data: As for `fit`.
        loss: As for `fit`; or None, or the name of a metric.
        metrics: Names (`"accuracy"`, or a loss's) and functions of the outputs and the targets,
            each a mean over the samples of a batch.
        batch_size: Samples in a batch of arrays; the last one may be smaller.
        outputs: Names of the values that losses and metrics are functions of, by default the
            graph's outputs.
        rename: As for `fit`, as are `batch_axis` and `bucket`.
        batch_axis: Axes of samples.
        bucket: Multiples of lengths.

    Raises:
        TypeError, ValueError: The data does not fit the model, or a name is not known.
    """
    if isinstance(loss, str) and loss in METRICS and loss not in LOSSES:
        metrics, loss = [loss, *as_list(metrics)], None
    module, outputs = module.inference(), as_names(outputs)
    reading = make_reading(module, rename, batch_axis, bucket)
    batches = as_batches(module, data, batch_size, reading=reading)
    objective = None
    if loss is not None:
        objective = make_objective(module, find_measure(loss, "loss", LOSSES), outputs)
    with jax.numpy_dtype_promotion("standard"), double_precision(module):
        return make_evaluation(module, objective, metrics, outputs)(module.params, batches)


def as_list(metrics: Metrics) -> list[str | Measure]:
    """Several metrics, or one, as a list."""
    return [metrics] if isinstance(metrics, str) or callable(metrics) else [*metrics]


def make_evaluation(
    module: Module,
    objective: Objective | None,
    metrics: Metrics,
    outputs: Sequence[str] | None = None,
) -> Callable[[Mapping[str, Value], ArrayBatches | StreamedBatches], dict[str, float]]:
    """A function of all parameters and batches: the means of the loss and the metrics.

    Raises:
        ValueError: A name is no metric's, or there is nothing to evaluate.
    """
    functions = [find_measure(metric, "metric", METRICS) for metric in as_list(metrics)]
    if objective is None and not functions:
        raise ValueError("nothing to evaluate: pass loss= or metrics=")
    read = tuple(outputs or module.output_names)
    for function in functions:
        values_read(module, outputs, function)
    wanted = read if objective is None else objective.outputs

    divided: Divided | None = None

    @functools.partial(jax.jit, static_argnums=0)
    def measure(
        part: Module, params: Mapping[str, Value], inputs: Any, targets: Any
    ) -> dict[str, jax.Array]:
        values = part.apply(params, inputs, outputs=(*wanted, *read))
        for_loss, found = unpack(values[: len(wanted)]), unpack(values[len(wanted) :])
        found = jax.tree.map(as_wide, found)
        measured = {name_of(f): jnp.asarray(f(found, targets)) for f in functions}
        if objective is not None:
            value, further = objective.loss_of(for_loss, targets)
            measured = {"loss": value, **further, **measured}
        return measured

    def evaluation(
        params: Mapping[str, Value], batches: ArrayBatches | StreamedBatches
    ) -> dict[str, float]:
        nonlocal divided
        sums: dict[str, float] = {}
        samples = 0
        for inputs, targets in batches.epoch(0):
            count = batches.reading.count(inputs)
            divided = divided or divide(module, inputs, tuple(dict.fromkeys((*wanted, *read))))
            part = divided.after
            own = {name: params[name] for name in part.params}
            measured = measure(part, own, divided.prepare(inputs, params), targets)
            for name, value in jax.device_get(measured).items():
                sums[name] = sums.get(name, 0.0) + float(value) * count
            samples += count
        if not samples:
            raise ValueError("the data to evaluate on has no batches")
        return {name: total / samples for name, total in sums.items()}

    return evaluation
