"""How somebody's data becomes a model's batches: names, axes and lengths."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from numbers import Number
from typing import Any

import jax
import numpy as np

from onnxla.inputs import by_name
from onnxla.ir.names import listed, no_such, plain, quoted
from onnxla.module import Module
from onnxla.ops.values import Value
from onnxla.train.classes import IGNORED
from onnxla.train.lengths import (
    check_bucket,
    even,
    is_label,
    is_ragged,
    is_weights,
    pad_to_multiples,
    real_places,
    sizes_of,
    symbolic,
    with_weights,
)
from onnxla.train.sources import (
    as_array,
    as_arrays,
    check_columns,
    frame_columns,
    frame_inputs,
    frame_targets,
    is_array,
    is_frame,
    is_pair,
    kind_of_item,
    rank,
    require_same_index,
)

TARGETS = "targets"
"""The name of targets that have none."""


@dataclass(frozen=True)
class Reading:
    """How items of data are read as batches of a model.

    Attributes:
        module: Names the inputs.
        rename: Names of the data, and those of the inputs that they are.
        batch_axis: Axes of the samples, by names of inputs and targets, where it is not the first.
        bucket: Multiples to which symbolic dimensions are padded.
    """

    module: Module
    rename: Mapping[str, str] = field(default_factory=dict)
    batch_axis: Mapping[str, int] = field(default_factory=dict)
    bucket: Mapping[str, int] = field(default_factory=dict)

    def named(self, item: Any) -> Any:
        """An item as arrays, with the model's names, in one of the forms of `split_batch`."""
        if is_frame(item):
            columns = self.renamed(frame_columns(self.module, self.renamed_frame(item)))
            if not any(name in self.module.program.declared for name in columns):
                raise TypeError(
                    f"no column of the DataFrame ({listed([*columns], plain)}) is named as an input"
                    f" ({listed(self.module.input_names, plain)}): write (frame[features], "
                    "frame['target']), or name them with rename={'column': 'input'}"
                )
            return self.checked(columns)
        if isinstance(item, Mapping):
            return self.checked(self.renamed(as_arrays(item)))
        if not isinstance(item, tuple | list) or len(item) not in (2, 3):
            return item  # which is no batch
        require_same_index(item)
        inputs, targets, *weights = item
        return self.checked((self.inputs(inputs), frame_targets(targets), *map(as_arrays, weights)))

    def inputs(self, given: Any) -> Any:
        """A pair's inputs as arrays by name."""
        if is_frame(given):
            return frame_inputs(self.module, self.renamed_frame(given))
        if isinstance(given, list) and not self.in_order(given):
            given = as_array(given)
        given = tuple(map(as_array, given)) if isinstance(given, list) else as_arrays(given)
        found = by_name(self.module.program, given)
        return self.renamed(found) if isinstance(given, Mapping) else found

    def in_order(self, given: list[Any]) -> bool:
        """Whether a list has values of the inputs, in order, and no samples of the only one."""
        declared = self.module.program.inputs
        if not any(map(is_array, given)):
            return len(declared) > 1
        shape = getattr(declared[0].type, "shape", None) if declared else None
        known = None if shape is None else len(shape) + self.module.program.batched
        return len(given) <= len(declared) and known in (None, rank(given[0]))

    def renamed_frame(self, frame: Any) -> Any:
        """A DataFrame with the model's names, so that its columns are taken for inputs."""
        names = {old: new for old, new in self.rename.items() if old in frame.columns}
        if not names:
            return frame
        pandas = hasattr(frame, "iloc")
        return frame.rename(columns=names) if pandas else frame.rename(names)

    def renamed(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Values under the model's names.

        Raises:
            TypeError: A name is not there, or two become one.
        """
        found = {}
        for name, value in values.items():
            new = self.rename.get(name, name)
            if new in found or (new != name and new in values):
                raise TypeError(f"rename: {quoted(new)} is in the data, beside {quoted(name)}")
            found[new] = value
        if missing := [old for old, new in self.rename.items() if new not in found]:
            raise TypeError(f"rename: {no_such('array of the data', missing[0], values)}")
        return found

    def checked(self, item: Any) -> Any:
        """An item that has all inputs, and all names of `batch_axis`.

        Raises:
            TypeError: A dict lacks an input.
            ValueError: A name of `batch_axis` is not there.
        """
        is_dict = isinstance(item, Mapping)
        missing = [name for name in self.module.input_names if is_dict and name not in item]
        if missing:
            others = [name for name in item if name not in self.module.program.declared]
            raise TypeError(
                f"missing inputs: {listed(missing, plain)}; the data has {listed(others)}: "
                f"rename={{'name': {quoted(missing[0])}}} says which of them is an input"
            )
        targets = item if is_dict else item[1]
        names = [*(targets if isinstance(targets, Mapping) else [TARGETS])]
        self.check_axes("input or target", {*self.module.program.declared, *names})
        return item

    def axis(self, name: str) -> int:
        """The axis of the samples of an input, output or target."""
        return self.batch_axis.get(name, 0)

    def check_axes(self, what: str, known: Collection[str]) -> None:
        """Raises ValueError unless all names of `batch_axis` are known: such names as it says."""
        if unknown := [name for name in self.batch_axis if name not in known]:
            raise ValueError(f"batch_axis: {no_such(what, unknown[0], sorted(known))}")

    def sample(self, item: Any) -> Any:
        """A sample as it is collated with others."""
        return item

    def kind(self, item: Any) -> str | None:
        """Whether an item is a batch or a sample, as `kind_of_item` tells."""
        return kind_of_item(self.module, item, self.rename)

    def is_whole(self, data: Any) -> bool:
        """Whether data is arrays of all samples."""
        pair = isinstance(data, list) and is_pair(self.module, data, self.rename)
        return pair or isinstance(data, tuple | Mapping) or is_frame(data)

    def check_columns(self, table: Any) -> None:
        """Raises TypeError if columns of a table are text that no input reads."""
        check_columns(self.module, table, self.rename)

    def axis_of(self, path: Any) -> int:
        """The axis of the samples of a target, by its path in the tree."""
        keys = [entry.key for entry in path if isinstance(entry, jax.tree_util.DictKey)]
        if is_weights(path):
            return 0
        others = self.batch_axis.keys() - self.module.program.declared.keys()
        return next((self.batch_axis[name] for name in others if name in keys or not keys), 0)

    def moved(self, batch: tuple[dict[str, Value], Any], back: bool) -> tuple[dict[str, Any], Any]:
        """A batch, or all samples, whose axes of samples are moved to the front, or back."""
        if not self.batch_axis:
            return batch

        def move(value: Any, axis: int) -> Any:
            if not -np.ndim(value) <= axis < np.ndim(value):
                raise ValueError(
                    f"batch_axis: there is no axis {axis} in shape {list(np.shape(value))}"
                )
            return np.moveaxis(value, 0, axis) if back else np.moveaxis(value, axis, 0)

        inputs, targets = batch
        inputs = {name: move(v, self.axis(name)) for name, v in inputs.items()}
        return inputs, jax.tree_util.tree_map_with_path(
            lambda path, leaf: move(leaf, self.axis_of(path)), targets
        )

    def even(self, batch: tuple[dict[str, Any], Any]) -> tuple[dict[str, Any], Any]:
        """A batch without sequences of different lengths, which are padded to the longest.

        Targets that are no integers then have weights, which are 0 in the padding.
        """
        inputs, targets = batch
        real = []

        def target(path: Any, leaf: Any) -> Any:
            what = f"targets{jax.tree_util.keystr(path)}"
            if is_text(leaf):
                raise TypeError(f"{what} are text: a loss takes numbers, such as those of classes")
            if leaf.dtype == object and not is_ragged(leaf):
                odd = next(
                    (each for each in leaf.flat if not isinstance(each, Number)), leaf.flat[0]
                )
                raise TypeError(f"{what} are objects, such as {odd!r:.50}, and no numbers")
            if is_ragged(leaf) and not is_weights(path) and not is_label(leaf):
                if self.axis_of(path) != 0:
                    raise TypeError(
                        f"{what} are no integers and have different lengths, which batch_axis does"
                        " not go with: pad them to one length, and weigh the padding with 0"
                    )
                real.append(real_places(leaf))
            return even(leaf, 0 if is_weights(path) else IGNORED, what)

        for name, value in inputs.items():
            self.check_ragged(name, value)
        inputs = {name: even(v, 0, f"input {quoted(name)}") for name, v in inputs.items()}
        targets = jax.tree_util.tree_map_with_path(target, targets)
        return inputs, with_weights(targets, real)

    def check_ragged(self, name: str, value: Any) -> None:
        """Raises ValueError if a sample of an input has another size where the model states one."""
        if not is_ragged(value) or name not in self.module.program.declared:
            return
        sizes = [*sizes_of(self.module.program.declared[name])]
        if sizes and not self.module.program.batched:
            del sizes[self.axis(name)]
        for row, sample in enumerate(value):
            shape = np.shape(sample)
            fits = len(shape) == len(sizes) and all(
                size == found or not isinstance(size, int)
                for size, found in zip(sizes, shape, strict=True)
            )
            if sizes and not fits:
                stated = ", ".join("?" if size is None else plain(size) for size in sizes)
                raise ValueError(
                    f"input {quoted(name)} takes shape [{stated}] of each sample, and sample {row}"
                    f" of the batch has {list(shape)}"
                )

    def padded(self, batch: tuple[dict[str, Any], Any]) -> tuple[dict[str, Any], Any]:
        """A batch as the model takes it, padded to the multiples of `bucket`."""
        return pad_to_multiples(self.module, self.bucket, *batch) if self.bucket else batch

    def count(self, inputs: Mapping[str, Any]) -> int:
        """The number of samples of a batch."""
        name = min(inputs)
        axis, shape = self.axis(name), np.shape(inputs[name])
        if not -len(shape) <= axis < len(shape):
            raise ValueError(
                f"input {quoted(name)} of a batch has shape {list(shape)}, without axis {axis},"
                " which counts the samples"
            )
        return int(shape[axis])

    def describe(self) -> dict[str, int] | None:
        """What a run that goes on must have in common with this one."""
        return dict(sorted(self.bucket.items())) or None


def is_text(value: Any) -> bool:
    """Whether an array is of text."""
    if value.dtype == object:
        return bool(value.size) and isinstance(value.flat[0], str | bytes)
    return bool(value.dtype.kind in "US")


def make_reading(
    module: Module,
    rename: Mapping[str, str] | None = None,
    batch_axis: Mapping[str, int] | None = None,
    bucket: Mapping[str, int] | None = None,
) -> Reading:
    """How data is read, as `fit` is told.

    Raises:
        ValueError: A name is no input's, or no dimension's; or a multiple is none.
    """
    for name in (rename or {}).values():
        if name not in module.program.declared:
            raise ValueError(f"rename: {no_such('input', name, module.program.declared)}")
    check_bucket(module, bucket or {})
    if {*(bucket or {})} & batch_dimensions(module, batch_axis or {}):
        raise ValueError("bucket is of lengths, not of the number of samples: see batch_size")
    return Reading(module, rename or {}, batch_axis or {}, bucket or {})


def batch_dimensions(module: Module, batch_axis: Mapping[str, int]) -> set[str]:
    """Names of the dimensions along which samples are counted."""
    found = symbolic(module).items()
    return {n for n, at in found if all(axis == batch_axis.get(key, 0) for key, axis in at)}


def has_ragged(batch: Any) -> bool:
    """Whether a batch has sequences of different lengths, which are to be padded."""
    return any(map(is_ragged, jax.tree.leaves(batch)))
