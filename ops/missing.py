"""Which operators of a model have no implementation."""

from __future__ import annotations

from onnxla.ir.model import Model, Node
from onnxla.ir.names import plain
from onnxla.ir.problems import Problems
from onnxla.ir.traverse import all_nodes
from onnxla.ops.table import lookup

BLOCKED = "com.microsoft.nchwc"  # what reads tensors in blocks of a processor's own size


def saved_for_one_processor(model: Model) -> str:
    """Why a file that ONNX Runtime saved for one processor cannot be read elsewhere, or ""."""
    for node, _ in all_nodes(model):
        if node.domain == BLOCKED:
            return (
                f"{node} reads tensors in blocks: ONNX Runtime saved this file for one kind of "
                "processor, with its layout optimizations. Save it anew from the original: "
                "SessionOptions.optimized_model_filepath with graph_optimization_level = "
                "GraphOptimizationLevel.ORT_ENABLE_EXTENDED"
            )
    return ""


def missing_operators(model: Model) -> list[str]:
    """One line for each operator without an implementation, naming the first node that uses it."""
    if reason := saved_for_one_processor(model):
        return [reason]
    local = {function.key for function in model.functions}
    missing: dict[tuple[str, str, int], list[Node]] = {}
    for node, opsets in all_nodes(model):
        version = opsets.get(node.domain, 1)
        known = (node.domain, node.op_type, node.overload) in local
        if not known and lookup(node.domain, node.op_type, version) is None:
            missing.setdefault((node.domain, node.op_type, version), []).append(node)
    problems = Problems()
    for (domain, name, version), nodes in missing.items():
        times = f"{len(nodes)} nodes, the first" if len(nodes) > 1 else "1 node"
        operator = f"{plain(domain or 'ai.onnx')}.{plain(name)}"
        problems.add(f"{operator} of opset {version} ({times}: {nodes[0]})")
    return problems.listed()
