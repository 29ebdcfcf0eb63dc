"""What a user can do about a traced value that decides a shape."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from onnxla.interpret.regions import Region
from onnxla.ir.errors import StaticOperandError
from onnxla.ops.values import Value

# A known input is part of the key under which a compiled program is kept, so it must be small; and
# if it is floating point it must be a few numbers such as scales, not data that differs every time.
KNOWN_SIZE, KNOWN_FLOATS = 1024, 8


def may_be_known(value: Value) -> bool:
    """Whether an input may decide a shape by being part of a compiled program's key."""
    if not hasattr(value, "dtype"):  # a sequence
        return False
    return bool(value.size <= (KNOWN_SIZE if value.dtype.kind in "iub" else KNOWN_FLOATS))


def advise(
    error: StaticOperandError,
    inputs: Mapping[str, Value],
    params: Collection[str],
    region: Region,
    made: Collection[str],
) -> str:
    """The error's message with where the operand comes from and what to do.

    Args:
        error: What a trace of the whole graph raised.
        inputs: The graph's inputs.
        params: Names of the parameters.
        region: The graph's first region: nodes like the one that failed are its concrete ones.
        made: Names of what the region makes and later nodes read.
    """
    message = str(error)
    given = [name for name in error.names if name in inputs]
    if learned := [name for name in error.names if name in params]:
        message += f"; it is computed from the parameters {', '.join(map(repr, learned))}"
    if given:
        message += f"; it is computed from the graph inputs {', '.join(map(repr, given))}"
    if given and all(may_be_known(inputs[name]) for name in given):
        fixed = ", ".join(f"{name}=value" for name in given)
        message += f". Fix them with module.specialize({fixed}) or pass them as numpy arrays"
    nodes = [str(region.graph.nodes[index]) for index in region.concrete]
    message += f". Nodes that need concrete values: {', '.join(nodes[:10])}"
    message += ", ..." if len(nodes) > 10 else ""
    message += ". A call, module(...), evaluates them between compiled regions"
    if made:
        message += f"; apply can evaluate what comes before: module.cut(outputs={sorted(made)})"
    return message
