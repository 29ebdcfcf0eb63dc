"""Language models with a cache as exporters write them, with random weights, small unless asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

DOMAIN = "com.microsoft"


@dataclass(frozen=True)
class Sizes:
    """How large a decoder is."""

    words: int = 61
    width: int = 32
    heads: int = 4
    key_heads: int = 4
    layers: int = 2
    longest: int = 256
    scale: float = 0.2  # of the weights

    @property
    def size(self) -> int:
        """Features of a head."""
        return self.width // self.heads


SMALL = Sizes()
GROUPED = Sizes(key_heads=2)


@dataclass
class Net:
    """A graph that is written node by node; values are names."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    tensors: list[onnx.TensorProto] = field(default_factory=list)
    inputs: list[onnx.ValueInfoProto] = field(default_factory=list)
    outputs: list[onnx.ValueInfoProto] = field(default_factory=list)
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))
    numbers: Any = field(default_factory=count)

    def __getattr__(self, op_type: str) -> Any:
        """A function that adds a node of an operator, and returns the name of its output."""
        if not op_type[0].isupper():
            raise AttributeError(op_type)

        def add(*inputs: Any, outputs: Sequence[str] = (), **attributes: Any) -> Any:
            n = next(self.numbers)
            names = [*outputs] or [f"{op_type}_{n}"]
            given = [x if isinstance(x, str) else self.constant(x) for x in inputs]
            self.nodes.append(helper.make_node(op_type, given, names, f"n{n}", **attributes))
            return names[0] if len(names) == 1 else names

        return add

    def constant(self, value: Any, name: str = "") -> str:
        name = name or f"c{next(self.numbers)}"
        self.tensors.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def weight(self, name: str, *shape: int, scale: float) -> str:
        numbers = self.rng.standard_normal(shape, np.float32) * np.float32(scale)
        return self.constant(numbers, name)

    def input(self, name: str, kind: int, *shape: Any) -> str:
        self.inputs.append(helper.make_tensor_value_info(name, kind, shape))
        return name

    def output(self, name: str, kind: int, *shape: Any) -> None:
        self.outputs.append(helper.make_tensor_value_info(name, kind, shape))

    def model(self, opset: int = 17) -> bytes:
        graph = helper.make_graph(self.nodes, "main_graph", self.inputs, self.outputs, self.tensors)
        opsets = [helper.make_opsetid("", opset), helper.make_opsetid(DOMAIN, 1)]
        made = helper.make_model(graph, opset_imports=opsets, ir_version=10)
        return made.SerializeToString()

    def rms_norm(self, x: str, name: str, width: int) -> str:
        square = self.ReduceMean(self.Pow(x, np.float32(2)), axes=[-1])
        root = self.Sqrt(self.Add(square, np.float32(1e-6)))
        return self.Mul(self.Div(x, root), self.weight(name, width, scale=1))

    def size_of(self, x: str, axis: int) -> str:
        return self.Gather(self.Shape(x), np.int64(axis), axis=0)


