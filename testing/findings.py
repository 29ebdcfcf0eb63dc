"""Findings: failures of a runtime that have one cause, told by their simplest case."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from onnxla.ir import STRING
from onnxla.ops.table import full_name
from onnxla.testing.case import Case
from onnxla.testing.draw import extremes, simplest_first
from onnxla.testing.outcomes import Outcome
from onnxla.testing.schemas import schema
from onnxla.testing.types import dtype_of
from onnxla.testing.use import is_use


@dataclass(frozen=True)
class FailureSignature:
    """What is remarkable about a failure.

    Attributes:
        operator: The operator's name, with its domain if that is not ONNX's own.
        version: Its schema version.
        outcome: `disagreed` or `failed`.
        place: Where the result is wrong, or what the error says, without the case's numbers.
        features: What the case has that a simpler one would not: see `features_of`.
    """

    operator: str
    version: int
    outcome: str
    place: str
    features: frozenset[str]

    def explains(self, other: FailureSignature) -> bool:
        """Whether another failure has all that this one, the simplest of its kind, needs.

        Then it needs no other cause. A newer schema version is the simpler one.
        """
        return (
            (self.operator, self.outcome, self.place)
            == (other.operator, other.outcome, other.place)
            and self.version >= other.version
            and self.features <= other.features
        )

    @property
    def key(self) -> str:
        """A short name, the same in every run."""
        digest = hashlib.sha256(str(self).encode()).hexdigest()[:8]
        return f"{self.operator}-{self.version}-{digest}"

    def __str__(self) -> str:
        parts = [f"{self.operator}-{self.version} {self.outcome}", *sorted(self.features)]
        return f"{', '.join(parts)}: {self.place}"


@dataclass
class Finding:
    """Failures with one signature, of which only the simplest case is kept.

    Attributes:
        signature: What is remarkable about the simplest case.
        case: The simplest case found.
        detail: How its values differ, or what the error says.
        judges: Names of those whose answer is the one expected.
        count: How many of the cases that were drawn it explains.
    """

    signature: FailureSignature
    case: Case
    detail: str
    judges: tuple[str, ...] = ()
    count: int = 0

    @property
    def title(self) -> str:
        """What came of the case, in one line."""
        return f"{self.signature.outcome}: {self.detail}"

    @property
    def reproducer(self) -> str:
        """The case in one line and as a script."""
        return f"{self.case!r}\n\n{self.case.script()}"


def signature_of(case: Case, outcome: Outcome) -> FailureSignature:
    """What is remarkable about the failure of a case."""
    name = full_name(case.op_type, case.domain)
    version, features = case.version, frozenset(features_of(case))
    if not is_use(case):
        name = "graph"
    return FailureSignature(name, version, outcome.kind, outcome.place, features)


def features_of(case: Case) -> Iterator[str]:
    """What a case has that a simpler one would not.

    Each feature is drawn only if it is asked for, so that the simplest case that fails has those
    that it needs to fail: dtypes that are not the schema's first, operands and attributes that are
    optional, values of these, empty axes, operands stored in the model, NaN and the like.
    """
    if not is_use(case):
        yield from operators_of(case.proto.graph)
    else:
        yield from type_features(case)
        yield from operand_features(case)
        for name, value in case.attributes.items():
            yield from attribute_features(name, value)
    yield from value_features(arrays_in([*case.inputs.values(), *case.operands]))


def operators_of(graph: onnx.GraphProto) -> Iterator[str]:
    """Names of a graph's operators, those of subgraphs too."""
    for node in graph.node:
        yield full_name(node.op_type, node.domain)
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from operators_of(attribute.g)


def type_features(case: Case) -> Iterator[str]:
    """Dtypes that are not the first ones of their kind, and kinds that are not the first ones."""
    described = schema(case.op_type, case.version, case.domain)
    formals = list(described.inputs.items())
    for position, value in enumerate(case.operands):
        formal, variable = formals[min(position, len(formals) - 1)]
        if variable not in described.types:
            continue
        allowed = [dtype_of(t) for t in simplest_first(described.allowed(formal))]
        for array in arrays_in([value]):
            kinds = [dtype for dtype in allowed if kind_of(dtype) == kind_of(array.dtype)]
            if kind_of(allowed[0]) != kind_of(array.dtype):
                yield f"{variable} {kind_of(array.dtype)}"
            if not kinds or kinds[0] != array.dtype:
                yield f"{variable} {array.dtype}"


def kind_of(dtype: np.dtype[Any]) -> str:
    """What sort of numbers a dtype has."""
    if dtype == STRING or dtype.kind in "US":
        return "texts"
    if dtype.kind == "V" or dtype.type.__module__ != "numpy":
        return "narrow"
    return {"f": "floats", "i": "integers", "u": "unsigned", "b": "flags", "c": "complex"}.get(
        dtype.kind, dtype.name
    )


def operand_features(case: Case) -> Iterator[str]:
    """Which operands and outputs there are, which are stored, and how shapes relate."""
    stored = {tensor.name for tensor in case.proto.graph.initializer}
    shapes = [array.shape for array in arrays_in(case.operands)]
    for name in filter(None, case.node.input):
        yield f"operand {name}"
        if name in stored:
            yield f"{name} stored"
    yield from (f"output {i}" for i, name in enumerate(case.node.output) if i and name)
    if () in shapes:
        yield "a scalar"
    if any(0 in shape for shape in shapes):
        yield "an empty axis"
    if len({shape for shape in shapes if shape}) > 1:
        yield "shapes differ"


def attribute_features(name: str, value: Any) -> Iterator[str]:
    """That an attribute is there, and what sort of value it has."""
    yield name
    if isinstance(value, str):
        yield f"{name}={value}"
    values = value if isinstance(value, list) else [value]
    numbers = [each for each in values if isinstance(each, int | float)]
    if any(numbers):
        yield f"{name}≠0"
    if any(number < 0 for number in numbers):
        yield f"{name}<0"


def value_features(arrays: Iterable[np.ndarray]) -> Iterator[str]:
    """NaN, infinities, and extremes among the numbers."""
    for array in arrays:
        kind = kind_of(array.dtype)
        if kind in ("texts", "flags", "complex") or not array.size:
            continue
        wide = array.astype(np.float64)
        if np.isnan(wide).any():
            yield "NaN"
        if np.isinf(wide).any():
            yield "an infinity"
        large = max(abs(float(x)) for x in extremes(array.dtype) if np.isfinite(float(x)))
        if kind in ("floats", "integers", "unsigned") and (np.abs(wide) >= large).any():
            yield "an extreme"


def arrays_in(values: Iterable[Any]) -> Iterator[np.ndarray]:
    """The arrays of values, those of sequences and maps too."""
    for value in values:
        if isinstance(value, np.ndarray | np.generic):
            yield np.asarray(value)
        elif isinstance(value, dict):
            yield from arrays_in(map(np.asarray, value.values()))
        elif isinstance(value, list):
            yield from arrays_in(value)


def without_explained(findings: Sequence[Finding]) -> list[Finding]:
    """Findings that no other one explains, with the counts of those that are left out."""
    kept: list[Finding] = []
    for finding in reversed(findings):  # those found later do without what earlier ones have
        if by := next((f for f in kept if f.signature.explains(finding.signature)), None):
            by.count += finding.count
        else:
            kept.append(finding)
    return kept[::-1]
