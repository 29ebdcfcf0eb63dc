"""The table of strategies, and `cases`: a valid use of any operator at any schema version."""

from __future__ import annotations

import fnmatch
import functools
import importlib
import pkgutil
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import numpy as np
from hypothesis import strategies as st

from onnxla.ir.names import no_such, quoted
from onnxla.ops import lookup, rows
from onnxla.ops.table import full_name
from onnxla.testing.case import Case
from onnxla.testing.draw import Draw
from onnxla.testing.schemas import schema
from onnxla.testing.use import Use, case_of

# Draws one use of the operator that the schema describes.
Strategy = Callable[[Draw], Use]
F = TypeVar("F", bound=Strategy)

# By domain and name, once `operators` has imported the families.
STRATEGIES: dict[tuple[str, str], Strategy] = {}


def strategy(*names: str, domain: str = "") -> Callable[[F], F]:
    """Registers a function as the strategy of operators, at all their schema versions."""

    def decorate(function: F) -> F:
        for name in names:
            STRATEGIES[domain, name] = function
        return function

    return decorate


@functools.cache
def load_families() -> None:
    """Imports the families, which register their strategies."""
    from onnxla.testing import strategies

    for module in pkgutil.iter_modules(strategies.__path__):
        importlib.import_module(f"{strategies.__name__}.{module.name}")


def operators() -> dict[tuple[str, str], list[int]]:
    """Schema versions, ascending, of every operator that has a strategy, by domain and name."""
    load_families()
    found: dict[tuple[str, str], list[int]] = {}
    for version, operator in rows():
        if (operator.domain, operator.name) in STRATEGIES:
            found.setdefault((operator.domain, operator.name), []).append(version)
    return found


def select_operators(patterns: list[str], opset: int | None = None) -> list[tuple[str, str]]:
    """Domain and name of the operators that patterns select, in order; all, if there are none.

    A pattern without a domain is of ONNX's own operators. With an opset, only operators that have a
    schema version up to it are selected.

    Raises:
        ValueError: A pattern selects none.
    """
    every = {full_name(name, domain): (domain, name) for domain, name in operators()}
    there = {
        full_name(name, domain)
        for (domain, name), versions in operators().items()
        if opset is None or versions[0] <= opset
    }
    chosen: dict[str, None] = {}
    for pattern in patterns or ["*", "*.*"]:
        text = pattern.removeprefix("ai.onnx.") if pattern.count(".") == 2 else pattern
        names = fnmatch.filter(every, text)
        if "." not in text:
            names = [name for name in names if "." not in name]
        if not names:
            raise ValueError(no_such("operator", pattern, every))
        if there.isdisjoint(names):
            raise ValueError(f"{quoted(pattern)} has no schema version up to opset {opset}")
        chosen |= dict.fromkeys(name for name in names if name in there)
    return [every[name] for name in chosen]


def cases(
    op_type: str,
    opset: int | None = None,
    domain: str = "",
    dtypes: Iterable[Any] | None = None,
    specials: bool = False,
) -> st.SearchStrategy[Case]:
    """Valid uses of an operator: a model of one node, its inputs and a tolerance.

    Args:
        op_type: The operator's name.
        opset: The opset version, so that the schema is the newest one not above it; by default any
            schema version, of which the newest is the simplest.
        domain: The operator's domain.
        dtypes: Draw operands of these dtypes, where the schema allows one of them.
        specials: Whether NaN, infinities and the extremes of integers occur among the inputs.

    Raises:
        KeyError: The operator has no strategy, or no schema version up to `opset`.
    """
    versions = operators().get((domain, op_type))
    if versions is None:
        raise KeyError(f"no strategy for the operator {domain or 'ai.onnx'}.{op_type}")
    if opset is not None:
        versions = [v for v in versions if v <= opset][-1:]
    if not versions:
        raise KeyError(f"{domain or 'ai.onnx'}.{op_type} does not exist in opset {opset}")
    wanted = None if dtypes is None else tuple(map(np.dtype, dtypes))
    return drawn_cases(
        STRATEGIES[domain, op_type], op_type, tuple(versions), domain, wanted, specials
    )


@st.composite
def drawn_cases(
    draw: st.DrawFn,
    function: Strategy,
    op_type: str,
    versions: Sequence[int],
    domain: str,
    dtypes: Sequence[np.dtype[Any]] | None,
    specials: bool,
) -> Case:
    """Cases that a strategy draws, at one of some versions."""
    version = draw(st.sampled_from(versions[::-1]))
    drawing = Draw(draw, schema(op_type, version, domain), dtypes, specials)
    return case_of(function(drawing), version, stored_operands(drawing))


def stored_operands(draw: Draw) -> Callable[[int, str], bool]:
    """Which operands the model stores as initializers, by position and name."""
    operator = lookup(draw.schema.domain, draw.name, draw.version)
    static = operator.static if operator else frozenset()
    kind = draw.choice(("those that decide a shape", "none", "all but the first", "the first"))
    if kind == "all but the first":
        return lambda position, name: position > 0
    if kind == "the first":
        return lambda position, name: position == 0 or name in static
    return lambda position, name: kind != "none" and name in static
