"""Training data as batches: shuffled from samples, or as an iterable gives them."""

from __future__ import annotations

import hashlib
import itertools
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeAlias

import jax
import numpy as np

from onnxla.inputs import by_name, check_lookup
from onnxla.module import Module
from onnxla.ops.values import Value
from onnxla.train.checkpoints import CheckpointError
from onnxla.train.digests import Rows, add_arrays, digest_of
from onnxla.train.lengths import is_ragged
from onnxla.train.means import Weighted
from onnxla.train.reading import Reading, has_ragged
from onnxla.train.sources import (
    InOrder,
    is_array,
    is_map_style,
    is_table,
    iterate,
    read_rows,
    spread,
)

COMPARED = 16  # samples of a dataset that are compared where a run goes on
Batch: TypeAlias = tuple[dict[str, Value], Any]
"""Inputs by name, and the targets: an array, any tree of them, or such a tree `Weighted`."""


class Samples(Protocol):
    """Samples that can be read in any order."""

    def __len__(self) -> int: ...

    def take(self, rows: np.ndarray) -> Batch:
        """Some samples, whose axis is the first; it may have sequences of different lengths."""
        ...

    def part(self, rows: np.ndarray) -> Samples:
        """Some samples as such samples. Nothing is copied before it is taken."""
        ...

    def describe(self) -> dict[str, Any]:
        """What tells them from others."""
        ...


@dataclass(frozen=True)
class ArraySamples:
    """Arrays whose first axis counts the samples.

    Attributes:
        inputs: Inputs by name.
        targets: An array, or a tree of arrays.
        rows: Which rows are samples; None for all.
    """

    inputs: dict[str, np.ndarray]
    targets: Any
    rows: np.ndarray | None = None

    def __len__(self) -> int:
        leaves = jax.tree.leaves((self.inputs, self.targets))
        return len(leaves[0] if self.rows is None else self.rows)

    def take(self, rows: np.ndarray) -> Batch:
        """Some rows of all arrays."""
        rows = among(self.rows, rows)
        taken: Batch = jax.tree.map(lambda array: array[rows], (self.inputs, self.targets))
        return taken

    def take_targets(self) -> Any:
        """The targets of all samples."""
        if self.rows is None:
            return self.targets
        return jax.tree.map(lambda array: array[self.rows], self.targets)

    def part(self, rows: np.ndarray) -> ArraySamples:
        """Some samples."""
        return replace(self, rows=among(self.rows, rows))

    def describe(self) -> dict[str, Any]:
        """Shapes, dtypes and contents."""
        shapes = jax.tree.map(lambda a: f"{a.dtype}{list(a.shape[1:])}", self.inputs)

        def contents(array: np.ndarray) -> Any:
            if is_ragged(array):
                return [*array] if self.rows is None else [*array[self.rows]]
            return array if self.rows is None else Rows(array, self.rows)

        return {
            "inputs": shapes,
            "digest": digest_of(jax.tree.map(contents, (self.inputs, self.targets))),
        }


@dataclass(frozen=True)
class DatasetSamples:
    """A dataset whose samples are read when they are needed.

    Attributes:
        reading: How they are read.
        source: Has a length, and a sample for each number; or it is a Hugging Face `Dataset`.
        rows: Numbers of those that are samples; None for all.
    """

    reading: Reading
    source: Any
    rows: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.source if self.rows is None else self.rows)

    def take(self, rows: np.ndarray) -> Batch:
        """Some samples, read one by one, or by a Hugging Face `Dataset` all at once."""
        read = read_rows(self.source, among(self.rows, rows), self.reading.sample)
        item = self.reading.named(read)
        return split_batch(self.reading.module, item)

    def part(self, rows: np.ndarray) -> DatasetSamples:
        """Some samples."""
        return replace(self, rows=among(self.rows, rows))

    def describe(self) -> dict[str, Any]:
        """The contents of a few samples, unless they are others each time, as augmented ones."""
        rows = spread(len(self), COMPARED)
        digests = {digest_of([self.take(row[None]) for row in rows]) for _ in range(2)}
        return {"digest": digests.pop()} if len(digests) == 1 else {}


