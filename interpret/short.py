"""The short way of a call whose inputs are like those of the call before it.

Such inputs need no check and no look-up, so a call costs little more than its compiled program's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import jax
import numpy as np
from jax.core import Tracer

from onnxla.ir.errors import StaticOperandError
from onnxla.ops.values import Value

# From parameters, inputs in order and inputs by name to the outputs; to None for other inputs.
Short = Callable[[Mapping[str, Value], Sequence[Value], Mapping[str, Value]], Any]


def no_way(params: Mapping[str, Value], args: Sequence[Value], named: Mapping[str, Value]) -> None:
    """The short way where there is none."""


def kinds(values: Iterable[Value]) -> list[tuple[Any, Any]] | None:
    """`trace_key` of each value; None unless all are arrays of numpy, or of JAX and concrete."""
    found = []
    for x in values:
        if type(x) is not np.ndarray and (isinstance(x, Tracer) or not isinstance(x, jax.Array)):
            return None
        found.append((x.dtype, x.shape))
    return found


def short_way(
    program: Any,
    buffers: Sequence[Value],
    args: Sequence[Value],
    named: Mapping[str, Value],
    explaining: Callable[[], AbstractContextManager[None]],
    rows: Mapping[int, int],
) -> Short:
    """A call of a compiled program for arrays of the types, dtypes and shapes of these.

    Args:
        program: A function of parameters, buffers and inputs in order, compiled within x64.
        buffers: The buffers.
        args: The inputs in order.
        named: The inputs by name.
        explaining: A context that explains what is raised within.
        rows: By the number of an input, how many rows the table has that it is looked up in.
    """
    # Each call waits for this: what a line more or a line of `with` costs shows in benchmarks/call.
    enter, leave = jax.enable_x64.swap_local, jax.enable_x64.set_local
    names, count = [*named], len(args)
    values = (*args, *named.values())
    types, dtypes = [type(x) for x in values], [x.dtype for x in values]
    shapes = [x.shape for x in values]
    tables = [(i, n) for i, n in rows.items() if types[i] is np.ndarray and values[i].size]

    def call(params: Mapping[str, Value], args: Sequence[Value], named: Mapping[str, Value]) -> Any:
        if len(args) != count or ((named or names) and [*named] != names):
            return None
        if named:
            args = (*args, *named.values())
        for i, x in enumerate(args):  # a `zip` takes as long as all the rest
            if type(x) is not types[i] or x.dtype is not dtypes[i] or x.shape != shapes[i]:
                return None
        for i, n in tables:
            if not (-n <= args[i].min() and args[i].max() < n):
                return None
        before = enter(True)
        try:
            return program(params, *buffers, *args)
        except StaticOperandError:  # parameters of other shapes are traced again
            return None
        except Exception:
            with explaining():
                raise
        finally:
            leave(before)

    return call
