"""The table of strategies, and `cases`: a valid use of any operator at any schema version."""

from __future__ import annotations

import fnmatch
import functools
import importlib
import pkgutil
from collections.abc import Callable, Iterable
from dataclasses import fields
from typing import Any, TypeVar

from hypothesis import HealthCheck, Phase, find, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample

from onnxla.ir.names import no_such, quoted
from onnxla.ops import lookup, rows
from onnxla.ops.table import full_name
from onnxla.testing.case import Case
from onnxla.testing.draw import Draw
from onnxla.testing.schemas import schema
from onnxla.testing.use import Use, case_of
from onnxla.testing.wanted import Opset, Wanted, dtypes_of

# Draws one use of the operator that the schema describes.
Strategy = Callable[[Draw], Use]
F = TypeVar("F", bound=Strategy)
T = TypeVar("T")

# By domain and name, once `operators` has imported the families.
STRATEGIES: dict[tuple[str, str], Strategy] = {}


def strategy(*names: str, domain: str = "") -> Callable[[F], F]:
    """Registers a function as the strategy of operators, at all their schema versions.

    For example:

        @onnxla.testing.strategy("MyOp", domain="my.domain")
        def my_op(draw: onnxla.testing.Draw) -> onnxla.testing.Use:
            return draw.use((draw.tensor("x", draw.shape()),))
    """

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
    """Schema versions, ascending, of every operator that has a strategy, by domain and name.

    For example:

        names = [name for domain, name in onnxla.testing.operators() if domain == "ai.onnx.ml"]
    """
    load_families()
    found: dict[tuple[str, str], list[int]] = {}
    for version, operator in rows():
        if (operator.domain, operator.name) in STRATEGIES:
            found.setdefault((operator.domain, operator.name), []).append(version)
    return found


def select_operators(patterns: list[str], opset: Opset = None) -> list[tuple[str, str]]:
    """Domain and name of the operators that patterns select, in order; all, if there are none.

    A pattern without a domain is of ONNX's own operators. With an opset, only operators that have a
    schema version in it are selected.

    Raises:
        ValueError: A pattern selects none.
    """
    every = {full_name(name, domain): (domain, name) for domain, name in operators()}
    there = {
        full_name(name, domain)
        for (domain, name), versions in operators().items()
        if Wanted(opset).versions(versions)
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
            last = opset[1] if isinstance(opset, tuple) else opset
            raise ValueError(f"{quoted(pattern)} has no schema version up to opset {last}")
        chosen |= dict.fromkeys(name for name in names if name in there)
    return [every[name] for name in chosen]


def cases(
    op_type: str,
    opset: Opset = None,
    domain: str = "",
    dtypes: Iterable[Any] | None = None,
    specials: bool = False,
    **options: Any,
) -> st.SearchStrategy[Case]:
    """Valid uses of an operator: a model of one node, its inputs and a tolerance.

    For example:

        @given(onnxla.testing.cases("Neg", dtypes=["float32"]))
        @settings(max_examples=3, deadline=None)
        def test_negation(case):
            onnxla.testing.check(case, "onnxla", "reference")

        test_negation()

    Args:
        op_type: The operator's name.
        opset: An opset version or a range such as `(13, 21)`; by default any schema version, of
            which the newest is the simplest.
        domain: The operator's domain.
        dtypes: Draw operands of these dtypes, where the schema allows one of them.
        specials: Whether NaN, infinities and the extremes of integers occur among the inputs.
        **options: `empty=False` for no axes of size 0, `scalars=False` for no operands without
            axes, `operands="fed"` or `"stored"` for all as inputs or as initializers; see `Wanted`.

    Raises:
        KeyError: The operator has no strategy, or no schema version in the opsets.
        ValueError: No case of the operator is as the options want it.
    """
    for name in options:
        if name not in (known := [each.name for each in fields(Wanted)]):
            raise TypeError(no_such("option", name, known))
    wanted = Wanted(opset, dtypes_of(dtypes), specials, **options)
    every = operators().get((domain, op_type))
    if every is None:
        raise KeyError(f"no strategy for the operator {domain or 'ai.onnx'}.{op_type}")
    if not wanted.versions(every):
        raise KeyError(f"{domain or 'ai.onnx'}.{op_type} does not exist in opset {opset}")
    if wanted.rejects and not can_be(op_type, domain, wanted):
        raise ValueError(f"no case of {full_name(op_type, domain)} is found with {wanted}")
    drawn = drawn_cases(op_type, domain, wanted)
    return drawn.filter(wanted.allows) if wanted.rejects else drawn


@functools.cache
def can_be(op_type: str, domain: str, wanted: Wanted) -> bool:
    """Whether a case as wanted is found."""
    return is_found(drawn_cases(op_type, domain, wanted), wanted.allows)


def is_found(strategy: st.SearchStrategy[T], holds: Callable[[T], bool]) -> bool:
    """Whether something holds of one among a hundred examples."""
    chosen = settings(
        max_examples=100,
        database=None,
        deadline=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=[
            HealthCheck.too_slow,
            HealthCheck.data_too_large,
            HealthCheck.filter_too_much,
            HealthCheck.nested_given,  # a strategy may be made in a test of another
        ],
    )
    try:
        find(strategy, holds, settings=chosen)
    except NoSuchExample:
        return False
    return True


@st.composite
def drawn_cases(draw: st.DrawFn, op_type: str, domain: str, wanted: Wanted) -> Case:
    """Cases that a strategy draws, at one of the versions wanted."""
    versions = wanted.versions(operators()[domain, op_type])
    version = draw(st.sampled_from(versions[::-1]))
    return case_with(Draw(draw, schema(op_type, version, domain), wanted))


def case_with(drawing: Draw) -> Case:
    """The case that the operator's strategy draws."""
    use = STRATEGIES[drawing.schema.domain, drawing.name](drawing)
    return case_of(use, drawing.version, stored_operands(drawing))


def stored_operands(draw: Draw) -> Callable[[int, str], bool]:
    """Which operands the model stores as initializers, by position and name."""
    if draw.wanted.operands != "any":
        return lambda position, name: draw.wanted.operands == "stored"
    operator = lookup(draw.schema.domain, draw.name, draw.version)
    static = operator.static if operator else frozenset()
    kind = draw.choice(("those that decide a shape", "none", "all but the first", "the first"))
    if kind == "all but the first":
        return lambda position, name: position > 0
    if kind == "the first":
        return lambda position, name: position == 0 or name in static
    return lambda position, name: kind != "none" and name in static
