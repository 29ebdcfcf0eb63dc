"""What models are on the way to XLA."""

from __future__ import annotations

import onnxla
from onnxla.interpret.composite import Composite


def composites(module: onnxla.Module) -> list[tuple[str, str]]:
    """The composite nodes of a module's graph and functions, by operator and name."""
    program = module.program
    functions = program.lowering.functions_for(program.lowering.rolling.joined)
    scopes = [program.lowered(None).nodes, *(function.nodes for function in functions.values())]
    found = [node for nodes in scopes for node in nodes if isinstance(node, Composite)]
    return [(node.op_type, node.name) for node in found]


def edited(module: onnxla.Module, **options: bool) -> onnxla.Module | None:
    """A module with other fields of its program; None if XLA gets the same of it."""
    other = onnxla.Module(module.params, module.program.edited(**options))
    before, after = composites(module), composites(other)
    loops = options.get("remat") and any(op_type == "Roll" for op_type, _ in after)
    return other if before != after or loops else None
