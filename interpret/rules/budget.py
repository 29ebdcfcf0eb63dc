"""The budget: what an operator is about to make is looked at before it is made.

A traced call makes nothing yet, so its results tell. A call on known or concrete values is traced
first, unless its results cannot have more elements than its operands give, and these are few.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jax.extend.core import jaxprs_in_params

from onnxla.interpret.calls import Call, Results, Rule, Then
from onnxla.ops.limits import BUDGET, FUSED, TEMPORARY, Budget, bytes_of
from onnxla.ops.values import Value, is_concrete, is_known, is_opaque

# Elements that are made without looking, where operands decide how many.
FEW = 2**20
# How the elements of an operand move without becoming more.
KEEPING = frozenset({"reshaped", "permuted", "sliced", "gathered", "joined", "dropped"})


def within(budget: Budget) -> Rule:
    """A rule that counts each call and what it makes.

    Raises:
        ModelError: A limit is passed; the message says by how much.
    """

    def rule(call: Call, then: Then) -> Results:
        budget.count_call()
        token = BUDGET.set(budget)
        try:
            if is_concrete(call.operands) and not harmless(call):
                foresee(call, budget)
            results = then(call)
        finally:
            BUDGET.reset(token)
        for result in results:
            if is_known(result):
                budget.add(bytes_of(result))
            else:
                check_value(result, budget)
        return results

    return rule


def harmless(call: Call) -> bool:
    """Whether a call needs no look ahead: its operands say that what it makes has few elements.

    Or it has a subgraph, in which each call is looked at by itself.
    """
    operator = call.operator
    if any(map(callable, call.keywords.values())):
        return True
    decided = operator.reads_shape or operator.converts or operator.moves in KEEPING
    if not decided and (operator.static or call.node.attributes):
        return False
    return math.prod(max(np.size(x), 1) for x in jax.tree.leaves(call.operands)) <= FEW


def foresee(call: Call, budget: Budget) -> None:
    """Checks all that a call on concrete values is about to make, by tracing it."""
    traced = [
        index
        for index, value in enumerate(call.operands)
        if value is not None
        and call.operator.input_name(index) not in call.operator.static
        and not is_opaque(value)
    ]

    def function(values: list[Value]) -> Value:
        operands = list(call.operands)
        for index, value in zip(traced, values, strict=True):
            operands[index] = value
        return call.operator.function(*operands, **call.keywords)

    shapes = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(np.shape(x), x.dtype), [call.operands[i] for i in traced]
    )
    try:
        program = jax.make_jaxpr(function)(shapes)
    except Exception:
        return  # it needs the numbers themselves; what is wrong, the call itself will tell
    check_program(program.jaxpr, budget, 1)


def check_value(value: Value, budget: Budget) -> None:
    """Raises: ModelError if a value, or all elements of a sequence, have too many bytes."""
    leaves = jax.tree.leaves(value)
    shapes = ", ".join(f"{leaf.dtype}{list(leaf.shape)}" for leaf in leaves[:3])
    budget.check(bytes_of(leaves), f"the result, {shapes}{', ...' if leaves[3:] else ''},")


def check_program(jaxpr: Any, budget: Budget, times: int = FUSED) -> None:
    """Checks every value in a traced program, which may have so many times the bytes of one.

    Raises:
        ModelError: One has too many; the message names where it is computed.
    """
    for equation in equations(jaxpr):
        for variable in equation.outvars:
            size = bytes_of(variable.aval)
            if size > times * budget.bytes:
                where = str(equation.source_info.name_stack)
                about = f"what {equation.primitive} makes" + (f" in '{where}'" if where else "")
                budget.check(size, f"{about}, {variable.aval.str_short()},")


def check_memory(analysis: Any, budget: Budget) -> None:
    """Checks what a compiled program has in memory beside its arguments, as XLA tells it.

    Raises:
        ModelError: It is too much.
    """
    if analysis is not None:  # a platform may not know
        size = analysis.temp_size_in_bytes + analysis.output_size_in_bytes
        budget.check(size / TEMPORARY, "a third of the results, with what is made on the way,")


def equations(jaxpr: Any) -> Iterator[Any]:
    """The equations of a program and of all within it."""
    pending = [jaxpr]
    while pending:
        for equation in pending.pop().eqns:
            yield equation
            pending += jaxprs_in_params(equation.params)
