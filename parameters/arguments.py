"""What the calls of a model-local function give for its inputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from onnxla.ir.model import FunctionId, Node
from onnxla.parameters.sources import Formal, Source
from onnxla.parameters.walk import Analysis

Callers = Mapping[FunctionId, Sequence[Node]]


def calls_of(analysis: Analysis) -> Callers:
    """The nodes that call each function, those in functions that are called themselves too."""
    calls: dict[FunctionId, list[Node]] = {}
    for node in analysis.operands:
        if function := analysis.function_of(node):
            calls.setdefault(function.key, []).append(node)
    return calls


def given(source: Source, analysis: Analysis, calls: Callers) -> Iterator[Source]:
    """A value's source, or where that is a function's input, those of what calls give for it."""
    pending, seen = [source], set[Source]()
    while pending:
        found = pending.pop()
        if found in seen:
            continue
        seen.add(found)
        if not isinstance(found, Formal) or found.function is None:
            yield found
            continue
        position = analysis.called[found.function].inputs.index(found.name)
        for node in calls.get(found.function, ()):
            pending += analysis.sources(node)[position : position + 1]