def among(chosen: np.ndarray | None, rows: np.ndarray) -> np.ndarray:
    """Those with some numbers among rows that were chosen, which are all rows if it is None."""
    return rows if chosen is None else chosen[rows]


@dataclass(frozen=True)
class ArrayBatches:
    """Batches of samples that can be read in any order.

    Attributes:
        samples: Arrays, or a dataset.
        reading: How batches are made of them.
        size: Samples in a batch.
        shuffle: Whether each epoch has its own order, decided by `seed` and its number. The last
            samples of an order that do not fill a batch are then left out of that epoch, since
            another batch size would compile the step again; unshuffled, they are the last batch.
        seed: Decides the orders.
    """

    samples: Samples
    reading: Reading
    size: int
    shuffle: bool = False
    seed: int = 0

    @property
    def once(self) -> bool:
        """Whether there is one epoch."""
        return False

    @property
    def length(self) -> int:
        """Number of batches in an epoch."""
        count = len(self.samples)
        return count // self.size if self.shuffle else -(-count // self.size)

    def first(self) -> Batch:
        """A batch to look at before the first epoch."""
        return next(self.epoch(0))

    @property
    def ragged(self) -> bool:
        """Whether the first samples have different lengths."""
        return has_ragged(self.samples.take(np.arange(self.size)))

    def numbers(self, start: int, count: int) -> np.ndarray:
        """Which samples of the data so many are that follow each other, as they are read."""
        return among(getattr(self.samples, "rows", None), np.arange(start, start + count))

    def epoch(self, number: int, skip: int = 0) -> Iterator[Batch]:
        """The batches of an epoch, without the first `skip`."""
        order = np.arange(len(self.samples))
        if self.shuffle:
            order = np.random.default_rng([self.seed, number]).permutation(len(self.samples))
        for index in range(skip, self.length):
            taken = self.samples.take(order[index * self.size : (index + 1) * self.size])
            moved = self.reading.moved(self.reading.even(taken), back=True)
            yield self.reading.padded(moved)

    def describe(self) -> dict[str, Any]:
        """Number, shapes and dtypes of the samples, and what decides their order."""
        order = {"shuffle": self.shuffle, "seed": self.seed} if self.shuffle else {"shuffle": False}
        counts = {"samples": len(self.samples), "batch_size": self.size}
        return {**counts, **self.samples.describe(), **order}


@dataclass
class StreamedBatches:
    """Batches as an iterable gives them. One that can be iterated only once has one epoch.

    Attributes:
        reading: How items are read as batches.
        source: The iterable.
        opened: An iterator over `source` that the next epoch uses.
        drawn: What was drawn so far, if that is to be compared where the run goes on.
    """

    reading: Reading
    source: Iterable[Any]
    opened: Iterator[Any] | None = None
    drawn: Drawn | None = None

    @property
    def once(self) -> bool:
        """Whether the source is an iterator, such as a generator."""
        return isinstance(self.source, Iterator)

    @property
    def length(self) -> int | None:
        """Number of batches in an epoch, where the source tells its length."""
        try:
            return len(self.source)  # type: ignore[arg-type]
        except TypeError:
            return None

    def read(self, item: Any) -> Batch:
        """An item as a batch."""
        batch = split_batch(self.reading.module, self.reading.named(item))
        return self.reading.padded(self.reading.even(batch))

    def first(self) -> Batch:
        """A batch to look at before the first epoch, which gives it again.

        Raises:
            ValueError: There is none.
            TypeError: It is a sample.
        """
        iterator = iterate(self.source)
        for item in iterator:
            self.opened = itertools.chain([item], iterator)
            if self.reading.kind(item) == "sample":
                raise TypeError(
                    f"{kind_of(self.source)} gives samples one by one, and batches are needed: "
                    "data.batch(32) makes them of many datasets, a DataLoader of others; a list, "
                    "or a dataset with a length, is batched by batch_size"
                )
            return self.read(item)
        raise ValueError("the data has no batches")

    @property
    def ragged(self) -> bool:
        """Whether sequences are padded without being asked to: not known before they are drawn."""
        return False

    def epoch(self, number: int, skip: int = 0) -> Iterator[Batch]:
        """The batches of an epoch, without the first `skip`, which are drawn all the same.

        Raises:
            CheckpointError: Those drawn are not what they were in the run that goes on.
        """
        iterator, self.opened = self.opened or iterate(self.source), None
        batches: Iterator[Batch] = map(self.read, iterator)
        if self.drawn is not None:
            batches = self.drawn.watch(batches, number, skip)
        yield from itertools.islice(batches, skip, None)

    def describe(self) -> dict[str, Any]:
        """The number of batches, where it is known, and the digest of a list's contents.

        Of several processes each has its own part of the batches, which says nothing of the others.
        """
        if not isinstance(self.source, list) or jax.process_count() > 1:
            return {"batches": self.length}
        return {"batches": self.length, "digest": digest_of([*map(self.read, self.source)])}


