"""Versions of the format and of operators that are newer than what is known."""

from __future__ import annotations

from collections.abc import Iterator

from onnxla.auditing.contents import Contents, named
from onnxla.auditing.remarks import Remark
from onnxla.ir.onnx_pb2 import IR_VERSION
from onnxla.ops.table import rows


def versions(contents: Contents) -> Iterator[Remark]:
    """An IR version or opsets that are new, or that there are not."""
    version = contents.message.ir_version
    if not 1 <= version <= IR_VERSION:
        text = f"its IR version is {version}; those up to {IR_VERSION} are known"
        yield Remark("warning", "version", "", text)
    newest: dict[str, int] = {}
    for since, operator in rows():
        newest[operator.domain] = max(since, newest.get(operator.domain, 0))
    for scope in contents.scopes:
        if scope.outer is None:
            for domain, given in scope.opsets.items():
                if given < 1 or given > newest.get(domain, given):
                    known = newest.get(domain, 1)
                    text = f"opset {given} of {named(domain or 'ai.onnx')}; {known} is known"
                    yield Remark("warning" if given < 1 else "info", "version", "", text)
