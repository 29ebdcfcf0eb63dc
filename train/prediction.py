"""What a model says of data, batch by batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from typing import Any

import numpy as np

from onnxla.ir.names import quoted
from onnxla.module import Module, require_module
from onnxla.parameters.devices import as_numpy
from onnxla.parameters.processes import is_first
from onnxla.progress import ProgressBar
from onnxla.train.batches import Batch, as_batches, split_batch
from onnxla.train.mesh import find_placement


def predict(
    module: Module,
    data: Any,
    batch_size: int = 32,
    outputs: Sequence[str] | None = None,
    progress: bool = True,
) -> Any:
    """A module's outputs for all samples of data, in their order, as numpy arrays.

    Any function of scikit-learn is then a metric:

        sklearn.metrics.f1_score(labels, onnxla.predict(module, x).argmax(-1), average="macro")

    Args:
        module: The model, which is applied as in inference (see `Module.inference`). Samples of a
            batch must not depend on one another: one that is smaller than those before is filled
            up, so that nothing is compiled for it.
        data: The inputs: one array, a tuple of all inputs' arrays in order, or a dict by name; or
            what `fit` and `evaluate` take, of which targets and weights are left out; or any
            iterable of batches in one of these forms.
        batch_size: Samples in a batch of arrays.
        outputs: Names of the values to return instead of the graph's outputs; intermediate values
            may be among them.
        progress: Whether to show a progress bar.

    Returns:
        One array, or if there are several outputs a dict of them by name.

    Raises:
        TypeError, ValueError: The data does not fit the model; or an output is no tensor, or does
            not count the samples along its first axis.
    """
    require_module(module)
    module = module.inference()
    part = module if outputs is None else module.cut(outputs=outputs)
    placement = find_placement(part)
    part = placement.module(part)
    batches, total = inputs_of(module, data, batch_size)
    size = 0
    found: list[dict[str, np.ndarray]] = []
    shown = progress and is_first()
    with placement.in_force(), ProgressBar(total, "predicting", "batch", shown=shown) as bar:
        for inputs in batches:
            samples = len(next(iter(inputs.values()), ()))
            size = max(size, samples)
            taken = {k: filled(v, size) for k, v in inputs.items() if k in part.input_names}
            values = part.run(placement.inputs(taken))
            found.append({k: cut_off(k, v, size, samples) for k, v in values.items()})
            bar.advance()
    if not found:
        raise ValueError("the data has no batches")
    joined = {name: np.concatenate([each[name] for each in found]) for name in found[0]}
    return joined if len(joined) > 1 else next(iter(joined.values()))


def inputs_of(module: Module, data: Any, size: int) -> tuple[Iterator[dict[str, Any]], int | None]:
    """Inputs by name, batch by batch, and the number of batches where it is known."""
    if isinstance(data, Iterable) and not (
        isinstance(data, tuple | Mapping) or hasattr(data, "dtype")
    ):
        total = len(data) if isinstance(data, Sized) else None
        return (split_inputs(module, item)[0] for item in data), total
    batches = as_batches(module, split_inputs(module, data), size)
    return (inputs for inputs, _ in batches.epoch(0)), batches.length


def split_inputs(module: Module, item: Any) -> Batch:
    """A batch, or all data, as inputs by name, without targets.

    A tuple or list is one of all inputs if the model has so many, and none of them is a tuple, list
    or dict, as all the inputs of a pair (inputs, targets) would be.
    """
    names = module.program.declared
    if isinstance(item, Mapping):
        item = {name: value for name, value in item.items() if name in names}
    elif isinstance(item, tuple | list) and not (
        len(item) == len(module.input_names)
        and not any(isinstance(value, tuple | list | Mapping) for value in item)
    ):
        item = split_batch(module, item)[0]
    return split_batch(module, (item, None))


def filled(array: Any, size: int) -> Any:
    """An array of as many samples, of which those that are missing are like the last."""
    return array[np.minimum(np.arange(size), len(array) - 1)] if len(array) < size else array


def cut_off(name: str, value: Any, size: int, samples: int) -> np.ndarray:
    """An output of the first samples. Raises: ValueError if it does not count samples."""
    if not hasattr(value, "shape") or value.shape[:1] != (size,):
        kind = f"shape {list(value.shape)}" if hasattr(value, "shape") else type(value).__name__
        raise ValueError(
            f"output {quoted(name)} does not count the {size} samples of a batch along its first "
            f"axis: it is {kind}; name others with outputs=[...]"
        )
    return as_numpy(value)[:samples]
