"""A chain rule in which zero times an infinite derivative is zero.

In `Where(x > 0, Sqrt(x), 0)` the gradient of the square root at x = 0 is that of a value nobody
uses: the cotangent 0 times the slope infinity. In floating point that is NaN, which spoils every
gradient before it. Operators with such slopes multiply tangents by `product`, for which 0 * inf
and 0 * NaN are 0. Nothing else changes: a square root that is used has an infinite slope at 0.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from onnxla.ops.values import Value, lower_exactly


def product(a: Value, b: Value) -> Value:
    """The product elementwise, with broadcasting; 0 where a factor is 0, whatever the other is.

    Bilinear as a product is, to JAX too: forward and reverse mode of any order go through it.
    """
    # Under `shard_map` both must vary over the same axes of the mesh, as a sum makes them; before
    # they are broadcast, so that what is summed over devices in the gradient is small.
    zeros = jnp.zeros_like(b, shape=()), jnp.zeros_like(a, shape=())
    return product_p.bind(*jnp.broadcast_arrays(a + zeros[0], b + zeros[1]))


def multiply(a: Value, b: Value) -> Value:
    """What `product` computes."""
    return jnp.where((a == 0) | (b == 0), jnp.zeros_like(a), a * b)


def batch(values: tuple[Value, Value], dims: tuple[int | None, int | None]) -> tuple[Value, int]:
    """The rule for `vmap`: both operands with their mapped axis in front."""
    a, b = (
        x[None] if dim is None else jnp.moveaxis(x, dim, 0)
        for x, dim in zip(values, dims, strict=True)
    )
    return product(a, b), 0


product_p = Primitive("product")
product_p.def_impl(jax.jit(multiply))
product_p.def_abstract_eval(lambda a, b: a.update(weak_type=False))
ad.defbilinear(
    product_p, lambda ct, a, b: product_p.bind(ct, b), lambda ct, a, b: product_p.bind(ct, a)
)
mlir.register_lowering(product_p, lower_exactly(multiply))
batching.primitive_batchers[product_p] = batch


def singular(
    function: Callable[..., Value], value: Callable[..., Value] | None = None
) -> Callable[..., Value]:
    """An elementwise function, with broadcasting, whose chain rule multiplies by `product`.

    So do the chain rules of its derivatives, of any order. `value` may compute it in another way.
    """
    wrapped = jax.custom_jvp(value or function)

    def rule(primals: tuple[Value, ...], tangents: tuple[Any, ...]) -> tuple[Value, Value]:
        y = wrapped(*primals)
        terms = [
            product(tangent, singular(functools.partial(slope, function, index))(*primals))
            for index, tangent in enumerate(tangents)
            if not isinstance(tangent, SymbolicZero)
        ]
        return y, functools.reduce(jnp.add, terms, jnp.zeros_like(y))

    wrapped.defjvp(rule, symbolic_zeros=True)
    return wrapped


def slope(function: Callable[..., Value], index: int, *operands: Value) -> Value:
    """The partial derivative of an elementwise function, in the shape of its value."""
    operands = tuple(jnp.broadcast_arrays(*operands))

    def of_one(x: Value) -> Value:
        return function(*operands[:index], x, *operands[index + 1 :])

    return jax.jvp(of_one, (operands[index],), (jnp.ones_like(operands[index]),))[1]
