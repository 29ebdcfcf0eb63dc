"""Sequences: Python lists of values. How long they are, and positions in them, are known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from onnxla.ir.errors import ModelError
from onnxla.ops.control import carrying
from onnxla.ops.limits import budget
from onnxla.ops.table import op
from onnxla.ops.values import Value, xp


def index(position: Value, size: int) -> int:
    """A position in [-size, size) as one in [0, size).

    Raises:
        ModelError: It is outside.
    """
    found = int(position.item())
    if not -size <= found < size:
        raise ModelError(f"position {found} is outside a sequence with {size} places")
    return found % size


@op("SequenceEmpty", since=(11,))
def sequence_empty(*, dtype: int | None = None) -> list[Value]:
    """An empty sequence."""
    return []


@op("SequenceConstruct", since=(11,))
def sequence_construct(*inputs: Value) -> list[Value]:
    """The sequence of the inputs, which have one element type."""
    if len(kinds := {str(value.dtype) for value in inputs}) > 1:
        raise ModelError(f"a sequence has one element type, and not {', '.join(sorted(kinds))}")
    return list(inputs)


@op("SequenceInsert", since=(11,), static=("position",))
def sequence_insert(
    input_sequence: list[Value], tensor: Value, position: np.ndarray | None = None
) -> list[Value]:
    """A sequence with `tensor` before `position`, in [-n, n]; by default at the end."""
    n = len(input_sequence)
    if position is None or position == n:
        return [*input_sequence, tensor]
    at = index(position, n)
    return [*input_sequence[:at], tensor, *input_sequence[at:]]


@op("SequenceErase", since=(11,), static=("position",))
def sequence_erase(input_sequence: list[Value], position: np.ndarray | None = None) -> list[Value]:
    """A sequence without the element at `position`; by default without the last."""
    at = index(np.asarray(-1) if position is None else position, len(input_sequence))
    return [*input_sequence[:at], *input_sequence[at + 1 :]]


@op("SequenceAt", since=(11,), static=("position",))
def sequence_at(input_sequence: list[Value], position: np.ndarray) -> Value:
    """The element at `position`."""
    return input_sequence[index(position, len(input_sequence))]


@op("SequenceLength", since=(11,), reads_shape=True)
def sequence_length(input_sequence: list[Value]) -> np.ndarray:
    """How many elements a sequence has; an int64 scalar. Known even if they are not."""
    return np.asarray(len(input_sequence), np.int64)


@op("ConcatFromSequence", since=(11,))
def concat_from_sequence(input_sequence: list[Value], *, axis: int, new_axis: int = 0) -> Value:
    """The elements joined along `axis`, which is a new one if `new_axis`."""
    m = xp(*input_sequence)
    return (m.stack if new_axis else m.concatenate)(input_sequence, axis=axis)


@op("SplitToSequence", since=(11, 24), static=("split",))
def split_to_sequence(
    input: Value, split: np.ndarray | None = None, *, axis: int = 0, keepdims: int = 1
) -> list[Value]:
    """The parts of `input` along `axis`, of sizes `split` or each of size `split`.

    The last one may be smaller in the latter case. Without `split` they are of size 1, and without
    the axis unless `keepdims`.
    """
    m, size = xp(input), input.shape[axis]
    squeezed = split is None and not keepdims
    if split is None or split.ndim == 0:
        step = 1 if split is None else int(split)
        if step < 1:
            raise ModelError(f"parts of size {step} are none")
        budget().count_call(-(-size // step))
        split = np.diff([*range(0, size, step), size])
    if split.sum() != size:
        raise ModelError(f"split {split} does not add up to {size}, the size of axis {axis}")
    parts = m.split(input, np.cumsum(split)[:-1], axis=axis) if len(split) else []
    return [m.squeeze(part, axis) if squeezed else part for part in parts]


@op("SequenceMap", since=(17,))
def sequence_map(
    input_sequence: list[Value],
    *additional_inputs: Value,
    body: Callable[..., tuple[Value, ...]],
    n_outputs: int,
    carry: Sequence[Value] = (),
) -> tuple[Any, ...]:
    """Sequences of what `body` returns for each element; tensors are passed to it as they are."""
    rows = []
    for i, x in enumerate(input_sequence):
        others = (a[i] if isinstance(a, list) else a for a in additional_inputs)
        row, carry = carrying(body, carry, x, *others, step=i)
        rows.append(row)
    return (*([row[j] for row in rows] for j in range(n_outputs)), *carry)
