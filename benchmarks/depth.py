"""Compiling a gradient, by depth: N equal transformer blocks, and an LSTM cell of 60 steps.

The blocks are pre-norm (64 channels, 4 heads, 4 texts of 32 places); the gradient is that of the
mean square of the last values by all weights, with SGD's update, and weights are donated. `roll`
is the option of `onnxla.load`; `stacked` keeps the weights of all blocks as one array
(`module.stacked`). The peer is the same function written in plain JAX, block after block. Memory is
what XLA says of the compiled program: arguments, outputs beside them, and temporary arrays.
"""

from __future__ import annotations

import functools
import math
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnx
from onnx import TensorProto

import onnxla
from models import Network
from timing import seconds

N, HEADS, TEXTS, PLACES = 64, 4, 4, 32
DEPTHS = (6, 24, 96)
PLAIN_DEPTHS = (6, 24)
STEPS, FEATURES, HIDDEN = 60, 16, 32
RATE = 1e-3

Params = dict[str, Any]
Function = Callable[[Params, Any], Any]
"""Outputs of parameters and inputs."""


def blocks(depth: int) -> onnx.ModelProto:
    """Equal pre-norm transformer blocks, one after the other."""
    net, x, size = Network(), "x", N // HEADS
    for layer in range(depth):
        place = f"blocks.{layer}"
        y = net.linear(net.layer_norm(x, f"{place}.norm1", N, 1e-5), f"{place}.qkv", N, 3 * N)
        q, k, v = net.node("Split", y, net.tensor(np.int64([N] * 3)), outputs=3, axis=-1)
        y = net.attention(
            net.heads(q, HEADS, size),
            net.heads(k, HEADS, size, transposed=True),
            net.heads(v, HEADS, size),
            size,
            lambda scores: scores,
        )
        x = net.node("Add", x, net.linear(y, f"{place}.proj", N, N))
        y = net.linear(net.layer_norm(x, f"{place}.norm2", N, 1e-5), f"{place}.fc1", N, 4 * N)
        x = net.node("Add", x, net.linear(net.gelu(y), f"{place}.fc2", 4 * N, N))
    shape = (TEXTS, PLACES, N)
    return net.model({"x": (TensorProto.FLOAT, shape)}, {x: shape})


