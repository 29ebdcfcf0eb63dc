"""The sizes of a model's inputs as an export sees them: numbers, and symbols for all others."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import jax
from jax.export import SymbolicScope, symbolic_shape

from onnxla.inputs import check_input
from onnxla.interpret.program import Program
from onnxla.ir.errors import UnsupportedError
from onnxla.ir.model import TensorType, ValueInfo
from onnxla.ir.names import no_such, quoted
from onnxla.ops.values import NOT_IN_JAX

# What JAX reads as functions of sizes.
FUNCTIONS = ("floordiv", "max", "min", "mod")
Size: TypeAlias = int | str  # a number, or an expression such as "batch" or "32*h"
Shapes: TypeAlias = Mapping[str, Size | Sequence[Size]]


class Symbols:
    """Symbols, which are identifiers, for the sizes that a model leaves open.

    Attributes:
        names: By the name that the model gives a size, which may be any text.
        used: All, also those of sizes without a name.
    """

    def __init__(self) -> None:
        self.names: dict[str, str] = {}
        self.used: set[str] = set()

    def of(self, size: str | None, place: str) -> str:
        """The symbol of a size: one for each name, and one for each size that has none."""
        if size is None or not re.search(r"\w", size):  # some exporters write "?"
            return self.new(place)
        if size not in self.names:
            self.names[size] = self.new(size)
        return self.names[size]

    def new(self, wanted: str) -> str:
        """A symbol like some text, which no other size has."""
        symbol = re.sub(r"\W", "_", wanted, flags=re.ASCII)[:60]
        if symbol in FUNCTIONS or not re.match("[A-Za-z]", symbol):
            symbol = f"n_{symbol}"
        while symbol in self.used:
            symbol += "_"
        self.used.add(symbol)
        return symbol


def input_specs(
    program: Program, shapes: Shapes, constraints: Sequence[str]
) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes and dtypes of a program's inputs by name, with symbols for sizes that are open.

    Args:
        program: The program.
        shapes: Sizes by their names or symbols, and whole shapes by input.
        constraints: What holds for symbols, such as `"samples >= 512"`.

    Raises:
        ValueError: `shapes` has a name that the model has not, or an expression that is none.
        UnsupportedError: An input is no array of numbers, or nothing states its rank.
    """
    symbols, scope = Symbols(), SymbolicScope(constraints)
    batch = [symbols.new("batch")] if program.batched else []
    wholes = {name: sizes for name, sizes in shapes.items() if not isinstance(sizes, Size)}
    stated: dict[str, Sequence[Size]] = {}
    for value in program.inputs:
        own = wholes.get(value.name)
        stated[value.name] = (*batch, *sizes_of(value, symbols)) if own is None else own
    single = {symbols.names.get(k, k): size for k, size in shapes.items() if k not in wholes}
    for name in wholes.keys() - stated.keys():
        raise ValueError(f"shapes: {no_such('input', name, stated)}")
    for name in single.keys() - symbols.used:
        raise ValueError(f"shapes: {no_such('size', name, {*symbols.names, *symbols.used})}")
    specs = {}
    for value in program.inputs:
        text = ", ".join(str(single.get(size, size)) for size in stated[value.name])  # type: ignore
        try:
            shape = symbolic_shape(text, scope=scope) if text else ()
        except ValueError as error:
            raise ValueError(
                f"the shape ({text}) of input {quoted(value.name)}: {error}"
            ) from error
        assert isinstance(value.type, TensorType)
        specs[value.name] = jax.ShapeDtypeStruct(shape, value.type.dtype)
        check_input(value, specs[value.name], program.batched)
    return specs


def sizes_of(value: ValueInfo, symbols: Symbols) -> list[Size]:
    """The sizes of an input: numbers where the model states them, else symbols."""
    kind = value.type
    if not isinstance(kind, TensorType) or kind.dtype is None or kind.dtype in NOT_IN_JAX:
        raise UnsupportedError(
            f"input {quoted(value.name)} is no array of numbers, and an exported program has no"
            " others: export what follows it, module.cut(inputs=[...])"
        )
    if kind.shape is None:
        raise UnsupportedError(
            f"nothing states how many axes input {quoted(value.name)} has:"
            f' shapes={{"{value.name}": ["batch", 3]}} does'
        )
    return [
        size if isinstance(size, int) else symbols.of(size, f"{value.name}_{axis}")
        for axis, size in enumerate(kind.shape)
    ]
