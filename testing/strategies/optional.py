"""Optional values."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from onnxla.testing.draw import Draw
from onnxla.testing.operator_cases import strategy
from onnxla.testing.types import Typed, dtype_of, plain, type_proto
from onnxla.testing.use import Use


def simplest_first(texts: Iterable[str]) -> list[str]:
    """Type strings in order: tensors, then sequences, then optionals.

    Those of six bits are left out: XLA has none on the CPU.
    """
    texts = [text for text in texts if "float6" not in text]
    return sorted(texts, key=lambda text: (text.count("("), text != "tensor(float)"))


def any_value(draw: Draw, text: str, empty: bool = True) -> Any:
    """A value of a type: a tensor, a sequence of up to three, or an optional of one of them.

    An optional may hold nothing if `empty`.
    """
    dtype = dtype_of(text)
    if text.startswith("tensor"):
        return draw.array(dtype, draw.shape((0, 3)))
    if text.startswith("seq"):
        items = [draw.array(dtype, draw.shape((0, 3))) for _ in range(draw.integer(0, 3))]
        return items or Typed(text, [])
    if empty and not draw.flag():
        return Typed(text, None)
    return Typed(text, plain(any_value(draw, element_type(text))))


def element_type(text: str) -> str:
    """The type of what an optional of a type holds; other types are their own."""
    return text.removeprefix("optional(")[:-1] if text.startswith("optional(") else text


@strategy("Optional")
def optional(draw: Draw) -> Use:
    """A tensor or a sequence, or neither but its type."""
    text = draw.choice(simplest_first(draw.schema.allowed("input")))
    types = {"y0": f"optional({text})"}
    if draw.flag():
        return draw.use((), {"type": type_proto(text)}, types=types)
    return draw.use((any_value(draw, text),), types=types)


@strategy("OptionalHasElement")
def optional_has_element(draw: Draw) -> Use:
    """An optional with or without a value; since opset 18 any other value, or no operand."""
    if draw.version >= 18 and draw.integer(0, 9) == 9:
        return draw.use(())
    text = draw.choice(simplest_first(draw.schema.allowed("input")))
    return draw.use((any_value(draw, text),))


@strategy("OptionalGetElement")
def optional_get_element(draw: Draw) -> Use:
    """An optional that holds a value; since opset 18 any other value."""
    text = draw.choice(simplest_first(draw.schema.allowed("input")))
    value = any_value(draw, text, empty=False)
    ranks = {} if "seq(" in text else {"y0": plain(value).ndim}
    return draw.use((value,), types={"y0": element_type(text)}, ranks=ranks)
