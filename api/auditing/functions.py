"""Functions of a model: what they hide, and how much they become when they are called."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from onnxla.auditing.contents import Contents, called_id, function_id, spell
from onnxla.auditing.remarks import Remark, Severity
from onnxla.ir.model import FunctionId
from onnxla.ops.limits import spell as spell_number
from onnxla.ops.table import TABLE

DEEP = 50  # calls within calls; exporters make a few
Calls = Mapping[FunctionId | None, Counter[FunctionId]]


def functions(contents: Contents) -> Iterator[Remark]:
    """Functions that replace operators, that nothing calls, and that become many nodes."""
    defined = {function_id(each): each for each in contents.message.functions}
    if not defined:
        return
    calls: dict[FunctionId | None, Counter[FunctionId]] = {each: Counter() for each in defined}
    calls[None] = Counter()
    own: Counter[FunctionId | None] = Counter()
    for node, scope in contents.nodes():
        own[scope.function] += 1
        if called_id(node) in defined:
            calls.setdefault(scope.function, Counter())[called_id(node)] += 1
    called = {each for counter in calls.values() for each in counter}
    for each, function in defined.items():
        if each[:2] in TABLE:
            severity: Severity = "warning" if each[0] else "danger"
            text = "has the name of an operator, and is run in its place"
            yield Remark(severity, "shadowing", spell(function), text)
        if each not in called:
            yield Remark("info", "unused-function", spell(function), "nothing calls it")
    yield expansion(calls, own, contents.limits.nodes)


def expansion(calls: Calls, own: Counter[FunctionId | None], limit: float) -> Remark:
    """How many nodes there are with each call replaced by the function's nodes."""
    sizes = expanded(calls, own)
    if sizes is None:
        return Remark("warning", "functions", "", "functions call each other in a circle")
    nodes, depth = sizes[None]
    text = f"functions: {len(calls) - 1:,}; nodes with each call replaced:"
    text += f" {spell_number(nodes)}; calls within calls: {depth:,}"
    if nodes > limit:
        text += f"; the limit is {spell_number(limit)}"
    severity: Severity = "danger" if nodes > limit else "warning" if depth > DEEP else "info"
    return Remark(severity, "functions", "", text)


def expanded(
    calls: Calls, own: Counter[FunctionId | None]
) -> dict[FunctionId | None, tuple[int, int]] | None:
    """Nodes and depth of each function with its calls replaced; None if there is a circle.

    A file decides how deep they are, so this does not recurse.
    """
    sizes: dict[FunctionId | None, tuple[int, int]] = {}
    for start in calls:
        path = {} if start in sizes else {start: iter(calls[start])}
        while path:
            top = next(reversed(path))
            callee = next(path[top], None)
            if callee is None:
                inner = [(count, sizes[each]) for each, count in calls[top].items()]
                nodes = own[top] + sum(count * size for count, (size, _) in inner)
                sizes[top] = nodes, 1 + max((depth for _, (_, depth) in inner), default=-1)
                del path[top]
            elif callee in path:
                return None
            elif callee not in sizes:
                path[callee] = iter(calls[callee])
    return sizes
