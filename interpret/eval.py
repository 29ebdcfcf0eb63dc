"""The interpreter: an environment and a loop over nodes, in the manner of JAX's `eval_jaxpr`.

Everything that evaluation depends on is passed along in a `Context`; nothing is stored.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import numpy as np

from onnxla.interpret.rules.mixed_precision import autocast
from onnxla.interpret.staging import origins
from onnxla.ir.errors import ModelError, StaticOperandError, UnsupportedError
from onnxla.ir.model import (
    AttributeReference,
    Function,
    Graph,
    Node,
    SparseTensor,
    Tensor,
)
from onnxla.ir.traverse import names_read
from onnxla.ops.straight_through import STRAIGHT_THROUGH, straight_through
from onnxla.ops.table import Operator, lookup
from onnxla.ops.values import Value, as_known, has_no_type_in_jax, is_concrete, is_known

# A hint on memory use in the first opset's schemas, without any effect on the result.
IGNORED_ATTRIBUTES = frozenset({"consumed_inputs"})


@dataclass(frozen=True)
class Context:
    """What evaluation depends on besides the graph and its arguments.

    Attributes:
        opsets: Opset imports of the model, or of the function being evaluated.
        functions: Model-local functions by (domain, name, overload).
        read: Value of a constant tensor: a parameter's current value, or the file's data.
        attributes: Values of the enclosing function's attributes.
        key: JAX key for operators that draw random numbers.
        train: Whether operators that differ in training behave as in training.
        frozen: Whether a value is a running statistic that stays as it is in training.
        note_update: Told in training of a running statistic's value and of its next one.
        compute_dtype: Dtype of products of float32 values, if another; see `autocast`.
    """

    opsets: Mapping[str, int]
    functions: Mapping[tuple[str, str, str], Function]
    read: Callable[[Tensor | SparseTensor], Value]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    key: jax.Array | None = None
    train: bool = False
    frozen: Callable[[Value], bool] = lambda value: False
    note_update: Callable[[Value, Value], None] | None = None
    compute_dtype: np.dtype | None = None


def eval_graph(
    graph: Graph,
    args: Mapping[str, Value],
    context: Context,
    outer: Mapping[str, Value] | None = None,
) -> tuple[Value, ...]:
    """Evaluates a graph on `args`, its inputs by name, and returns its outputs.

    `outer` is the environment of the enclosing graph, whose names a subgraph may use.
    """
    env: dict[str, Value] = dict(outer or {})
    env.update({tensor.name: context.read(tensor) for tensor in graph.initializers})
    env.update(args)
    eval_nodes(graph.nodes, env, context)
    return tuple(env[value.name] for value in graph.outputs)


def eval_nodes(nodes: Sequence[Node], env: dict[str, Value], context: Context) -> None:
    """Evaluates nodes in order, each reading from and writing to `env`."""
    for index in range(len(nodes)):
        eval_at(index, nodes, env, context)


def eval_at(index: int, nodes: Sequence[Node], env: dict[str, Value], context: Context) -> None:
    """Evaluates one of a scope's nodes, reading from and writing to `env`."""
    node, before = nodes[index], nodes[:index]
    with explain(node, env), jax.named_scope(node.name or node.op_type):
        operands = [env[name] if name else None for name in node.inputs]
        try:
            values_between = functools.partial(between, before, env, context)
            results = eval_node(node, operands, env, fold_in(context, index), values_between)
        except StaticOperandError as error:
            error.names = origins(error.names or node.inputs, node, before, env)
            raise
        if len(results) < len(node.outputs):
            raise ModelError(f"{node.op_type} has {len(results)} outputs, not {node.outputs}")
    env.update(zip(node.outputs, results, strict=False))


def fold_in(context: Context, index: Value) -> Context:
    """A context whose key differs with `index`, so that nodes and steps draw independently."""
    if context.key is None:
        return context
    return replace(context, key=jax.random.fold_in(context.key, index))


