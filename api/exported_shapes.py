"""Whether arrays have the shapes that an exported program takes, whose sizes may have symbols."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from onnxla.ir.names import quoted

AGAIN = ". Give what fits, or export the model with other shapes="
FUNCTIONS: Mapping[str, Callable[..., int]] = {
    "floordiv": operator.floordiv,
    "mod": operator.mod,
    "max": max,
    "min": min,
}
OPERATORS: Mapping[type, Callable[[int, int], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Pow: operator.pow,
    ast.GtE: operator.ge,
    ast.LtE: operator.le,
    ast.Eq: operator.eq,
}


def parsed(text: str) -> ast.expr:
    """What JAX writes of a size, or of what holds for sizes."""
    return ast.parse(text.replace("^", "**"), mode="eval").body


def symbols_in(text: str) -> set[str]:
    """The symbols of such a text."""
    names = {node.id for node in ast.walk(parsed(text)) if isinstance(node, ast.Name)}
    return names.difference(FUNCTIONS)


def value_of(text: str, symbols: Mapping[str, int]) -> Any:
    """Its number, or whether it holds, where symbols have values."""

    def walk(node: ast.expr) -> Any:
        match node:
            case ast.Constant(value=value):
                return value
            case ast.Name(id=name):
                return symbols[name]
            case ast.UnaryOp(op=ast.USub(), operand=one):
                return -walk(one)
            case ast.BinOp(left=left, op=op, right=right):
                return OPERATORS[type(op)](walk(left), walk(right))
            case ast.Compare(left=left, ops=[op], comparators=[right]):
                return OPERATORS[type(op)](walk(left), walk(right))
            case ast.Call(func=ast.Name(id=name), args=args):
                return FUNCTIONS[name](*map(walk, args))
        raise ValueError(f"{text!r} is no size")

    return walk(parsed(text))


def solved(text: str, symbol: str, symbols: Mapping[str, int], size: int) -> int | None:
    """What a symbol is where a size has a number; 0 for none, and None if it is not linear."""
    start, end = (value_of(text, {**symbols, symbol: n}) for n in (0, 1))
    if value_of(text, {**symbols, symbol: 2}) - end != end - start or start == end:
        return None
    found, rest = divmod(size - start, end - start)
    return 0 if rest else int(found)


def check_shapes(
    what: str,
    given: Mapping[str, tuple[int, ...]],
    taken: Mapping[str, tuple[Any, ...]],
    constraints: Sequence[str] = (),
) -> None:
    """Checks shapes by name.

    Args:
        what: What they are of.
        given: The shapes of arrays.
        taken: Those that the program takes. A symbol is at least 1.
        constraints: What holds for its symbols.

    Raises:
        ValueError: One does not fit; the message says which, and why.
    """
    values: dict[str, int] = {}
    origins: dict[str, str] = {}

    def refuse(name: str, why: str) -> ValueError:
        shapes = (str([*shape]).replace("'", "") for shape in (given[name], map(str, taken[name])))
        has, takes = shapes
        return ValueError(
            f"{what} {quoted(name)} has the shape {has}, and the program takes {takes}: {why}"
        )

    for name, shape in given.items():
        if len(shape) != len(taken[name]):
            raise refuse(name, f"it has {len(taken[name])} axes")
    sizes = [
        (str(dim), name, axis, size)
        for name, shape in given.items()
        for axis, (size, dim) in enumerate(zip(shape, taken[name], strict=True))
    ]
    sizes.sort(key=lambda each: len(each[0]))  # symbols alone come first
    for text, name, axis, size in sizes * 2:  # the second time with all symbols that are known
        unknown = symbols_in(text) - values.keys()
        if len(unknown) > 1:
            continue  # of which JAX knows whether there are such sizes
        if unknown:
            (symbol,) = unknown
            if (found := solved(text, symbol, values, size)) is None:
                continue
            if found < 1:
                raise refuse(name, f"no {symbol} of at least 1 makes axis {axis} {size}{AGAIN}")
            values[symbol], origins[symbol] = found, name
        elif (wanted := value_of(text, values)) != size:
            known = [f"{k} is {values[k]} in {quoted(origins[k])}" for k in symbols_in(text)]
            raise refuse(
                name, f"axis {axis} is {wanted}" + (f", as {known[0]}" if known else AGAIN)
            )
    for text in constraints:
        if symbols_in(text) <= values.keys() and not value_of(text, values):
            shown = ", ".join(f"{k}={values[k]} in {quoted(origins[k])}" for k in symbols_in(text))
            raise ValueError(f"the program is for {text}, and there is {shown}{AGAIN}")
