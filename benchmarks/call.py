"""What a call costs: `module(x)` beside a bare `jax.jit` of the same computation.

A call with a seen shape does no Python work for each node or parameter, so the difference does not
grow with the graph. Both sides are in one process and take turns; what is printed are medians, and
the least, of RUNS means over CALLS calls.

    python benchmarks/run.py call
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

import onnxla

# What is measured, onnxla's side, and the bare program's.
Case = tuple[str, Callable[[], Any], Callable[[], Any]]


def load(
    nodes: list[NodeProto], inputs: Iterable[str], shape: list[int], tensors: Iterable[Any] = ()
) -> onnxla.Module:
    """A model of such nodes, of which the last one's output is the model's."""
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name in (*inputs, nodes[-1].output[0])
    ]
    graph = helper.make_graph(nodes, "g", ends[:-1], ends[-1:], [*tensors])
    opsets = [helper.make_opsetid("", 20)]
    return onnxla.load(helper.make_model(graph, opset_imports=opsets, ir_version=9))


def chain(nodes: int) -> Case:
    """x + x + ... + x: no parameters, and one compiled loop over four elements."""
    made = [helper.make_node("Add", [f"x{i}", "x0"], [f"x{i + 1}"]) for i in range(nodes)]
    module, x = load(made, ["x0"], [4]), jnp.ones(4)

    @jax.jit
    def bare(x: jax.Array) -> jax.Array:
        total = x
        for _ in range(nodes):
            total = total + x
        return total

    return f"{nodes} nodes", lambda: module(x), lambda: bare(x)


def layers(count: int) -> Case:
    """Layers of MatMul and Add, with two parameters each, small ones."""
    rng = np.random.default_rng(0)
    made, tensors = [], []
    for i in range(count):
        weight, bias = rng.standard_normal((4, 4)) / 2, rng.standard_normal(4)
        tensors.append(numpy_helper.from_array(weight.astype(np.float32), f"w{i}"))
        tensors.append(numpy_helper.from_array(bias.astype(np.float32), f"b{i}"))
        made.append(helper.make_node("MatMul", [f"x{i}", f"w{i}"], [f"m{i}"]))
        made.append(helper.make_node("Add", [f"m{i}", f"b{i}"], [f"x{i + 1}"]))
    module, x = load(made, ["x0"], [1, 4], tensors), jnp.ones((1, 4))

    @jax.jit
    def bare(params: dict[str, jax.Array], x: jax.Array) -> jax.Array:
        for i in range(count):
            x = jnp.matmul(x, params[f"w{i}"], precision="highest") + params[f"b{i}"]
        return x

    return f"{2 * count} parameters", lambda: module(x), lambda: bare(module.params, x)


def product(given: str) -> Case:
    """Of two inputs, which are given by keyword or as a dict."""
    module = load([helper.make_node("Mul", ["a", "b"], ["y"])], ["a", "b"], [4])
    a, b = jnp.ones(4), jnp.ones(4)
    bare = jax.jit(lambda a, b: a * b)
    if given == "keyword":
        return "2 inputs by keyword", lambda: module(a=a, b=b), lambda: bare(a=a, b=b)
    one_dict = jax.jit(lambda inputs: inputs["a"] * inputs["b"])
    inputs = {"a": a, "b": b}
    return "2 inputs as a dict", lambda: module(inputs), lambda: one_dict(inputs)


def of_numpy() -> Case:
    """One array of numpy, which JAX copies."""
    module = load([helper.make_node("Add", ["x", "x"], ["y"])], ["x"], [4])
    x, bare = np.ones(4, np.float32), jax.jit(lambda x: x + x)
    return "an array of numpy", lambda: module(x), lambda: bare(x)


def shapes() -> Case:
    """Two shapes in turn."""
    module = load([helper.make_node("Add", ["x", "x"], ["y"])], ["x"], ["n"])
    xs, bare = (jnp.ones(4), jnp.ones(5)), jax.jit(lambda x: x + x)
    return "two shapes in turn", lambda: [*map(module, xs)], lambda: [*map(bare, xs)]


def cases() -> Iterator[Case]:
    """All that is measured."""
    for nodes in (10, 100, 1000):
        yield chain(nodes)
    yield layers(100)
    yield product("keyword")
    yield product("dict")
    yield of_numpy()
    yield shapes()


def seconds(function: Callable[[], object], calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        function()
    return (time.perf_counter() - start) / calls


def measure(runs: int = 31, calls: int = 300) -> list[dict[str, Any]]:
    """What a call takes, in seconds: a row for each case."""
    results = []
    for what, ours, theirs in cases():
        jax.tree.map(np.testing.assert_allclose, ours(), theirs())
        ours()  # the second call of a shape is checked once more, the third is not
        pairs = [(seconds(ours, calls), seconds(theirs, calls)) for _ in range(runs)]
        a, b = zip(*pairs, strict=True)
        results.append(
            {
                "what": what,
                "seconds": statistics.median(a),
                "least": min(a),
                "jit": statistics.median(b),
                "jit_least": min(b),
                "ratio": statistics.median(a) / statistics.median(b),
                "ratio_of_least": min(a) / min(b),
            }
        )
    return results
