"""Language models with a cache as exporters write them, with random weights, small unless asked."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

DOMAIN = "com.microsoft"
# What `tools/exporters/export_decoders.py` made.
EXPORTED = Path(__file__).parents[1] / "generate" / "exported"


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

    def model(self, opset: int = 18) -> bytes:
        graph = helper.make_graph(self.nodes, "main_graph", self.inputs, self.outputs, self.tensors)
        opsets = [helper.make_opsetid("", opset), helper.make_opsetid(DOMAIN, 1)]
        made = helper.make_model(graph, opset_imports=opsets, ir_version=10)
        return made.SerializeToString()

    def rms_norm(self, x: str, name: str, width: int) -> str:
        square = self.ReduceMean(self.Pow(x, np.float32(2)), np.int64([-1]))
        root = self.Sqrt(self.Add(square, np.float32(1e-6)))
        return self.Mul(self.Div(x, root), self.weight(name, width, scale=1))

    def size_of(self, x: str, axis: int) -> str:
        return self.Gather(self.Shape(x), np.int64(axis), axis=0)


@dataclass
class Decoder:
    """A decoder of a stack of layers, in the words of its exporter.

    Attributes:
        positions: Where positions come from: an `input`, the attention `mask`, or the length of
            the past, by a `range` or as the start of a `slice`; `relative`: by their distances; or
            `number`, of that length as a number, which is right for one token.
        rotary: Whether keys and queries are turned by their positions; otherwise these are learned.
        turns: Where cosines and sines come from: a `formula`, a table by `gather`, or the table of
            ONNX Runtime's `operator` RotaryEmbedding.
        bare: Whether the graph with a past has no mask at all, which is right for one token.
        crossed: Whether there is attention to what an encoder made.
        masked: Whether there is an attention mask.
        attention_23: Whether it is ONNX's own operator, which adds to the past by itself.
        cached: Whether there is a past; otherwise this is the graph for the first tokens.
        fused: Whether attention is ONNX Runtime's GroupQueryAttention, as its model builder has it.
    """

    sizes: Sizes = SMALL
    positions: str = "input"
    rotary: bool = False
    turns: str = "formula"
    bare: bool = False
    crossed: bool = False
    masked: bool = True
    fused: bool = False
    attention_23: bool = False
    cached: bool = True
    net: Net = field(default_factory=Net)

    def build(self) -> bytes:
        net, s = self.net, self.sizes
        net.input("input_ids", TensorProto.INT64, "batch", "sequence")
        if self.masked:
            net.input("attention_mask", TensorProto.INT64, "batch", "total")
        if self.positions == "input":
            net.input("position_ids", TensorProto.INT64, "batch", "sequence")
        if self.crossed:
            net.input("encoder_hidden_states", TensorProto.FLOAT, "batch", "frames", s.width)
        pasts = [[self.past(i, part, "past") for part in ("key", "value")] for i in range(s.layers)]
        net.output("logits", TensorProto.FLOAT, "batch", "sequence", s.words)
        words = net.weight("embed.weight", s.words, s.width, scale=s.scale)
        x = net.Gather(words, "input_ids")
        new = net.size_of("input_ids", 1)
        past = net.size_of(pasts[0][0], 2) if self.cached else net.constant(np.int64(0))
        total = net.Add(past, new)
        places = "" if self.fused else self.places(past, total)
        if self.fused:
            self.lengths()
        elif self.positions == "relative":
            self.bias = self.distances(past, total)
        elif not self.rotary:
            table = net.weight("positions.weight", s.longest, s.width, scale=s.scale)
            if self.positions == "slice":
                ends = (net.Unsqueeze(end, np.int64([0])) for end in (past, total))
                x = net.Add(x, net.Slice(table, *ends, np.int64([0])))
            else:
                x = net.Add(x, net.Gather(table, places))
        else:
            self.angles(places)
        hides = not (self.fused or (self.bare and self.cached))
        allowed = self.allowed(past, total) if hides else ""
        for i, (key, value) in enumerate(pasts):
            x = net.Add(
                x, self.attention(net.rms_norm(x, f"{i}.n1", s.width), i, key, value, allowed)
            )
            if self.crossed:
                x = net.Add(x, self.cross_attention(net.rms_norm(x, f"{i}.nc", s.width), i))
            x = net.Add(x, self.feed_forward(net.rms_norm(x, f"{i}.n2", s.width), i))
        x = net.rms_norm(x, "norm", s.width)
        net.MatMul(x, net.Transpose(words, perm=[1, 0]), outputs=["logits"])
        return net.model(23 if self.attention_23 else 18)

    def past(self, i: int, part: str, length: str) -> str:
        """An input with keys or values of a layer, if there is a past."""
        kind = {"past": "decoder.", "frames": "encoder."}[length] if self.crossed else ""
        shape = "batch", self.sizes.key_heads, length, self.sizes.size
        name = f"past_key_values.{i}.{kind}{part}"
        return self.net.input(name, TensorProto.FLOAT, *shape) if self.cached else ""

    def present(self, i: int, part: str, length: str) -> str:
        """An output with keys or values of a layer."""
        kind = {"total": "decoder.", "frames": "encoder."}[length] if self.crossed else ""
        shape = "batch", self.sizes.key_heads, length, self.sizes.size
        self.net.output(name := f"present.{i}.{kind}{part}", TensorProto.FLOAT, *shape)
        return name

    def cross_attention(self, x: str, i: int) -> str:
        net, s = self.net, self.sizes
        q = self.by_heads(x, f"{i}.cq", s.heads)
        made = []
        for part in ("key", "value"):
            new = self.by_heads("encoder_hidden_states", f"{i}.c{part}", s.key_heads)
            kept = self.past(i, part, "frames") or new
            made.append(net.Identity(kept, outputs=[self.present(i, part, "frames")]))
        k, v = map(self.repeated, made)
        scores = net.MatMul(q, net.Transpose(k, perm=[0, 1, 3, 2]))
        y = net.MatMul(net.Softmax(scores, axis=-1), v)
        y = net.Reshape(net.Transpose(y, perm=[0, 2, 1, 3]), np.int64([0, 0, s.width]))
        return net.MatMul(y, net.weight(f"{i}.co", s.width, s.width, scale=s.scale))

    def distances(self, past: str, total: str) -> str:
        """What each distance of a query from a key adds to their score, as T5 has it."""
        net, s, one = self.net, self.sizes, np.int64(1)
        queries = net.Unsqueeze(net.Range(past, total, one), np.int64([1]))
        distance = net.Sub(queries, net.Range(np.int64(0), total, one))
        table = net.weight("distances.weight", s.longest, s.heads, scale=1)
        bias = net.Gather(table, net.Max(distance, np.int64(0)))
        return net.Unsqueeze(net.Transpose(bias, perm=[2, 0, 1]), np.int64([0]))

    def places(self, past: str, total: str) -> str:
        """Positions [batch or 1, sequence]."""
        net = self.net
        if self.positions == "input":
            return "position_ids"
        if self.positions in ("slice", "relative"):
            return ""
        if self.positions == "number":
            return net.Unsqueeze(past, np.int64([0, 1]))
        if self.positions == "range":
            return net.Unsqueeze(net.Range(past, total, np.int64(1)), np.int64([0]))
        counted = net.Sub(net.CumSum("attention_mask", np.int64(1)), np.int64(1))
        counted = net.Where(net.Equal("attention_mask", np.int64(0)), np.int64(1), counted)
        start = net.Unsqueeze(past, np.int64([0]))
        return net.Slice(counted, start, np.int64([2**62]), np.int64([1]))

    def allowed(self, past: str, total: str) -> str:
        """Which keys each query may see, [batch or 1, 1, sequence, total]."""
        net, one = self.net, np.int64(1)
        if self.positions == "slice":
            starts, ends = (
                net.Concat(*(net.Unsqueeze(x, np.int64([0])) for x in pair), axis=0)
                for pair in ((past, net.constant(np.int64(0))), (total, total))
            )
            causal = net.Slice(np.tri(self.sizes.longest, dtype=bool), starts, ends)
        else:
            queries = net.Unsqueeze(net.Range(past, total, one), np.int64([1]))
            causal = net.LessOrEqual(net.Range(np.int64(0), total, one), queries)
        causal = net.Unsqueeze(causal, np.int64([0, 1]))
        if not self.masked:
            return causal
        mask = net.Cast("attention_mask", to=TensorProto.BOOL)
        return net.And(causal, net.Unsqueeze(mask, np.int64([1, 2])))

    def cosines(self) -> list[str]:
        """Tables of cosines and sines of all positions."""
        s = self.sizes
        angles = np.outer(np.arange(s.longest), 10000.0 ** -(np.arange(0, s.size, 2) / s.size))
        functions = np.cos, np.sin
        return [
            self.net.constant(f(angles).astype(np.float32), f"{f.__name__}_cache")
            for f in functions
        ]

    def angles(self, places: str) -> None:
        net, size = self.net, self.sizes.size
        if self.turns != "formula":
            self.where, self.turning = places, self.cosines()
        if self.turns == "gather":
            halves = (net.Gather(table, places) for table in self.turning)
            wide = (net.Unsqueeze(each, np.int64([1])) for each in halves)
            self.cos, self.sin = (net.Concat(each, each, axis=-1) for each in wide)
        if self.turns != "formula":
            return
        rates = (10000.0 ** -(np.arange(0, size, 2) / size)).astype(np.float32)
        wide = net.Unsqueeze(net.Cast(places, to=TensorProto.FLOAT), np.int64([1, 3]))
        angles = net.Mul(wide, rates)
        angles = net.Concat(angles, angles, axis=-1)
        self.cos, self.sin = net.Cos(angles), net.Sin(angles)

    def turned(self, x: str) -> str:
        net, half = self.net, self.sizes.size // 2
        if self.turns == "operator":
            return net.RotaryEmbedding(x, self.where, *self.turning, domain=DOMAIN)
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

    def lengths(self) -> None:
        """What GroupQueryAttention wants to know of the mask."""
        net = self.net
        counted = net.ReduceSum("attention_mask", np.int64([1]))
        self.last = net.Cast(net.Sub(counted, np.int64([1])), to=TensorProto.INT32)
        self.total = net.Cast(net.size_of("attention_mask", 1), to=TensorProto.INT32)
        self.cos, self.sin = self.cosines()

    def fused_attention(self, x: str, i: int, key: str, value: str) -> str:
        net, s = self.net, self.sizes
        q, k, v = (
            net.MatMul(x, net.weight(f"{i}.{part}", s.width, heads * s.size, scale=s.scale))
            for part, heads in (("q", s.heads), ("k", s.key_heads), ("v", s.key_heads))
        )
        presents = (self.present(i, part, "total") for part in ("key", "value"))
        y, *_ = net.GroupQueryAttention(
            *(q, k, v, key, value, self.last, self.total, self.cos, self.sin),
            outputs=[f"{i}.attention", *presents],
            domain=DOMAIN,
            num_heads=s.heads,
            kv_num_heads=s.key_heads,
            do_rotary=1,
        )
        return net.MatMul(y, net.weight(f"{i}.o", s.width, s.width, scale=s.scale))

    def attention(self, x: str, i: int, key: str, value: str, allowed: str) -> str:
        if self.fused:
            return self.fused_attention(x, i, key, value)
        net, s = self.net, self.sizes
        q = self.by_heads(x, f"{i}.q", s.heads)
        k, v = (self.by_heads(x, f"{i}.{part}", s.key_heads) for part in "kv")
        if self.rotary:
            q, k = self.turned(q), self.turned(k)
        names = [self.present(i, part, "total") for part in ("key", "value")]
        if self.attention_23:
            given = q, k, v, allowed, key, value
            y, *_ = net.Attention(*given, outputs=[f"{i}.attention", *names])
            y = net.Reshape(net.Transpose(y, perm=[0, 2, 1, 3]), np.int64([0, 0, s.width]))
            return net.MatMul(y, net.weight(f"{i}.o", s.width, s.width, scale=s.scale))
        k, v = (
            net.Concat(*filter(None, (old, new)), axis=2, outputs=[name])
            for old, new, name in zip((key, value), (k, v), names, strict=True)
        )
        k, v = self.repeated(k), self.repeated(v)
        scores = net.MatMul(q, net.Transpose(k, perm=[0, 1, 3, 2]))
        scores = net.Div(scores, np.float32(np.sqrt(s.size)))
        if self.positions == "relative":
            scores = net.Add(scores, self.bias)
        if allowed:
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


def gpt(sizes: Sizes = SMALL, **options: Any) -> bytes:
    """Learned positions, and an attention mask."""
    return Decoder(sizes, **options).build()


def llama(sizes: Sizes = GROUPED, **options: Any) -> bytes:
    """Rotary positions, and heads of keys that several of queries share."""
    return Decoder(sizes, rotary=True, **options).build()


def standard(sizes: Sizes = GROUPED) -> bytes:
    """Of ONNX's operator Attention."""
    return Decoder(sizes, rotary=True, attention_23=True).build()


