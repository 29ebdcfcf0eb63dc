"""Explanations: what fails at a node says which node, with which attributes and operands.

Around a call of a model-local function too, and around what binds operands to a signature.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from onnxla.ir.errors import ModelError
from onnxla.ir.model import Graph, Node
from onnxla.ops.values import Value


@contextlib.contextmanager
def explain(node: Node, operands: Sequence[Value]) -> Iterator[None]:
    """Adds a note on the node and its operands to whatever is raised inside."""
    try:
        yield
    except Exception as error:
        pairs = zip(node.inputs, operands, strict=True)
        described = ", ".join(f"{name}: {describe(value)}" for name, value in pairs)
        attributes = ", ".join(f"{k}={shorten(v)}" for k, v in node.attributes.items())
        note = f"in {node} [{attributes}] with ({described})"
        if isinstance(error, IndexError):  # operators look up sizes by the axes that a file names
            explained = ModelError(f"{node} has an axis or index that is out of range: {error}")
            explained.add_note(note)
            raise explained from error
        error.add_note(note)
        raise


def describe(value: Value) -> str:
    """Dtype and shape of a value, such as `float32[2, 3]`."""
    if value is None:
        return "absent"
    if isinstance(value, list):
        return f"sequence of {len(value)}"
    if isinstance(value, dict):
        return f"map of {len(value)}"
    return f"{value.dtype}{list(value.shape)}"


def shorten(attribute: Any) -> str:
    """A short text of an attribute."""
    if isinstance(attribute, Graph):
        return f"graph of {len(attribute.nodes)} nodes"
    text = repr(attribute)
    return text if len(text) < 60 else text[:56] + " ..."
