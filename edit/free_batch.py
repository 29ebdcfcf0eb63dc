"""A model that was exported for a batch of 1, for a batch of any size.

The model is followed node by node for batches of several sizes at once, by abstract evaluation.
Where a node does not make n times as much of a batch of n, constants say 1 where the batch's size
belongs: then it is written anew, so that it does. That nodes do not mix the elements of a batch,
only values show: see `batch_check`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from onnxla import ir
from onnxla.edit.batch_check import mixing_nodes, random_input
from onnxla.edit.batch_following import SIZES, Following
from onnxla.edit.batch_places import Place
from onnxla.edit.heads import OPEN_SIZES
from onnxla.edit.inference import find_training
from onnxla.edit.upgrade import without_unread
from onnxla.interpret.program import Program
from onnxla.ir.names import no_such, quoted
from onnxla.ir.rewrite import add_initializers
from onnxla.ir.traverse import names_of, names_read, subgraphs
from onnxla.ops.values import is_known


def free_batch(
    program: Program, name: str = "batch", inputs: Mapping[str, int | None] | None = None
) -> ir.Model:
    """A program's model with a free batch, called `name`; see `Module.free_batch`."""
    program = program.edited(batched=False, dtype=None, compute_dtype=None)
    axes = batch_axes(program, inputs or {})
    check_name(program, name, axes)
    following = followed(program, axes)
    problems = following.problems
    for node in mixed(following):
        problems.add(f"{node} makes other values of a batch than of its elements: it mixes them")
    for value in program.graph(None).outputs:
        place = following.places.get(value.name)
        if place is not None and following.values[1][value.name].shape[place.axis] != 1:
            problems.add(f"output {quoted(value.name)} has no axis that is the batch's alone")
    if problems.count:
        if find_training(program.model, program.analysis):
            problems.add("The file has the form for training: free the batch of module.inference()")
        found = "\n".join(problems.listed())
        raise ir.UnsupportedError(f"the batch cannot be freed by writing other shapes:\n{found}")
    return rewritten(following, name)


def batch_axes(program: Program, inputs: Mapping[str, int | None]) -> dict[str, int]:
    """The axis of the batch in each input that has one.

    Raises:
        ValueError: There is no such input, or it has no such axis.
        UnsupportedError: An input's batch is fixed to another size than 1, or it has no type.
    """
    values = {value.name: value for value in program.inputs}
    for name in inputs:
        if name not in values:
            raise ValueError(no_such("input", name, values))
    found: dict[str, int] = {}
    for name, value in values.items():
        kind = value.type
        if not isinstance(kind, ir.TensorType) or kind.dtype is None or kind.shape is None:
            raise ir.UnsupportedError(f"the file does not state what input {quoted(name)} is")
        rank = len(kind.shape)
        axis = inputs.get(name, 0 if rank else None)
        if axis is None:
            continue
        if not -rank <= axis < rank:
            raise ValueError(f"input {quoted(name)} {list(kind.shape)} has no axis {axis}")
        size = kind.shape[axis % rank]
        if is_fixed(size) and size != 1:
            raise ir.UnsupportedError(
                f"input {quoted(name)} {list(kind.shape)} has {size} elements along axis {axis}: a"
                " batch is freed that is fixed to 1. If this is not the batch's axis, say which is"
                f" with inputs={{{name!r}: axis}}, or None if it has none"
            )
        found[name] = axis % rank
    if not found:
        raise ValueError("no input has a batch")
    return found


def is_fixed(size: ir.Dim) -> bool:
    """Whether a stated size is a number; some files state 0 or -1 for an open one."""
    return isinstance(size, int) and size > 0


def check_name(program: Program, name: str, axes: Mapping[str, int]) -> None:
    """Raises ValueError if another size than the batch's has a name in some input."""
    for value in program.inputs:
        assert isinstance(value.type, ir.TensorType)
        for axis, size in enumerate(value.type.shape or ()):
            if size == name and axes.get(value.name) != axis:
                raise ValueError(f"axis {axis} of input {quoted(value.name)} is called {name!r}")