@dataclass
class Drawn:
    """What a stream gave, as digests, since it is asked to give the same again.

    Attributes:
        epoch: Digest of what was drawn in the epoch at hand.
        first: That of the first batch, if all epochs so far began alike.
        epochs: Number of epochs that were begun.
        resumed: Whether these are of a run that was interrupted, and nothing was drawn since.
    """

    epoch: str = ""
    first: str | None = None
    epochs: int = 0
    resumed: bool = False

    def watch(self, batches: Iterator[Batch], number: int, skip: int) -> Iterator[Batch]:
        """The batches of an epoch, noted, and compared where it is known what they were.

        Args:
            batches: The batches.
            number: The epoch's number.
            skip: How many were drawn before the run was interrupted.

        Raises:
            CheckpointError: They are not what they were.
        """
        before, hashed, count = self.epoch, hashlib.sha256(), 0
        for batch in batches:
            add_arrays(hashed, batch)
            count += 1
            self.epoch = hashed.hexdigest()
            if count == 1 and not skip:
                self.begin(number)
            if count == skip and self.epoch != before:
                raise CheckpointError(
                    f"the first {skip} batches of epoch {number} are not those that the run was"
                    " trained on: an iterable must give the same batches again. Choose another"
                    " folder, or make the data as it was"
                )
            yield batch
        if count < skip:
            raise CheckpointError(
                f"the data has {count} batches, and the run had used {skip} of epoch {number}"
            )

    def begin(self, number: int) -> None:
        """Notes the first batch of an epoch, and compares it where a run goes on with an epoch."""
        alike = self.first in (None, self.epoch)
        if not alike and self.resumed:
            text = f"epoch {number} begins with another batch than "
            if self.epochs > 1:
                raise CheckpointError(
                    f"{text}all {self.epochs} before: it is not what the run was trained on"
                )
            warnings.warn(
                f"{text}epoch 0: unless it is shuffled, it is not what the run was trained on",
                stacklevel=2,
            )
        if self.epochs == 0:
            self.first = self.epoch
        elif not alike:
            self.first = None
        self.epochs += 1
        self.resumed = False


def as_batches(
    module: Module,
    data: Any,
    size: int,
    *,
    shuffle: bool = False,
    seed: int = 0,
    reading: Reading | None = None,
) -> ArrayBatches | StreamedBatches:
    """Data as batches for a module.

    Args:
        module: Names the inputs.
        data: A tuple (inputs, targets) of arrays with a leading sample axis, where the inputs are
            one array, a tuple of them in order or a dict by name; or such a tuple (inputs, targets,
            weights), the weights being one number a sample or one an element of the loss; or a dict
            of arrays, in which what is no input is a target; a DataFrame, whose columns are these;
            a dataset or a list of samples in one of these forms; or any iterable of batches in one
            of them.
        size: Samples in a batch, all of them if there are fewer; an iterable's batches are taken as
            they are.
        shuffle: Whether samples are shuffled, in each epoch anew.
        seed: Decides their order.
        reading: Names, axes and lengths.

    Raises:
        ValueError: There are no samples, or arrays differ in their number.
        TypeError: The data has none of these forms.
    """
    if size < 1:
        raise ValueError(f"batch_size is at least 1, got {size}")
    reading = reading or Reading(module)
    samples = find_samples(reading, data)
    if samples is None:
        return StreamedBatches(reading, data if isinstance(data, Iterable) else InOrder(data))
    if len(samples) == 0:
        raise ValueError("the data has no samples")
    return ArrayBatches(samples, reading, min(size, len(samples)), shuffle, seed)


