"""What a model says of data, batch by batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from onnxla.arguments import check_arguments
from onnxla.ir.errors import OnnxlaError
from onnxla.ir.model import TensorType
from onnxla.ir.names import as_names, quoted
from onnxla.module import Module, require_module
from onnxla.parameters.devices import as_numpy
from onnxla.parameters.processes import is_first
from onnxla.progress import ProgressBar
from onnxla.train.arguments import READING
from onnxla.train.batches import as_batches
from onnxla.train.inputs_only import InputReading
from onnxla.train.mesh import find_placement
from onnxla.train.reading import make_reading


def predict(
    module: Module,
    data: Any,
    batch_size: int = 32,
    outputs: str | Sequence[str] | None = None,
    progress: bool = True,
    *,
    rename: Mapping[str, str] | None = None,
    batch_axis: Mapping[str, int] | None = None,
    bucket: Mapping[str, int] | None = None,
) -> Any:
    """A module's outputs for all samples of data, in their order, as numpy arrays.

    Any function of scikit-learn is then a metric. For example:

        guesses = onnxla.predict(module, x).argmax(-1)
        print(sklearn.metrics.f1_score(labels, guesses, average="macro"))

    Args:
        module: The model, which is applied as in inference (see `Module.inference`). Samples of a
            batch must not depend on one another: one that is smaller than those before is filled
            up, so that nothing is compiled for it.
        data: What `fit` takes, of which targets and weights are left out; or the like without any:
            one array, a tuple of all inputs' arrays in order, a dict by name or a DataFrame; a
            dataset or a list of samples in one of these forms; or any iterable of batches.
        batch_size: Samples in a batch, of data that is no batches.
        outputs: Names of the values to return instead of the graph's outputs; intermediate values
            may be among them.
        progress: Whether to show a progress bar.
        rename: As for `fit`.
        batch_axis: The axis of the samples, by name, of inputs and outputs of which it is not the
            first.
        bucket: As for `fit`.

    Returns:
        One array, or if there are several outputs a dict of them by name. What was padded, to the
        longest of a batch or to a multiple of `bucket`, is cut off along each axis of an output
        that is as long as the input's. Other outputs are what the model makes of padded inputs.
        Where samples then have different shapes, a list of their arrays is in place of the array.

    Raises:
        TypeError, ValueError: The data does not fit the model; or an output is no tensor, or does
            not count the samples along its first axis.
    """
    check_arguments(locals(), READING)
    require_module(module)
    module, names = module.inference(), as_names(outputs)
    part = module if names is None else module.cut(outputs=names)
    reading = InputReading(**vars(make_reading(module, rename, batch_axis, bucket)))
    batches = as_batches(module, data, batch_size, reading=reading)
    batches.first()
    placement = find_placement(part)
    part, shown = placement.module(part), progress and is_first()
    size, cutter, fixed = 0, Cutter(part, reading), fixed_outputs(part, reading)
    found: dict[str, list[np.ndarray]] = {}
    bar = ProgressBar(batches.length, "predicting", "batch", shown=shown)
    with placement.in_force(), bar:
        for inputs, lengths in batches.epoch(0):
            samples = reading.count(inputs)
            size = max(size, samples)
            taken = {
                name: filled(value, size, reading.axis(name))
                for name, value in inputs.items()
                if name in part.input_names
            }
            values = part.run(placement.inputs(taken, reading.batch_axis))
            arrays = {
                name: of_samples(
                    name, value, reading.axis(name), size, samples, fixed=name in fixed
                )
                for name, value in values.items()
            }
            for name, pieces in cutter.cut(arrays, taken, lengths).items():
                found.setdefault(name, []).extend(pieces)
            bar.advance()
    joined = {name: join(pieces, reading.axis(name)) for name, pieces in found.items()}
    return joined if len(joined) > 1 else next(iter(joined.values()))


def filled(array: Any, size: int, axis: int) -> Any:
    """An array of as many samples, of which those that are missing are like the last."""
    count = array.shape[axis]
    return np.take(array, np.minimum(np.arange(size), count - 1), axis) if count < size else array


def stated_shape(part: Module, name: str) -> tuple[Any, ...]:
    """The shape that the file states of an input or output: sizes and names; () if it has none."""
    graph = part.program.model.graph
    kinds = {value.name: value.type for value in (*graph.inputs, *graph.outputs)}
    kind = kinds.get(name)
    return tuple(kind.shape or ()) if isinstance(kind, TensorType) else ()


def samples_first(shape: Sequence[Any], axis: int) -> tuple[Any, ...]:
    """A shape with the samples' axis as the first, if it has it."""
    return (*shape[axis : axis + 1], *shape[:axis], *shape[axis + 1 :])


def fixed_outputs(part: Module, reading: InputReading) -> set[str]:
    """Outputs whose axis of samples is as long whatever the number of samples."""

    def is_fixed(name: str) -> bool:
        axis = reading.axis(name)
        return any(isinstance(size, int) for size in stated_shape(part, name)[axis : axis + 1])

    if any(map(is_fixed, part.input_names)):  # a file for one number of samples
        return set()
    return {name for name in part.output_names if name in part.params or is_fixed(name)}


