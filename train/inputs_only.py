"""Data of which only the inputs are read: targets and weights may be there, or not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxla.inputs import by_name
from onnxla.ir.names import listed, no_such, plain, quoted
from onnxla.train.lengths import is_ragged, symbolic
from onnxla.train.reading import TARGETS, Reading
from onnxla.train.sources import is_array, is_frame, kind_of_item


@dataclass(frozen=True)
class InputReading(Reading):
    """How items of data are read as inputs. In a batch, the targets' place has real lengths.

    These are, by symbolic dimension, what each sample has of it [N] before it is padded.
    """

    def named(self, item: Any) -> Any:
        """An item's inputs as arrays by name, and nothing beside them.

        Raises:
            TypeError: It has no input.
        """
        declared = self.module.program.declared
        found = self.inputs(self.without_targets(item))
        inputs = {name: value for name, value in found.items() if name in declared}
        if not inputs:
            raise TypeError(
                f"missing inputs: {listed(self.module.input_names, plain)}; the data has"
                f" {listed([*item]) if isinstance(item, Mapping) else 'none'}:"
                f" rename={{'name': '{plain(self.module.input_names[0])}'}} says which of them is"
                " an input"
            )
        names = item if isinstance(item, Mapping) else ()
        known = {*declared, *self.module.output_names, TARGETS, *names}
        self.check_axes("input, output or target", known)
        return inputs, None

    def without_targets(self, item: Any) -> Any:
        """What an item has of inputs, as a pair (inputs, targets) has them.

        A tuple or list is one of all inputs if the model has so many, and none of them holds
        several, as all the inputs of a pair would; and a list of numbers is an input.
        """
        if isinstance(item, Mapping):
            if missing := [name for name in self.rename if name not in item]:
                raise TypeError(f"rename: {no_such('array of the data', missing[0], item)}")
            names = self.module.program.declared
            return {k: v for k, v in item.items() if self.rename.get(k, k) in names}
        if not isinstance(item, tuple | list) or is_frame(item):
            return item
        several = any(isinstance(each, tuple | list | Mapping) or is_frame(each) for each in item)
        if isinstance(item, list) and not several and not any(map(is_array, item)):
            return (item,)
        if len(item) == len(self.module.input_names) and not several:
            return tuple(item)
        return item[0] if len(item) in (2, 3) else item

    def sample(self, item: Any) -> Any:
        """A sample's inputs by name."""
        return by_name(self.module.program, self.without_targets(item))

    def kind(self, item: Any) -> str | None:
        """Whether an item is a batch or a sample, as `kind_of_item` tells."""
        return kind_of_item(self.module, (self.without_targets(item), None), self.rename)

    def is_whole(self, data: Any) -> bool:
        """Whether data is arrays of all samples.

        A list of two arrays is inputs and targets if the second has no batch's shape.
        """
        if isinstance(data, list) and len(data) in (2, 3) and all(map(is_array, data)):
            first, second = map(self.kind, data[:2])
            return first == "batch" != second
        return isinstance(data, tuple | Mapping) or is_frame(data) or is_array(data)

    def check_columns(self, table: Any) -> None:
        """Text that no input reads is no matter."""

    def even(self, batch: tuple[dict[str, Any], Any]) -> tuple[dict[str, Any], Any]:
        """A batch without sequences of different lengths, and these lengths."""
        inputs, _ = batch
        lengths: dict[str, np.ndarray] = {}
        for name, key, axis in self.places(inputs):
            if is_ragged(inputs[key]):
                at = self.axis_in_sample(key, axis)
                found = np.array([np.shape(each)[at] for each in inputs[key]])
                if (found != lengths.setdefault(name, found)).any():
                    raise ValueError(f"inputs of a sample differ in the size of {quoted(name)}")
        return super().even((inputs, None))[0], lengths

    def padded(self, batch: tuple[dict[str, Any], Any]) -> tuple[dict[str, Any], Any]:
        """A batch as the model takes it, and of what was padded the lengths."""
        inputs, lengths = batch
        every = {name: np.full(self.count(inputs), n) for name, n in self.sizes(inputs).items()}
        padded, _ = super().padded((inputs, None))
        sizes = self.sizes(padded)
        return padded, {k: n for k, n in {**every, **lengths}.items() if (n != sizes[k]).any()}

    def sizes(self, inputs: Mapping[str, Any]) -> dict[str, int]:
        """Sizes of a batch's symbolic dimensions that do not count samples."""
        return {
            name: np.shape(inputs[key])[axis]
            for name, key, axis in self.places(inputs)
            if axis < np.ndim(inputs[key])
        }

    def places(self, inputs: Mapping[str, Any]) -> list[tuple[str, str, int]]:
        """Symbolic dimensions that do not count samples: name, an input that has it, and where."""
        return [
            (name, key, axis)
            for name, places in symbolic(self.module).items()
            for key, axis in places
            if key in inputs and axis != self.batch_axis.get(key, 0)
        ]

    def axis_in_sample(self, name: str, axis: int) -> int:
        """The number that an input's axis has in a single sample."""
        return axis - (axis > self.batch_axis.get(name, 0))
