"""Tensors that an exporter merged, parted again.

Exporters store equal tensors once. Those of fresh layers are equal, scales and variances, biases
and means, and training makes them different. `part_merged` gives each running statistic, and each
scale and bias that is known to have been merged, a tensor of its own; `join` takes those away again
that are still equal, for the file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from onnxla.ir.errors import UnsupportedError
from onnxla.ir.model import Model, Node, Tensor
from onnxla.ir.names import quoted
from onnxla.ir.rewrite import add_initializers, remove_initializers, rewrite
from onnxla.ir.traverse import all_nodes, is_standard, names_of, subgraphs
from onnxla.parameters.merged import merged_affine
from onnxla.parameters.roles import ROLE, named_constants
from onnxla.parameters.roles import constants as graph_constants
from onnxla.parameters.statistics import merged_statistics
from onnxla.parameters.uses import Shared, TensorUse
from onnxla.parameters.walk import Analysis

ASIDE = ".merged"  # what an Identity makes whose output's name the new tensor takes


@dataclass(frozen=True, eq=False, kw_only=True)
class Parted(Tensor):
    """A tensor of its own in the place of one that the file uses for several purposes.

    Attributes:
        shared: Name of the file's tensor, as `named_constants` has it.
        read: The name that nodes read in the file.
    """

    shared: str
    read: str


def part_merged(model: Model, analysis: Analysis) -> Model:
    """The model in which what an exporter is known to have merged are tensors of their own."""
    merged = [*merged_statistics(analysis), *merged_affine(analysis)]
    return part(model, merged, parted) if merged else model


def untie(model: Model, shared: Iterable[Shared]) -> Model:
    """The model in which each layer that reads one of some tensors has its own."""
    uses = [use for each in shared for use in each.uses[1:]]  # the first one keeps the file's
    return part(model, uses, lambda name, array, shared, read: Tensor.of(name, array))


def tie(model: Model, pairs: Mapping[str, str]) -> Model:
    """The model in which some tensors are made from others, which they equal or transpose.

    Args:
        model: The model.
        pairs: The name of what each tensor is made from.

    Raises:
        UnsupportedError: One of them is a constant of a subgraph or of a function.
    """
    constants = named_constants(model)
    here = {name for path, name, _ in graph_constants(model.graph.nodes, model.graph) if not path}
    if inner := [name for pair in pairs.items() for name in pair if name not in here]:
        raise UnsupportedError(
            f"{quoted(inner[0])} is in a subgraph or function: it cannot be tied"
        )

    def maker(name: str) -> Node:
        same = np.array_equal(constants[name].numpy(), constants[pairs[name]].numpy())
        op_type, attributes = ("Identity", {}) if same else ("Transpose", {"perm": (1, 0)})
        return Node(op_type, (pairs[name],), (name,), attributes, f"{name}_tied")

    def rewritten(node: Node) -> Iterator[Node]:
        made = {*node.outputs} & {*pairs}
        yield maker(made.pop()) if made and is_standard(node, "Constant") else node

    stored = [t.name for t in model.graph.initializers if t.name in pairs]
    model = remove_initializers(rewrite(model, node=rewritten), stored)
    nodes = (*map(maker, stored), *model.graph.nodes)
    return replace(model, graph=replace(model.graph, nodes=nodes))


def part(model: Model, uses: Sequence[TensorUse], own: Callable[..., Tensor]) -> Model:
    """The model with tensors of their own, as `own` makes them, for some uses of others."""
    readers, makers = reading_and_making(model)
    names = {tensor: name for name, tensor in named_constants(model).items()}
    taken = dict.fromkeys((*readers, *makers, *names.values()), 1)
    inside = {node for function in model.functions for node in function.nodes}
    aside: dict[Node, str] = {}
    inputs: dict[Node, dict[int, str]] = {}
    made: dict[Node | None, list[Tensor]] = {}
    for use in uses:
        node, position = use.places[0]
        read = node.inputs[position]
        found = makers.get(read, [])  # several where each branch of an If has one
        named = bool(found) and all(is_standard(maker, "Identity") for maker in found)
        if named and readers[read] <= {*use.places}:
            name = read
            aside |= dict.fromkeys(found, read + ASIDE)
        else:
            name = unused(use.name, taken)
            for each, index in use.places:
                inputs.setdefault(each, {})[index] = name
        taken[name] = 1
        array = use.tensor.numpy()
        array = array if named or read == use.tensor.name else array.reshape(-1)
        owner = node if node in inside else None
        tensor = own(name, array, names[use.tensor], read)
        metadata = tensor.metadata if use.learned else {**tensor.metadata, ROLE: "constant"}
        made.setdefault(owner, []).append(replace(tensor, metadata=metadata))

    def rewritten(node: Node) -> Iterator[Node]:
        for tensor in made.get(node, ()):
            yield Node("Constant", (), (tensor.name,), {"value": tensor}, tensor.name)
        given = inputs.get(node, {})
        new = tuple(given.get(index, name) for index, name in enumerate(node.inputs))
        if node in aside:
            yield replace(node, outputs=(aside[node],))
        else:
            yield replace(node, inputs=new) if given else node

    return add_initializers(rewrite(model, node=rewritten), made.get(None, ()))


def parted(name: str, array: np.ndarray, shared: str, read: str) -> Parted:
    """A tensor of its own that holds `array`."""
    load = partial(np.asarray, array)  # which can be pickled
    return Parted(name, array.dtype, array.shape, load, shared=shared, read=read)


def join(model: Model) -> Model:
    """The model as its file has it, but for tensors that are no longer equal."""
    constants = named_constants(model)
    own = [tensor for tensor in constants.values() if isinstance(tensor, Parted)]
    there = names_of(model)[0]

    def is_back(tensor: Parted) -> bool:
        """Whether what nodes read in the file is there, and equal; an edit may have left it out."""
        given = tensor.read if tensor.read != tensor.name else tensor.name + ASIDE
        shared = constants.get(tensor.shared)
        return given in there and shared is not None and is_same(tensor, shared)

    same = {tensor for tensor in own if is_back(tensor)}
    if not same:
        return model
    names = {tensor.name: tensor.read for tensor in same if tensor.read != tensor.name}
    aside = {tensor.name + ASIDE: tensor.name for tensor in same}

    def rewritten(node: Node) -> Iterator[Node]:
        if is_standard(node, "Constant") and node.attributes.get("value") in same:
            return
        renamed = tuple(names.get(name, name) for name in node.inputs)
        outputs = tuple(aside.get(name, name) for name in node.outputs)
        kept = renamed == node.inputs and outputs == node.outputs
        yield node if kept else replace(node, inputs=renamed, outputs=outputs)

    model = rewrite(model, node=rewritten)
    return remove_initializers(model, {tensor.name for tensor in same})


def is_same(own: Parted, shared: Tensor) -> bool:
    """Whether a tensor is still equal to the one that the file has, bit for bit."""
    ours, theirs = own.numpy().reshape(-1), shared.numpy().reshape(-1)
    return ours.dtype == theirs.dtype and ours.tobytes() == theirs.tobytes()


def reading_and_making(
    model: Model,
) -> tuple[Mapping[str, set[tuple[Node, int]]], Mapping[str, list[Node]]]:
    """Which nodes read each value, at which positions; and which make them."""
    readers: dict[str, set[tuple[Node, int]]] = {}
    makers: dict[str, list[Node]] = {}
    for node, _ in all_nodes(model):
        for index, name in enumerate(node.inputs):
            readers.setdefault(name, set()).add((node, index))
        for name in node.outputs:
            makers.setdefault(name, []).append(node)
        for graph in subgraphs(node):
            for index, value in enumerate(graph.outputs):
                readers.setdefault(value.name, set()).add((node, -1 - index))
    for value in model.graph.outputs:
        readers.setdefault(value.name, set()).add((Node(""), 0))
    return readers, makers


def unused(name: str, taken: dict[str, int]) -> str:
    """A name, with a number behind it if it is taken; `taken` has the numbers tried of each."""
    found = name
    while found in taken:
        found = f"{name}_{taken[name]}"
        taken[name] += 1
    return found
