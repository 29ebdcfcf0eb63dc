"""An identity that cannot be differentiated in reverse, and says why."""

from __future__ import annotations

from typing import NoReturn

from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from onnxla.ir.errors import UnsupportedError
from onnxla.ops.values import Value


def forward_only(x: Value, *, reason: str) -> Value:
    """x; a gradient with respect to what x is computed from is an UnsupportedError."""
    return forward_only_p.bind(x, reason=reason)


def refuse(cotangent: Value, x: Value, *, reason: str) -> NoReturn:
    """The transpose, which reverse mode asks for."""
    raise UnsupportedError(reason)


forward_only_p = Primitive("forward_only")
forward_only_p.def_impl(lambda x, reason: x)
forward_only_p.def_abstract_eval(lambda x, reason: x)
ad.deflinear2(forward_only_p, refuse)
mlir.register_lowering(forward_only_p, lambda context, x, reason: [x])
batching.primitive_batchers[forward_only_p] = lambda xs, dims, reason: (
    forward_only(xs[0], reason=reason),
    dims[0],
)
