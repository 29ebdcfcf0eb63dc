"""The precision of products: exact unless the caller asks for less.

Accelerators round the float32 factors of matrix products and convolutions to fewer bits unless told
otherwise. JAX's own default leaves it to the platform; a model is to compute what its file says.
"""

from __future__ import annotations

import jax

from onnxla.interpret.calls import Call, Results, Rule, Then
from onnxla.ops.matmul import callers_precision

EXACT = "highest"


def products_in(precision: str | None) -> Rule:
    """A rule by which products have a precision: this one, else the caller's, else all bits.

    The caller's is that of `jax.default_matmul_precision`.
    """

    def rule(call: Call, then: Then) -> Results:
        with jax.default_matmul_precision(asked_for(precision) or EXACT):
            return then(call)

    return rule


def asked_for(precision: str | None) -> str | None:
    """A precision, or the caller's; None if there is none."""
    return precision or callers_precision()
