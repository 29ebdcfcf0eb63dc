"""The table of strategies, and `cases`: a valid use of any operator at any schema version."""

from __future__ import annotations

import fnmatch
import functools
import importlib
import pkgutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import onnx
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from onnxla.ir.names import no_such
from onnxla.ops import lookup, rows
from onnxla.testing.case import Case
from onnxla.testing.draw import Draw, Node
from onnxla.testing.schemas import Schema, opset_ids, schema
from onnxla.testing.types import Typed, plain, type_of, type_proto

# Draws one use of the operator that the schema describes.
Strategy = Callable[[Draw], Node]
F = TypeVar("F", bound=Strategy)

# Of the newest IR version that both the onnx package and ONNX Runtime read.
IR_VERSION = 11

# By domain and name, once `operators` has imported the families.
STRATEGIES: dict[tuple[str, str], Strategy] = {}


def strategy(*names: str, domain: str = "") -> Callable[[F], F]:
    """Registers a function as the strategy of operators, at all their schema versions."""

    def decorate(function: F) -> F:
        for name in names:
            STRATEGIES[domain, name] = function
        return function

    return decorate


@functools.cache
def _load_families() -> None:
    """Imports the families, which register their strategies."""
    from onnxla.testing import strategies

    for module in pkgutil.iter_modules(strategies.__path__):
        importlib.import_module(f"{strategies.__name__}.{module.name}")


def operators() -> dict[tuple[str, str], list[int]]:
    """Schema versions, ascending, of every operator that has a strategy, by domain and name."""
    _load_families()
    found: dict[tuple[str, str], list[int]] = {}
    for version, operator in rows():
        if (operator.domain, operator.name) in STRATEGIES:
            found.setdefault((operator.domain, operator.name), []).append(version)
    return found


def select_operators(patterns: list[str], opset: int | None = None) -> list[tuple[str, str]]:
    """Domain and name of the operators that patterns select, in order; all, if there are none.

    A pattern without a domain is of ONNX's own operators.

    Raises:
        ValueError: A pattern selects none.
    """
    every = {f"{domain}.{name}" if domain else name: (domain, name) for domain, name in operators()}
    if not patterns:
        return [*every.values()]
    chosen: dict[tuple[str, str], None] = {}
    for pattern in patterns:
        text = pattern.removeprefix("ai.onnx.") if pattern.count(".") == 2 else pattern
        names = fnmatch.filter(every, text)
        if "." not in text:
            names = [name for name in names if "." not in name]
        if not names:
            raise ValueError(no_such("operator", pattern, every))
        chosen |= dict.fromkeys(every[name] for name in names)
    return [*chosen]


def cases(
    op_type: str,
    opset: int | None = None,
    domain: str = "",
    dtypes: Iterable[Any] | None = None,
    specials: bool = False,
) -> st.SearchStrategy[Case]:
    """Valid uses of an operator: a model of one node, its inputs and a tolerance.

    Args:
        op_type: The operator's name.
        opset: The opset version, so that the schema is the newest one not above it; by default any
            schema version, of which the newest is the simplest.
        domain: The operator's domain.
        dtypes: Draw operands of these dtypes, where the schema allows one of them.
        specials: Whether NaN, infinities and the extremes of integers occur among the inputs.

    Raises:
        KeyError: The operator has no strategy, or no schema version up to `opset`.
    """
    versions = operators().get((domain, op_type))
    if versions is None:
        raise KeyError(f"no strategy for the operator {domain or 'ai.onnx'}.{op_type}")
    if opset is not None:
        versions = [v for v in versions if v <= opset][-1:]
    if not versions:
        raise KeyError(f"{domain or 'ai.onnx'}.{op_type} does not exist in opset {opset}")
    wanted = None if dtypes is None else tuple(map(np.dtype, dtypes))
    return _cases(STRATEGIES[domain, op_type], op_type, tuple(versions), domain, wanted, specials)


@st.composite
def _cases(
    draw: st.DrawFn,
    function: Strategy,
    op_type: str,
    versions: Sequence[int],
    domain: str,
    dtypes: Sequence[np.dtype[Any]] | None,
    specials: bool,
) -> Case:
    version = draw(st.sampled_from(versions[::-1]))
    found = schema(op_type, version, domain)
    drawing = Draw(draw, found, dtypes, specials)
    return build(found, function(drawing), stored_operands(drawing))


def stored_operands(draw: Draw) -> Callable[[int, str], bool]:
    """Which operands the model stores as initializers, by position and name."""
    operator = lookup(draw.schema.domain, draw.name, draw.version)
    static = operator.static if operator else frozenset()
    kind = draw.choice(("those that decide a shape", "none", "all but the first", "the first"))
    if kind == "all but the first":
        return lambda position, name: position > 0
    if kind == "the first":
        return lambda position, name: position == 0 or name in static
    return lambda position, name: kind != "none" and name in static