@dataclass
class Decoder:
    """A decoder of a stack of layers, in the words of its exporter.

    Attributes:
        positions: Where positions come from: an `input`, the attention `mask`, or the `shape` of
            the past.
        rotary: Whether keys and queries are turned by their positions; otherwise these are learned.
        masked: Whether there is an attention mask.
    """

    sizes: Sizes = SMALL
    positions: str = "input"
    rotary: bool = False
    masked: bool = True
    net: Net = field(default_factory=Net)

    def build(self) -> bytes:
        net, s = self.net, self.sizes
        net.input("input_ids", TensorProto.INT64, "batch", "sequence")
        if self.masked:
            net.input("attention_mask", TensorProto.INT64, "batch", "total")
        if self.positions == "input":
            net.input("position_ids", TensorProto.INT64, "batch", "sequence")
        cache = "batch", s.key_heads, "past", s.size
        pasts = [
            [net.input(f"past_key_values.{i}.{part}", TensorProto.FLOAT, *cache)
             for part in ("key", "value")]
            for i in range(s.layers)
        ]  # fmt: skip
        net.output("logits", TensorProto.FLOAT, "batch", "sequence", s.words)
        words = net.weight("embed.weight", s.words, s.width, scale=s.scale)
        x = net.Gather(words, "input_ids")
        past, new = net.size_of(pasts[0][0], 2), net.size_of("input_ids", 1)
        total = net.Add(past, new)
        places = self.places(past, total)
        if not self.rotary:
            table = net.weight("positions.weight", s.longest, s.width, scale=s.scale)
            x = net.Add(x, net.Gather(table, places))
        else:
            self.angles(places)
        allowed = self.allowed(past, total)
        for i, (key, value) in enumerate(pasts):
            x = net.Add(
                x, self.attention(net.rms_norm(x, f"{i}.n1", s.width), i, key, value, allowed)
            )
            x = net.Add(x, self.feed_forward(net.rms_norm(x, f"{i}.n2", s.width), i))
        x = net.rms_norm(x, "norm", s.width)
        net.MatMul(x, net.Transpose(words, perm=[1, 0]), outputs=["logits"])
        return net.model()

    def places(self, past: str, total: str) -> str:
        """Positions [batch or 1, sequence]."""
        net = self.net
        if self.positions == "input":
            return "position_ids"
        if self.positions == "shape":
            return net.Unsqueeze(net.Range(past, total, np.int64(1)), np.int64([0]))
        counted = net.Sub(net.CumSum("attention_mask", np.int64(1)), np.int64(1))
        counted = net.Where(net.Equal("attention_mask", np.int64(0)), np.int64(1), counted)
        start = net.Unsqueeze(past, np.int64([0]))
        return net.Slice(counted, start, np.int64([2**62]), np.int64([1]))

    def allowed(self, past: str, total: str) -> str:
        """Which keys each query may see, [batch or 1, 1, sequence, total]."""
        net, one = self.net, np.int64(1)
        queries = net.Unsqueeze(net.Range(past, total, one), np.int64([1]))
        causal = net.LessOrEqual(net.Range(np.int64(0), total, one), queries)
        causal = net.Unsqueeze(causal, np.int64([0, 1]))
        if not self.masked:
            return causal
        mask = net.Cast("attention_mask", to=TensorProto.BOOL)
        return net.And(causal, net.Unsqueeze(mask, np.int64([1, 2])))

    def angles(self, places: str) -> None:
        net, size = self.net, self.sizes.size
        rates = (10000.0 ** -(np.arange(0, size, 2) / size)).astype(np.float32)
        wide = net.Unsqueeze(net.Cast(places, to=TensorProto.FLOAT), np.int64([1, 3]))
        angles = net.Mul(wide, rates)
        angles = net.Concat(angles, angles, axis=-1)
        self.cos, self.sin = net.Cos(angles), net.Sin(angles)

    def turned(self, x: str) -> str:
        net, half = self.net, self.sizes.size // 2
        axis = np.int64([3])
        first = net.Slice(x, np.int64([0]), np.int64([half]), axis)
        second = net.Slice(x, np.int64([half]), np.int64([2**62]), axis)
        other = net.Concat(net.Neg(second), first, axis=-1)
        return net.Add(net.Mul(x, self.cos), net.Mul(other, self.sin))

    def by_heads(self, x: str, name: str, heads: int) -> str:
        net, s = self.net, self.sizes
        made = net.MatMul(x, net.weight(name, s.width, heads * s.size, scale=s.scale))
        made = net.Reshape(made, np.int64([0, 0, heads, s.size]))
        return net.Transpose(made, perm=[0, 2, 1, 3])

    def repeated(self, x: str) -> str:
        """Heads of keys or values, as often as queries share them."""
        net, s = self.net, self.sizes
        times = s.heads // s.key_heads
        if times == 1:
            return x
        shape = net.Concat(
            net.Unsqueeze(net.size_of(x, 0), np.int64([0])), np.int64([s.key_heads, times]),
            net.Unsqueeze(net.size_of(x, 2), np.int64([0])), np.int64([s.size]), axis=0,
        )  # fmt: skip
        wide = net.Expand(net.Unsqueeze(x, np.int64([2])), shape)
        return net.Reshape(wide, np.int64([0, s.heads, -1, s.size]))

    def attention(self, x: str, i: int, key: str, value: str, allowed: str) -> str:
        net, s = self.net, self.sizes
        q = self.by_heads(x, f"{i}.q", s.heads)
        k, v = (self.by_heads(x, f"{i}.{part}", s.key_heads) for part in "kv")
        if self.rotary:
            q, k = self.turned(q), self.turned(k)
        names = [f"present.{i}.{part}" for part in ("key", "value")]
        k, v = (
            net.Concat(old, new, axis=2, outputs=[name])
            for old, new, name in zip((key, value), (k, v), names, strict=True)
        )
        for name in names:
            net.output(name, TensorProto.FLOAT, "batch", s.key_heads, "total", s.size)
        k, v = self.repeated(k), self.repeated(v)
        scores = net.MatMul(q, net.Transpose(k, perm=[0, 1, 3, 2]))
        scores = net.Div(scores, np.float32(np.sqrt(s.size)))
        scores = net.Where(allowed, scores, np.finfo(np.float32).min)
        y = net.Transpose(net.MatMul(net.Softmax(scores, axis=-1), v), perm=[0, 2, 1, 3])
        y = net.Reshape(y, np.int64([0, 0, s.width]))
        return net.MatMul(y, net.weight(f"{i}.o", s.width, s.width, scale=s.scale))

    def feed_forward(self, x: str, i: int) -> str:
        net, s = self.net, self.sizes
        up = net.MatMul(x, net.weight(f"{i}.up", s.width, 4 * s.width, scale=s.scale))
        return net.MatMul(
            net.Mul(up, net.Sigmoid(up)),
            net.weight(f"{i}.down", 4 * s.width, s.width, scale=s.scale),
        )