def of_samples(
    name: str, value: Any, axis: int, size: int, samples: int, *, fixed: bool
) -> np.ndarray:
    """An output of the first samples, whose axis becomes the first.

    Args:
        name: Its name.
        value: The output.
        axis: The samples' axis.
        size: How many samples the model was given.
        samples: How many of them count.
        fixed: Whether the axis is as long whatever that is.

    Raises:
        ValueError: It does not count samples.
    """
    shape = getattr(value, "shape", None)
    if shape is None or shape[axis : axis + 1] != (size,) or fixed:
        kind = type(value).__name__ if shape is None else f"shape {list(shape)}"
        raise ValueError(
            f"output {quoted(name)} does not count the {size} samples of a batch along its "
            f"{f'axis {axis}' if axis else 'first axis'}: it is {kind}; name others with "
            f"outputs=[...], or its axis of samples with batch_axis={{{quoted(name)}: ...}}"
        )
    return np.moveaxis(as_numpy(value), axis, 0)[:samples]


def join(pieces: Sequence[np.ndarray], axis: int) -> Any:
    """Samples of several batches as one array, or a list of theirs if they differ in shape."""
    if len({piece.shape[1:] for piece in pieces}) > 1:
        return [row for piece in pieces for row in piece]
    return np.moveaxis(np.concatenate(pieces), 0, axis)


@dataclass
class Cutter:
    """Cuts off outputs what inputs were padded with.

    Attributes:
        part: The model.
        reading: How its inputs were padded.
        axes: By a dimension, which axes of outputs are as long, once that was asked.
    """

    part: Module
    reading: InputReading
    axes: dict[str, dict[str, list[int]]] = field(default_factory=dict)

    def cut(
        self,
        outputs: Mapping[str, np.ndarray],
        inputs: Mapping[str, Any],
        lengths: Mapping[str, np.ndarray],
    ) -> dict[str, list[np.ndarray]]:
        """Outputs without what is padding there: whole, or sample by sample where lengths differ.

        Args:
            outputs: By name, with the samples along the first axis.
            inputs: What they were computed from.
            lengths: By padded dimension what each sample has of it [N].
        """
        pieces = {name: [array] for name, array in outputs.items()}
        for dimension, real in lengths.items():
            if dimension not in self.axes:
                shorter = max(int(real.min()), 1)
                self.axes[dimension] = self.find_axes(dimension, shorter, outputs, inputs)
            for name, axes in self.axes[dimension].items():
                for axis in axes:
                    pieces[name] = cut_pieces(pieces[name], axis, real)
        return pieces

    def find_axes(
        self,
        dimension: str,
        shorter: int,
        outputs: Mapping[str, np.ndarray],
        inputs: Mapping[str, Any],
    ) -> dict[str, list[int]]:
        """By output the axes that are as long as a dimension of inputs, whatever its size.

        The samples' axis is the first. The file states them, or they are seen at a size that is
        shorter.
        """
        full = self.reading.sizes(inputs)[dimension]
        size = shorter if shorter < full else full + 1
        other = self.shapes(dimension, size, inputs)
        found: dict[str, list[int]] = {}
        for name, array in outputs.items():
            seen = other.get(name, ())
            stated = samples_first(stated_shape(self.part, name), self.reading.axis(name))
            found[name] = [
                axis
                for axis, length in enumerate(array.shape)
                if axis
                and length == full
                and (seen[axis : axis + 1] == (size,) or stated[axis : axis + 1] == (dimension,))
            ]
        return found

    def shapes(
        self, dimension: str, size: int, inputs: Mapping[str, Any]
    ) -> dict[str, tuple[int, ...]]:
        """Shapes of outputs, with the samples first, if a dimension had another size.

        Empty where the model does not tell without computing, or takes no other size.
        """
        shapes = {name: [*np.shape(value)] for name, value in inputs.items()}
        for name, key, axis in self.reading.places(inputs):
            if name == dimension:
                shapes[key][axis] = size
        try:
            with jax.enable_x64(True):
                like = {k: jax.ShapeDtypeStruct(shapes[k], v.dtype) for k, v in inputs.items()}
                made = jax.eval_shape(self.part.apply, self.part.params, like)
        except (OnnxlaError, TypeError, ValueError):
            return {}
        made = made if isinstance(made, tuple) else (made,)
        return {
            name: samples_first(value.shape, self.reading.axis(name))
            for name, value in zip(self.part.output_names, made, strict=True)
        }


def cut_pieces(pieces: Sequence[np.ndarray], axis: int, lengths: np.ndarray) -> list[np.ndarray]:
    """Pieces of a batch, cut along an axis to the lengths of their samples.

    Args:
        pieces: The whole batch, or one for each sample.
        axis: The axis.
        lengths: Those of the batch's samples [N].
    """
    if len(pieces) != len(lengths):
        if (lengths == lengths[0]).all():
            return [pieces[0].take(range(lengths[0]), axis)]
        pieces = np.split(pieces[0], len(lengths))
    return [each.take(range(n), axis) for each, n in zip(pieces, lengths, strict=True)]
