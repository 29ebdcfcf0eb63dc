"""Operators that are not known, or that do more than arithmetic."""

from __future__ import annotations

import re
from collections.abc import Iterator

from onnxla.auditing.contents import (
    Contents,
    attribute_of,
    called_id,
    domain_of,
    function_id,
    named,
    operator_name,
    spell,
)
from onnxla.auditing.remarks import Remark
from onnxla.ir.onnx_pb2 import NodeProto
from onnxla.ops.table import Operator, lookup

# Attributes that are regular expressions.
PATTERNS = {"RegexFullMatch": "pattern", "Tokenizer": "tokenexp"}
# A repetition of what ends in a repetition, and a repeated choice: slow where an engine tries both.
NESTED = re.compile(r"[+*}]\)+[+*{]|\|[^()]*\)[+*{]")


def is_random(operator: Operator) -> bool:
    """Whether an operator draws random numbers, in inference too."""
    return "key" in operator.reserved and "train" not in operator.reserved


def operators(contents: Contents) -> Iterator[Remark]:
    """Each operator that is unknown or random, once, with its first node."""
    local = {function_id(each) for each in contents.message.functions}
    told: dict[tuple[str, str, int], tuple[str, NodeProto, int]] = {}
    for node, scope in contents.nodes():
        domain = domain_of(node)
        key = (domain, node.op_type, scope.opsets.get(domain, 1))
        if key in told:
            kind, first, count = told[key]
            told[key] = kind, first, count + 1
        elif called_id(node) not in local:
            operator = lookup(*key)
            kind = "unknown" if operator is None else "random" * is_random(operator)
            told[key] = kind, node, 1
    for kind, node, count in told.values():
        where = spell(node) + (f" and {count - 1:,} more" if count > 1 else "")
        if kind == "unknown":
            text = (
                f"{operator_name(node)} is no operator that onnxla knows; where another runtime"
                " does, it is native code from elsewhere"
            )
            yield Remark("warning", "unknown-operator", where, text)
        elif kind:
            text = "draws random numbers, so that outputs may differ from call to call"
            yield Remark("info", "random", where, text)


def patterns(contents: Contents) -> Iterator[Remark]:
    """Regular expressions, of which some take other runtimes without end."""
    for node, _ in contents.nodes():
        attribute = attribute_of(node, PATTERNS.get(node.op_type, ""))
        if attribute is not None:
            text = f"has the regular expression {named(attribute.s.decode(errors='replace'))}"
            nested = NESTED.search(attribute.s.decode(errors="replace")[:10_000])
            if nested:
                text += ", whose repetitions within repetitions can take exponential time"
            yield Remark("warning" if nested else "info", "pattern", spell(node), text)


def images(contents: Contents) -> Iterator[Remark]:
    """Nodes that decode image files, with a library for each format."""
    for node, _ in contents.nodes():
        if node.op_type == "ImageDecoder":
            text = "decodes image files, with the libraries of each format"
            yield Remark("warning", "image", spell(node), text)
