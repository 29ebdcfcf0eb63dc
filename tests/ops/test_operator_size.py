"""Operators stay short: lines of code an operator, counted on formatted code."""

from __future__ import annotations

import ast
import inspect
import io
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from onnxla import ops
from onnxla.ops import rows

# Files in which operators are defined: an operator's own code and its helpers, private or shared.
# In the others is what many families stand on: the table, known values, windows, primitives.
ALL = sorted(Path(ops.__file__).parent.glob("*.py"))
DEFINING = {Path(inspect.getfile(inspect.unwrap(operator.function))) for _, operator in rows()}
FILES = [path for path in ALL if path in DEFINING]  # tests define operators, too
# Tokens that make no line a line of code.
SILENT = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
}


def spanned(node: ast.stmt | ast.expr) -> set[int]:
    """The lines of a node."""
    return set(range(node.lineno, (node.end_lineno or 0) + 1))


def uncounted(tree: ast.Module) -> Iterator[set[int]]:
    """Lines of imports, docstrings, decorators and signatures."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield spanned(node)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(
            node
        ):
            yield spanned(node.body[0])
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            yield from map(spanned, node.decorator_list)
        if isinstance(node, ast.FunctionDef):
            yield set(range(node.lineno, node.body[0].lineno))


def counted(source: str) -> set[int]:
    """The lines of code that count, by number."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    lines = {
        line
        for token in tokens
        if token.type not in SILENT
        for line in range(token.start[0], token.end[0] + 1)
    }
    return lines.difference(*uncounted(ast.parse(source)))


def test_what_counts() -> None:
    source = '''"""A module."""

import ast  # not this line


@decorated(
    "with arguments",
)
def function(
    x: int,
    *,
    y: int = 1,
) -> int:
    """What it is.

    And more.
    """
    # A comment.
    text = """these
    two"""

    def inner(z: int) -> int:
        return z

    return inner(
        x + y,
    )


class Group:
    field: int = 0
'''
    assert sorted(counted(source)) == [19, 20, 23, 25, 26, 27, 30, 31]


@pytest.mark.parametrize("microsoft", [False, True], ids=["standard", "com.microsoft"])
def test_lines_an_operator(microsoft: bool) -> None:
    files = [path for path in FILES if path.name.startswith("microsoft_") == microsoft]
    domains = {"com.microsoft"} if microsoft else {"", "ai.onnx.ml"}
    names = {
        (operator.domain, operator.name)
        for _, operator in rows()
        if operator.domain in domains
        or (not microsoft and operator.domain.startswith("ai.onnx.preview"))
    }
    lines = sum(len(counted(path.read_text())) for path in files)
    assert lines <= 11 * len(names), f"{lines / len(names):.2f} lines an operator"


def test_no_body_is_long() -> None:
    for path in ALL:
        source = path.read_text()
        lines = counted(source)
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef):
                body = lines & spanned(node)
                assert len(body) <= 60, f"{path.name}: {node.name} has {len(body)} lines"
