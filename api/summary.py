"""What a model is, at a glance."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np

from onnxla import ir
from onnxla.ir.names import listed, number_of, plain
from onnxla.ir.problems import MAX_LISTED, Problems
from onnxla.ir.traverse import all_nodes
from onnxla.ops.missing import missing_operators
from onnxla.parameters.roles import ROLES, Parameters
from onnxla.tables import Notes, Report, ReportPart, Table


def describe_type(kind: ir.Type) -> str:
    """A type such as `float32[N, 3, 48, 192]`."""
    match kind:
        case ir.TensorType(dtype, shape):
            name = "string" if dtype == ir.STRING else str(dtype or "?")
            sizes = (
                "..." if shape is None else ", ".join("?" if s is None else plain(s) for s in shape)
            )
            return f"{name}[{sizes}]"
        case ir.SequenceType(element):
            return f"sequence of {describe_type(element)}"
        case ir.OptionalType(element):
            return f"optional {describe_type(element)}"
        case ir.MapType(key, value):
            return f"map from {key} to {describe_type(value)}"
    return "?"


def count_parameters(parameters: Parameters, role: str) -> tuple[int, int]:
    """Number of parameters with a role, and of their elements."""
    tensors = [t for name, t in parameters.params.items() if parameters.roles[name] == role]
    return len(tensors), sum(math.prod(tensor.shape) for tensor in tensors)


def describe_trained(parameters: Parameters, role: str) -> str:
    """Whether parameters with a role train by default, or how many of them do."""
    trained = parameters.trained
    trains = [n in trained for n, other in parameters.roles.items() if other == role]
    some = f"{sum(trains)} of {len(trains)} trainable"
    return "trainable" if all(trains) else some if any(trains) else "not trained by default"


def summarize(
    model: ir.Model,
    parameters: Parameters,
    fixed: Mapping[str, np.ndarray],
    notes: Iterable[str] = (),
) -> Report:
    """Inputs, outputs, opsets, operators, parameters by role, notes, and what is not supported."""
    opsets = listed([f"{plain(k or 'ai.onnx')} {v}" for k, v in model.opsets.items()], str)
    producer = f", producer {plain(model.producer)}" if model.producer else ""
    defaults = {tensor.name for tensor in model.graph.initializers}
    inputs = [
        (plain(v.name), describe_type(v.type), "fixed" if v.name in fixed else "")
        for v in model.graph.inputs
        if v.name not in defaults
    ]
    outputs = [(plain(value.name), describe_type(value.type)) for value in model.graph.outputs]
    counts = Counter(
        f"{node.domain}.{node.op_type}".lstrip(".") for node, _ in all_nodes(model)
    ).most_common()
    roles = []
    for role in ROLES:
        count, elements = count_parameters(parameters, role)
        if count:
            trained = describe_trained(parameters, role)
            roles.append((role, f"{count:,}", f"{elements:,}", trained))
    by_role = Table("parameters", ("role", "tensors", "elements", ""), roles)
    parts: list[str | ReportPart] = [
        f"{plain(model.graph.name)}: IR version {model.ir_version}, opset {opsets}{producer}",
        Table("inputs", (), inputs),
        Table("outputs", (), outputs),
        by_role if roles else "no parameters",
        Table(
            f"operators ({number_of(sum(count for _, count in counts), 'node')})",
            (),
            [(plain(name), str(count)) for name, count in counts[:MAX_LISTED]],
            folded=True,
        ),
    ]
    if noted := Problems(notes).listed():
        parts.append(Notes("what the file leaves open", noted))
    if missing := missing_operators(model):
        parts.append(Notes("not supported", missing))
    return Report(parts)