def plain_blocks(depth: int) -> tuple[Function, Params]:
    """The same in JAX, and weights of another draw."""
    keys = iter(jax.random.split(jax.random.key(0), 4 * depth))

    def weights() -> Params:
        sizes = {"qkv": (N, 3 * N), "proj": (N, N), "fc1": (N, 4 * N), "fc2": (4 * N, N)}
        made = {k: 0.02 * jax.random.normal(next(keys), s) for k, s in sizes.items()}
        made |= {f"{k} bias": jnp.zeros(s[1]) for k, s in sizes.items()}
        return made | {f"{k} scale": jnp.ones(N) for k in "12"} | {k: jnp.zeros(N) for k in "12"}

    def norm(p: Params, name: str, x: Any) -> Any:
        centred = x - x.mean(-1, keepdims=True)
        root = jnp.sqrt(jnp.square(centred).mean(-1, keepdims=True) + 1e-5)
        return centred / root * p[f"{name} scale"] + p[name]

    def linear(p: Params, name: str, x: Any) -> Any:
        return x @ p[name] + p[f"{name} bias"]

    def block(p: Params, x: Any) -> Any:
        parts = jnp.split(linear(p, "qkv", norm(p, "1", x)), 3, -1)
        q, k, v = (y.reshape(TEXTS, PLACES, HEADS, -1).swapaxes(1, 2) for y in parts)
        scores = jax.nn.softmax(q @ k.swapaxes(2, 3) / math.sqrt(N // HEADS))
        x = x + linear(p, "proj", (scores @ v).swapaxes(1, 2).reshape(TEXTS, PLACES, N))
        y = jax.nn.gelu(linear(p, "fc1", norm(p, "2", x)), approximate=False)
        return x + linear(p, "fc2", y)

    def function(params: Params, x: Any) -> Any:
        return functools.reduce(lambda x, i: block(params[str(i)], x), range(depth), x)

    return function, {str(i): weights() for i in range(depth)}


def cell() -> onnx.ModelProto:
    """An LSTM cell that is called step by step, as a loop of Python's is exported."""
    net = Network()
    w, r = (net.weight(n, k, 4 * HIDDEN, scale=0.2) for n, k in (("w", FEATURES), ("r", HIDDEN)))
    bias = net.weight("bias", 4 * HIDDEN)
    h = c = net.tensor(np.zeros((TEXTS, HIDDEN), np.float32))
    for step in range(STEPS):
        x = net.node("Gather", "x", net.tensor(np.int64(step)), axis=0)
        gates = net.node("Add", net.node("MatMul", x, w), net.node("MatMul", h, r))
        gates = net.node("Add", gates, bias)
        i, f, g, o = net.node("Split", gates, net.tensor(np.int64([HIDDEN] * 4)), outputs=4, axis=1)
        i, f, o = (net.node("Sigmoid", gate) for gate in (i, f, o))
        kept = net.node("Mul", f, c)
        c = net.node("Add", kept, net.node("Mul", i, net.node("Tanh", g)))
        h = net.node("Mul", o, net.node("Tanh", c))
    inputs = {"x": (TensorProto.FLOAT, (STEPS, TEXTS, FEATURES))}
    return net.model(inputs, {h: (TEXTS, HIDDEN)})


def plain_cell() -> tuple[Function, Params]:
    """The same in JAX."""
    keys = jax.random.split(jax.random.key(0))
    sizes = {"w": FEATURES, "r": HIDDEN}
    params = {
        name: 0.2 * jax.random.normal(key, (n, 4 * HIDDEN))
        for key, (name, n) in zip(keys, sizes.items(), strict=True)
    }

    def function(p: Params, x: Any) -> Any:
        h = c = jnp.zeros((TEXTS, HIDDEN))
        for step in range(STEPS):
            i, f, g, o = jnp.split(x[step] @ p["w"] + h @ p["r"] + p["bias"], 4, 1)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return h

    return function, {**params, "bias": jnp.zeros(4 * HIDDEN)}


def loaded(model: onnx.ModelProto, roll: bool | None, *, stacked: bool) -> tuple[Function, Params]:
    """A model as a function, and what of it trains."""
    module = onnxla.load(model, roll=roll)
    parts = module.partition()
    train, frozen = map(module.stacked, parts) if stacked else parts
    return lambda params, x: module.apply({**frozen, **params}, x), train


def compiling(function: Function, params: Params, x: Any) -> dict[str, float]:
    """What compiling a training step takes, and then a step: seconds, and bytes."""

    def loss(params: Params, x: Any) -> Any:
        return jnp.square(function(params, x)).mean()

    def step(params: Params, x: Any) -> Params:
        return jax.tree.map(lambda p, g: p - RATE * g, params, jax.grad(loss)(params, x))

    params = jax.tree.map(jnp.copy, params)
    start = time.perf_counter()
    lowered = jax.jit(step, donate_argnums=0).lower(params, x)
    middle = time.perf_counter()
    compiled = lowered.compile()
    end = time.perf_counter()

    def run() -> None:
        nonlocal params
        params = jax.block_until_ready(compiled(params, x))

    run()
    memory = compiled.memory_analysis()
    sizes = (memory.argument_size_in_bytes, memory.output_size_in_bytes, memory.temp_size_in_bytes)
    return {
        "trace": middle - start,
        "compile": end - middle,
        "first result": time.perf_counter() - start,
        "step": statistics.median(seconds(run) for _ in range(15)),
        "bytes": sum(sizes) - memory.alias_size_in_bytes,
    }


def measure(runs: int = 15) -> Iterator[dict[str, Any]]:
    """A row for each model and way, whose medians are of `runs` / 5 compilations."""
    rng = np.random.default_rng(0)
    places = rng.standard_normal((TEXTS, PLACES, N), np.float32)
    times = rng.standard_normal((STEPS, TEXTS, FEATURES), np.float32)
    cases: list[tuple[str, Callable[[], onnx.ModelProto], Any, Any]] = [
        *(
            (
                f"{depth} blocks",
                functools.partial(blocks, depth),
                functools.partial(plain_blocks, depth) if depth in PLAIN_DEPTHS else None,
                places,
            )
            for depth in DEPTHS
        ),
        (f"LSTM cell, {STEPS} steps", cell, plain_cell, times),
    ]
    for name, make, plain, x in cases:
        model = make()
        ways: dict[str, Callable[[], tuple[Function, Params]]] = {
            f"roll={roll}" + (", stacked" if stacked else ""): functools.partial(
                loaded, model, roll, stacked=stacked
            )
            for roll, stacked in ((False, False), (None, False), (True, False), (True, True))
        }
        if plain:
            ways["plain JAX"] = plain
        found: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
        for _ in range(max(1, runs // 5)):
            for way, function in ways.items():
                found[way].append(compiling(*function(), x))
        for way, each in found.items():
            medians = {key: statistics.median(row[key] for row in each) for key in each[0]}
            yield {"model": name, "nodes": len(model.graph.node), "way": way, **medians}