def followed(program: Program, axes: Mapping[str, int]) -> Following:
    """The program followed for batches of several sizes.

    Raises:
        UnsupportedError: It cannot be evaluated abstractly, for a batch of 1.
    """
    kinds = {v.name: v.type for v in program.inputs if isinstance(v.type, ir.TensorType)}
    failure: Exception | None = None
    for size in OPEN_SIZES:
        shapes, is_open = {}, False
        for name, kind in kinds.items():
            sizes = [d if isinstance(d, int) and is_fixed(d) else None for d in kind.shape or ()]
            if name in axes:
                sizes[axes[name]] = 1
            is_open |= None in sizes
            shapes[name] = tuple(size if each is None else each for each in sizes)
        following = Following(program, axes, shapes, open=is_open)
        try:
            following.follow()
        except (ir.OnnxlaError, TypeError, ValueError) as error:
            failure = error
            if not is_open:
                break
        else:
            return following
    raise ir.UnsupportedError(
        f"the batch cannot be followed through the model: {failure}"
    ) from failure


def mixed(following: Following) -> list[ir.Node]:
    """The nodes that mix the elements of a batch, which random inputs show."""
    program, n = following.program, max(SIZES)
    elements, others = {}, {}
    for seed, value in enumerate(program.inputs):
        kind, shape = value.type, following.shapes[value.name]
        assert isinstance(kind, ir.TensorType)
        assert kind.dtype is not None
        drawn = random_input(shape, kind.dtype, n, seed)
        if value.name in following.axes:
            elements[value.name] = drawn
        elif value.name in program.parameters.static_inputs:
            others[value.name] = np.zeros(shape, kind.dtype)  # as it was followed
        else:
            others[value.name] = drawn[0]
    known = {name: value for name, value in following.values[n].items() if is_known(value)}
    return mixing_nodes(program, following.replacements, following.places, known, elements, others)


def rewritten(following: Following, name: str) -> ir.Model:
    """The model with what its nodes become, and the types that it states mended."""
    model, places = following.program.model, following.places
    new = {each.old: each.new for each in following.replacements}
    graph = model.graph
    nodes = [unstated(made, places) for old in graph.nodes for made in new.get(old, ())]
    changed = replace(
        graph,
        nodes=(*following.writer.first, *nodes),
        inputs=tuple(with_batch(value, following, name) for value in graph.inputs),
        outputs=tuple(with_batch(value, following, name) for value in graph.outputs),
        value_info=tuple(with_batch(value, following, name) for value in graph.value_info),
    )
    read = names_of(model)[1]
    whole = add_initializers(replace(model, graph=changed), following.writer.tensors)
    return without_unread(whole, read)


def with_batch(value: ir.ValueInfo, following: Following, name: str) -> ir.ValueInfo:
    """A value's stated type with the batch's name; without a size where others share the axis."""
    kind, place = value.type, following.places.get(value.name)
    if place is None or not isinstance(kind, ir.TensorType) or kind.shape is None:
        return value
    found = following.values[1][value.name].shape
    known = len(kind.shape) == len(found)
    stated: list[ir.Dim] = [*kind.shape] if known else [None] * len(found)
    stated[place.axis] = name if found[place.axis] == 1 else None
    return replace(value, type=replace(kind, shape=tuple(stated)))


def unstated(node: ir.Node, places: Mapping[str, Place | None]) -> ir.Node:
    """A node without the sizes that its subgraphs state, if the batch enters them."""
    if not subgraphs(node) or not any(places.get(name) for name in names_read(node)):
        return node

    def value(old: ir.ValueInfo) -> ir.ValueInfo:
        kind = old.type
        if not isinstance(kind, ir.TensorType) or kind.shape is None:
            return old
        return replace(old, type=replace(kind, shape=(None,) * len(kind.shape)))

    def attribute(old: Any) -> Any:
        if isinstance(old, ir.Graph):
            return replace(
                old,
                nodes=tuple(map(inner, old.nodes)),
                inputs=tuple(map(value, old.inputs)),
                outputs=tuple(map(value, old.outputs)),
                value_info=(),
            )
        return tuple(map(attribute, old)) if isinstance(old, tuple) else old

    def inner(old: ir.Node) -> ir.Node:
        return replace(old, attributes={k: attribute(v) for k, v in old.attributes.items()})

    return inner(node)