def eval_node(
    node: Node,
    operands: list[Value],
    env: Mapping[str, Value],
    context: Context,
    values_between: Callable[..., Callable[..., Value]],
) -> tuple[Value, ...]:
    """Values of a node's outputs. What its operator may ask for as `between` is given too."""
    attributes = {
        name: value
        for name, attribute in node.attributes.items()
        if (value := bind_attribute(attribute, env, context)) is not None
    }
    function = context.functions.get((node.domain, node.op_type, node.overload))
    if function is not None:
        return eval_function(function, node, operands, attributes, context)
    operator = find_operator(node, context.opsets)
    named = zip(operator.inputs, operands, strict=False)
    statistics = [v for name, v in named if operator.roles.get(name) == "running_statistic"]
    frozen = any(map(context.frozen, statistics))
    keywords = bind_keywords(operator, node, attributes, context, frozen)
    if "between" in operator.reserved:
        keywords["between"] = values_between
    operands = bind_operands(operator, node, operands)
    # Not with a subgraph: it may use traced values of the outer graph, and is folded by itself.
    if is_known([*operands, *keywords.values()]):
        with jax.ensure_compile_time_eval(), np.errstate(all="ignore"):
            results = as_known(as_tuple(operator.function(*operands, **keywords)))
    elif context.train and STRAIGHT_THROUGH in node.metadata:
        step = functools.partial(operator.function, **keywords)
        results = as_tuple(straight_through(step, *operands))
    else:
        results = as_tuple(autocast(operator, context.compute_dtype)(*operands, **keywords))
    if context.note_update is not None and not frozen:
        # The next values of running statistics are the outputs after the first, in their order.
        for value, following in zip(statistics, results[1:], strict=False):
            context.note_update(value, following)
    return tuple(results)


def as_tuple(results: Value) -> tuple[Value, ...]:
    """An operator's result as a tuple of its outputs."""
    return results if isinstance(results, tuple) else (results,)


def eval_function(
    function: Function,
    node: Node,
    operands: list[Value],
    attributes: Mapping[str, Any],
    context: Context,
) -> tuple[Value, ...]:
    """Evaluates a model-local function as a nested scope with opset imports of its own."""
    if len(operands) > len(function.inputs):
        raise ModelError(f"function {function.name} takes {len(function.inputs)} inputs")
    if missing := set(function.attributes).difference(attributes):
        raise ModelError(f"function {function.name} needs the attributes {sorted(missing)}")
    defaults = {k: bind_attribute(v, {}, context) for k, v in function.defaults.items()}
    inner = replace(context, opsets=function.opsets, attributes={**defaults, **attributes})
    env: dict[str, Value] = dict.fromkeys(function.inputs)
    env.update(zip(function.inputs, operands, strict=False))
    try:
        eval_nodes(function.nodes, env, inner)
    except StaticOperandError as error:
        actual = dict(zip(function.inputs, node.inputs, strict=False))
        error.names = tuple(actual[name] for name in error.names if actual.get(name))
        raise
    return tuple(env[name] for name in function.outputs)


def find_operator(node: Node, opsets: Mapping[str, int]) -> Operator:
    """The table's row for a node. Raises: UnsupportedError if there is none."""
    operator = lookup(node.domain, node.op_type, opsets.get(node.domain, 1))
    if operator is None:
        raise UnsupportedError(
            f"{node} is not supported; an operator can be registered with @onnxla.op. "
            "All that the model uses and that has no implementation:"
        )
    return operator


def bind_attribute(attribute: Any, env: Mapping[str, Value], context: Context) -> Any:
    """An attribute as its operator receives it: tensors as values, subgraphs as functions."""
    match attribute:
        case AttributeReference(name):
            return context.attributes.get(name)
        case Tensor() | SparseTensor():
            return context.read(attribute)
        case Graph():
            names = [value.name for value in attribute.inputs]

            def subgraph(*args: Value, step: Value = 0) -> tuple[Value, ...]:
                if len(args) != len(names):
                    raise ModelError(f"a subgraph with inputs {names} got {len(args)} values")
                # What a step or a branch makes cannot leave it but as its output.
                inner = replace(fold_in(context, step), note_update=None)
                return eval_graph(attribute, dict(zip(names, args, strict=True)), inner, env)

            subgraph.__name__ = attribute.name
            return subgraph
        case tuple() if attribute and isinstance(attribute[0], Tensor | SparseTensor | Graph):
            return tuple(bind_attribute(item, env, context) for item in attribute)
    return attribute


