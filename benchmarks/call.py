"""What a call costs beside the compiled computation, for graphs of different lengths.

A call with a seen shape does no Python work for each node, so the difference between a `Module`'s
call and the call of a bare `jax.jit` of the same computation does not grow with the graph.

    python benchmarks/call.py
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from onnx import helper

import onnxla


def chain(nodes: int) -> onnxla.Module:
    """x + x + ... + x: no parameters, and one compiled loop over four elements."""
    made = [helper.make_node("Add", [f"x{i}", "x0"], [f"x{i + 1}"]) for i in range(nodes)]
    ends = [helper.make_tensor_value_info(name, 1, [4]) for name in ("x0", f"x{nodes}")]
    graph = helper.make_graph(made, "chain", ends[:1], ends[1:])
    opsets = [helper.make_opsetid("", 20)]
    return onnxla.load(helper.make_model(graph, opset_imports=opsets, ir_version=9))


def seconds(function: Callable[[], object], calls: int = 300) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        function()
    return (time.perf_counter() - start) / calls


def main() -> None:
    x = jnp.ones(4)
    for nodes in (10, 100, 1000):
        module = chain(nodes)

        @jax.jit
        def bare(x: jax.Array, nodes: int = nodes) -> jax.Array:
            total = x
            for _ in range(nodes):
                total = total + x
            return total

        np.testing.assert_allclose(module(x), bare(x))
        pairs = [(seconds(lambda: module(x)), seconds(lambda: bare(x))) for _ in range(9)]  # noqa: B023
        ours, theirs = (statistics.median(side) * 1e6 for side in zip(*pairs, strict=True))
        print(f"{nodes:5} nodes: call {ours:6.1f} us, bare jax.jit {theirs:6.1f} us")


if __name__ == "__main__":
    main()
