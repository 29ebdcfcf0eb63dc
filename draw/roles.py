"""What a node is in training: whether its parameters train, and what stands in the way."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from onnxla import ir
from onnxla.draw.members import Leaf
from onnxla.draw.types import ArrayKind, Traced
from onnxla.edit.heads import example_inputs
from onnxla.interpret.program import Program
from onnxla.interpret.staging import may_be_known
from onnxla.ir.dtypes import is_float
from onnxla.ops.table import lookup

# In words, by what a drawing calls the roles. The first that holds of a node is its role.
ROLES = {
    "missing": "not supported",
    "data": "cannot be compiled: needs the data",
    "adapter": "adapter",
    "trains": "trains",
    "quantized": "quantized",
    "frozen": "parameters, frozen",
    "steps": "no gradient passes",
    "known": "known before a call",
    "plain": "no parameters",
}
NARROW = ("int8", "uint8", "int4", "uint4", "int2", "uint2")


class Roles:
    """The roles of the nodes of a program, of which a trace has been made."""

    def __init__(self, program: Program, traced: Traced) -> None:
        self.program, self.traced = program, traced
        self.names = {tensor: name for name, tensor in program.parameters.params.items()}
        self.trained: Collection[str] = program.parameters.trained
        self.concrete = needs_data(program)

    def parameters(self, leaf: Leaf) -> list[str]:
        """The parameters that a node reads."""
        tensors = leaf.constants.values()
        return [self.names[t] for t in tensors if isinstance(t, ir.Tensor) and t in self.names]

    def of(self, leaf: Leaf) -> tuple[str, str]:
        """A node's role, and the reason where there is one to tell."""
        node = leaf.node
        operator = lookup(node.domain, node.op_type, leaf.opsets.get(node.domain, 1))
        if operator is None and node not in self.traced.results and not leaf.gone:
            called = (node.domain, node.op_type, node.overload) in self.program.functions
            return ("plain", "") if called else ("missing", "onnxla has no such operator")
        if reason := self.concrete.get(node):
            return "data", reason
        names = self.parameters(leaf)
        if any(self.program.parameters.roles[name] == "adapter" for name in names):
            return "adapter", ""
        if any(name in self.trained for name in names):
            return "trains", ""
        made, read = (found.get(node, ()) for found in (self.traced.results, self.traced.operands))
        stored = [t for t in leaf.constants.values() if len(t.shape) and np.prod(t.shape) > 1]
        dtypes = [str(t.dtype) for t in stored] + [k.dtype for k in (*made, *read) if k]
        if any(dtype in NARROW for dtype in dtypes):
            return "quantized", ""
        if names:
            return "frozen", ""
        if made and all(kind is not None and kind.known for kind in made):
            return "known", ""
        if operator is not None and operator.steps:
            return "steps", f"{node.op_type} is constant between jumps"
        if loses_floats(read, made):
            return "steps", "it makes no floating-point numbers of those that it reads"
        return "plain", ""


def loses_floats(read: Sequence[ArrayKind | None], made: Sequence[ArrayKind | None]) -> bool:
    """Whether a node reads floating-point numbers that are not known, and makes none."""
    inputs = any(k is not None and not k.known and is_float(np.dtype(k.dtype)) for k in read)
    return inputs and not any(k is None or is_float(np.dtype(k.dtype)) for k in made)


def needs_data(program: Program) -> Mapping[ir.Node, str]:
    """The nodes of the main graph that a call evaluates between compiled programs, and why."""
    given = {**next(example_inputs(program), {}), **program.fixed}
    small = [name for name, value in given.items() if may_be_known(value)]
    if {*program.input_names} - {*given}:
        return {}
    graph = program.graph(None)
    return program.staging().plan(graph, given, [*program.fixed], small).concrete
