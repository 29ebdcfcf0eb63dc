"""Sequences."""

from __future__ import annotations

from typing import Any

import numpy as np

from onnxla.ir import dtypes
from onnxla.testing.draw import Draw
from onnxla.testing.operator_cases import strategy
from onnxla.testing.strategies.control import Body, number_types
from onnxla.testing.types import Typed, dtype_of, tensor_type
from onnxla.testing.use import Use


def sequence_of(draw: Draw, dtype: np.dtype[Any], least: int = 0, most: int = 4) -> Any:
    """A sequence of tensors of any shapes."""
    items = [draw.array(dtype, draw.any_shape((0, 3))) for _ in range(draw.integer(least, most))]
    return items or Typed(sequence_type(dtype), [])


def sequence_type(dtype: np.dtype[Any]) -> str:
    """The type string of a sequence of tensors."""
    return f"seq({tensor_type(dtype)})"


def length(sequence: Any) -> int:
    """How many elements a drawn sequence has."""
    return 0 if isinstance(sequence, Typed) else len(sequence)


def position(draw: Draw, least: int, most: int) -> np.ndarray:
    """A position from `least` to `most`, of either integer type; 0 is the simplest."""
    place = draw.choice(sorted(range(least, most + 1), key=lambda i: (abs(i), -i)))
    return np.array(place, draw.dtype("position"))


@strategy("SequenceEmpty")
def sequence_empty(draw: Draw) -> Use:
    """No operands, and a dtype."""
    dtype = draw.maybe(lambda: draw.dtype("output"))
    number = None if dtype is None else dtypes.number_of(dtype)
    kind = np.dtype(np.float32) if dtype is None else dtype
    return draw.use((), {"dtype": number}, types={"y0": sequence_type(kind)})


@strategy("SequenceConstruct")
def sequence_construct(draw: Draw) -> Use:
    """One to four tensors of any shapes."""
    dtype = draw.dtype("inputs")
    tensors = [draw.array(dtype, draw.any_shape((0, 3))) for _ in range(draw.integer(1, 4))]
    return draw.use(tensors, types={"y0": sequence_type(dtype)})


@strategy("SequenceInsert")
def sequence_insert(draw: Draw) -> Use:
    """A sequence, a tensor, and a position in it or at its end."""
    dtype = draw.dtype("input_sequence")
    sequence = sequence_of(draw, dtype)
    n = length(sequence)
    tensor = draw.array(dtype, draw.any_shape((0, 3)))
    return draw.use((sequence, tensor, draw.maybe(lambda: position(draw, -n, n))))


@strategy("SequenceErase")
def sequence_erase(draw: Draw) -> Use:
    """A sequence of at least one tensor, and a position in it."""
    sequence = sequence_of(draw, draw.dtype("input_sequence"), 1)
    n = length(sequence)
    return draw.use((sequence, draw.maybe(lambda: position(draw, -n, n - 1))))


@strategy("SequenceAt")
def sequence_at(draw: Draw) -> Use:
    """A sequence of at least one tensor, and a position in it."""
    dtype = draw.dtype("input_sequence")
    sequence = sequence_of(draw, dtype, 1)
    n = len(sequence)
    place = position(draw, -n, n - 1)
    rank = sequence[int(place)].ndim
    return draw.use((sequence, place), types={"y0": tensor_type(dtype)}, ranks={"y0": rank})


@strategy("SequenceLength")
def sequence_length(draw: Draw) -> Use:
    """A sequence of up to four tensors."""
    return draw.use((sequence_of(draw, draw.dtype("input_sequence")),))


@strategy("ConcatFromSequence")
def concat_from_sequence(draw: Draw) -> Use:
    """One to four tensors that differ in the size of one axis, or not at all for a new axis."""
    dtype = draw.dtype("input_sequence")
    new_axis = draw.choice((None, 0, 1))
    sizes = list(draw.any_shape((0 if new_axis else 1, 3)))
    rank = len(sizes) + bool(new_axis)
    axis = draw.axis(rank)
    items = []
    for _ in range(draw.integer(1, 4)):
        if not new_axis:
            sizes[axis] = draw.side(0, 3)
        items.append(draw.array(dtype, sizes))
    attributes = {"axis": axis, "new_axis": new_axis}
    return draw.use((items,), attributes, types={"y0": tensor_type(dtype)}, ranks={"y0": rank})


@strategy("SplitToSequence")
def split_to_sequence(draw: Draw) -> Use:
    """A tensor, and the sizes of its parts along an axis: of all of them, of each, or 1."""
    sizes = list(draw.any_shape((1, 4)))
    axis = draw.axis(len(sizes))
    kind = draw.choice((None, "each", "all"))
    # The text says both that sizes are positive and that they may be 0.
    operand = None
    if kind == "all":
        parts = [draw.integer(1, 3) for _ in range(draw.integer(1, 4))]
        sizes[axis] = sum(parts)
        operand = np.array(parts, draw.dtype("split"))
    elif kind == "each":
        operand = np.array(draw.integer(1, 4), draw.dtype("split"))
    data = draw.tensor("input", sizes)
    return draw.use(
        (data, operand),
        {
            "axis": None if axis == 0 and draw.flag() else axis,
            "keepdims": draw.choice((None, 1, 0)),
        },
        types={"y0": sequence_type(data.dtype)},
    )


@strategy("SequenceMap")
def sequence_map(draw: Draw) -> Use:
    """A sequence, up to two further operands, and a body with one or two outputs.

    The further operands are sequences as long as the first, or tensors; the body may also use a
    tensor from outside.
    """
    body = Body("body")
    text = draw.choice(number_types(draw, "additional_inputs"))
    dtype = dtype_of(text)
    count = draw.integer(0, 3)
    shapes = [draw.any_shape((0, 3)) for _ in range(count)]
    sequence = [draw.array(dtype, s) for s in shapes] or Typed(f"seq({text})", [])
    names, tensors = [body.input(text)], []
    further: list[Any] = []
    for i in range(draw.integer(0, 2)):
        names.append(body.input(text))
        if draw.flag():
            further.append([draw.array(dtype, s) for s in shapes] or Typed(f"seq({text})", []))
        else:
            further.append(draw.array(dtype))
            tensors.append(f"additional_inputs_{i + 1}")
    results = []
    for _ in range(draw.integer(1, 2)):
        op = draw.choice(("Add", "Sub", "Identity", "Shape"))
        a = draw.choice(names)
        operands = (a, draw.choice([*names, *tensors])) if op in ("Add", "Sub") else (a,)
        results.append("tensor(int64)" if op == "Shape" else text)
        body.output(body.node(op, *operands), results[-1])
    return draw.use(
        (sequence, *further),
        {"body": body.graph()},
        outputs=len(results),
        types={f"y{i}": f"seq({r})" for i, r in enumerate(results)},
    )
