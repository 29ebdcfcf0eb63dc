"""Explanations: what fails at a node says which node, with which attributes and operands.

Around a call of a model-local function too, and around what binds operands to a signature.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import jax

from onnxla.ir.errors import ModelError, OnnxlaError
from onnxla.ir.model import Graph, Node
from onnxla.ir.names import LONGEST, SHOWN, listed, plain, shortened
from onnxla.ir.number_list import NumberList
from onnxla.ops.values import Value

LONGEST_REASON = 1000


@contextlib.contextmanager
def explain(node: Node, operands: Sequence[Value]) -> Iterator[None]:
    """Adds a note on the node and its operands to whatever is raised inside.

    Raises:
        ModelError: What was raised is no error that onnxla documents: a file can give an operator
            operands and attributes that nobody has thought of.
    """
    try:
        yield
    except Exception as error:
        explained = error
        if not isinstance(error, OnnxlaError | ValueError | jax.errors.JaxRuntimeError):
            reason = shortened(f"{type(error).__name__}: {error}", LONGEST_REASON)
            # Operators look up sizes by the axes that a file names.
            index = isinstance(error, IndexError)
            what = "has an axis or index that is out of range" if index else "cannot be evaluated"
            explained = ModelError(f"{node} {what}: {reason}")
        described = listed(
            [f"{plain(n)}: {describe(v)}" for n, v in zip(node.inputs, operands, strict=True)], str
        )
        attributes = listed([f"{plain(k)}={shorten(v)}" for k, v in node.attributes.items()], str)
        explained.add_note(f"in {node} [{attributes}] with ({described})")
        if explained is error:
            raise
        raise explained from error


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
    if isinstance(attribute, tuple | NumberList) and len(attribute) > SHOWN:
        return f"({', '.join(map(shorten, attribute[:SHOWN]))}, ... {len(attribute):,} in all)"
    text = plain(repr(attribute[:LONGEST] if isinstance(attribute, str | bytes) else attribute))
    return text if len(text) < 60 else text[:56] + " ..."
