"""Scales and biases that an exporter made one tensor of, as new layers have equal ones.

New layers begin with scales of ones and biases of zeros. An exporter that stores equal tensors once
may say what they were: PyTorch's lists all parameters and says of which module a node is, or its
older one gives each name to an Identity. What it does not say may be tied on purpose.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from onnxla.ir.dtypes import is_float
from onnxla.ir.model import Node, Tensor
from onnxla.parameters.evidence import Evidence, find_evidence, is_uniform
from onnxla.parameters.sources import extent
from onnxla.parameters.statistics import STATISTIC
from onnxla.parameters.uses import TensorUse, original, scope_of, without_number
from onnxla.parameters.walk import Analysis

UNNAMED = "onnx::"  # what names begin with of what PyTorch's older exporter reshaped


def merged_affine(analysis: Analysis) -> list[TensorUse]:
    """The uses of scales and biases of one number that had tensors of their own."""
    candidates = {source for source in analysis.uses if may_be_new(analysis, source)}
    if not candidates:
        return []
    evidence = find_evidence(analysis.model)
    places: dict[tuple[Tensor, str], list[tuple[Node, int]]] = {}
    fillers: set[str] = set()
    kept: dict[Tensor, str] = {}  # the parameter that keeps the tensor
    for tensor, node, index in uses_of(analysis, candidates):
        name = parameter_of(tensor, node, index, evidence)
        if filled := filled_in(analysis, node, index, evidence):
            name = filled
            fillers.add(name)
        own = tensor.name if evidence.is_learned_name(tensor.name) else name
        if name and name != kept.setdefault(tensor, own):
            places.setdefault((tensor, name), []).append((node, index))
    return [
        TensorUse(tensor, (*found,), name, learned=name not in fillers)
        for (tensor, name), found in places.items()
    ]


def may_be_new(analysis: Analysis, source: object) -> bool:
    """Whether something is a scale or bias as a layer begins with."""
    return (
        isinstance(source, Tensor)
        and not analysis.uses[source].isdisjoint(("scale", "bias", "factor", "addend"))
        and extent(source) == 1
        and is_float(source.dtype)
        and source not in analysis.static
        and is_uniform(source.numpy())
    )


def uses_of(analysis: Analysis, tensors: Collection[object]) -> Iterator[tuple[Tensor, Node, int]]:
    """Where nodes of graphs read some tensors, perhaps by other names; but for statistics."""
    in_functions = {n for f in analysis.model.functions for n in f.nodes}
    for node, operands in analysis.operands.items():
        if node in in_functions:
            continue
        for index, source in enumerate(operands[: len(node.inputs)]):
            tensor, role = original(source), analysis.role_at(node, index)
            if tensor is not None and tensor in tensors and role not in (None, STATISTIC):
                yield tensor, node, index


def filled_in(analysis: Analysis, node: Node, index: int, evidence: Evidence) -> str:
    """A name for the scale or bias that stands for none: of a module that has no parameters."""
    scope, exact = scope_of(node)
    role = analysis.role_at(node, index)
    if not (evidence.signed and exact and role in ("scale", "bias")):
        return ""
    of_module = any(name.startswith(f"{scope}.") for name in evidence.learned)
    return "" if of_module else f"{scope}.{role}"


def parameter_of(tensor: Tensor, node: Node, index: int, evidence: Evidence) -> str:
    """The name of the parameter that a node reads, as far as its exporter says; or nothing."""
    read = node.inputs[index]
    if read != tensor.name:
        return read if read.startswith(UNNAMED) or evidence.is_learned_name(read) else ""
    scope, exact = scope_of(node)
    if not exact:
        computed = scope and tensor.name.startswith(UNNAMED)
        return f"{without_number(scope)}.{tensor.name}" if computed else ""
    prefix, parts = f"{scope}.", tensor.name.split(".")
    if tensor.name.startswith(prefix) and tensor.name in evidence.learned:
        return tensor.name
    # The tensor's name is that of another layer's, which may be of the same kind.
    alike = (prefix + ".".join(parts[-length:]) for length in range(1, len(parts) + 1))
    if found := next((name for name in alike if name in evidence.learned), ""):
        return found
    kind = "weight" if tensor.numpy().any() else "bias"
    of_module = [n for n in evidence.learned if n.startswith(prefix) and n.endswith(kind)]
    missing = [name for name in of_module if name not in evidence.stored]
    return missing[0] if len(missing) == 1 else ""
