"""One use of an operator, and the case that it is at a schema version."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from onnxla.peers.difference import Tolerance
from onnxla.testing.case import CLOSE, Case
from onnxla.testing.schemas import Schema, opset_ids, schema
from onnxla.testing.types import Typed, plain, type_of, type_proto

# Of the newest IR version that both the onnx package and ONNX Runtime read.
IR_VERSION = 11


@dataclass(frozen=True)
class Use:
    """One use of an operator, at any schema version that allows it.

    For example:

        use = onnxla.testing.Use("Softmax", (x,), {"axis": 0})

    Attributes:
        op_type: The operator's name.
        inputs: In the order of the schema: an array, a list of arrays for a sequence, a `Typed`
            value, or None where an optional input is absent.
        attributes: By name; None where an attribute is absent.
        outputs: How many outputs the node names, or which (True and False).
        domain: The operator's domain.
        types: Type strings of outputs that do not follow from the types of the inputs, by name,
            their own or `y0`, `y1` ...
        ranks: Ranks of outputs (`y0`, `y1` ...) that shape inference does not tell.
        outer: Arrays that only subgraphs read, by the names that these use.
        tolerance: What the outputs of two runtimes may differ by.
        batch: Positions of the inputs whose first axis is a batch, if every output's first axis is
            that batch, and each of its entries is computed on its own.
    """

    op_type: str
    inputs: Sequence[Any]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    outputs: int | Sequence[bool] = 1
    domain: str = ""
    types: Mapping[str, str] = field(default_factory=dict)
    ranks: Mapping[str, int] = field(default_factory=dict)
    outer: Mapping[str, np.ndarray] = field(default_factory=dict)
    tolerance: Tolerance = CLOSE
    batch: Sequence[int] = ()


def is_use(case: Case) -> bool:
    """Whether a case is a use of one operator at a version of its schema.

    A graph of one node may have any opset, and its node may call a function.
    """
    if len(case.proto.graph.node) > 1:
        return False
    try:
        schema(case.op_type, case.version, case.domain)
    except KeyError:
        return False
    return True


def example(
    op_type: str,
    version: int,
    *inputs: Any,
    domain: str = "",
    outputs: int | Sequence[bool] = 1,
    types: Mapping[str, str] | None = None,
    ranks: Mapping[str, int] | None = None,
    **attributes: Any,
) -> Case:
    """A case written by hand: the inputs in the order of the schema, then the attributes.

    For example:

        case = onnxla.testing.example("Softmax", 13, x, axis=0)
        print(case.script())
    """
    use = Use(op_type, inputs, attributes, outputs, domain, types or {}, ranks or {})
    return case_of(use, version)


def case_of(
    use: Use,
    version: int,
    stored: Callable[[int, str], bool] = lambda position, name: False,
    declared: bool = True,
) -> Case:
    """The case that a use is at a schema version of the operator: a model of one node.

    Args:
        use: What is used, and how.
        version: The schema version.
        stored: Which operands the model stores as initializers, by position and name.
        declared: Whether the model states the types and ranks of all outputs. Otherwise it states
            those that ONNX infers, and whoever runs it infers the others.

    Raises:
        KeyError: There is no such schema.
        TypeError: The type of an output follows neither from the inputs nor from `use.types`, or
            its rank neither from shape inference nor from `use.ranks`, and all are to be stated.
    """
    found = schema(use.op_type, version, use.domain)
    formals = list(found.inputs.items())
    names: list[str] = []
    bound: dict[str, str] = {}
    inputs: dict[str, Any] = {}
    values: list[onnx.ValueInfoProto] = []
    initializers: list[onnx.TensorProto] = []
    for position, value in enumerate(use.inputs):
        formal, variable = formals[min(position, len(formals) - 1)]
        if value is None:
            names.append("")
            continue
        name = formal if position < len(formals) - found.variadic else f"{formal}_{position}"
        names.append(name)
        bound.setdefault(variable, type_of(value))
        if isinstance(value, Typed | list) or not stored(position, formal):
            inputs[name] = plain(value) if isinstance(value, Typed | list) else np.asarray(value)
            shape = None if isinstance(value, Typed | list) else np.shape(value)
            values.append(helper.make_value_info(name, type_proto(type_of(value), shape)))
        else:
            initializers.append(numpy_helper.from_array(np.asarray(value), name))
    while names and not names[-1]:
        names.pop()
    for name, value in use.outer.items():
        inputs[name] = value
        values.append(helper.make_value_info(name, type_proto(type_of(value), np.shape(value))))
    asked = [True] * use.outputs if isinstance(use.outputs, int) else list(use.outputs)
    outputs = [f"y{i}" if ask else "" for i, ask in enumerate(asked)]
    node = helper.make_node(found.name, names, outputs, domain=found.domain)
    for name, value in use.attributes.items():
        if value is not None:
            # An empty list does not show its type; those that may be empty are of integers.
            kind = onnx.AttributeProto.INTS if value == [] else None
            node.attribute.append(helper.make_attribute(name, value, attr_type=kind))
    node.attribute.sort(key=lambda attribute: attribute.name)
    results = list(found.outputs.items())  # of which the last one may repeat
    made = [onnx.ValueInfoProto(name=name) for name in outputs if name]
    if declared:
        for output in made:
            formal, variable = results[min(int(output.name[1:]), len(results) - 1)]
            text = output_type(use, found, bound, output.name, formal, variable)
            output.type.CopyFrom(type_proto(text))
    graph = helper.make_graph([node], found.name, values, made, initializers)
    model = helper.make_model(
        graph,
        opset_imports=opset_ids(found.name, found.version, found.domain),
        ir_version=IR_VERSION,
    )
    if declared:
        add_shapes(model, inputs, use.ranks)
    else:
        model = onnx.shape_inference.infer_shapes(model)
    batch = tuple(names[i] for i in use.batch if names[i] in inputs)
    return Case(
        model.SerializeToString(),
        inputs,
        use.tolerance,
        batch if len(batch) == len(use.batch) else (),
    )


def add_shapes(model: onnx.ModelProto, inputs: Mapping[str, Any], ranks: Mapping[str, int]) -> None:
    """Gives the outputs the shapes that ONNX infers; those of a rank that it cannot tell.

    A rank is not believed where a greater one follows if the sizes of an operand are left open:
    some functions leave a shape half made when a size is not to their liking.

    Raises:
        TypeError: Neither says what rank an output has.
    """
    without = [v for v in model.graph.output if v.type.HasField("tensor_type")]
    given = [value.name for value in model.graph.input]
    given += [tensor.name for tensor in model.graph.initializer]
    general = [inferred_shapes(open_sizes(model, name)) for name in given]
    for constant in (False, True):
        known = onnx.ModelProto()
        known.CopyFrom(model)
        if constant:  # the operands that decide the shape may be among the inputs
            fed = [v.name for v in model.graph.input if v.type.WhichOneof("value") == "tensor_type"]
            known.graph.initializer.extend(numpy_helper.from_array(inputs[n], n) for n in fed)
        shapes = inferred_shapes(known, data_prop=constant)
        for value in without:
            if shape := shapes.get(value.name):
                others = [other[value.name] for other in general if value.name in other]
                longest = max([shape, *others], key=lambda shape: len(shape.dim))
                value.type.tensor_type.shape.CopyFrom(longest)
        without = [v for v in without if not v.type.tensor_type.HasField("shape")]
        if not without:
            return
    for value in without:
        if value.name not in ranks:
            node = model.graph.node[0]
            raise TypeError(
                f"{node.op_type}: shape inference does not tell the rank of output "
                f"'{value.name}'; give it in Use.ranks"
            )
        dims = [f"{value.name}_{i}" for i in range(ranks[value.name])]
        value.CopyFrom(
            helper.make_tensor_value_info(value.name, value.type.tensor_type.elem_type, dims)
        )


def inferred_shapes(
    model: onnx.ModelProto, data_prop: bool = False
) -> dict[str, onnx.TensorShapeProto]:
    """The shapes that ONNX infers for outputs, by name."""
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=data_prop)
    kinds = {v.name: v.type.tensor_type for v in inferred.graph.output}
    shapes = {name: kind.shape for name, kind in kinds.items() if kind.HasField("shape")}
    for shape in shapes.values():
        for dim in shape.dim:
            dim.ClearField("dim_param")  # the names are those of one inference
    return shapes


def open_sizes(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """A model that says of an input or initializer the rank alone; of a stored vector all."""
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    for tensor in model.graph.initializer:
        if tensor.name == name and len(tensor.dims) > 1:  # a vector may decide a shape
            bare.graph.initializer.remove(tensor)
            kind = helper.make_tensor_value_info(name, tensor.data_type, tensor.dims)
            bare.graph.input.append(kind)
    for value in bare.graph.input:
        if value.name == name and value.type.HasField("tensor_type"):
            for dim in value.type.tensor_type.shape.dim:
                dim.Clear()
    return bare


def output_type(
    use: Use, found: Schema, bound: dict[str, str], output: str, name: str, variable: str
) -> str:
    """The type string of an output, by its place (`y1`) or the schema's name."""
    if text := use.types.get(output) or use.types.get(name):
        return text
    if variable in bound:
        return bound[variable]
    allowed = found.types.get(variable, (variable,))
    if len(allowed) == 1:
        return allowed[0]
    raise TypeError(
        f"{found.name}-{found.version}: the type {variable} of output '{name}' follows from no "
        f"input; give it in Use.types: one of {', '.join(allowed)}"
    )