def grouped(sizes: Sizes = Sizes(width=64, key_heads=2)) -> bytes:
    """As ONNX Runtime's model builder writes it: GroupQueryAttention, which counts the mask."""
    return Decoder(sizes, "none", fused=True).build()


def merged(sizes: Sizes = SMALL, **options: Any) -> bytes:
    """Two graphs in one file, for the first tokens and for those after, as optimum merges them."""
    first, then = Decoder(sizes, cached=False, **options), Decoder(sizes, **options)
    graphs = [onnx.load_from_string(each.build()).graph for each in (then, first)]
    whole = onnx.GraphProto(name="merged", input=graphs[0].input, output=graphs[0].output)
    shared = {tensor.name: tensor for tensor in graphs[0].initializer}
    for graph, prefix in zip(graphs, ("then", "else"), strict=True):
        own = [t for t in graph.initializer if t.name.startswith("c")]  # others are weights
        renamed = {name: f"{prefix}.{name}" for node in graph.node for name in node.output}
        renamed |= {tensor.name: f"{prefix}.{tensor.name}" for tensor in own}
        for tensor in own:
            shared.pop(tensor.name, None)
            tensor.name = renamed[tensor.name]
        for node in graph.node:
            node.input[:] = [renamed.get(name, name) for name in node.input]
            node.output[:] = [renamed[name] for name in node.output]
        for value in graph.output:
            value.name = renamed[value.name]
        del graph.input[:], graph.initializer[:]
        graph.initializer.extend(own)
    whole.initializer.extend(shared.values())
    kind = helper.make_tensor_value_info("use_cache_branch", TensorProto.BOOL, [1])
    whole.input.append(kind)
    names = [value.name for value in whole.output]
    branches = dict(zip(("then_branch", "else_branch"), graphs, strict=True))
    whole.node.append(helper.make_node("If", ["use_cache_branch"], names, **branches))
    opsets = [helper.make_opsetid("", 18)]
    return helper.make_model(whole, opset_imports=opsets, ir_version=10).SerializeToString()