def find_samples(reading: Reading, data: Any) -> Samples | None:
    """The samples that can be read in any order; None if the data is an iterable of batches.

    Raises:
        ValueError: Arrays differ in their number of samples.
        TypeError: The data has none of the forms of `as_batches`.
    """
    if isinstance(data, str | bytes | os.PathLike):
        raise TypeError(f"data is arrays, a dataset or batches, and no file: read {data!r:.100}")
    if isinstance(data, Mapping) and any(map(is_table, data.values())):
        names = ", ".join(f"data[{name!r}]" for name in data)
        raise TypeError(f"the data is several datasets: pass one of {names}")
    if reading.is_whole(data):
        return array_samples(reading, tuple(data) if isinstance(data, list) else data)
    if is_table(data):
        reading.check_columns(data)
        return DatasetSamples(reading, data)
    if is_map_style(data) and len(data):
        try:
            kind = reading.kind(data[0])
        except NotImplementedError:  # an iterable dataset of PyTorch
            return None
        if kind == "sample":
            return DatasetSamples(reading, data)
        if kind is None and not isinstance(data, Iterable):
            raise TypeError(
                f"whether {kind_of(data)} has samples or batches cannot be told from the shapes "
                "that the model states: pass an iterable of batches, such as a DataLoader"
            )
    elif not isinstance(data, Iterable) or is_array(data):
        raise TypeError(
            "data is a tuple (inputs, targets), a dict of arrays, a dataset, or an iterable of "
            f"batches; got {kind_of(data)}"
        )
    return None


def array_samples(reading: Reading, data: Any) -> ArraySamples:
    """Arrays of all samples. Raises: ValueError if they differ in their number."""
    batch = split_batch(reading.module, reading.named(data))
    inputs, targets = reading.moved(batch, back=False)
    counts = {name: np.shape(value)[:1] for name, value in inputs.items()}
    counts |= {
        f"targets{jax.tree_util.keystr(path)}": np.shape(leaf)[:1]
        for path, leaf in jax.tree_util.tree_leaves_with_path(targets)
    }
    if len(set(counts.values())) != 1 or () in counts.values():
        found = ", ".join(f"{name}: {count[0] if count else '-'}" for name, count in counts.items())
        raise ValueError(
            f"inputs and targets need one number of samples along their first axis, got {found}; "
            "that of an input whose samples are along another is named by batch_axis={'name': 1}, "
            "and an input that is the same for all samples is fixed by module.specialize(...)"
        )
    return ArraySamples(inputs, targets)


def split_batch(module: Module, item: Any) -> Batch:
    """A batch, or all data, as inputs by name and targets, which are `Weighted` if some count more.

    Raises:
        TypeError: It has none of the forms of `as_batches`.
        ValueError: A number is looked up in a table that has no such row.
    """
    names = module.program.declared
    if isinstance(item, Mapping):
        inputs: Any = {name: value for name, value in item.items() if name in names}
        rest = {name: value for name, value in item.items() if name not in names}
        targets = next(iter(rest.values())) if len(rest) == 1 else rest or None
    elif isinstance(item, tuple | list) and len(item) in (2, 3):
        inputs, targets, weights = (*item, None)[:3]
        targets = targets if weights is None else Weighted(targets, weights)
    else:
        raise TypeError(
            "a batch is a pair (inputs, targets), (inputs, targets, weights) or a dict of arrays "
            f"by name, got {kind_of(item)}; arrays of all samples are given as such a tuple"
        )
    named = by_name(module.program, inputs)
    arrays = {name: np.asarray(value) for name, value in named.items()}
    for name, array in arrays.items():
        check_lookup(module.program, name, array)
    targets = jax.tree.map(np.asarray, targets, is_leaf=lambda v: isinstance(v, list))
    return arrays, targets


def kind_of(value: Any) -> str:
    """A short text of what somebody passed."""
    if hasattr(value, "dtype"):
        return f"an array {value.dtype}{list(np.shape(value))}"
    size = f" of {len(value)}" if hasattr(value, "__len__") else ""
    return f"{type(value).__name__}{size}"
