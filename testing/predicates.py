"""Predicates of cases: a small vocabulary that says in which of them a fault is met.

before(13) & rank(0) & ~has("axis")
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from onnxla.peers.difference import is_integer
from onnxla.testing.case import Case


class When:
    """A predicate of cases, which `&`, `|` and `~` combine; a decorator of one that is a function.

    The second of two is asked only where the first does not decide.
    """

    def __init__(self, holds: Callable[[Case], bool]) -> None:
        self.holds = holds
        functools.update_wrapper(self, holds)

    def __call__(self, case: Case) -> bool:
        """Whether it holds of a case."""
        return bool(self.holds(case))

    def __and__(self, other: When) -> When:
        return When(lambda case: self(case) and other(case))

    def __or__(self, other: When) -> When:
        return When(lambda case: self(case) or other(case))

    def __invert__(self) -> When:
        return When(lambda case: not self(case))


@When
def always(case: Case) -> bool:
    """Whether it is a case at all."""
    return True


def version(*numbers: int) -> When:
    """Whether the schema version is one of some."""
    return When(lambda case: case.version in numbers)


def before(number: int) -> When:
    """Whether the schema version is less than a number."""
    return When(lambda case: case.version < number)


def has(name: str) -> When:
    """Whether the node has an attribute."""
    return When(lambda case: name in case.attributes)


def attribute(name: str, *values: Any, default: Any = None) -> When:
    """Whether an attribute, or its default where it is absent, is one of some values."""
    return When(lambda case: case.attributes.get(name, default) in values)


def enabled(name: str) -> When:
    """Whether an attribute is there and neither 0 nor empty."""
    return When(lambda case: bool(case.attributes.get(name)))


def outputs(least: int) -> When:
    """Whether the node has at least so many outputs, those without a name between them included."""
    return When(lambda case: len(case.node.output) >= least)


def output(position: int) -> When:
    """Whether the node names an output."""
    return When(lambda case: any(case.node.output[position : position + 1]))


def operands(least: int) -> When:
    """Whether the node has at least so many operands, those that are absent between included."""
    return When(lambda case: len(case.operands) >= least)


def operand(position: int, holds: Callable[[Any], Any] = lambda value: True) -> When:
    """Whether an operand is there, and something holds of it."""

    def check(case: Case) -> bool:
        value = case.operands[position] if position < len(case.operands) else None
        return value is not None and bool(holds(value))

    return When(check)


def stored(position: int) -> When:
    """Whether the model holds an operand, rather than being fed with it."""

    def check(case: Case) -> bool:
        name = "".join(case.node.input[position : position + 1])
        return any(tensor.name == name for tensor in case.proto.graph.initializer)

    return When(check)


def rank(*ranks: int, of: int = 0) -> When:
    """Whether the rank of an operand is one of some."""
    return operand(of, lambda x: np.ndim(x) in ranks)


def spatial(*ranks: int) -> When:
    """Whether the first operand, (N, C, D1, ..., Dr), has one of some numbers of spatial axes."""
    return operand(0, lambda x: x.ndim - 2 in ranks)


def size(axis: int, *sizes: int, of: int = 0) -> When:
    """Whether an axis of an operand has one of some sizes."""
    return operand(of, lambda x: np.shape(x)[axis] in sizes)


def empty(of: int = 0) -> When:
    """Whether an operand has no elements."""
    return operand(of, lambda x: x.size == 0)


def dtype(*dtypes: Any, of: int = 0) -> When:
    """Whether the dtype of an operand is one of some."""
    found = tuple(map(np.dtype, dtypes))
    return operand(of, lambda x: x.dtype in found)


def kind(letters: str, of: int = 0) -> When:
    """Whether the dtype of an operand is of one of numpy's kinds, such as `iu` for integers."""
    return operand(of, lambda x: x.dtype.kind in letters)


def integer(of: int = 0) -> When:
    """Whether an operand has integers, perhaps of few bits."""
    return operand(of, lambda x: is_integer(x.dtype))


def some(holds: Callable[[Any], Any], of: int = 0) -> When:
    """Whether something holds of some element of an operand."""
    return operand(of, lambda x: np.any(holds(x)))
