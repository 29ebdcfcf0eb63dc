"""Which role a tensor has by what it is used as, and whether it was learned.

The evidence in its order: what the exporter says, what the tensor is used as, its name, its
numbers. What cannot be decided does not train, and is told.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

import numpy as np

from onnxla.ir.model import Tensor
from onnxla.parameters import formulas
from onnxla.parameters.evidence import Evidence, is_switch, is_uniform, is_written
from onnxla.parameters.sources import extent

# What is added or multiplied may be a bias or a scale, but also an epsilon, 1/sqrt(d), a mask or a
# window; which it is, its shape, name and numbers tell.
ELEMENTWISE_ROLES = {
    "addend": "bias",
    "subtrahend": "bias",
    "factor": "scale",
    "divisor": "scale",
}
Verdict: TypeAlias = Literal["learned", "fixed", "undecided"]


def role_of(use: str, tensor: Tensor) -> str:
    """The role of a tensor with such a use, if it was learned."""
    axes = extent(tensor)
    if use == "ingredient":  # of a computed weight, scale or the like
        return "weight" if axes > 1 else "scale"
    if use == "state":
        return "bias"
    if use in ("addend", "subtrahend") and axes > 1:  # a position table
        return "embedding"
    return ELEMENTWISE_ROLES.get(use, use)


def verdict_of(
    use: str, tensor: Tensor, evidence: Evidence, holds_formula: Callable[[str, Tensor], bool]
) -> Verdict:
    """Whether a tensor with such a use was learned.

    `holds_formula`: `is_formula`, or what remembers its answers.
    """
    if use in ("running_statistic", "quantization_scale"):
        return "learned"  # in a way of their own
    if use in ("constant", "exponent") or 0 in tensor.shape or tensor.name in evidence.fixed:
        return "fixed"
    if tensor.name in evidence.learned:
        return "learned"
    if use in ("weight", "embedding"):
        return "fixed" if holds_formula(use, tensor) else "learned"
    if use in ("scale", "bias"):
        literal = evidence.is_literal(tensor)
        return "fixed" if literal and is_neutral(use, tensor.numpy()) else "learned"
    if use in ELEMENTWISE_ROLES or use in ("ingredient", "state"):
        return verdict_of_numbers(use, tensor, tensor.numpy(), evidence)
    return "learned"


def is_neutral(use: str, array: np.ndarray) -> bool:
    """Whether a scale is of ones, or a bias of zeros."""
    return is_uniform(array) and bool(array.reshape(-1)[0] == (use == "scale"))


def verdict_of_numbers(use: str, tensor: Tensor, array: np.ndarray, evidence: Evidence) -> Verdict:
    """Whether a tensor was learned that structure leaves open."""
    if not np.isfinite(array).all():
        return "fixed"
    axes = extent(tensor)
    if not axes:
        return verdict_of_scalar(use, array, tensor, evidence)
    named = evidence.is_named(tensor)
    uniform = is_uniform(array)
    if is_switch(array) and not (uniform or named):  # a mask
        return "fixed"
    if uniform and axes > 1 and not named and evidence.is_stored(tensor):
        return "undecided"  # a position table before the first step, or a buffer
    if formulas.is_window(array) if axes == 1 else not named and is_table(array):
        return "fixed"
    if uniform and not (named or evidence.is_stored(tensor)):
        return "fixed" if evidence.is_literal(tensor) or use == "state" else "undecided"
    return "learned"


def is_table(array: np.ndarray) -> bool:
    """Whether an array of several axes follows a formula, or is often the same, along one."""
    return formulas.recurs(array) or formulas.repeats(array)


def verdict_of_scalar(use: str, array: np.ndarray, tensor: Tensor, evidence: Evidence) -> Verdict:
    """Whether one number was learned."""
    if evidence.is_literal(tensor):
        return "fixed"
    named = evidence.is_named(tensor) or evidence.is_stored(tensor)
    if not (formulas.is_round(array) if named else is_written(array)):
        return "learned"
    # Nobody writes down a factor of 1, but a layer may begin with it.
    neutral = array.reshape(-1)[0] == (use not in ("addend", "subtrahend"))
    return "undecided" if named or neutral else "fixed"


def is_formula(use: str, tensor: Tensor) -> bool:
    """Whether a weight or embedding holds a formula rather than learned numbers."""
    if 0 in tensor.shape or not tensor.shape:
        return True
    if use == "embedding":
        return len(tensor.shape) < 2 or formulas.recurs(tensor.first(formulas.SAMPLE))
    # Such as the frequencies of rotary positions.
    if extent(tensor) == 1 and formulas.recurs(tensor.first(formulas.SAMPLE)):
        return True
    return formulas.has_kernels(tensor.shape) and formulas.is_filter_bank(
        tensor.first(formulas.KERNELS)
    )