def build(schema: Schema, node: Node, stored: Callable[[int, str], bool]) -> Case:
    """A case of one node.

    Raises:
        TypeError: The type of an output follows neither from the inputs nor from `node.types`.
    """
    formals = list(schema.inputs.items())
    names: list[str] = []
    bound: dict[str, str] = {}
    inputs: dict[str, Any] = {}
    values: list[onnx.ValueInfoProto] = []
    initializers: list[onnx.TensorProto] = []
    for position, value in enumerate(node.inputs):
        formal, variable = formals[min(position, len(formals) - 1)]
        if value is None:
            names.append("")
            continue
        name = formal if position < len(formals) - schema.variadic else f"{formal}_{position}"
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
    for name, value in node.outer.items():
        inputs[name] = value
        values.append(helper.make_value_info(name, type_proto(type_of(value), np.shape(value))))
    asked = [True] * node.outputs if isinstance(node.outputs, int) else list(node.outputs)
    outputs = [f"y{i}" if ask else "" for i, ask in enumerate(asked)]
    proto = helper.make_node(schema.name, names, outputs, domain=schema.domain)
    for name, value in node.attributes.items():
        if value is not None:
            # An empty list does not show its type; those that may be empty are of integers.
            kind = onnx.AttributeProto.INTS if value == [] else None
            proto.attribute.append(helper.make_attribute(name, value, attr_type=kind))
    proto.attribute.sort(key=lambda attribute: attribute.name)
    results = list(schema.outputs.items())  # of which the last one may repeat
    types = [
        type_proto(_output_type(schema, node, bound, name, *results[min(i, len(results) - 1)]))
        for i, name in enumerate(outputs)
    ]
    graph = helper.make_graph(
        [proto],
        schema.name,
        values,
        [helper.make_value_info(n, t) for n, t in zip(outputs, types, strict=True) if n],
        initializers,
    )
    model = helper.make_model(
        graph,
        opset_imports=opset_ids(schema.name, schema.version, schema.domain),
        ir_version=IR_VERSION,
    )
    add_shapes(model, inputs, node.ranks)
    batch = tuple(names[i] for i in node.batch if names[i] in inputs)
    return Case(
        model.SerializeToString(),
        inputs,
        node.rtol,
        node.atol,
        node.steps,
        node.random,
        batch if len(batch) == len(node.batch) else (),
    )


def add_shapes(model: onnx.ModelProto, inputs: Mapping[str, Any], ranks: Mapping[str, int]) -> None:
    """Gives the outputs the shapes that ONNX infers; those of a rank that it cannot tell.

    Raises:
        TypeError: Neither says what rank an output has.
    """
    without = [v for v in model.graph.output if v.type.HasField("tensor_type")]
    for constant in (False, True):
        known = onnx.ModelProto()
        known.CopyFrom(model)
        if constant:  # the operands that decide the shape may be among the inputs
            fed = [v.name for v in model.graph.input if v.type.WhichOneof("value") == "tensor_type"]
            known.graph.initializer.extend(numpy_helper.from_array(inputs[n], n) for n in fed)
        inferred = onnx.shape_inference.infer_shapes(known, data_prop=constant)
        shapes = {v.name: v.type.tensor_type for v in inferred.graph.output}
        for value in without:
            if shapes[value.name].HasField("shape"):
                value.type.tensor_type.shape.CopyFrom(shapes[value.name].shape)
        without = [v for v in without if not v.type.tensor_type.HasField("shape")]
        if not without:
            return
    for value in without:
        if value.name not in ranks:
            node = model.graph.node[0]
            raise TypeError(
                f"{node.op_type}: shape inference does not tell the rank of output "
                f"'{value.name}'; give it in Node.ranks"
            )
        dims = [f"{value.name}_{i}" for i in range(ranks[value.name])]
        value.CopyFrom(
            helper.make_tensor_value_info(value.name, value.type.tensor_type.elem_type, dims)
        )


def _output_type(
    schema: Schema, node: Node, bound: dict[str, str], output: str, name: str, variable: str
) -> str:
    """The type string of an output, by its place (`y1`) or the schema's name."""
    if text := node.types.get(output) or node.types.get(name):
        return text
    if variable in bound:
        return bound[variable]
    allowed = schema.types.get(variable, (variable,))
    if len(allowed) == 1:
        return allowed[0]
    raise TypeError(
        f"{schema.name}-{schema.version}: the type {variable} of output '{name}' follows from no "
        f"input; give it in Node.types: one of {', '.join(allowed)}"
    )