def recurrent(sizes: Sizes = SMALL) -> bytes:
    """Layers whose past are states: the last inputs of a causal convolution, and a GRU's."""
    net, s, taps = Net(), sizes, 4
    net.input("input_ids", TensorProto.INT64, "batch", "sequence")
    net.output("logits", TensorProto.FLOAT, "batch", "sequence", s.words)
    words = net.weight("embed.weight", s.words, s.width, scale=s.scale)
    x = net.Gather(words, "input_ids")
    for i in range(s.layers):
        past = net.input(f"past_conv.{i}", TensorProto.FLOAT, "batch", s.width, taps - 1)
        channels = net.Concat(past, net.Transpose(x, perm=[0, 2, 1]), axis=2)
        ends = np.int64([1 - taps]), np.int64([2**62]), np.int64([2])
        net.Slice(channels, *ends, outputs=[f"present_conv.{i}"])
        net.output(f"present_conv.{i}", TensorProto.FLOAT, "batch", s.width, taps - 1)
        kernel = net.weight(f"{i}.conv", s.width, 1, taps, scale=1)
        x = net.Add(x, net.Transpose(net.Conv(channels, kernel, group=s.width), perm=[0, 2, 1]))
        state = net.input(f"past_ssm.{i}", TensorProto.FLOAT, 1, "batch", s.width)
        weights = [
            net.weight(f"{i}.{part}", 1, 3 * s.width, s.width, scale=s.scale) for part in "wr"
        ]
        y, _ = net.GRU(
            *(net.Transpose(x, perm=[1, 0, 2]), *weights, "", "", state),
            outputs=[f"{i}.y", f"present_ssm.{i}"],
            hidden_size=s.width,
        )
        net.output(f"present_ssm.{i}", TensorProto.FLOAT, 1, "batch", s.width)
        x = net.Add(x, net.Transpose(net.Squeeze(y, np.int64([1])), perm=[1, 0, 2]))
    net.MatMul(x, net.Transpose(words, perm=[1, 0]), outputs=["logits"])
    return net.model()


