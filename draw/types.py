"""Dtypes and shapes of values: as the file states them, else as a trace finds them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import numpy as np
from jax.core import Tracer

from onnxla import ir
from onnxla.draw.labels import shape_text
from onnxla.edit.heads import example_inputs, known_and_traced
from onnxla.interpret.calls import Call, Results, Then
from onnxla.interpret.eval import eval_at
from onnxla.interpret.program import Program
from onnxla.ir.traverse import all_nodes, is_standard, names_made, subgraphs
from onnxla.ops.values import Value, is_known
from onnxla.summary import describe_type

TRACED = 3_000  # nodes up to which types are looked for that the file does not state


@dataclass(frozen=True)
class ArrayKind:
    """Dtype and shape of a value that a trace found.

    Attributes:
        dtype: Of its elements.
        shape: With the sizes that were taken for those that the model leaves open.
        known: Whether it is computed while tracing.
        named: The shape with the batch by its name, where that is known.
    """

    dtype: str
    shape: tuple[int, ...]
    known: bool = False
    named: tuple[object, ...] = ()

    def __str__(self) -> str:
        return joined(self.dtype, self.named or self.shape)


@dataclass
class Traced:
    """What a trace found.

    Attributes:
        results: By node, what its outputs are.
        operands: By node, what its inputs are.
        flops: By node, operations in products, where they were counted.
        sizes: The sizes that were taken for those that the model leaves open, by name.
        nameless: The whole shapes that were taken for inputs of which sizes have no names.
    """

    results: dict[ir.Node, tuple[ArrayKind | None, ...]] = field(default_factory=dict)
    operands: dict[ir.Node, tuple[ArrayKind | None, ...]] = field(default_factory=dict)
    flops: dict[ir.Node, float] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    nameless: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def name_batch(self, other: Traced, name: str, size: int) -> None:
        """Names the axes that a trace of another batch, of `size`, shows to be as long as it."""

        def named(kind: ArrayKind | None, beside: ArrayKind | None) -> ArrayKind | None:
            if kind is None or beside is None or len(kind.shape) != len(beside.shape):
                return kind
            pairs = zip(kind.shape, beside.shape, strict=True)
            axes = tuple(batch_text(*pair, name, size) for pair in pairs)
            return replace(kind, named=axes)

        for found, besides in ((self.results, other.results), (self.operands, other.operands)):
            for node, kinds in found.items():
                if len(beside := besides.get(node, ())) == len(kinds):
                    found[node] = tuple(map(named, kinds, beside))


def batch_text(n: int, beside: int, name: str, size: int) -> object:
    """The length of an axis: a multiple of the batch by its name, where it grows with it.

    It is `n` for a batch of `size - 1`, and `beside` for one of `size`.
    """
    times = beside - n
    if times <= 0 or beside != times * size:
        return n
    return name if times == 1 else f"{times}·{name}"


def open_batch(program: Program) -> list[tuple[str, str]]:
    """The inputs whose first size the model leaves open, with its name; none if it has several."""
    shapes = [(v.name, v.type.shape) for v in program.inputs if isinstance(v.type, ir.TensorType)]
    first = [(name, shape[0]) for name, shape in shapes if shape and not isinstance(shape[0], int)]
    return [(name, size or "?") for name, size in first] if len({s for _, s in first}) == 1 else []


def of_batch(
    given: Mapping[str, np.ndarray], batch: Sequence[tuple[str, str]], size: int
) -> dict[str, np.ndarray]:
    """Inputs with another first size."""
    longer = {
        name: np.broadcast_to(given[name][:1], (size, *given[name].shape[1:])) for name, _ in batch
    }
    return {**given, **longer}


def kind_of(value: Value) -> ArrayKind | None:
    """Dtype and shape of an array; None of what is none."""
    if not hasattr(value, "shape") or not hasattr(value, "dtype"):
        return None
    known = not isinstance(value, Tracer)
    shape = tuple(int(n) if isinstance(n, int | np.integer) else -1 for n in value.shape)
    return ArrayKind(str(value.dtype), shape, known)


def trace(
    program: Program, counts: Callable[[Call], float] | None = None, always: bool = False
) -> Traced:
    """Follows the graph with arrays that have no numbers, node by node.

    What cannot be traced, as it depends on data, has no types, nor has what needs it; other nodes
    have.

    Args:
        program: The model.
        counts: What is to be counted of each call.
        always: Whether large models are traced, too, which takes long.
    """
    found = Traced()
    program = program.edited(batched=False)
    nodes = program.model.graph.nodes
    if not always and sum(1 for _ in all_nodes(program.model)) > TRACED:
        return found
    best: Mapping[str, Any] = {}
    for given in example_inputs(program):
        attempt = attempted(program, given)
        if len(attempt.results) > len(found.results):
            found, best = attempt, given
            found.sizes = open_sizes(program, given)
            found.nameless = nameless(program, given)
        if len(found.results) >= len(nodes):
            break
    if (batch := open_batch(program)) and found.results:
        size = best[batch[0][0]].shape[0] + 1
        found.name_batch(attempted(program, of_batch(best, batch, size)), batch[0][1], size)
    if counts is not None and found.results:  # once, as it takes longer
        found.flops = attempted(program, best, counts).flops
    return found


def attempted(
    program: Program, given: Mapping[str, Any], counts: Callable[[Call], float] | None = None
) -> Traced:
    """What a trace with some inputs finds; all until it fails."""
    found = Traced()
    with suppress(ir.OnnxlaError, TypeError, ValueError), jax.enable_x64(True):
        follow(program, given, found, counts)
    return found


def trips(call: Call, constants: Mapping[str, ir.Tensor]) -> int:
    """How often a node runs its subgraph: once, if that is not known or a condition may end it.

    Args:
        call: The node's.
        constants: Those of the main graph, by name.
    """
    operands, attributes = call.operands, call.node.attributes
    if call.node.op_type == "Scan" and "num_scan_inputs" in attributes:
        axes = call.keywords.get("scan_input_axes") or (0,)
        return int(np.shape(operands[-call.keywords["num_scan_inputs"]])[axes[0]])
    if call.node.op_type != "Loop" or not is_known(operands[0]):
        return 1
    going = operands[1] if len(operands) > 1 else None
    if not goes_on(attributes["body"], constants) or not (going is None or is_known(going)):
        return 1
    return max(int(np.asarray(operands[0]).item()), 0) if going is None or np.all(going) else 0


def goes_on(body: Any, constants: Mapping[str, ir.Tensor]) -> bool:
    """Whether the body of a Loop gives its condition back as it was, or a constant that is true."""
    copies = {n.outputs[0]: n.inputs[0] for n in body.nodes if is_standard(n, "Identity")}
    name = body.outputs[0].name
    while name in copies:
        name = copies.pop(name)
    if name == body.inputs[1].name:
        return True
    known = {**constants, **{tensor.name: tensor for tensor in body.initializers}}
    return name in known and name not in names_made(body.nodes) and bool(known[name].numpy().all())


def open_sizes(program: Program, given: Mapping[str, Value]) -> dict[str, int]:
    """The sizes by which the model has names, as they were in a trace."""
    sizes: dict[str, int] = {}
    for value in program.inputs:
        if isinstance(value.type, ir.TensorType) and value.name in given:
            for name, size in zip(value.type.shape or (), given[value.name].shape, strict=False):
                if isinstance(name, str):
                    sizes[name] = size
    return sizes


def nameless(program: Program, given: Mapping[str, Value]) -> dict[str, tuple[int, ...]]:
    """The shapes in a trace of inputs that have open sizes without a name."""
    return {
        value.name: given[value.name].shape
        for value in program.inputs
        if isinstance(value.type, ir.TensorType) and value.name in given
        if {None, "?"} & {*(value.type.shape or ())}
    }


def follow(
    program: Program,
    given: Mapping[str, np.ndarray],
    found: Traced,
    counts: Callable[[Call], float] | None,
) -> None:
    """Traces all nodes that can be traced, and notes what they make."""
    tensors = program.parameters.params.items()
    params = {key: jax.ShapeDtypeStruct(tensor.shape, tensor.dtype) for key, tensor in tensors}
    static, traced = known_and_traced(program, given)

    initializers = program.model.graph.initializers
    constants = {each.name: each for each in initializers if isinstance(each, ir.Tensor)}
    times = 1

    def note(call: Call, then: Then) -> Results:
        nonlocal times
        around, times = times, times * trips(call, constants)
        try:
            results = then(call)
        finally:
            times = around
        if counts is not None:
            found.flops[call.node] = found.flops.get(call.node, 0.0) + times * counts(call)
        found.operands[call.node] = tuple(map(kind_of, call.operands))
        found.results[call.node] = tuple(map(kind_of, results))
        return results

    def walk(params: Any, traced: Any) -> tuple[()]:
        inputs = {**program.fixed, **static, **traced}
        context = program.context(params, program.buffers, None, given=inputs)
        context = replace(context, rules=(note, *context.rules))
        graph = program.model.graph
        env: dict[str, Value] = {t.name: context.read(t) for t in graph.initializers} | inputs
        for index in range(len(graph.nodes)):
            with suppress(Exception):  # whatever an operator says: what it makes is not known
                eval_at(index, graph.nodes, env, context)
        return ()

    jax.eval_shape(walk, params, traced)


def stated(graphs: Sequence[ir.Graph]) -> Iterator[tuple[str, ir.Type]]:
    """The types that the file states for values of some graphs and those in them."""
    for graph in graphs:
        for info in (*graph.inputs, *graph.value_info, *graph.outputs):
            if info.type is not None:
                yield info.name, info.type
        for node in graph.nodes:
            yield from stated(subgraphs(node))


def type_text(kind: ir.Type) -> str:
    """A type as a drawing has it: `float32 N×64`."""
    if isinstance(kind, ir.TensorType) and kind.shape is not None:
        return joined("string" if kind.dtype == ir.STRING else str(kind.dtype), kind.shape)
    return describe_type(kind)


def joined(dtype: str, shape: Sequence[object]) -> str:
    """Dtype and shape."""
    return f"{dtype} {shape_text(tuple(shape))}".strip()
