"""Which inputs of a decoder are its cache, and which of its outputs their next values."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from onnxla import ir
from onnxla.interpret.program import Program
from onnxla.ir.names import listed, no_such, plain, quoted
from onnxla.ir.traverse import is_standard

# How exporters call an input that is a past value, and the output that is its next one.
NAMES = (
    (r"past_key_values", "present"),
    (r"past_key_values", "present_key_values"),
    (r"past_key_values", "cache"),
    (r"cache_params", "cache"),
    (r"past", "present"),
    (r"(_in|\.in)$", "_out"),
)
Growth = Literal["appended", "joined", "shared", "state", "constant"]


@dataclass(frozen=True)
class Cache:
    """One tensor of the cache.

    Attributes:
        past: The input.
        present: The output that is its next value.
        kind: How it grows. `appended`: a Concat in the graph adds what is new, which can be written
            into a buffer instead. `joined`: some operator adds it. `shared`: what is new is written
            into the past, whose length stays. `state`: the next value has the same shape.
            `constant`: an encoder's, which a prompt's pass makes.
        axis: The axis along which it grows; None if it does not.
        batch: The axis that counts sequences.
        sizes: Sizes of its axes, 0 where the file does not state a number. That of the last axis
            of what is shared is that of what the node makes, see `with_sizes`.
        node: The node that makes the present of what is appended.
    """

    past: str
    present: str
    kind: Growth
    axis: int | None
    batch: int
    sizes: tuple[int, ...]
    node: ir.Node | None = None

    def with_sizes(self, shape: tuple[int, ...]) -> Cache:
        """It with sizes that a present of some shape has where the file states none."""
        sizes = (own or int(found) for own, found in zip(self.sizes, shape, strict=True))
        return replace(self, sizes=tuple(sizes)) if self.kind == "shared" else self

    def shape(self, batch: int, length: int) -> tuple[int, ...]:
        """Its shape for so many sequences and tokens."""
        sizes = [*self.sizes]
        sizes[self.batch] = batch
        if self.axis is not None:
            sizes[self.axis] = length
        return tuple(sizes)

    def held(self, batch: int, length: int) -> tuple[int, ...]:
        """Its shape as it is held between steps: all axes before the one that grows are one."""
        shape = self.shape(batch, length)
        return shape if self.axis is None else (math.prod(shape[: self.axis]), *shape[self.axis :])


def find_caches(
    program: Program, names: Mapping[str, str] | None = None, first: Program | None = None
) -> list[Cache]:
    """The tensors of a decoder's cache, by its inputs' order.

    Args:
        program: The decoder.
        names: Output by input, where an exporter calls them otherwise than others do.
        first: The decoder of a prompt, if that is another graph.

    Raises:
        ValueError: It has none, or there is no such input or output.
        UnsupportedError: The file does not state enough of a shape.
    """
    pairs = dict(names or {})
    if names is None:  # what only comes out again, as an encoder's keys, is for a caller to give
        begun = makers_in(first or program)
        found = paired(program)
        pairs = {past: present for past, present in found if origin(present, begun) != past}
    if not pairs:
        raise ValueError(
            "the model has no cache: none of its inputs "
            f"[{listed(program.input_names, plain)}] is called as the past of one of its outputs "
            f"[{listed(program.output_names, plain)}], as past_key_values.0.key is that of "
            "present.0.key. Export it with past and present keys and values, or name them with "
            'caches={"input": "output"}'
        )
    for past, present in pairs.items():
        if past not in program.input_names:
            raise ValueError(no_such("input", past, program.input_names))
        if present not in program.output_names:
            raise ValueError(no_such("output", present, program.output_names))
    makers = makers_in(program)
    return [described(program, past, present, makers) for past, present in pairs.items()]


def makers_in(program: Program) -> dict[str, ir.Node]:
    """The node that makes each value of a program."""
    return {name: node for node in program.model.graph.nodes for name in node.outputs}


def paired(program: Program) -> Iterator[tuple[str, str]]:
    """Inputs and outputs whose names say that they are past and present of one tensor."""
    outputs = {*program.output_names}
    for name in program.input_names:
        found = (re.sub(pattern, new, name) for pattern, new in NAMES if re.search(pattern, name))
        present = next((other for other in found if other in outputs), None)
        if present is not None:
            yield name, present


def described(program: Program, past: str, present: str, makers: Mapping[str, ir.Node]) -> Cache:
    """What a past and its present are to each other."""
    kind = program.declared[past].type
    if not isinstance(kind, ir.TensorType) or kind.dtype is None or kind.shape is None:
        raise ir.UnsupportedError(f"the file states no type and shape of input {quoted(past)}")
    rank, stated = len(kind.shape), [*map(number, kind.shape)]
    batch = batch_axis(program, kind.shape)
    open_axes = [i for i, size in enumerate(stated) if size is None and i != batch]
    node = makers.get(origin(present, makers))
    axis: int | None = open_axes[0] if open_axes else None
    how: Growth = "joined" if open_axes else "state"
    if node is not None and is_standard(node, "Concat") and node.inputs[:-1] == (past,):
        along = node.attributes.get("axis", 1)
        how, axis = "appended", int(str(along)) % rank
    elif node is not None and node.op_type == "GroupQueryAttention":
        how, axis, open_axes = "shared", 2, []  # what it makes says the size of a head
    if re.search("encoder|cross", past):
        how, axis, open_axes = "constant", None, []
    if unknown := [i for i in open_axes if i != axis]:
        raise ir.UnsupportedError(
            f"the file does not state the size of axis {listed(unknown, str)} of input "
            f"{quoted(past)}, of shape [{listed(kind.shape, str)}]: a cache grows along one axis"
        )
    sizes = tuple(size or 0 for size in stated)
    return Cache(past, present, how, axis, batch, sizes, node if how == "appended" else None)


def number(size: Any) -> int | None:
    """The size of an axis, which some exporters write as a name; None if it is open."""
    return int(size) if str(size).isdecimal() else None


def batch_axis(program: Program, shape: Sequence[Any]) -> int:
    """The axis that is called as the first one of the first input, or else the likeliest."""
    kind = program.declared[program.input_names[0]].type
    stated = kind.shape if isinstance(kind, ir.TensorType) and kind.shape else ()
    if stated and isinstance(stated[0], str) and stated[0] in shape:
        return shape.index(stated[0])
    return int(len(shape) == 5 and shape[0] == 2)  # keys and values in one


def origin(name: str, makers: Mapping[str, ir.Node]) -> str:
    """What a value was called before it was only handed on."""
    while (node := makers.get(name)) is not None and is_standard(node, "Identity"):
        name = node.inputs[0]
    return name
