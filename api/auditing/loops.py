"""Loops: how long they run, as far as the file decides it."""

from __future__ import annotations

from collections.abc import Iterator

from onnxla.auditing.contents import Contents, attribute_of, domain_of, scope_of, spell
from onnxla.auditing.remarks import Remark, Severity
from onnxla.auditing.sizes import as_numbers
from onnxla.ir.onnx_pb2 import GraphProto, NodeProto
from onnxla.ops.limits import spell as spell_number


def loops(contents: Contents) -> Iterator[Remark]:
    """Each Loop node: how many steps it has, and whether it ends."""
    limit = contents.limits.steps
    for node, scope in contents.nodes():
        if node.op_type != "Loop" or domain_of(node):
            continue
        body = attribute_of(node, "body")
        endless = body is not None and goes_on(body.g)
        known = scope.operand(node, 0)
        most = as_numbers(known)[0] if known is not None and known.size else None
        where = spell(node)
        if most is not None and most > limit and endless:
            text = f"has {spell_number(most)} steps; the limit is {spell_number(limit)}"
            yield Remark("danger", "loop", where, text)
        elif most is not None:
            text = f"has {spell_number(most)} steps" + ("" if endless else " at most")
            severity: Severity = "warning" if most > limit else "info"
            yield Remark(severity, "loop", where, text)
        elif is_absent(node, 0) and endless:
            yield Remark("danger", "loop", where, "never ends: its body always says to go on")
        elif is_absent(node, 0):
            text = "ends when the numbers it computes say so, which may be never"
            yield Remark("warning", "loop", where, text)
        else:
            yield Remark("info", "loop", where, "has as many steps as the model computes")


def is_absent(node: NodeProto, index: int) -> bool:
    """Whether a node's optional input is not given."""
    return index >= len(node.input) or not node.input[index]


def goes_on(body: GraphProto) -> bool:
    """Whether a loop's body always says to go on: its condition is handed on, or is true."""
    if not body.output:
        return False
    sources = {
        node.output[0]: node.input[0]
        for node in body.node
        if node.op_type == "Identity" and node.input and node.output
    }
    name, seen = body.output[0].name, set()
    while name in sources and name not in seen:
        seen.add(name)
        name = sources[name]
    if len(body.input) > 1 and name == body.input[1].name:
        return True
    return is_true(body, name)


def is_true(body: GraphProto, name: str) -> bool:
    """Whether a name is a constant of the body that is true."""
    known = scope_of(body, {}, None, None).constant(name)
    return known is not None and bool(known.size) and bool(known.all())
