"""What a reader of a history should know of the run beside its numbers."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from onnxla.ir.names import listed
from onnxla.ir.problems import Problems
from onnxla.left_open import left_open
from onnxla.module import Module
from onnxla.train.batches import ArrayBatches, StreamedBatches
from onnxla.train.history import OF_TRAINING
from onnxla.train.lengths import has_mask
from onnxla.train.loop import Loop
from onnxla.train.sparsity import describe_zeros
from onnxla.train.start import Start
from onnxla.train.task import Task


def notes_before(
    task: Task,
    start: Start,
    batches: ArrayBatches | StreamedBatches,
    outputs: Sequence[str] | None,
    weight_average: float | None,
    all_by_default: bool,
) -> Iterator[str]:
    """What is to say of a run before its first step.

    Args:
        task: What it makes small.
        start: What it begins with.
        batches: Its data.
        outputs: Names of the values that the loss was to read.
        weight_average: The decay of its average.
        all_by_default: Whether nobody chose the parameters that train.
    """
    module, read = task.module, task.objective.values.read
    yield from open_questions(module, task.trained, all_by_default)
    if task.sparse:
        yield describe_zeros(module, task.sparse)
    if weight_average is not None:
        yield f"validation and the result have averages of the weights, of decay {weight_average}"
    if start.line_search and batches.length != 1:
        yield (
            "the optimizer evaluates the loss along a line, on one batch: each is to have all"
            f" samples (batch_size=), and there are {batches.length or 'many'} batches"
        )
    if not has_mask(module) and (batches.reading.bucket or batches.ragged):
        yield (
            "sequences are padded with zeros, and no input of the model is named as a mask: it"
            " sees the padding"
        )
    if read != tuple(outputs or module.output_names):
        yield f"the loss reads '{', '.join(read)}', the logits before the last node"


def note_on_samples(batches: ArrayBatches | StreamedBatches, description: Mapping[str, Any]) -> str:
    """What is to say of a dataset where a run is to go on from a checkpoint, by its description."""
    if not isinstance(batches, ArrayBatches) or "digest" in description["data"]:
        return ""
    return (
        "the dataset gives other samples each time that they are read: a run that goes on from a"
        " checkpoint sees others than one that was not stopped"
    )


def notes_after_stop(loop: Loop, measured: Collection[str] | None) -> Iterator[str]:
    """What is to say of a run that goes on from a checkpoint, if it does.

    Args:
        loop: The run, as it was in the checkpoint.
        measured: Names of what validations have from now on; None if that is not known.
    """
    if not loop.step or loop.finished():
        return
    history = loop.history
    columns = {**history.validations, **history.epochs}
    before = {k for k, v in columns.items() if v and v[-1] == v[-1]} - {*OF_TRAINING}
    if measured is None or not any(columns.values()):
        return
    for has, names in (("have", {*measured} - before), ("do not have", before - {*measured})):
        if names:
            yield (
                f"validations {has} {listed(sorted(names))} from step {loop.step} on; rows"
                " without it have nan"
            )


def open_questions(module: Module, trained: Sequence[str], all_by_default: bool) -> list[str]:
    """What the file leaves open: of what trains, and if no one chose that, of what does not."""
    program = module.program
    answered = program.parameters.undecided.keys() & {*trained}
    return Problems(
        text
        for name, text in left_open(program.parameters, program.analysis)
        if name not in answered and (all_by_default or name in trained)
    ).listed()
