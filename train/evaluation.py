"""Losses and metrics of a model on data, without training."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from onnxla.arguments import check_arguments
from onnxla.inputs import unpack
from onnxla.ir.names import as_names, listed
from onnxla.module import Module, require_module
from onnxla.ops.values import Value
from onnxla.parameters.processes import is_first
from onnxla.progress import ProgressBar
from onnxla.train.arguments import EVALUATE
from onnxla.train.batches import ArrayBatches, StreamedBatches, as_batches
from onnxla.train.division import Divided, divide
from onnxla.train.labels import number_of_classes, with_class_weight, wrong_label
from onnxla.train.losses import LOSSES, Measure
from onnxla.train.means import Sums, as_wide, unweighted
from onnxla.train.measures import as_numbers, call_measure, find_measure, telling_targets
from onnxla.train.mesh import ONE_DEVICE, Placement, find_placement
from onnxla.train.metrics import METRICS, Metric, as_metric, divided, name_of
from onnxla.train.objective import Objective, ValuesRead, make_objective, values_read
from onnxla.train.reading import make_reading
from onnxla.train.step import double_precision

NO_BAR = ProgressBar(None, "", "", shown=False)
Metrics = str | Measure | Sequence[str | Measure]


def evaluate(
    module: Module,
    data: Any,
    loss: str | Measure | None = None,
    metrics: Metrics = (),
    *,
    batch_size: int = 32,
    outputs: str | Sequence[str] | None = None,
    class_weight: Any = None,
    rename: Mapping[str, str] | None = None,
    batch_axis: Mapping[str, int] | None = None,
    bucket: Mapping[str, int] | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """The mean loss (as `loss`) and metrics by name of a module on data: on every sample of it.

    Losses and metrics of `onnxla.losses` are exact, whatever the batches: their sums are over all
    samples. Other functions are means of batches, weighted by their numbers of samples.

    For example:

        print(onnxla.evaluate(module, (x, labels), "cross_entropy", ["accuracy", "f1"]))

    Args:
        module: The model, which is applied as in inference (see `Module.inference`).
        data: As for `fit`.
        loss: As for `fit`; or None, or the name of a metric.
        metrics: Names (`"accuracy"`, `"top_5_accuracy"`, `"precision"`, `"recall"`, `"f1"`,
            `"auc"`, `"iou"`, `"perplexity"`, `"confusion_matrix"`, or a loss's), metrics of
            `onnxla.losses`, and functions of the outputs, the targets and, if the data has them,
            the weights, each a mean over the samples of a batch.
        batch_size: Samples in a batch of arrays; the last one may be smaller.
        outputs: Names of the values that losses and metrics are functions of, by default the
            graph's outputs.
        class_weight: As for `fit`, of the loss.
        rename: As for `fit`, as are `batch_axis` and `bucket`.
        batch_axis: Axes of samples.
        bucket: Multiples of lengths.
        progress: Whether to show a progress bar.

    Returns:
        Numbers; an array for a metric that has several, such as the confusion matrix [K, K], whose
        rows are labels and whose columns are guesses.

    Raises:
        TypeError, ValueError: The data does not fit the model, or a name is not known.
    """
    check_arguments(locals(), EVALUATE)
    if isinstance(loss, str) and loss in METRICS and loss not in LOSSES:
        metrics, loss = [loss, *as_list(metrics)], None
    require_module(module)
    module, outputs = module.inference(), as_names(outputs)
    reading = make_reading(module, rename, batch_axis, bucket)
    batches = as_batches(module, data, batch_size, reading=reading)
    objective = None
    if loss is not None:
        function = with_class_weight(find_measure(loss, "loss", LOSSES), class_weight, batches)
        objective = make_objective(module, function, outputs)
    elif class_weight is not None:
        raise ValueError("class_weight is about the loss: pass loss=")
    placement = find_placement(module)
    module, shown = placement.module(module), progress and is_first()
    with jax.numpy_dtype_promotion("standard"), double_precision(module), placement.in_force():
        evaluation = make_evaluation(module, objective, metrics, outputs, placement)
        with ProgressBar(batches.length, "evaluating", "batch", shown=shown) as bar:
            return evaluation(module.params, batches, bar)


def as_list(metrics: Metrics) -> list[str | Measure]:
    """Several metrics, or one, as a list."""
    return [metrics] if isinstance(metrics, str) or callable(metrics) else [*metrics]


def names_of(metrics: Metrics) -> list[str]:
    """The names of metrics in results."""
    return [each if isinstance(each, str) else name_of(each) for each in as_list(metrics)]


def make_evaluation(
    module: Module,
    objective: Objective | None,
    metrics: Metrics,
    outputs: Sequence[str] | None = None,
    placement: Placement = ONE_DEVICE,
) -> Callable[..., dict[str, Any]]:
    """A function of all parameters, batches and perhaps a bar: the loss and the metrics.

    Raises:
        ValueError: A name is no metric's, or there is nothing to evaluate.
    """
    functions = [find_measure(metric, "metric", METRICS) for metric in as_list(metrics)]
    names = names_of(metrics)
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(
            f"several metrics are named {listed(sorted(twice))}: write functions of other names"
        )
    if objective is None and not functions:
        raise ValueError("nothing to evaluate: pass loss= or metrics=")
    read = [(f, values_read(module, outputs, f)) for f in functions]
    known = {name_of(f): as_metric(f) for f in functions}
    of_loss = [] if objective is None else [(objective.loss, objective.values)]
    wanted = tuple(dict.fromkeys(name for _, each in (*of_loss, *read) for name in each.names))

    @functools.partial(jax.jit, static_argnums=0, out_shardings=placement.everywhere)
    def measure(
        part: Module, params: Mapping[str, Value], inputs: Any, targets: Any, samples: Value
    ) -> tuple[dict[str, Any], list[int | None]]:
        values = part.apply(params, inputs, outputs=wanted)
        by_name = dict(zip(wanted, values if len(wanted) > 1 else (values,), strict=True))

        def outputs_of(values: ValuesRead) -> Any:
            return values.of(unpack(tuple(as_wide(by_name[name]) for name in values.names)))

        measured: dict[str, Any] = {}
        if objective is not None:
            measured |= objective.sums(outputs_of(objective.values), targets, samples)
        for function, own in read:
            measured[name_of(function)] = of_batch(function, outputs_of(own), targets, samples)
        classes = [number_of_classes(f, outputs_of(own), targets) for f, own in (*of_loss, *read)]
        return measured, classes

    parts: Divided | None = None

    def evaluation(
        params: Mapping[str, Value],
        batches: ArrayBatches | StreamedBatches,
        bar: ProgressBar = NO_BAR,
    ) -> dict[str, Any]:
        nonlocal parts
        found: dict[str, Tally] = {}
        seen = 0
        for inputs, targets in batches.epoch(0):
            count = batches.reading.count(inputs)
            samples, seen = np.float32(count), seen + count
            parts = parts or divide(module, inputs, wanted)
            own = {name: params[name] for name in parts.after.params}
            prepared = parts.prepare(inputs, params, placement.take)
            placed = placement.batch(batches, prepared, targets)
            measured, classes = measure(parts.after, own, *placed, samples)
            numbers = None
            if isinstance(batches, ArrayBatches) and not batches.shuffle:
                numbers = batches.numbers(seen - count, count)
            for (function, _), number in zip((*of_loss, *read), classes, strict=True):
                if number is None:
                    continue
                if problem := wrong_label(function, targets, int(number), numbers):
                    raise ValueError(problem)
            for name, part in jax.device_get(measured).items():
                found.setdefault(name, Tally(known.get(name))).add(part)
            bar.advance()
        if not found:
            raise ValueError(
                "the data to evaluate on has no batches"
                + ("; an iterator has them once: pass a list" if batches.once else "")
            )
        return {name: tally.result() for name, tally in found.items()}

    return evaluation


def of_batch(function: Measure, outputs: Any, targets: Any, samples: Value) -> Any:
    """What a batch of so many samples gives of a metric, which is a mean unless it is known."""
    if (metric := as_metric(function)) is not None:
        with telling_targets(function, targets):
            return metric.of_batch(outputs, *unweighted(targets))
    what = f"the metric {name_of(function)} is a number, or an array of numbers"
    return Sums(as_numbers(call_measure(function, outputs, targets), what) * samples, samples)


class Tally:
    """What batches gave so far, of which a metric is made in the end.

    Args:
        metric: The metric; by default a mean.
    """

    def __init__(self, metric: Metric | None) -> None:
        self._result = divided if metric is None else metric.result
        self._collects = metric is not None and metric.collects
        self._parts: list[Any] = []

    def add(self, part: Any) -> None:
        """Takes what one more batch gave. Sums are of 64 bits."""
        if not self._collects:
            part = jax.tree.map(as_long, part)
            part = jax.tree.map(np.add, self._parts.pop(), part) if self._parts else part
        self._parts.append(part)

    def result(self) -> Any:
        """The metric, a number or an array."""
        whole = self._parts[0]
        if isinstance(whole, Sums) and not np.any(whole.weight):
            raise ValueError("nothing counts: all labels are ignored, or all weights are 0")
        if self._collects:
            whole = jax.tree.map(lambda *parts: np.concatenate(parts), *self._parts)
        value = np.asarray(self._result(whole))
        return value if value.ndim else float(value)


def as_long(value: np.ndarray) -> Any:
    """Numbers in 64 bits."""
    whole = np.issubdtype(value.dtype, np.integer)
    return np.asarray(value, np.int64 if whole else np.float64)


def as_data(measured: Mapping[str, Any]) -> dict[str, Any]:
    """What was measured as data for JSON: arrays as nested lists."""
    return {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in measured.items()}