def gpt(sizes: Sizes = SMALL, positions: str = "input") -> bytes:
    """Learned positions, and an attention mask."""
    return Decoder(sizes, positions).build()


def llama(sizes: Sizes = GROUPED, positions: str = "input") -> bytes:
    """Rotary positions, and heads of keys that several of queries share."""
    return Decoder(sizes, positions, rotary=True).build()


class Peer:
    """ONNX Runtime's own loop: the cache grows with each token."""

    def __init__(self, model: bytes) -> None:
        import onnxruntime

        onnxruntime.set_default_logger_severity(3)
        self.session = onnxruntime.InferenceSession(model)
        self.names = [value.name for value in self.session.get_inputs()]
        self.pasts = [value for value in self.session.get_inputs() if "past" in value.name]

    def greedy(self, ids: Sequence[int], new: int) -> tuple[np.ndarray, np.ndarray]:
        """The next tokens [new] of one prompt, and their logits [new, words]."""
        fed, place = np.array([ids], np.int64), 0
        past = {
            value.name: np.zeros([1, *(d if isinstance(d, int) else 0 for d in value.shape[1:])],
                                 np.float32)
            for value in self.pasts
        }  # fmt: skip
        tokens, rows = [], []
        for _ in range(new):
            end = place + fed.shape[1]
            given = {
                "input_ids": fed,
                "attention_mask": np.ones((1, end), np.int64),
                "position_ids": np.arange(place, end)[None],
            }
            feeds = {**{k: v for k, v in given.items() if k in self.names}, **past}
            logits, *presents = self.session.run(None, feeds)
            past = dict(zip(past, presents, strict=True))
            rows.append(logits[0, -1])
            tokens.append(int(rows[-1].argmax()))
            fed, place = np.array([[tokens[-1]]], np.int64), end
        return np.array(tokens), np.stack(rows)
