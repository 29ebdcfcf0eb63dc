"""Elementary functions of one operand: signs, rounding, roots, exponentials, angles."""

from __future__ import annotations

from onnxla.testing.draw import Draw
from onnxla.testing.operator_cases import strategy
from onnxla.testing.use import Use

# Where functions are defined. Outside, only Sqrt's text says what comes out.
DOMAINS = {
    "Log": (0, 4),
    "Asin": (-1, 1),
    "Acos": (-1, 1),
    "Acosh": (1, 4),
    "Atanh": (-1, 1),
}
# Those that tell large operands from small ones; of integers, Abs, Neg and Sign take all.
FAR = {"Exp", "Sin", "Cos", "Tan", "Atan", "Sinh", "Cosh", "Tanh", "Asinh", "Erf", "Reciprocal"}
FAR |= {"Floor", "Ceil", "Round", "Sqrt"}


@strategy(
    *("Neg", "Abs", "Sign", "Floor", "Ceil", "Round", "Sqrt", "Reciprocal", "Exp", "Log", "Erf"),
    *("Sin", "Cos", "Tan", "Asin", "Acos", "Atan"),
    *("Sinh", "Cosh", "Tanh", "Asinh", "Acosh", "Atanh"),
)
def elementary(draw: Draw) -> Use:
    """An operand of any shape, within the function's domain."""
    operand = next(iter(draw.schema.inputs))
    shape = draw.any_shape()
    low, high = (None, None) if draw.specials else DOMAINS.get(draw.name, (None, None))
    if draw.name in FAR and draw.choice((False, False, False, True)):
        low, high = -100, 100
    x = draw.tensor(operand, shape, low, high)
    return draw.use([x], legacy(draw), ranks=ranks(shape), batch=batch(shape))


def legacy(draw: Draw, operands: int = 1) -> dict[str, list[int] | None]:
    """The attribute of version 1 that means nothing: perhaps there, one number for an operand."""
    if not draw.has("consumed_inputs"):
        return {}
    return {"consumed_inputs": draw.maybe(lambda: [0] * operands)}


def ranks(*shapes: tuple[int, ...]) -> dict[str, int]:
    """The rank of what shapes broadcast to, which old schemas do not infer."""
    return {"y0": max(map(len, shapes))}


def batch(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    """Positions of the operands that have the first axis of what they broadcast to."""
    rank = max(map(len, shapes))
    sizes = {i: shape[0] for i, shape in enumerate(shapes) if rank and len(shape) == rank}
    others = [n for n in sizes.values() if n != 1]
    return tuple(i for i, n in sizes.items() if not others or n != 1)
