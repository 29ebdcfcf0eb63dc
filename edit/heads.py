"""Another head for a model: what its last layers read, and a new linear layer of that."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax
import numpy as np

from onnxla import ir
from onnxla.edit.adaptable import find_adaptable
from onnxla.edit.applications import AdaptableWeight
from onnxla.edit.scopes import Surrounding
from onnxla.interpret.program import Program
from onnxla.interpret.staging import may_be_known
from onnxla.ir.names import listed, quoted
from onnxla.ir.rewrite import add_initializers, cut, need_opset
from onnxla.ir.traverse import names_of, names_read
from onnxla.parameters.roles import HEAD, TRAINS

# Sizes to try where the model leaves one open: convolutional networks take no small pictures.
OPEN_SIZES = (2, 64, 256)
BATCH = 2  # pictures
MANY = 2**40  # elements: what has more is no example
PICTURE = 64  # that most of them do take, so that it is tried first of an open height or width


def replace_head(
    model: ir.Model,
    features: ir.ValueInfo,
    classes: int,
    rng: np.random.Generator,
    softmax: bool = False,
    name: str = "head",
) -> ir.Model:
    """The model up to the value `features`, and a linear layer of it; see `Module.replace_head`.

    Raises:
        ValueError: Something else that stays has one of the new names.
    """
    need_opset(model, 7, "a new head")
    kind = features.type
    assert isinstance(kind, ir.TensorType)
    assert kind.dtype is not None
    assert kind.shape
    dtype, (*batch, size) = kind.dtype, kind.shape
    assert isinstance(size, int)
    weight = rng.normal(0, size**-0.5, (size, classes)).astype(dtype)
    tensors = [
        ir.Tensor.of(f"{name}.weight", weight, {TRAINS: HEAD}),
        ir.Tensor.of(f"{name}.bias", np.zeros(classes, dtype), {TRAINS: HEAD}),
    ]
    nodes: list[ir.Node] = []

    def emit(op_type: str, inputs: Sequence[str], part: str, **attributes: ir.Attribute) -> str:
        output = f"{name}.{part}"
        nodes.append(ir.Node(op_type, tuple(inputs), (output,), attributes, name=output))
        return output

    if len(batch) == 1:
        output = emit("Gemm", [features.name, f"{name}.weight", f"{name}.bias"], "logits")
    else:
        product = emit("MatMul", [features.name, f"{name}.weight"], "product")
        output = emit("Add", [product, f"{name}.bias"], "logits")
    if softmax:
        # The last axis, by its number: before opset 13 an axis stands for all from there on.
        output = emit("Softmax", [output], "probabilities", axis=len(batch))
    part = cut(model, outputs=[features.name])
    new = {tensor.name for tensor in tensors}.union(*(node.outputs for node in nodes))
    if taken := names_of(part)[0] & new:
        raise ValueError(
            f"the model has a value {quoted(min(taken))} that stays: give the new head another"
            " name, name=..."
        )
    value = ir.ValueInfo(output, ir.TensorType(dtype, (*batch, classes)))
    graph = replace(part.graph, nodes=(*part.graph.nodes, *nodes), outputs=(value,))
    return add_initializers(replace(part, graph=graph), tensors)


def last_features(model: ir.Model) -> str:
    """The value that the last linear layer before the first output reads.

    Raises:
        ValueError: There is none, or that output comes from several.
    """
    makers = Surrounding(model.graph).makers
    layers = {
        application.end: application.x
        for weight in find_adaptable(model).values()
        if isinstance(weight, AdaptableWeight)
        for application in weight.applications
        if application.form in ("right", "left")
    }
    output = model.graph.outputs[0].name
    waiting, seen = deque([output]), set[str]()
    found: dict[str, None] = {}
    while waiting:
        name = waiting.popleft()  # the nearest first
        if (node := makers.get(name)) is None or name in seen:
            continue
        seen.add(name)
        if node in layers:
            found[layers[node]] = None
        else:
            waiting += sorted(names_read(node))
    if len(found) == 1:
        return next(iter(found))
    several = f"several linear layers, which read {listed(found)}" if found else "no linear layer"
    raise ValueError(
        f"the output {quoted(output)} comes from {several}: name the value that the new head is to"
        " read, replace_head(features, ...)"
    )


def find_features(
    program: Program, name: str, inputs: Mapping[str, Any] | None = None
) -> ir.ValueInfo:
    """A value of the graph, with a type of which at least the dtype and the last size are known.

    They are what the file states, or are found by abstract evaluation of `inputs`; without these,
    of inputs as the model declares them, with sizes that it leaves open made up.

    Raises:
        ValueError: There is no such value, or it is no floating-point tensor with axes.
        UnsupportedError: What is needed cannot be found without `inputs`.
    """
    graph = program.model.graph
    values = (*graph.value_info, *graph.outputs, *graph.inputs)
    kind = next((value.type for value in values if value.name == name), None)
    dtype, shape = (kind.dtype, kind.shape) if isinstance(kind, ir.TensorType) else (None, None)
    if inputs is not None or dtype is None or not shape or not isinstance(shape[-1], int):
        (found,) = abstract_values(program, [name], inputs)
        if shape is None or len(shape) != len(found.shape):
            shape = (None,) * len(found.shape)
        dtype, shape = np.dtype(found.dtype), (*shape[:-1], *found.shape[-1:])
    if not shape or not ir.is_float(dtype):
        raise ValueError(f"{quoted(name)} is {dtype}{list(shape)}, which holds no features")
    return ir.ValueInfo(name, ir.TensorType(dtype, shape))


def abstract_values(
    program: Program, names: Sequence[str], inputs: Mapping[str, Any] | None = None
) -> tuple[Any, ...]:
    """Dtypes and shapes of values of the graph, as the file has it; nothing is computed for them.

    Raises:
        ValueError: There is no such value.
        UnsupportedError: They cannot be found without `inputs`.
    """
    program = program.edited(batched=False, dtype=None)
    tensors = program.parameters.params.items()
    params = {key: jax.ShapeDtypeStruct(tensor.shape, tensor.dtype) for key, tensor in tensors}
    program.graph(tuple(names))  # raises if there is no such value
    failure: Exception | None = None
    for given in [inputs] if inputs is not None else example_inputs(program):
        known, traced = known_and_traced(program, given)

        def evaluate(params: Any, traced: Any, known: Any = known) -> Any:
            return program.evaluate(params, {**known, **traced}, outputs=names)

        try:
            with jax.enable_x64(True):
                found: tuple[Any, ...] = jax.eval_shape(evaluate, params, traced)
                return found
        except (ir.OnnxlaError, TypeError, ValueError) as error:
            failure = error
    raise ir.UnsupportedError(
        f"the size of {quoted(names[0])} cannot be found ({failure}); give example inputs:"
        " inputs={...}"
    ) from failure


def example_inputs(program: Program) -> Iterator[dict[str, np.ndarray]]:
    """Zeros of the types that the model's inputs have, for each of the made up sizes.

    Of pictures there are two, whatever their size.
    """
    kinds = [value.type for value in program.inputs]
    shapes = [kind.shape or () for kind in kinds if isinstance(kind, ir.TensorType)]
    pictures = any(len(s) > 3 and not all(isinstance(n, int) for n in s[2:]) for s in shapes)
    batches = {s[0] for s in shapes if len(s) > 3} if pictures else set()

    def length(axis: int, size: int | str | None, open_size: int) -> int:
        if isinstance(size, int):
            return size
        return BATCH if size in batches and (size is not None or axis == 0) else open_size

    for size in sorted(OPEN_SIZES, key=lambda size: pictures and size != PICTURE):
        given = {}
        for value in program.inputs:
            kind = value.type
            if not isinstance(kind, ir.TensorType) or kind.dtype is None or kind.shape is None:
                return
            shape = [length(axis, each, size) for axis, each in enumerate(kind.shape)]
            if math.prod(shape) > MANY:
                return
            given[value.name] = np.broadcast_to(np.zeros((), kind.dtype), shape)  # takes no memory
        yield given


def known_and_traced(
    program: Program, given: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Inputs whose values an abstract evaluation reads, which are small, and all others."""
    static = program.parameters.static_inputs
    known = {k: v for k, v in given.items() if k in static and may_be_known(v)}
    return known, {k: v for k, v in given.items() if k not in known}
