"""Sequences of different lengths as arrays: padded to the batch's longest, or to a multiple.

Each new shape compiles the step again; with multiples there are few.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from onnxla import ir
from onnxla.ir.names import no_such, quoted
from onnxla.module import Module
from onnxla.train.classes import IGNORED
from onnxla.train.means import Weighted, unweighted


def is_ragged(value: Any) -> bool:
    """Whether an array is one of sequences, which may have different lengths."""
    if not isinstance(value, np.ndarray) or value.ndim != 1 or not len(value):
        return False
    return isinstance(value[0], np.ndarray | list)


def even(value: Any, fill: int, what: str) -> Any:
    """Sequences as one array, padded at their ends; what is none as it is.

    Args:
        value: An array, perhaps of sequences.
        fill: What to pad with; `IGNORED` only among integers, 0 among others.
        what: Names it in messages.

    Raises:
        ValueError: The sequences differ in more than their lengths.
    """
    if not is_ragged(value):
        return value
    arrays = [np.asarray(each) for each in value]
    if len({array.ndim for array in arrays}) != 1 or any(a.dtype == object for a in arrays):
        raise ValueError(f"samples of {what} have different numbers of axes, or lists in lists")
    dtype = np.result_type(*[array for array in arrays if array.size] or arrays)
    shape = np.max([array.shape for array in arrays], axis=0)
    padded = np.full((len(arrays), *shape), fill if dtype.kind == "i" else 0, dtype)
    for row, array in zip(padded, arrays, strict=True):
        row[tuple(map(slice, array.shape))] = array
    return padded


def is_weights(path: Any) -> bool:
    """Whether a leaf of the targets, by its path, has weights: padding weighs nothing."""
    return bool(path) and getattr(path[-1], "name", "") == "weights"


def is_label(leaf: Any) -> bool:
    """Whether a leaf of the targets, perhaps of sequences, is of integers.

    Padded with `IGNORED` these do not count; others are padded with 0, and weigh 0 there.
    """
    arrays = [a for a in map(np.asarray, leaf) if a.size] if is_ragged(leaf) else [leaf]
    return all(array.dtype.kind == "i" for array in arrays)


def real_places(sequences: np.ndarray) -> np.ndarray:
    """Where sequences have elements once they are padded: 1 there, else 0, [N, T].

    It has further axes where they differ in the sizes of those.
    """
    shapes = np.array([np.shape(each) for each in sequences])
    axes = 1 + max(np.flatnonzero((shapes != shapes[0]).any(0)), default=0)
    return np.stack([ones_in(shapes.max(0)[:axes], shape[:axes]) for shape in shapes])


def ones_in(shape: Sequence[int], part: Sequence[int]) -> np.ndarray:
    """An array that is 1 in its first places, as many along each axis as a part has, and else 0."""
    found = np.zeros(shape, np.float32)
    found[tuple(map(slice, part))] = 1
    return found


def with_weights(targets: Any, real: Sequence[np.ndarray]) -> Any:
    """Targets whose padding weighs nothing.

    Args:
        targets: A tree of them, perhaps `Weighted`.
        real: For each array that is no label and may be padded, where it is not: 1, else 0.

    Raises:
        TypeError: Arrays differ in where they are padded.
    """
    if not real:
        return targets
    first = real[0]
    if not all(np.array_equal(each, first) for each in real):
        raise TypeError(
            "targets that are no integers differ in their lengths, or in the axes that would be"
            " padded: pad them to one length beforehand, and weigh the padding with 0"
        )
    targets, weights = unweighted(targets)
    if weights is None:
        return Weighted(targets, first)
    if weights.ndim < first.ndim:
        weights = first * weights.reshape(weights.shape + (1,) * (first.ndim - weights.ndim))
    return Weighted(targets, weights)


def symbolic(module: Module) -> dict[str, list[tuple[str, int]]]:
    """By the name of a symbolic dimension, where it is: inputs, and their axes in a batch."""
    found: dict[str, list[tuple[str, int]]] = {}
    for value in module.program.inputs:
        for axis, size in enumerate(sizes_of(value)):
            if isinstance(size, str):
                found.setdefault(size, []).append((value.name, axis + module.program.batched))
    return found


def sizes_of(value: ir.ValueInfo) -> tuple[Any, ...]:
    """A tensor's sizes as far as they are stated: numbers, names, or None."""
    kind = value.type
    return tuple(kind.shape or ()) if isinstance(kind, ir.TensorType) else ()


