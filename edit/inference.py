"""The form for inference of a model that was exported in the form for training.

Its file asks for values dropped at random, or for statistics of the batch, also where nobody
trains: by an attribute, by an operand, or by further outputs. `apply_train` asks by itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from onnxla import ir
from onnxla.ir.rewrite import rewrite
from onnxla.ir.traverse import all_nodes, subgraphs
from onnxla.ops.table import Operator, lookup
from onnxla.parameters.arguments import calls_of, given
from onnxla.parameters.sources import Source
from onnxla.parameters.walk import Analysis

# What ONNX calls that which says whether a node is as in training.
TRAINING_MODE, IS_TEST = "training_mode", "is_test"


def find_training(model: ir.Model, analysis: Analysis) -> dict[ir.Node, Operator]:
    """The nodes, with their operators, that are as in training wherever the model is evaluated.

    One is among them if that depends on an input, or if it cannot be told.
    """
    calls = calls_of(analysis)
    found: dict[ir.Node, Operator] = {}
    for node, opsets in all_nodes(model):
        if node not in analysis.operands or analysis.function_of(node):  # or nobody calls it
            continue
        operator = lookup(node.domain, node.op_type, opsets.get(node.domain, 1))
        if operator is None or "train" not in operator.reserved or not asks(node, operator):
            continue
        index = mode_operand(operator)
        modes = [] if index is None else given(analysis.sources(node)[index], analysis, calls)
        if index is None or any(map(may_be_true, modes)):
            found[node] = operator
    return found


def asks(node: ir.Node, operator: Operator) -> bool:
    """Whether a node says that it is as in training, if its operand, should it have one, does."""
    if (index := mode_operand(operator)) is not None:
        return len(node.inputs) > index and bool(node.inputs[index])
    if TRAINING_MODE in operator.attributes:
        return node.attributes.get(TRAINING_MODE, 0) != 0
    if IS_TEST in operator.attributes:
        further = len(node.outputs) > 1 or "n_outputs" not in operator.reserved
        return further and node.attributes.get(IS_TEST, 0) in (0, None)
    return False


def mode_operand(operator: Operator) -> int | None:
    """The position of the operand that says whether a node is as in training, if there is one."""
    return operator.inputs.index(TRAINING_MODE) if TRAINING_MODE in operator.inputs else None


def may_be_true(source: Source) -> bool:
    """Whether a value may be true; that of a constant is known."""
    return bool(source.numpy().any()) if isinstance(source, ir.Tensor) else source is not None


def inference_form(model: ir.Model, analysis: Analysis) -> ir.Model:
    """The model in the form for inference; itself if it has it. See `Module.inference`."""
    training = find_training(model, analysis)
    if not training:
        return model
    opsets = {node: versions.get("", 0) for node, versions in all_nodes(model)}
    read = names_read_anywhere(model)

    def node(old: ir.Node) -> Iterator[ir.Node]:
        operator = training.get(old)
        if operator is None:
            yield old
            return
        attributes = {k: v for k, v in old.attributes.items() if k != TRAINING_MODE}
        if IS_TEST in operator.attributes and opsets[old] < 7:  # later versions have no such name
            attributes[IS_TEST] = 1
        inputs = old.inputs
        if (index := mode_operand(operator)) is not None:
            inputs = stripped((*inputs[:index], "", *inputs[index + 1 :]))
        statistics = [
            name
            for position, name in enumerate(old.inputs)
            if operator.roles.get(operator.input_name(position)) == "running_statistic"
        ]
        kept = old.outputs[:1] if statistics else old.outputs
        yield replace(old, inputs=inputs, outputs=kept, attributes=attributes)
        for position, name in enumerate(old.outputs[1:] if statistics else ()):
            if name in read:
                # The next running statistics are then those that there are. Not through Identity,
                # by which a statistic would have the roles of all that reads the next one.
                yield ir.Node("Max", (statistics[position % len(statistics)],), (name,))

    return rewrite(model, node=node)


def stripped(names: tuple[str, ...]) -> tuple[str, ...]:
    """Names of inputs without those at the end that are not given."""
    while names and not names[-1]:
        names = names[:-1]
    return names


def names_read_anywhere(model: ir.Model) -> set[str]:
    """Names that some node of the model reads, or that are outputs of some scope."""
    read = {value.name for value in model.graph.outputs}
    read.update(*(function.outputs for function in model.functions))
    for node, _ in all_nodes(model):
        read.update(node.inputs, *((v.name for v in g.outputs) for g in subgraphs(node)))
    return read
