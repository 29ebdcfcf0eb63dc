"""Functions of steps that training sees through: the straight-through estimator.

Source: Bengio et al. 2013, arXiv 1308.3432.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax

from onnxla.ops.values import Value

# Metadata of a node with one operand that has the derivative 1 in training.
STRAIGHT_THROUGH = "onnxla.straight_through"


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def straight_through(function: Callable[[Value], Value], x: Value) -> Value:
    """function(x), which has x's dtype and shape, with the derivative of x itself."""
    return function(x)


@straight_through.defjvp
def _(
    function: Callable[[Value], Value], primals: tuple[Value], tangents: tuple[Value]
) -> tuple[Value, Value]:
    return straight_through(function, *primals), *tangents
