"""The interpreter: an environment and a loop over nodes, in the manner of JAX's `eval_jaxpr`.

Everything that evaluation depends on is passed along in a `Context`; nothing is stored. What is
done around one call of an operator are rules; see `calls`.
"""

from __future__ import annotations

import functools
from collections import ChainMap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax
import numpy as np

from onnxla.interpret.binding import (
    bind_attributes,
    bind_keywords,
    bind_operands,
    find_operator,
)
from onnxla.interpret.calls import Call, Context, Env, Results, Scope, Updates, apply, fold_in
from onnxla.interpret.composite import Composite
from onnxla.interpret.rules.explanations import explain
from onnxla.interpret.staging import origins
from onnxla.ir.errors import ModelError, StaticOperandError
from onnxla.ir.model import Function, Graph, Node
from onnxla.ir.names import listed, plain, quoted
from onnxla.ir.traverse import names_read
from onnxla.ops.values import Value
from onnxla.parameters.sources import Formal, Source
from onnxla.parameters.statistics import carried


def eval_graph(graph: Graph, args: Env, context: Context, outer: Scope | None = None) -> Results:
    """Evaluates a graph on `args`, its inputs by name, and returns its outputs.

    `outer` is the environment of the enclosing graph, whose names a subgraph may use.
    """
    own: dict[str, Value] = {tensor.name: context.read(tensor) for tensor in graph.initializers}
    env = own if outer is None else ChainMap(own, outer)  # no copy: there may be many subgraphs
    env.update(args)
    for index in range(len(graph.nodes)):
        eval_at(index, graph.nodes, env, context)
    return tuple(env[value.name] for value in graph.outputs)


def eval_at(index: int, nodes: Sequence[Node], env: Scope, context: Context) -> None:
    """Evaluates one of a scope's nodes, reading from and writing to `env`."""
    node = nodes[index]
    if isinstance(node, Composite):
        try:
            env.update(node.evaluate(env, fold_in(context, index), eval_at))
        except StaticOperandError as error:
            error.names = origins(error.names, node, nodes[:index], env, context.opsets)
            raise
        return
    operands = [env[name] if name else None for name in node.inputs]
    with explain(node, operands), jax.named_scope(plain(node.name or node.op_type)):
        try:
            given = functools.partial(between, nodes, index, env, context)
            results = eval_node(node, operands, env, fold_in(context, index), given)
        except StaticOperandError as error:
            error.names = origins(
                error.names or node.inputs, node, nodes[:index], env, context.opsets
            )
            error.node = node
            raise
        if len(results) < len(node.outputs):
            raise ModelError(
                f"{node.op_type} has {len(results)} outputs, not {listed(node.outputs)}"
            )
    env.update(zip(node.outputs, results, strict=False))


def eval_node(
    node: Node, operands: list[Value], env: Scope, context: Context, given: Callable[..., Any]
) -> Results:
    """Values of a node's outputs. `given` is what its operator may ask for as `between`."""
    subgraph = functools.partial(as_function, env=env, context=context)
    attributes = bind_attributes(node.attributes, context.attributes, context.read, subgraph)
    analysis = context.analysis
    sources = context.actual(analysis.sources(node)) if analysis else []
    key = (node.domain, node.op_type, node.overload)
    if function := context.functions.get(key):
        formals: list[Source] = [Formal(name, key) for name in function.inputs]
        missing: list[Source] = [None] * (len(formals) - len(sources))
        bound = dict(zip(formals, [*sources, *missing], strict=False))
        inner = replace(context, formals=bound)
        return eval_function(function, node, operands, attributes, inner)
    operator = find_operator(node, context.opsets)
    reserved: dict[str, Any] = {"train": False, "frozen": False, "carry": ()}
    reserved["single"] = np.dtype(np.float32)
    reserved |= {"n_outputs": len(node.outputs), "key": context.key, "between": given}
    keywords = bind_keywords(operator, node, attributes, reserved)
    operands = bind_operands(operator, node, operands)
    within = context.actual(carried(analysis, node)) if analysis else []
    call = Call(node, operator, operands, keywords, sources, within, context.updates)
    return apply(context.rules, call)


def eval_function(
    function: Function,
    node: Node,
    operands: list[Value],
    attributes: Mapping[str, Any],
    context: Context,
) -> Results:
    """Evaluates a model-local function as a nested scope with opset imports of its own."""
    if len(operands) > len(function.inputs):
        raise ModelError(f"function {plain(function.name)} takes {len(function.inputs)} inputs")
    if missing := set(function.attributes).difference(attributes):
        raise ModelError(
            f"function {plain(function.name)} needs the attributes {listed(sorted(missing))}"
        )
    subgraph = functools.partial(as_function, env={}, context=context)
    defaults = bind_attributes(function.defaults, context.attributes, context.read, subgraph)
    inner = replace(context, opsets=function.opsets, attributes={**defaults, **attributes})
    env: dict[str, Value] = dict.fromkeys(function.inputs)
    env.update(zip(function.inputs, operands, strict=False))
    try:
        for index in range(len(function.nodes)):
            eval_at(index, function.nodes, env, inner)
    except StaticOperandError as error:
        actual = dict(zip(function.inputs, node.inputs, strict=False))
        error.names = tuple(actual[name] for name in error.names if actual.get(name))
        raise
    return tuple(env[name] for name in function.outputs)


def as_function(graph: Graph, env: Scope, context: Context) -> Callable[..., Results]:
    """A subgraph as a function of its inputs.

    `step` is the number of a loop's step; `updates` gets the next values of running statistics.
    """
    names = [value.name for value in graph.inputs]

    def subgraph(*args: Value, step: Value = 0, updates: Updates = None) -> Results:
        if len(args) != len(names):
            raise ModelError(f"a subgraph with inputs {listed(names)} got {len(args)} values")
        inner = replace(fold_in(context, step), updates=updates)
        return eval_graph(graph, dict(zip(names, args, strict=True)), inner, env)

    subgraph.__name__ = plain(graph.name)
    return subgraph


def between(
    nodes: Sequence[Node],
    end: int,
    env: Env,
    context: Context,
    names: Sequence[str],
    output: str,
) -> Callable[..., Value]:
    """The value `output` of a scope as a function of its values `names`, in that order.

    Both are made by the first `end` nodes.
    """
    needed, wanted = [], {output} - set(names)
    for index in reversed(range(end)):
        if wanted.intersection(nodes[index].outputs):
            needed.append(index)
            wanted |= names_read(nodes[index]).difference(names)
    if not needed and output not in names:
        raise ModelError(f"{quoted(output)} is not computed before this node in its graph")

    def function(*values: Value) -> Value:
        inner = {**env, **dict(zip(names, values, strict=True))}
        for index in reversed(needed):
            eval_at(index, nodes, inner, replace(context, updates=None))
        return inner[output]

    return function
