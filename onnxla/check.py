"""Everything that is wrong, unsupported or noteworthy in a model, all at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from onnxla import ir
from onnxla.interpret.parameters import TRAINABLE, find_parameters
from onnxla.ir.edit import subgraphs
from onnxla.ops.table import lookup


@dataclass(frozen=True)
class Findings:
    """What `check` found.

    Attributes:
        errors: What is wrong with the file; it cannot be loaded.
        unsupported: Operators that onnxla does not implement; the parts that use them cannot run.
        notes: What is worth knowing before training or running.
    """

    errors: tuple[str, ...]
    unsupported: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether the model loads and every operator is supported."""
        return not self.errors and not self.unsupported

    def __str__(self) -> str:
        groups = {"error": self.errors, "unsupported": self.unsupported, "note": self.notes}
        lines = [f"{kind}: {text}" for kind, texts in groups.items() for text in texts]
        return "\n".join(lines) if lines else "nothing to report: every operator is supported"


def check(source: Any) -> Findings:
    """Checks a model without running it. `source`: whatever `load` takes.

    A file that cannot be read at all is one error among the findings.
    """
    try:
        model = ir.read(source)
    except ir.ModelError as error:
        return Findings((str(error),), (), ())
    errors = tuple(ir.check(model))
    if errors:
        return Findings(errors, (), ())
    return Findings((), tuple(unsupported(model)), tuple(notes(model)))


def all_nodes(model: ir.Model) -> Iterator[tuple[ir.Node, Mapping[str, int]]]:
    """Every node with the opset imports that hold for it, those of subgraphs and functions too."""

    def walk(
        nodes: Sequence[ir.Node], opsets: Mapping[str, int]
    ) -> Iterator[tuple[ir.Node, Mapping[str, int]]]:
        for node in nodes:
            yield node, opsets
            for graph in subgraphs(node):
                yield from walk(graph.nodes, opsets)

    yield from walk(model.graph.nodes, model.opsets)
    for function in model.functions:
        yield from walk(function.nodes, function.opsets)


def unsupported(model: ir.Model) -> Iterator[str]:
    """One line for each operator without an implementation, naming the first node that uses it."""
    local = {(f.domain, f.name, f.overload) for f in model.functions}
    missing: dict[tuple[str, str, int], list[ir.Node]] = {}
    for node, opsets in all_nodes(model):
        version = opsets.get(node.domain, 1)
        known = (node.domain, node.op_type, node.overload) in local
        if not known and lookup(node.domain, node.op_type, version) is None:
            missing.setdefault((node.domain, node.op_type, version), []).append(node)
    for (domain, name, version), nodes in missing.items():
        times = f"{len(nodes)} nodes, the first" if len(nodes) > 1 else "1 node"
        yield f"{domain or 'ai.onnx'}.{name} of opset {version} ({times}: {nodes[0]})"


def notes(model: ir.Model) -> Iterator[str]:
    """What a user would want to know: inputs that decide shapes, and whether there is anything
    to train."""
    parameters = find_parameters(model)
    for name in parameters.static_inputs:
        yield (
            f"input '{name}' decides a shape: a call is compiled for each of its values, and "
            "apply needs it as a numpy array or fixed by specialize"
        )
    trainable = sum(role in TRAINABLE for role in parameters.roles.values())
    if not trainable:
        yield "no parameter has the role of a learned weight: there is nothing to train by default"
    kinds = {node.op_type for node, _ in all_nodes(model)}
    if "Conv" in kinds and "BatchNormalization" not in kinds:
        yield "no BatchNormalization: if the network had any, it was folded into convolutions"
