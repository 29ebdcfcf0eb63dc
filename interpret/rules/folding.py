"""Folding: what is computed from known values alone is known."""

from __future__ import annotations

import jax
import jax.core
import numpy as np

from onnxla.interpret.calls import Call, Results, Then
from onnxla.ir.model import is_plain
from onnxla.ops.sizes import Sizes, as_sizes
from onnxla.ops.values import as_known, is_known


def fold(call: Call, then: Then) -> Results:
    """The results, computed now if all operands and keywords are known.

    Not with a subgraph: it may use traced values of the outer graph, and is folded by itself.
    """
    stated = [value for value in call.keywords.values() if not is_plain(value)]
    if not is_known([*call.operands, *stated]):
        return then(call)
    if symbolic := [x for x in call.operands if isinstance(x, Sizes)]:
        # What is computed of sizes is known; what has such a size is traced.
        kind = symbolic[0].dtype
        return tuple(x if isinstance(x, jax.Array) else as_sizes(x, kind) for x in then(call))
    # A function with a derivative of its own is traced within `vmap` for all that is known.
    with jax.core.eval_context(), jax.ensure_compile_time_eval(), np.errstate(all="ignore"):
        return tuple(map(as_known, then(call)))