def packed(sizes: Sizes = SMALL) -> bytes:
    """As ONNX Runtime's optimizer writes GPT-2: Attention, and keys and values in one tensor."""
    net, s = Net(), sizes
    net.input("input_ids", TensorProto.INT64, "batch", "sequence")
    net.input("position_ids", TensorProto.INT64, "batch", "sequence")
    net.input("attention_mask", TensorProto.INT32, "batch", "total")
    net.output("logits", TensorProto.FLOAT, "batch", "sequence", s.words)
    words = net.weight("embed.weight", s.words, s.width, scale=s.scale)
    table = net.weight("positions.weight", s.longest, s.width, scale=s.scale)
    x = net.Add(net.Gather(words, "input_ids"), net.Gather(table, "position_ids"))
    for i in range(s.layers):
        past = net.input(f"past_{i}", TensorProto.FLOAT, 2, "batch", s.heads, "past", s.size)
        net.output(f"present_{i}", TensorProto.FLOAT, 2, "batch", s.heads, "total", s.size)
        weights = net.weight(f"{i}.qkv", s.width, 3 * s.width, scale=s.scale)
        bias = net.weight(f"{i}.bias", 3 * s.width, scale=s.scale)
        y, _ = net.Attention(
            *(net.rms_norm(x, f"{i}.n", s.width), weights, bias, "attention_mask", past),
            outputs=[f"{i}.attention", f"present_{i}"],
            domain=DOMAIN,
            num_heads=s.heads,
            unidirectional=1,
        )
        x = net.Add(x, net.MatMul(y, net.weight(f"{i}.o", s.width, s.width, scale=s.scale)))
    net.MatMul(x, net.Transpose(words, perm=[1, 0]), outputs=["logits"])
    return net.model()


