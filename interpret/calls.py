"""One call of an operator, the rules around it, and what both depend on.

A rule is `rule(call, then)`: it returns the call's results, `then(call)` being what the rules
inside of it make of the call, and at last the operator's function. So a rule may change the
operands, look at the results, or not go on at all.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import jax

from onnxla.ir.model import Function, Node, SparseTensor, Tensor
from onnxla.ops.table import Operator
from onnxla.ops.values import Value
from onnxla.parameters.sources import Source
from onnxla.parameters.walk import Analysis

Results: TypeAlias = tuple[Value, ...]
Env: TypeAlias = Mapping[str, Value]
Scope: TypeAlias = MutableMapping[str, Value]
Updates: TypeAlias = MutableMapping[str, Value] | None


@dataclass(frozen=True)
class Call:
    """A node's operator, with what the node gives bound to its signature.

    Attributes:
        node: The node.
        operator: The table's row for it.
        operands: Values of its inputs in order; None where one is absent.
        keywords: Its attributes, and what the operator asks to be filled in.
        sources: What each operand is computed from, in training.
        carried: The running statistics of the node's subgraphs, in training.
        updates: Gets the next values of running statistics by name, in training.
    """

    node: Node
    operator: Operator
    operands: Sequence[Value]
    keywords: Mapping[str, Any]
    sources: Sequence[Source] = ()
    carried: Sequence[Source] = ()
    updates: Updates = None


Then: TypeAlias = Callable[[Call], Results]
Rule: TypeAlias = Callable[[Call, Then], Results]


@dataclass(frozen=True)
class Context:
    """What evaluation depends on besides the graph and its arguments.

    Attributes:
        opsets: Opset imports of the model, or of the function being evaluated.
        functions: Model-local functions by (domain, name, overload).
        read: Value of a constant tensor: a parameter's current value, or the file's data; of
            several of one shape, along a new first axis.
        rules: What is done around each call of an operator, the outermost first.
        attributes: Values of the enclosing function's attributes.
        key: JAX key for operators that draw random numbers.
        analysis: What the values of the model are computed from, in training.
        formals: What the inputs of the functions being evaluated are computed from.
        updates: Gets the next values of running statistics by name, in training.
        remat: Whether the gradient of a loop over blocks computes each again, products too.
    """

    opsets: Mapping[str, int]
    functions: Mapping[tuple[str, str, str], Function]
    read: Callable[[Tensor | SparseTensor | tuple[Tensor, ...]], Value]
    rules: tuple[Rule, ...] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)
    key: jax.Array | None = None
    analysis: Analysis | None = None
    formals: Mapping[Source, Source] = field(default_factory=dict)
    updates: Updates = None
    remat: bool = False

    def actual(self, sources: Sequence[Source]) -> list[Source]:
        """Sources in a function, as the call that is being evaluated gives them."""
        return [self.formals.get(source, source) for source in sources]


def apply(rules: Sequence[Rule], call: Call) -> Results:
    """Results of a call under rules, of which the first is the outermost."""
    if rules:
        return rules[0](call, functools.partial(apply, rules[1:]))
    results = call.operator.function(*call.operands, **call.keywords)
    return results if isinstance(results, tuple) else (results,)


def fold_in(context: Context, index: Value) -> Context:
    """A context whose key differs with `index`, so that nodes and steps draw independently."""
    if context.key is None:
        return context
    return replace(context, key=jax.random.fold_in(context.key, index))
