"""What operators see of a constant tensor: rearranged, converted, or as what integers stand for.

A weight may reach its operator through others that only rearrange or convert it. What the operator
sees is a *view* of the weight; an update of the view is undone step by step to update the weight.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, cast

import numpy as np

from onnxla import ir
from onnxla.edit.quantization import QUANTIZED
from onnxla.ir.traverse import is_standard
from onnxla.ops.table import Operator
from onnxla.parameters.sources import Producer, Source, is_constant

# In which adapters can be, with their names in safetensors.
DTYPES = {"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16"}

Shape: TypeAlias = tuple[int, ...]
ViewStep: TypeAlias = tuple[Literal["transpose", "reshape"], Shape]
# How often a constant is added to, or multiplies, integers that are kept as a weight: a zero point
# and a scale, each perhaps of a block and of the whole.
SCALING_STEPS = 4


@dataclass(frozen=True)
class View:
    """A constant tensor as an operator sees it.

    Attributes:
        steps: How its elements were rearranged, in order: `transpose` with the permutation, or
            `reshape` with the shape before.
        quantized: Whether its numbers are those of a quantized tensor.
    """

    tensor: ir.Tensor
    shape: Shape
    dtype: np.dtype
    steps: tuple[ViewStep, ...]
    quantized: bool


def undone(steps: Sequence[ViewStep]) -> list[ViewStep]:
    """What brings elements back to where they were before some steps."""
    return [
        (kind, tuple(map(int, np.argsort(how))) if kind == "transpose" else how)
        for kind, how in reversed(steps)
    ]


def swapped(axes: Sequence[int]) -> Shape:
    """A shape or permutation with the last two entries swapped."""
    *others, a, b = axes
    return (*others, b, a)


def is_viewing(operator: Operator | None) -> bool:
    """Whether an operator shows its first operand, rearranged or converted as a whole."""
    return operator is not None and (
        operator.converts or operator.moves in ("reshaped", "permuted")
    )


def shown(
    node: ir.Node, operator: Operator | None, operands: Sequence[Source], steps: int = SCALING_STEPS
) -> int | None:
    """The operand that a node shows: rearranged, converted, or as the numbers it stands for.

    The latter is the arithmetic by which integers are scaled: constants are added or multiplied.
    """
    if is_viewing(operator):
        return 0
    if not steps or len(operands) != 2 or not is_standard(node, "Mul", "Add", "Sub", "Div"):
        return None
    for index in (0, 1) if is_standard(node, "Mul", "Add") else (0,):
        tensor = origin(operands[index], steps - 1) if is_constant(operands[1 - index]) else None
        if tensor is not None and tensor.dtype in QUANTIZED:
            return index
    return None


def origin(source: Source, steps: int = SCALING_STEPS) -> ir.Tensor | None:
    """The constant tensor that a value is a view of, if any."""
    while isinstance(source, Producer):
        index = shown(source.node, source.operator, source.operands, steps)
        if index is None:
            return None
        steps -= not is_viewing(source.operator)
        source = source.operands[index]
    return source if isinstance(source, ir.Tensor) else None


def find_view(source: Source) -> View | None:
    """What a value shows of a constant tensor; None if the shape or the dtype is computed, too."""
    if isinstance(source, ir.Tensor):
        quantized = not ir.is_float(source.dtype)
        return View(source, source.shape, source.dtype, (), quantized)
    if not isinstance(source, Producer) or source.operator is None:
        return None
    index = shown(source.node, source.operator, source.operands)
    view = None if index is None else find_view(source.operands[index])
    if view is None or index is None:
        return None
    if not is_viewing(source.operator):
        return scaled(view, find_view(source.operands[1 - index]))
    if source.operator.converts:
        dtype, roles = converted_dtype(source), source.operator.roles.values()
        quantized = view.quantized or "quantization_scale" in roles
        return None if dtype is None else replace(view, dtype=dtype, quantized=quantized)
    if source.operator.moves == "permuted":
        if not is_standard(source.node, "Transpose"):
            return None  # how it permutes only its function knows
        axes = (*range(len(view.shape)),)[::-1]
        perm = cast(Shape, source.node.attributes.get("perm") or axes)
        shape = tuple(view.shape[axis] for axis in perm)
        return replace(view, shape=shape, steps=(*view.steps, ("transpose", perm)))
    return reshaped(view, source, source.operator)


def scaled(view: View, by: View | None) -> View | None:
    """The view of integers after arithmetic with a constant, if they are floats and all stay."""
    if by is None or view.dtype.name not in DTYPES:
        return None
    try:
        stays = np.broadcast_shapes(view.shape, by.shape) == view.shape
    except ValueError:
        return None
    return view if stays else None


def converted_dtype(producer: Producer) -> np.dtype | None:
    """The dtype that a converting node states, or that of its scale or the operand it is like."""
    attributes, (_, *others) = producer.node.attributes, producer.operands
    stated = attributes.get("to") or attributes.get("output_dtype")
    if isinstance(stated, int) and stated:
        return ir.dtype_of(stated)
    if producer.node.op_type == "QuantizeLinear":
        others = others[1:]  # in the dtype of its zero point
    other = find_view(others[0]) if others else None
    return None if other is None else other.dtype


def reshaped(view: View, producer: Producer, operator: Operator) -> View | None:
    """The view with the shape that a reshaping node gives it, if constants decide it."""
    others = producer.operands[1:]
    if not all(operand is None or isinstance(operand, ir.Tensor) for operand in others):
        return None
    known = [o.numpy() if isinstance(o, ir.Tensor) else None for o in others]
    # Without the data: one element, as often as the shape needs.
    shaped = np.broadcast_to(np.int8(0), view.shape)
    shape = operator.function(shaped, *known, **producer.node.attributes).shape
    if shape == view.shape:
        return view
    return replace(view, shape=shape, steps=(*view.steps, ("reshape", view.shape)))