def bind_keywords(
    operator: Operator,
    node: Node,
    attributes: Mapping[str, Any],
    context: Context,
    frozen: bool = False,
) -> dict[str, Any]:
    """Keyword arguments of an operator: the node's attributes, and what it asks to be filled in."""
    keywords = {k: v for k, v in attributes.items() if k not in IGNORED_ATTRIBUTES}
    if unknown := set(keywords).difference(operator.attributes):
        raise ModelError(
            f"{operator.name} has no attribute {', '.join(sorted(unknown))} in this opset; "
            f"it has: {', '.join(operator.attributes) or 'none'}"
        )
    required = {k for k, v in operator.attributes.items() if v is inspect.Parameter.empty}
    if missing := sorted(required.difference(keywords)):
        raise ModelError(f"{operator.name} needs the attribute {', '.join(missing)}")
    for name, value in keywords.items():
        default = operator.attributes[name]
        number = isinstance(default, int | float) and isinstance(value, str | bytes | tuple)
        if number or (isinstance(default, str) and not isinstance(value, str)):
            kind = "number" if number else "text"
            raise ModelError(f"attribute {name} of {operator.name} is no {kind}: {value!r}")
    reserved = {
        "n_outputs": len(node.outputs),
        "key": context.key,
        "train": context.train,
        "frozen": frozen,
    }
    return keywords | {k: v for k, v in reserved.items() if k in operator.reserved}


def between(
    nodes: Sequence[Node],
    env: Mapping[str, Value],
    context: Context,
    names: Sequence[str],
    output: str,
) -> Callable[..., Value]:
    """The value `output` of a scope as a function of its values `names`, in that order."""
    needed, wanted = [], {output} - set(names)
    for index in reversed(range(len(nodes))):
        if wanted.intersection(nodes[index].outputs):
            needed.append(index)
            wanted |= names_read(nodes[index]).difference(names)
    if not needed and output not in names:
        raise ModelError(f"'{output}' is not computed before this node in its graph")

    def function(*values: Value) -> Value:
        inner = {**env, **dict(zip(names, values, strict=True))}
        for index in reversed(needed):
            # What is differentiated again updates no statistics again.
            eval_at(index, nodes, inner, replace(context, note_update=None))
        return inner[output]

    return function


def bind_operands(operator: Operator, node: Node, operands: list[Value]) -> list[Value]:
    """Positional arguments of an operator, as numpy if static, or with strings."""
    if len(operands) < operator.required or (
        len(operands) > len(operator.inputs) and not operator.variadic
    ):
        raise ModelError(
            f"{operator.name} takes the inputs {', '.join(operator.inputs)}; "
            f"this node has {len(operands)}"
        )
    pairs = zip(operator.inputs, node.inputs, strict=False)
    if absent := [name for name, given in pairs if name in operator.present and not given]:
        raise ModelError(f"{node} needs the input {', '.join(absent)}, which is absent")
    bound = list(operands)
    leaves = jax.tree.leaves(operands)
    concrete = any(map(has_no_type_in_jax, leaves))
    for index, value in enumerate(operands):
        name = operator.input_name(index)
        if is_known(value) or not (concrete or name in operator.static):
            continue
        if not is_concrete(value):
            reason = "decides a shape" if name in operator.static else "meets strings"
            raise StaticOperandError(
                f"operand '{name}' ('{node.inputs[index]}') of {node} {reason}, so it must be "
                "known while tracing",
                (node.inputs[index],),
            )
        bound[index] = as_known(value)
    return bound


@contextlib.contextmanager
def explain(node: Node, env: Mapping[str, Value]) -> Iterator[None]:
    """Adds a note on the node and its operands to whatever is raised inside."""
    try:
        yield
    except Exception as error:
        described = ", ".join(f"{name}: {describe(env.get(name))}" for name in node.inputs)
        attributes = ", ".join(f"{k}={shorten(v)}" for k, v in node.attributes.items())
        note = f"in {node} [{attributes}] with ({described})"
        if isinstance(error, IndexError):  # operators look up sizes by the axes that a file names
            explained = ModelError(f"{node} has an axis or index that is out of range: {error}")
            explained.add_note(note)
            raise explained from error
        error.add_note(note)
        raise


def describe(value: Value) -> str:
    """Dtype and shape of a value, such as `float32[2, 3]`."""
    if value is None:
        return "absent"
    if isinstance(value, list):
        return f"sequence of {len(value)}"
    if isinstance(value, dict):
        return f"map of {len(value)}"
    return f"{value.dtype}{list(value.shape)}"


def shorten(attribute: Any) -> str:
    """A short text of an attribute."""
    if isinstance(attribute, Graph):
        return f"graph of {len(attribute.nodes)} nodes"
    text = repr(attribute)
    return text if len(text) < 60 else text[:56] + " ..."