class Peer:
    """ONNX Runtime's own loop: the cache grows with each token."""

    def __init__(self, model: bytes) -> None:
        import onnxruntime

        onnxruntime.set_default_logger_severity(3)
        self.session = onnxruntime.InferenceSession(model)
        self.inputs = {value.name: value for value in self.session.get_inputs()}
        self.ids = next(name for name in ("input_ids", "decoder_input_ids") if name in self.inputs)
        self.outputs = [value.name for value in self.session.get_outputs()]
        self.pasts = [
            name
            for name in self.inputs
            if re.search("past|^cache", name) and present_of(name, self.outputs)
        ]

    def masked(self, end: int) -> int:
        """How long a mask is after so many tokens: so many, or as a file says."""
        mask = self.inputs.get("attention_mask")
        return mask.shape[1] if mask is not None and isinstance(mask.shape[1], int) else end

    def nothing(self, name: str, size: int) -> np.ndarray:
        """A past without tokens; a last axis that is open has a size."""
        value = self.inputs[name]
        first = self.inputs[self.ids].shape[0]
        open_sizes = {first: 1, "kv_cache_dim": size}
        shape = [int(n) if str(n).isdecimal() else open_sizes.get(n, 0) for n in value.shape]
        return np.zeros(shape, TYPES[value.type])

    def greedy(
        self, ids: Sequence[int], new: int, size: int = 0, **further: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The next tokens [new] of one prompt, and their logits [new, words]."""
        fed, place = np.array([ids], np.int64), 0
        past = {name: self.nothing(name, size) for name in self.pasts if name not in further}
        tokens, rows = [], []
        waiting: list[int] = []
        if str(self.inputs[self.ids].shape[1]) == "1":  # a graph for one token at a time
            fed, waiting = fed[:, :1], [*map(int, fed[0, 1:])]
        while len(tokens) < new:
            end = place + fed.shape[1]
            given = {
                self.ids: fed,
                "attention_mask": np.ones((1, self.masked(end)), np.int64),
                "position_ids": np.arange(place, end)[None],
                **further,
                "use_cache_branch": np.array([place > 0]),
            }
            feeds = {
                k: v.astype(TYPES[self.inputs[k].type])
                for k, v in given.items()
                if k in self.inputs
            }
            made = self.session.run(None, {**feeds, **past})
            outputs = dict(zip(self.outputs, made, strict=True))
            presents = {name: present_of(name, self.outputs) for name in past}
            # What an encoder made comes out of the first pass alone.
            past = {
                name: past[name] if "encoder" in name and place else outputs[str(new)]
                for name, new in presents.items()
            }
            if waiting:
                fed, place = np.array([[waiting.pop(0)]], np.int64), end
                continue
            rows.append(outputs["logits"][0, -1])
            tokens.append(int(rows[-1].argmax()))
            fed, place = np.array([[tokens[-1]]], np.int64), end
        return np.array(tokens), np.stack(rows)


TYPES = {
    "tensor(float)": np.float32,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(bool)": np.bool_,
}


# What pasts are called, and presents instead.
PRESENT = (
    ("past_key_values", "present"),
    ("past_key_values", "cache"),
    ("past", "present"),
    ("_in", "_out"),
    ("cache_params", "cache"),
)


def present_of(past: str, outputs: Sequence[str]) -> str | None:
    """The output that is the next value of a past, if there is one."""
    names = (past.replace(*pair) for pair in PRESENT)
    return next((name for name in names if name in outputs), None)


def precise(path: Path) -> bytes:
    """A file whose products ONNX Runtime computes with the activations that there are.

    The model builder allows it to round them to 8 bits, which onnxla does not do.
    """
    model = onnx.load(path)
    for node in model.graph.node:
        kept = [each for each in node.attribute if each.name != "accuracy_level"]
        del node.attribute[:]
        node.attribute.extend(kept)
    return model.SerializeToString()


def further(names: Sequence[str], batch: int) -> dict[str, np.ndarray]:
    """What an encoder would give."""
    states = np.random.default_rng(3).standard_normal((batch, 9, 32)).astype(np.float32)
    given = {
        "encoder_hidden_states": states,
        "encoder_outputs.last_hidden_state": states,
        "encoder_attention_mask": np.ones((batch, 9), np.int64),
    }
    if "decoder_input_ids" in names:  # where the mask is the encoder's, which read less of a text
        given["attention_mask"] = (np.arange(9) < [[6], [9]][:batch]).astype(np.int64)
    # Keys and values of two heads, that a graph does not make itself.
    given |= {
        name: states.reshape(batch, 9, 2, 16).swapaxes(1, 2)
        for name in names
        if "cross_attention_cache" in name
    }
    return {name: value for name, value in given.items() if name in names}