def check_bucket(module: Module, bucket: Mapping[str, int]) -> None:
    """Raises ValueError if a bucket is of no dimension, or of no size."""
    known = symbolic(module)
    for name, multiple in bucket.items():
        if name not in known:
            raise ValueError(f"bucket: {no_such('symbolic dimension', name, known)}")
        if not isinstance(multiple, int) or multiple < 1:
            raise ValueError(f"bucket: {quoted(name)} is a multiple of at least 1, got {multiple}")


def pad_to_multiples(
    module: Module, bucket: Mapping[str, int], inputs: Mapping[str, Any], targets: Any
) -> tuple[dict[str, Any], Any]:
    """A batch whose symbolic dimensions are padded to multiples.

    Args:
        module: States which dimensions inputs have.
        bucket: Multiples by the names of dimensions.
        inputs: Padded with zeros.
        targets: Where they have such a dimension, too, integers are padded with `IGNORED`, and
            others with 0; then they have weights, which are 0 there.

    Raises:
        TypeError: Targets that are no integers differ in where they would be padded.
        ValueError: Inputs disagree in the size of a dimension.
    """
    places, padded = symbolic(module), dict(inputs)
    longer: dict[int, int] = {}
    for name, multiple in bucket.items():
        at = [(key, axis) for key, axis in places[name] if key in inputs]
        found = {inputs[key].shape[axis] for key, axis in at if inputs[key].ndim > axis}
        if len(found) > 1:
            raise ValueError(f"inputs differ in the size of {quoted(name)}: {sorted(found)}")
        for size in found:
            new = -(-size // multiple) * multiple
            for key, axis in at:
                padded[key] = pad(padded[key], axis, new, 0)
            if may_be_of_outputs(module, name) and longer.setdefault(size, new) != new:
                raise ValueError(
                    f"bucket: targets of size {size} would be padded to {longer[size]} or {new}"
                )
    real = []

    def target(path: Any, leaf: Any) -> Any:
        axis = next((a for a in range(1, leaf.ndim) if leaf.shape[a] in longer), None)
        if axis is None:
            return leaf
        new, label = longer[leaf.shape[axis]], is_label(leaf)
        if not label and not is_weights(path):
            real.append(ones_in((*leaf.shape[:axis], new), leaf.shape[: axis + 1]))
        return pad(leaf, axis, new, IGNORED if label and not is_weights(path) else 0)

    targets = jax.tree_util.tree_map_with_path(target, targets)
    return padded, with_weights(targets, real)


def may_be_of_outputs(module: Module, name: str) -> bool:
    """Whether an output may have a dimension of an input's name, and so the targets.

    Exporters give dimensions of outputs names of their own, or none.
    """
    others = symbolic(module).keys() - {name}
    shapes = [sizes_of(value) for value in module.program.model.graph.outputs]
    sizes = [size for shape in shapes for size in shape[1:]]
    return not all(shapes) or any(not isinstance(s, int) and s not in others for s in sizes)


def pad(value: Any, axis: int, size: int, fill: int) -> Any:
    """An array padded at the end of an axis."""
    widths = [(0, size - value.shape[axis] if each == axis else 0) for each in range(value.ndim)]
    return np.pad(value, widths, constant_values=fill) if any(map(any, widths)) else value


def has_mask(module: Module) -> bool:
    """Whether an input may tell the model what is padding, by its name."""
    return any(
        word in name.lower() for name in module.input_names for word in ("mask", "length", "lens")
    )
