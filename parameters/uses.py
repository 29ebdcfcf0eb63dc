"""Where constant tensors are used, and which of them several layers share."""

from __future__ import annotations

import re
from collections.abc import Collection, Hashable, Iterator
from dataclasses import dataclass

from onnxla.ir.model import Node, Tensor
from onnxla.ir.traverse import is_standard, subgraphs
from onnxla.parameters.sources import Producer, Source, elements_of
from onnxla.parameters.walk import Analysis

# Where PyTorch's exporter says which module a node is of, as a list of paths.
SCOPES = "pkg.torch.onnx.name_scopes"
MAX_SCOPES = 10_000  # letters of it that are read


@dataclass(frozen=True)
class TensorUse:
    """A use of a constant tensor that is, or should be, one of a tensor of its own.

    Attributes:
        tensor: What it is in the file.
        places: Where it enters: nodes, calls of functions among them, and positions there.
        name: A name for a tensor of its own.
        learned: Whether it has the role that its use gives it, and does not only stand for none.
    """

    tensor: Tensor
    places: tuple[tuple[Node, int], ...]
    name: str
    learned: bool = True


@dataclass(frozen=True)
class Shared:
    """A constant tensor that several layers read.

    Attributes:
        uses: One a layer.
        tied: Whether they are an embedding and a product with it: a network is meant so.
    """

    tensor: Tensor
    uses: tuple[TensorUse, ...]
    tied: bool


def scope_of(node: Node) -> tuple[str, bool]:
    """The path of the module that a node is of, as its exporter says, and whether it is certain."""
    scopes = re.findall(r"'([^']*)'", node.metadata.get(SCOPES, "")[:MAX_SCOPES])
    if len(scopes) > 1 and scopes[-2]:
        return re.sub(r"@\d+$", "", scopes[-2]), True
    return node.name.strip("/").rpartition("/")[0], False


def without_number(scope: str) -> str:
    """The path of a module, whose second use may be called `bn_1`."""
    return re.sub(r"_\d+$", "", scope)


def find_shared(analysis: Analysis, among: Collection[Tensor]) -> Iterator[Shared]:
    """Those of some tensors that several layers read."""
    found: dict[Tensor, dict[Hashable, list[tuple[Node, int]]]] = {}
    in_functions = {n for f in analysis.model.functions for n in f.nodes}
    for node, operands in analysis.operands.items():
        if is_standard(node, "Identity") or node in in_functions:
            continue
        for index, source in enumerate(operands[: len(node.inputs)]):
            tensor = original(source)
            if tensor is not None and tensor in among and is_use(analysis, node, index):
                key = layer_of(node), node.inputs[index]
                found.setdefault(tensor, {}).setdefault(key, []).append((node, index))
    for tensor, places in found.items():
        if len(places) > 1:
            uses = tuple(
                TensorUse(tensor, tuple(each), own_name(tensor, *each[0]))
                for each in places.values()
            )
            yield Shared(tensor, uses, {"embedding", "weight"} <= analysis.uses[tensor])


def is_use(analysis: Analysis, node: Node, index: int) -> bool:
    """Whether a node uses an operand as a layer does, or hands it on.

    What takes but its length or shape, or divides it by that, is of the layer that uses it.
    """
    if analysis.function_of(node) or subgraphs(node) or analysis.role_at(node, index):
        return True
    operands = analysis.operands[node]
    return operands[index] in elements_of(analysis.operator_of(node), operands)


def original(source: Source) -> Tensor | None:
    """The tensor that a value is, perhaps under other names."""
    while isinstance(source, Producer) and is_standard(source.node, "Identity"):
        source = source.operands[0]
    return source if isinstance(source, Tensor) else None


def layer_of(node: Node) -> Hashable:
    """What the nodes of one layer have in common: its module's path, if the exporter tells."""
    scope, exact = scope_of(node)
    return (scope if exact else without_number(scope)) or node


def own_name(tensor: Tensor, node: Node, position: int) -> str:
    """A name for the tensor of a layer: what an Identity calls it, or by the layer's name."""
    if node.inputs[position] != tensor.name:
        return node.inputs[position]
    scope, exact = scope_of(node)
    part = tensor.name.rpartition(".")[2]
    return f"{scope if exact else node.name or node.outputs[0]}.{part}"
