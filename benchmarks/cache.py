"""What a process pays before its first result, without a compile cache and with one.

A model like BERT-base (its public configuration, random weights), for one text of 128 tokens. Each
figure is of a process of its own, and RUNS of each kind take turns: without a cache; with an empty
one, which it fills; with the one that the process before it filled. The first call is until its
result is there, as the second, which is what the computation itself takes.

    python benchmarks/run.py cache
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

WIDTH, HEADS, INNER, VOCABULARY, POSITIONS, LENGTH = 768, 12, 3072, 30522, 512, 128


class Builder:
    """A graph that grows by a node a call."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(0)
        self.nodes: list[NodeProto] = []
        self.tensors: list[TensorProto] = []

    def node(self, op: str, *inputs: str, **attributes: Any) -> str:
        name = f"{op}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], name=name, **attributes))
        return name

    def constant(self, array: np.ndarray) -> str:
        name = f"c{len(self.tensors)}"
        self.tensors.append(numpy_helper.from_array(array, name))
        return name

    def weight(self, *shape: int) -> str:
        return self.constant(self.rng.standard_normal(shape, np.float32) * np.float32(0.02))

    def number(self, value: float) -> str:
        return self.constant(np.float32(value))

    def dense(self, x: str, size: int, to: int) -> str:
        return self.node("Add", self.node("MatMul", x, self.weight(size, to)), self.weight(to))

    def normalized(self, x: str) -> str:
        scale = self.constant(np.ones(WIDTH, np.float32))
        return self.node("LayerNormalization", x, scale, self.weight(WIDTH), epsilon=1e-12)

    def heads(self, x: str, perm: list[int]) -> str:
        shape = self.constant(np.array([0, 0, HEADS, WIDTH // HEADS]))
        return self.node("Transpose", self.node("Reshape", x, shape), perm=perm)

    def gelu(self, x: str) -> str:
        erf = self.node("Erf", self.node("Div", x, self.number(2**0.5)))
        product = self.node("Mul", x, self.node("Add", erf, self.number(1)))
        return self.node("Mul", product, self.number(0.5))

    def layer(self, x: str, mask: str) -> str:
        q, k, v = (
            self.heads(self.dense(x, WIDTH, WIDTH), perm)
            for perm in ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3])
        )
        scores = self.node("Div", self.node("MatMul", q, k), self.number((WIDTH // HEADS) ** 0.5))
        weights = self.node("Softmax", self.node("Add", scores, mask), axis=-1)
        mixed = self.node("Transpose", self.node("MatMul", weights, v), perm=[0, 2, 1, 3])
        joined = self.node("Reshape", mixed, self.constant(np.array([0, 0, WIDTH])))
        x = self.normalized(self.node("Add", self.dense(joined, WIDTH, WIDTH), x))
        inner = self.gelu(self.dense(x, WIDTH, INNER))
        return self.normalized(self.node("Add", self.dense(inner, INNER, WIDTH), x))


def bert(layers: int = 12) -> bytes:
    """The model's file: token numbers and a mask to what the last layer makes."""
    b = Builder()
    words = b.node("Gather", b.weight(VOCABULARY, WIDTH), "input_ids")
    places = b.node("Gather", b.weight(POSITIONS, WIDTH), b.constant(np.arange(LENGTH)))
    x = b.normalized(b.node("Add", words, places))
    kept = b.node("Cast", "attention_mask", to=TensorProto.FLOAT)
    kept = b.node("Unsqueeze", kept, b.constant(np.array([1, 2])))
    mask = b.node("Mul", b.node("Sub", b.number(1), kept), b.number(-1e9))
    for _ in range(layers):
        x = b.layer(x, mask)
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, [1, LENGTH])
        for name in ("input_ids", "attention_mask")
    ]
    output = helper.make_tensor_value_info(x, TensorProto.FLOAT, [1, LENGTH, WIDTH])
    graph = helper.make_graph(b.nodes, "bert", inputs, [output], b.tensors)
    opsets = [helper.make_opsetid("", 20)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString()


# Prints what it took in seconds; given the model's file and, if there is one, the cache.
PROCESS = """
import json, sys, time
import jax, jax.monitoring, numpy as np
import onnxla

NAMES = {
    "jaxpr_trace_duration": "tracing",
    "jaxpr_to_mlir_module_duration": "lowering",
    "backend_compile_duration": "compiling",
}
took = {}

def timed(name, function):
    start = time.perf_counter()
    result = function()
    jax.block_until_ready(result)
    took[name] = time.perf_counter() - start
    return result

def listen(event, seconds, **about):
    name = NAMES.get(event.rpartition("/")[2])
    if name:
        took[name] = took.get(name, 0) + seconds

path, *cache = sys.argv[1:]
module = timed("load", lambda: onnxla.load(path, cache=cache[0] if cache else False))
jax.monitoring.register_event_duration_secs_listener(listen)
ids = np.ones((1, LENGTH), np.int64)
timed("first call", lambda: module(ids, ids))
timed("second call", lambda: module(ids, ids))
print(json.dumps(took))
"""


def process(path: Path, *cache: Path) -> dict[str, float]:
    """What a process takes that loads a model and calls it twice."""
    code = PROCESS.replace("LENGTH", str(LENGTH))
    own = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")}
    command = [sys.executable, "-c", code, str(path), *map(str, cache)]
    result = subprocess.run(command, env=own, capture_output=True, text=True, check=True)
    took: dict[str, float] = json.loads(result.stdout)
    return took


def measure(runs: int = 5, layers: int = 12) -> list[dict[str, Any]]:
    """Seconds of each part in each kind of process: a row for each."""
    found: dict[tuple[str, str], list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "bert.onnx")
        path.write_bytes(bert(layers))
        process(path)  # the file is in memory from now on
        for run in range(runs):
            cache = Path(folder, f"cache{run}")
            for kind, given in (("no cache", ()), ("empty", (cache,)), ("filled", (cache,))):
                for part, seconds in process(path, *given).items():
                    found.setdefault((part, kind), []).append(seconds)
    return [
        {
            "layers": layers,
            "what": part,
            "cache": kind,
            "seconds": statistics.median(values),
            "least": min(values),
        }
        for (part, kind), values in sorted(found.items())
    ]
