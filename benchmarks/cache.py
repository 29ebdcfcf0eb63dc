"""What a process pays before its first result, without a compile cache and with one.

A model like BERT-base (its public configuration, random weights), for one text of 128 tokens. Every
figure is of a process of its own, and RUNS of each take turns: one with an empty cache, which it
fills; one that finds it full; one without any. Load is the model's; the first call is until its
result is there.

    python benchmarks/cache.py [RUNS] [LAYERS] [--json]
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
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
